package dev.edgetransfer.kit

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import java.io.Closeable
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.LongBuffer
import kotlin.math.exp

/** Something that is not as it should be, in words. */
class KitException(message: String, cause: Throwable? = null) : Exception(message, cause)

/** A class and its probability. */
data class Label(val name: String, val probability: Float)

/** The likeliest labels, best first; not accepted where the model is too unsure. */
data class Answer(val labels: List<Label>, val accepted: Boolean)

/** Opens the files of a folder, by name. */
fun interface Files {
    @Throws(IOException::class)
    fun open(name: String): InputStream
}

internal fun Files.bytes(name: String): ByteArray =
    try {
        open(name).use { it.readBytes() }
    } catch (error: IOException) {
        throw KitException("$name: not there, or not readable: ${error.message}", error)
    }

/** The lines of a file, which end in `\n` and in nothing else. */
internal fun Files.lines(name: String): List<String> = bytes(name).decodeToString().removeSuffix("\n").split("\n")

/**
 * The model of a folder, opened once: opening takes longer than running. Use it from any thread but the main one.
 *
 * It holds memory outside of the JVM's heap until it is closed. [KitException] where the folder holds no model that this
 * kit reads.
 */
class EdgeModel(files: Files, threads: Int = 2) : Closeable {
    internal val settings: Map<String, String> = readSettings(files)
    val labels: List<String> = files.lines("labels.txt")
    val takesTexts: Boolean = setting("kind") == "text"
    val threshold: Float = setting("threshold").toFloat()
    private val temperature = setting("temperature").toFloat()
    private val inputs = setting("inputs").split(",")
    private val output = setting("output")
    internal val tokenizer = if (takesTexts) WordPiece.read(files, settings) else null
    private val environment = OrtEnvironment.getEnvironment().also { it.setTelemetry(false) }
    private val session = open(files.bytes("model.onnx"), threads)

    private fun setting(name: String) = settings[name] ?: throw KitException("model.tsv: no line $name")

    private fun open(model: ByteArray, threads: Int): OrtSession =
        OrtSession.SessionOptions().use { options ->
            options.setIntraOpNumThreads(threads)
            for ((name, value) in settings) {
                if (name.startsWith(ENTRY)) options.addConfigEntry(name.removePrefix(ENTRY), value)
            }
            try {
                environment.createSession(model, options)
            } catch (error: OrtException) {
                throw KitException("model.onnx: not opened: ${error.message}", error)
            }
        }

    /** Return a logit for each label. */
    fun logits(picture: Rgb): FloatArray {
        if (takesTexts) throw KitException("the model takes texts, and was given a picture")
        val buffer = ByteBuffer.allocateDirect(picture.bytes.size).put(picture.bytes)
        buffer.rewind()
        val shape = longArrayOf(1, picture.height.toLong(), picture.width.toLong(), 3)
        return OnnxTensor.createTensor(environment, buffer, shape, OnnxJavaType.UINT8).use { tensor ->
            run(mapOf(inputs.single() to tensor))
        }
    }

    /** Return a logit for each label, of the token ids of a text. */
    fun logits(ids: LongArray): FloatArray {
        val feeds = LinkedHashMap<String, OnnxTensor>()
        try {
            for (name in inputs) {
                val values = when (name) {
                    "input_ids" -> ids
                    "attention_mask" -> LongArray(ids.size) { 1 }
                    else -> LongArray(ids.size)
                }
                val shape = longArrayOf(1, ids.size.toLong())
                feeds[name] = OnnxTensor.createTensor(environment, LongBuffer.wrap(values), shape)
            }
            return run(feeds)
        } finally {
            feeds.values.forEach { it.close() }
        }
    }

    private fun run(feeds: Map<String, OnnxTensor>): FloatArray =
        session.run(feeds, setOf(output)).use { found ->
            val values = (found[0] as OnnxTensor).floatBuffer
            FloatArray(values.remaining()).also { values.get(it) }
        }

    /** Return the labels of the largest logits, and whether the model is sure enough of one. */
    fun decide(logits: FloatArray, top: Int = 3): Answer {
        val most = logits.max()
        val shares = logits.map { exp(((it - most) / temperature).toDouble()) }
        val total = shares.sum()
        val best = shares.indices.sortedByDescending { shares[it] }.take(top)
        val named = best.map { Label(labels[it], (shares[it] / total).toFloat()) }
        return Answer(named, named[0].probability >= threshold)
    }

    fun classify(picture: Rgb, top: Int = 3): Answer = decide(logits(picture), top)

    fun classify(text: String, top: Int = 3): Answer {
        val words = tokenizer ?: throw KitException("the model takes pictures, and was given a text")
        return decide(logits(words.ids(text)), top)
    }

    override fun close() = session.close()

    companion object {
        private const val CONTRACT = "1"
        private const val ENTRY = "session."

        private fun readSettings(files: Files): Map<String, String> {
            val found = files.lines("model.tsv").associate { it.substringBefore("\t") to it.substringAfter("\t") }
            if (found["contract"] != CONTRACT) {
                throw KitException("model.tsv: a model of contract ${found["contract"]}, this kit reads $CONTRACT")
            }
            return found
        }
    }
}
