package dev.edgetransfer.kit

/** A decoded picture, upright: 3 bytes a pixel, row-major. */
class Rgb(val bytes: ByteArray, val height: Int, val width: Int) {
    init {
        require(bytes.size.toLong() == 3L * height * width) {
            "a picture of $width x $height pixels has ${3L * height * width} bytes, found ${bytes.size}"
        }
    }

    companion object {
        private const val WHITE = 255
        private const val FIRST_ACROSS = 5
        private val FROM_THE_RIGHT = setOf(2, 3, 7, 8)
        private val FROM_BELOW = setOf(3, 4, 6, 7)

        /**
         * Make a picture of pixels as Android has them, 0xAARRGGBB and not premultiplied, laid over white.
         *
         * `readRow` puts row y into an array; `orientation` is that of EXIF, 1 to 8: how the pixels have to be turned
         * to stand upright.
         */
        fun of(height: Int, width: Int, orientation: Int, readRow: (y: Int, row: IntArray) -> Unit): Rgb {
            val across = orientation >= FIRST_ACROSS // rows become columns
            val upright = if (across) height else width
            val (right, down) = if (across) upright to 1 else 1 to upright
            val mirrored = orientation in FROM_THE_RIGHT
            val bytes = ByteArray(3 * height * width)
            val row = IntArray(width)
            for (y in 0 until height) {
                readRow(y, row)
                val start = down * (if (orientation in FROM_BELOW) height - 1 - y else y)
                for (x in 0 until width) {
                    val place = 3 * (start + right * (if (mirrored) width - 1 - x else x))
                    val pixel = row[x]
                    val alpha = pixel ushr 24
                    bytes[place] = overWhite(pixel ushr 16 and 255, alpha)
                    bytes[place + 1] = overWhite(pixel ushr 8 and 255, alpha)
                    bytes[place + 2] = overWhite(pixel and 255, alpha)
                }
            }
            return Rgb(bytes, if (across) width else height, upright)
        }

        private fun overWhite(light: Int, alpha: Int): Byte =
            ((light * alpha + WHITE * (255 - alpha) + 127) / 255).toByte()
    }
}
