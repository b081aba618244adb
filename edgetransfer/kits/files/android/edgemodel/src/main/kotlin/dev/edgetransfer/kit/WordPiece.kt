package dev.edgetransfer.kit

/** Texts to token ids, by `vocabulary.txt` and `characters.tsv`. */
internal class WordPiece(vocabulary: List<String>, rows: List<String>, settings: Settings) {
    private val ids = vocabulary.withIndex().associate { (id, token) -> token to id.toLong() }
    private val ranges = rows.map(::Range).sortedBy { it.first }
    private val longest = settings["longest"].toInt()
    private val longestWord = settings["longest_word"].toInt()
    private val longestToken = vocabulary.maxOf { it.codePointCount(0, it.length) }
    private val unknown = settings["unknown"].toLong()
    private val before = numbers(settings["before"])
    private val after = numbers(settings["after"])
    private val keepsEnd = settings["truncate"] == "left"
    private val added = settings.below("added.")
        .filterValues { it.isNotEmpty() }
        .map { (id, token) -> token to id.toLong() }
        .sortedByDescending { (token, _) -> token.length }

    /** Return the ids of a text, those around it included, `longest` at most. */
    fun ids(text: String): LongArray {
        val found = ArrayList<Long>()
        var start = 0
        var at = 0
        while (at < text.length) {
            val token = added.firstOrNull { (each, _) -> text.startsWith(each, at) }
            if (token == null) {
                at += 1
                continue
            }
            addWords(text.substring(start, at), found)
            found.add(token.second)
            at += token.first.length
            start = at
        }
        addWords(text.substring(start), found)
        val room = maxOf(0, longest - before.size - after.size)
        val kept = if (keepsEnd) found.takeLast(room) else found.take(room)
        return (before + kept + after).toLongArray()
    }

    private fun addWords(text: String, found: MutableList<Long>) {
        val word = ArrayList<Int>()
        for (code in changed(text)) {
            val kind = rangeOf(code)?.kind
            if (kind != Kind.SPACE && kind != Kind.ALONE) {
                word.add(code)
                continue
            }
            addParts(word, found)
            word.clear()
            if (kind == Kind.ALONE) addParts(listOf(code), found)
        }
        addParts(word, found)
    }

    /** The code points that those of a text become. Half of a pair counts as U+FFFD. */
    private fun changed(text: String): Sequence<Int> = sequence {
        var at = 0
        while (at < text.length) {
            val read = text.codePointAt(at)
            at += Character.charCount(read)
            val code = if (read in 0xD800..0xDFFF) 0xFFFD else read
            val range = rangeOf(code)
            when (range?.kind) {
                Kind.DROP -> Unit
                Kind.HANGUL -> yieldAll(decomposed(code))
                Kind.TO -> yieldAll(range.to)
                else -> yield(code)
            }
        }
    }

    private fun rangeOf(code: Int): Range? {
        val place = ranges.binarySearch { if (code < it.first) 1 else if (code > it.last) -1 else 0 }
        return if (place < 0) null else ranges[place]
    }

    private fun addParts(word: List<Int>, found: MutableList<Long>) {
        if (word.isEmpty()) return
        val parts = ArrayList<Long>()
        var start = 0
        while (start < word.size && word.size <= longestWord) {
            val most = minOf(word.size, start + longestToken)
            val end = (most downTo start + 1).firstOrNull { part(word, start, it) in ids } ?: break
            parts.add(ids.getValue(part(word, start, end)))
            start = end
        }
        if (start == word.size) found.addAll(parts) else found.add(unknown)
    }

    private fun part(word: List<Int>, start: Int, end: Int): String {
        val letters = StringBuilder(if (start > 0) "##" else "")
        for (at in start until end) letters.appendCodePoint(word[at])
        return letters.toString()
    }

    private enum class Kind { DROP, SPACE, ALONE, HANGUL, TO }

    private class Range(row: String) {
        private val cells = row.split("\t")
        val first = cells[0].toInt(HEX)
        val last = cells[1].toInt(HEX)
        val kind = Kind.values().first { it.name.lowercase() == cells[2] }
        val to = if (kind == Kind.TO) cells[3].split(" ").map { it.toInt(HEX) } else emptyList()
    }

    companion object {
        private const val HEX = 16

        fun read(files: Files, settings: Settings): WordPiece =
            try {
                WordPiece(files.lines("vocabulary.txt"), files.lines("characters.tsv"), settings)
            } catch (error: RuntimeException) { // of a number or a kind that is none
                throw KitException("model.tsv or characters.tsv is damaged: ${error.message}", error)
            }

        private fun numbers(listed: String) = listed.split(",").filter { it.isNotEmpty() }.map { it.toLong() }

        /** The letters of a syllable of Hangul (Unicode, section 3.12). */
        private fun decomposed(code: Int): List<Int> {
            val at = code - 0xAC00
            val letters = listOf(0x1100 + at / 588, 0x1161 + at % 588 / 28)
            return if (at % 28 == 0) letters else letters + (0x11A7 + at % 28)
        }
    }
}
