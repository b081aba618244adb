package dev.edgetransfer.kit

/** A decoded picture, upright: 3 bytes a pixel, row-major. */
class Rgb(val bytes: ByteArray, val height: Int, val width: Int) {
    init {
        require(bytes.size == 3 * height * width) {
            "a picture of $width x $height pixels has ${3 * height * width} bytes, found ${bytes.size}"
        }
    }

    companion object {
        /**
         * Make a picture of pixels as Android has them, 0xAARRGGBB and not premultiplied, laid over white.
         *
         * `orientation` is that of EXIF, 1 to 8: how the pixels have to be turned to stand upright.
         */
        fun of(argb: IntArray, height: Int, width: Int, orientation: Int = 1): Rgb {
            val exchanged = orientation >= 5
            val (tall, wide) = if (exchanged) width to height else height to width
            val bytes = ByteArray(3 * height * width)
            var place = 0
            for (y in 0 until tall) {
                for (x in 0 until wide) {
                    val pixel = argb[source(orientation, y, x, height, width)]
                    val alpha = pixel ushr 24
                    for (shift in intArrayOf(16, 8, 0)) {
                        val light = (pixel ushr shift and 255) * alpha + 255 * (255 - alpha)
                        bytes[place++] = ((light + 127) / 255).toByte()
                    }
                }
            }
            return Rgb(bytes, tall, wide)
        }

        /** Return where the pixel is stored that stands at (y, x) once a picture is upright. */
        private fun source(orientation: Int, y: Int, x: Int, height: Int, width: Int): Int {
            val (row, column) = when (orientation) {
                2 -> y to width - 1 - x
                3 -> height - 1 - y to width - 1 - x
                4 -> height - 1 - y to x
                5 -> x to y
                6 -> height - 1 - x to y
                7 -> height - 1 - x to width - 1 - y
                8 -> x to width - 1 - y
                else -> y to x
            }
            return row * width + column
        }
    }
}

/** Reads the orientation out of a JPEG file: Android's own reader of streams needs API 24, and a JVM has none. */
object Exif {
    private const val MARKER = 0xFF
    private const val SCAN = 0xDA
    private const val APP1 = 0xE1
    private const val ORIENTATION = 0x0112

    /** Return 1 to 8; 1, which is upright, where the file says nothing that can be read. */
    fun orientation(file: ByteArray): Int {
        var at = 2
        while (at + 4 <= file.size && byte(file, at) == MARKER && byte(file, at + 1) != SCAN) {
            val size = byte(file, at + 2) * 256 + byte(file, at + 3)
            if (byte(file, at + 1) == APP1) inBlock(file, at + 4, at + 2 + size)?.let { return it }
            at += 2 + size
        }
        return 1
    }

    private fun inBlock(file: ByteArray, start: Int, end: Int): Int? {
        val head = "Exif\u0000\u0000".toByteArray(Charsets.ISO_8859_1)
        if (end > file.size || start + 14 > end || !head.indices.all { file[start + it] == head[it] }) return null
        val tiff = start + head.size
        val little = byte(file, tiff) == 'I'.code
        fun number(at: Int, bytes: Int): Int? {
            if (at < tiff || at + bytes > end) return null
            val order = if (little) (bytes - 1 downTo 0) else (0 until bytes)
            return order.fold(0) { sum, place -> sum * 256 + byte(file, at + place) }
        }
        val list = tiff + (number(tiff + 4, 4) ?: return null)
        for (entry in 0 until (number(list, 2) ?: return null)) {
            val place = list + 2 + 12 * entry
            if (number(place, 2) == ORIENTATION) return number(place + 8, 2)?.takeIf { it in 1..8 }
        }
        return null
    }

    private fun byte(file: ByteArray, at: Int) = file[at].toInt() and 255
}
