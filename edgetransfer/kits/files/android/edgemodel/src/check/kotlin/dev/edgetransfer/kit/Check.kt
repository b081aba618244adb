package dev.edgetransfer.kit

import kotlin.math.abs

/**
 * Runs the golden cases where the app runs, says which step of which is wrong, and times one of them.
 *
 * `decode` returns null where this machine has no decoder for a file, as a JVM has none for every one.
 */
class Check(private val model: EdgeModel, private val golden: Files, private val decode: (ByteArray) -> Rgb?) {
    val wrong = ArrayList<String>()
    val outputs = LinkedHashMap<String, FloatArray>()
    var worst = 0f
        private set
    private val most = model.settings.getValue("tolerance_elsewhere").toFloat()
    private var timed: (() -> Unit)? = null

    /** Run every case. */
    fun run(): Check {
        val (head, rows) = golden.lines("golden.tsv").map { it.split("\t") }.let { it.first() to it.drop(1) }
        for (row in rows) {
            val case = head.zip(row).toMap()
            if (model.takesTexts) text(case) else picture(case)
        }
        return this
    }

    private fun text(case: Map<String, String>) {
        val wanted = case.getValue("input_ids").split(",").map { it.toLong() }
        val found = model.tokenizer!!.ids(plain(case.getValue("text"))).toList()
        if (found != wanted) {
            wrong.add("tokens ${case["name"]}: ids ${found.take(SHOWN)}, expected ${wanted.take(SHOWN)}")
        }
        val ids = wanted.toLongArray()
        hold(case) { model.logits(ids) }
    }

    private fun picture(case: Map<String, String>) {
        val name = case.getValue("name")
        val bytes = golden.bytes("$name.picture.bin")
        val wanted = Rgb(bytes, case.getValue("height").toInt(), case.getValue("width").toInt())
        try {
            decode(golden.bytes(case.getValue("file")))?.let { told(name, it, wanted, case.getValue("levels").toInt()) }
        } catch (error: KitException) {
            wrong.add("decode $name: ${error.message}")
        }
        hold(case) { model.logits(wanted) }
    }

    private fun told(name: String, found: Rgb, wanted: Rgb, levels: Int) {
        if (found.height != wanted.height || found.width != wanted.width) {
            val turned = if (name.startsWith("turned")) ": it was not turned as its EXIF block says" else ""
            val sizes = "${found.width} x ${found.height} pixels, expected ${wanted.width} x ${wanted.height}"
            wrong.add("decode $name: $sizes$turned")
            return
        }
        val apart = apart(found.bytes, wanted.bytes) { it }
        val exchanged = apart(found.bytes, wanted.bytes) { it + EXCHANGED[it % 3] }
        if (apart > levels) {
            val why = if (exchanged <= levels) "red and blue are exchanged" else "bytes are off by $apart, at most $levels is right"
            wrong.add("decode $name: $why")
        }
    }

    private fun apart(one: ByteArray, other: ByteArray, place: (Int) -> Int) =
        other.indices.maxOf { abs((one[place(it)].toInt() and 255) - (other[it].toInt() and 255)) }

    private fun hold(case: Map<String, String>, run: () -> FloatArray) {
        val wanted = case.getValue(model.settings.getValue("output")).split(",").map { it.toFloat() }
        val found = run()
        val apart = wanted.indices.maxOf { abs(found[it] - wanted[it]) }
        worst = maxOf(worst, apart)
        if (!(apart <= most)) wrong.add("model ${case["name"]}: logits are off by $apart, more than $most")
        outputs[case.getValue("name")] = found
        if (timed == null) timed = { run() }
    }

    /** Return the milliseconds of runs of the first case, after some that do not count. */
    fun milliseconds(): List<Double> {
        val run = timed ?: return emptyList()
        repeat(WARM_UP) { run() }
        return List(RUNS) {
            val start = System.nanoTime()
            run()
            (System.nanoTime() - start) / 1e6
        }
    }

    /** Return what `edgetransfer report --measured` judges. */
    fun measured(runtime: String, device: String): String {
        val cases = outputs.map { (name, found) -> "{\"name\":${quoted(name)},\"outputs\":[${found.joinToString(",")}]}" }
        return "{\"schema\":\"edgetransfer.app/1\",\"kit\":\"android\"," +
            "\"sha256\":${quoted(model.settings.getValue("sha256"))}," +
            "\"runtime\":${quoted(runtime)},\"device\":${quoted(device)}," +
            "\"cases\":[${cases.joinToString(",")}]," +
            "\"wrong\":[${wrong.joinToString(",") { quoted(it) }}]," +
            "\"milliseconds\":[${milliseconds().joinToString(",")}]}"
    }

    companion object {
        private const val SHOWN = 12
        private const val WARM_UP = 5
        private const val RUNS = 50
        private val EXCHANGED = intArrayOf(2, 0, -2)
        private val ESCAPED = Regex("""\\(.)""", RegexOption.DOT_MATCHES_ALL)
        private val ESCAPES = mapOf('t' to "\t", 'n' to "\n", 'r' to "\r", '0' to "\u0000")

        /** Undo what stands for a tab, the end of a line, a zero and a backslash. */
        fun plain(text: String): String =
            ESCAPED.replace(text) { found -> found.groupValues[1].let { ESCAPES[it[0]] ?: it } }

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
