package dev.edgetransfer.kit

import java.math.BigDecimal
import java.math.MathContext
import kotlin.math.abs

/**
 * Runs the golden cases where the app runs, says which step of which is wrong, and times one of them.
 *
 * Without `decode`, as on a JVM that is no Android, pictures are not decoded, and the model alone is checked.
 */
class Check(private val model: EdgeModel, private val golden: Files, private val decode: ((ByteArray) -> Rgb)? = null) {
    /** A sentence for each step that is wrong. */
    val wrong = ArrayList<String>()

    /** How far an output is off at most. */
    var worst = 0f
        private set
    private val outputs = LinkedHashMap<String, FloatArray>()
    private var milliseconds = emptyList<Double>()
    private val output = model.settings["output"]
    private val most = model.settings.number("tolerance_elsewhere")

    /** Check every case: what the app makes of it, then what the model makes of that. Then time the first. */
    fun run(): Check {
        val cases = cases()
        val runs = cases.map { case ->
            try {
                val run = if (model.takesTexts) text(case) else picture(case)
                run.also { hold(case, it) }
            } catch (error: IllegalArgumentException) { // a number that is none, a size that cannot be
                throw KitException("golden.tsv: case ${case["name"]} is damaged: ${error.message}", error)
            }
        }
        if (cases[0]["name"] in outputs) milliseconds = timed(runs[0])
        return this
    }

    private fun cases(): List<Map<String, String>> {
        val lines = golden.lines("golden.tsv").map { it.split("\t") }
        val head = lines[0]
        val given = if (model.takesTexts) listOf("text", "input_ids") else listOf("file", "height", "width", "levels")
        for (name in listOf("name") + given + output) {
            if (name !in head) throw KitException("golden.tsv: no column $name, which this model's cases have")
        }
        val rows = lines.drop(1)
        if (rows.isEmpty()) throw KitException("golden.tsv: no case")
        for ((number, row) in rows.withIndex()) {
            if (row.size != head.size) {
                throw KitException("golden.tsv, line ${number + 2}: ${row.size} cells, not ${head.size}")
            }
        }
        return rows.map { head.zip(it).toMap() }
    }

    /** Check the tokens of a text, and return what runs the model on those that are right. */
    private fun text(case: Map<String, String>): () -> FloatArray {
        val wanted = case.getValue("input_ids").split(",").map { it.toLong() }
        val found = model.ids(plain(case.getValue("text"))).toList()
        if (found != wanted) {
            wrong.add("tokens ${case["name"]}: ids ${found.take(SHOWN)}, expected ${wanted.take(SHOWN)}")
        }
        val ids = wanted.toLongArray()
        return { model.logits(ids) }
    }

    /** Check how a picture is decoded, and return what runs the model on the bytes that are right. */
    private fun picture(case: Map<String, String>): () -> FloatArray {
        val name = case.getValue("name")
        val (height, width) = listOf("height", "width").map { case.getValue(it).toInt() }
        val wanted = Rgb(golden.bytes("$name.picture.bin"), height, width)
        val levels = case.getValue("levels").toInt()
        if (decode != null) {
            val told = try {
                difference(name, decode.invoke(golden.bytes(case.getValue("file"))), wanted, levels)
            } catch (error: KitException) {
                error.message
            }
            if (told != null) wrong.add("decode $name: $told")
        }
        return { model.logits(wanted) }
    }

    private fun difference(name: String, found: Rgb, wanted: Rgb, levels: Int): String? {
        if (found.height != wanted.height || found.width != wanted.width) {
            val turned = if (name.startsWith("turned")) ": it was not turned as its EXIF block says" else ""
            return "${found.width} x ${found.height} pixels, expected ${wanted.width} x ${wanted.height}$turned"
        }
        val apart = apart(found.bytes, wanted.bytes) { it }
        val exchanged = apart(found.bytes, wanted.bytes) { it + EXCHANGED[it % 3] }
        return when {
            apart <= levels -> null
            exchanged <= levels -> "red and blue are exchanged"
            else -> "bytes are off by $apart, at most $levels is right"
        }
    }

    private fun apart(one: ByteArray, other: ByteArray, place: (Int) -> Int) =
        other.indices.maxOf { abs((one[place(it)].toInt() and 255) - (other[it].toInt() and 255)) }

    private fun hold(case: Map<String, String>, run: () -> FloatArray) {
        val name = case.getValue("name")
        val wanted = case.getValue(output).split(",").map { it.toFloat() }
        val found = try {
            run()
        } catch (error: KitException) {
            wrong.add("model $name: ${error.message}")
            return
        }
        outputs[name] = found
        if (found.size != wanted.size) {
            wrong.add("model $name: ${found.size} $output, expected ${wanted.size}")
            return
        }
        val apart = wanted.indices.maxOf { abs(found[it] - wanted[it]) }
        worst = maxOf(worst, apart)
        if (!(apart <= most)) wrong.add("model $name: $output are off by ${short(apart)}, more than ${short(most)}")
    }

    private fun timed(run: () -> FloatArray): List<Double> {
        repeat(WARM_UPS) { run() }
        return List(RUNS) {
            val start = System.nanoTime()
            run()
            (System.nanoTime() - start) / 1e6
        }
    }

    /** Return what came of the check, in two lines. */
    fun told(): String {
        val exact = worst <= model.settings.number("tolerance")
        val near = if (exact) "as on the build host" else "another kind of processor or runtime"
        val said = "${outputs.size} cases, ${wrong.size} wrong, $output off by ${short(worst)} at most ($near)"
        val sorted = milliseconds.sorted()
        if (sorted.isEmpty()) return said
        val (middle, high) = listOf(RUNS / 2, RUNS * 9 / 10).map { short(sorted[it].toFloat()) }
        return "$said\n$middle ms median, $high ms 90th percentile of $RUNS runs of the first: ${model.runtime}"
    }

    /** Return what `edgetransfer report --measured` judges. */
    fun measured(device: String): String {
        val cases = outputs.map { (name, found) ->
            "{\"name\":${quoted(name)},\"outputs\":[${found.joinToString(",")}]}"
        }
        return "{\"schema\":\"edgetransfer.app/1\",\"kit\":\"android\"," +
            "\"sha256\":${quoted(model.settings["sha256"])}," +
            "\"runtime\":${quoted(model.runtime)},\"device\":${quoted(device)}," +
            "\"cases\":[${cases.joinToString(",")}]," +
            "\"wrong\":[${wrong.joinToString(",") { quoted(it.take(LONGEST)) }}]," +
            "\"milliseconds\":[${milliseconds.joinToString(",")}]}"
    }

    companion object {
        private const val SHOWN = 12
        private const val WARM_UPS = 5
        private const val RUNS = 50
        private const val LONGEST = 500
        private val EXCHANGED = intArrayOf(2, 0, -2)
        private val ESCAPED = Regex("""\\(.)""", RegexOption.DOT_MATCHES_ALL)
        private val ESCAPES = mapOf('t' to "\t", 'n' to "\n", 'r' to "\r", '0' to "\u0000")

        /** Undo what stands for a tab, the end of a line, a zero and a backslash. */
        fun plain(text: String): String =
            ESCAPED.replace(text) { found -> found.groupValues[1].let { ESCAPES[it[0]] ?: it } }

        private fun short(number: Float): String =
            BigDecimal(number.toDouble()).round(MathContext(4)).stripTrailingZeros().toPlainString()

        private fun quoted(text: String): String {
            val letters = StringBuilder("\"")
            for (letter in text) {
                when {
                    letter == '"' || letter == '\\' -> letters.append('\\').append(letter)
                    letter < ' ' || letter.isSurrogate() -> letters.append("\\u%04x".format(letter.code))
                    else -> letters.append(letter)
                }
            }
            return letters.append('"').toString()
        }
    }
}
