package dev.edgetransfer.kit

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtLoggingLevel
import ai.onnxruntime.OrtSession
import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.LongBuffer
import kotlin.math.exp

/** A class and its probability. */
data class Label(val name: String, val probability: Float)

/** The likeliest labels, best first; not accepted where the model is too unsure. */
data class Answer(val labels: List<Label>, val accepted: Boolean)

/**
 * The model of a folder, opened once: opening takes longer than running. Several threads may use it, never the main
 * one: what the user sees would stand still.
 *
 * It holds memory outside of the JVM's heap until it is closed. [KitException] where the folder holds no model that this
 * kit reads. On Android `edgeModel` opens the one in the app's assets.
 */
class EdgeModel(files: Files, threads: Int = 2) : Closeable {
    internal val settings = Settings.read(files)
    val labels: List<String> = files.lines("labels.txt")
    val takesTexts: Boolean = settings["kind"] == "text"
    val threshold: Float = settings.number("threshold")

    /** The name and version of ONNX Runtime. */
    val runtime: String
    private val temperature = settings.number("temperature")
    private val inputs = settings["inputs"].split(",")
    private val output = settings["output"]
    private val tokenizer = if (takesTexts) WordPiece.read(files, settings) else null
    private val environment: OrtEnvironment
    private val session: OrtSession

    init {
        if (!(temperature > 0)) throw KitException("model.tsv: temperature is not above zero")
        val model = files.bytes("model.onnx")
        try {
            environment = OrtEnvironment.getEnvironment()
            environment.setTelemetry(false)
            runtime = "onnxruntime ${environment.version}"
            session = OrtSession.SessionOptions().use { options ->
                options.setIntraOpNumThreads(threads)
                options.setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR)
                settings.below("session.").forEach { (name, value) -> options.addConfigEntry(name, value) }
                environment.createSession(model, options)
            }
        } catch (error: OrtException) {
            throw KitException("model.onnx: ONNX Runtime cannot open it: ${error.message}", error)
        }
    }

    /** Return a logit for each label. */
    fun logits(picture: Rgb): FloatArray {
        if (takesTexts) throw KitException("the model takes texts, and was given a picture")
        val shape = longArrayOf(1, picture.height.toLong(), picture.width.toLong(), 3)
        return run { feeds ->
            val bytes = ByteBuffer.wrap(picture.bytes)
            feeds[inputs[0]] = OnnxTensor.createTensor(environment, bytes, shape, OnnxJavaType.UINT8)
        }
    }

    /** Return a logit for each label, of the token ids of a text. */
    fun logits(ids: LongArray): FloatArray {
        val shape = longArrayOf(1, ids.size.toLong())
        return run { feeds ->
            for (name in inputs) {
                val values = when (name) {
                    "input_ids" -> ids
                    "attention_mask" -> LongArray(ids.size) { 1 }
                    else -> LongArray(ids.size)
                }
                feeds[name] = OnnxTensor.createTensor(environment, LongBuffer.wrap(values), shape)
            }
        }
    }

    private fun run(fill: (MutableMap<String, OnnxTensor>) -> Unit): FloatArray {
        val feeds = LinkedHashMap<String, OnnxTensor>()
        val found = try {
            fill(feeds)
            session.run(feeds, setOf(output)).use { outputs ->
                val values = (outputs[0] as OnnxTensor).floatBuffer
                FloatArray(values.remaining()).also { values.get(it) }
            }
        } catch (error: OrtException) {
            throw KitException("ONNX Runtime cannot run the model: ${error.message}", error)
        } finally {
            feeds.values.forEach { it.close() }
        }
        if (found.size != labels.size || !found.all { it.isFinite() }) {
            throw KitException("the model gives ${found.size} numbers, not one of each of ${labels.size} labels")
        }
        return found
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

    fun classify(text: String, top: Int = 3): Answer = decide(logits(ids(text)), top)

    /** Return the ids of a text's tokens. */
    fun ids(text: String): LongArray =
        tokenizer?.ids(text) ?: throw KitException("the model takes pictures, and was given a text")

    override fun close() = session.close()
}
