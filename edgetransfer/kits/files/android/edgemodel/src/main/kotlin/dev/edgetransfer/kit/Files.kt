package dev.edgetransfer.kit

import java.io.IOException
import java.io.InputStream

/** Something that is not as it should be, in words. */
class KitException(message: String, cause: Throwable? = null) : Exception(message, cause)

/** Opens the files of a folder, by name. */
fun interface Files {
    @Throws(IOException::class)
    fun open(name: String): InputStream
}

internal fun Files.bytes(name: String): ByteArray =
    try {
        open(name).use { it.readBytes() }
    } catch (error: IOException) {
        throw KitException("$name cannot be read: ${error.message}", error)
    }

/** The lines of a file, which end in `\n` and in nothing else. */
internal fun Files.lines(name: String): List<String> = bytes(name).decodeToString().removeSuffix("\n").split("\n")

/** What `model.tsv` says, by name; [KitException] where it does not. */
internal class Settings private constructor(private val values: Map<String, String>) {
    operator fun get(name: String): String = values[name] ?: throw KitException("model.tsv says nothing of $name")

    fun number(name: String): Float =
        get(name).toFloatOrNull() ?: throw KitException("model.tsv: $name is no number: ${get(name)}")

    /** The settings whose names begin so, by what follows. */
    fun below(prefix: String): Map<String, String> =
        values.filterKeys { it.startsWith(prefix) }.mapKeys { it.key.removePrefix(prefix) }

    companion object {
        private const val CONTRACT = "1"

        fun read(files: Files): Settings {
            val found = files.lines("model.tsv").associate { it.substringBefore("\t") to it.substringAfter("\t") }
            val contract = found["contract"]
            if (contract != CONTRACT) {
                throw KitException(
                    "model.tsv: a model of contract $contract, and this kit reads $CONTRACT: make the kit again",
                )
            }
            return Settings(found)
        }
    }
}
