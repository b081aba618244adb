package dev.edgetransfer.kit

import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * Reads how a picture has to be turned out of JPEG, PNG and WebP files.
 *
 * Android's own reader knows PNG and WebP only since API 30 and 31, and a JVM has none. Other files (HEIF, AVIF) are
 * turned by Android's decoder.
 */
object Exif {
    private const val UPRIGHT = 1
    private const val ORIENTATION: Short = 0x0112
    private const val ENTRY = 12
    private const val HEAD = "Exif\u0000\u0000"

    /** Return 1 to 8; 1, which is upright, where the file says nothing that can be read. */
    fun orientation(file: ByteArray): Int =
        try {
            val content = ByteBuffer.wrap(file)
            val block = when {
                content.says("\u00FF\u00D8", 0) -> inJpeg(content)
                content.says("\u0089PNG", 0) -> inPng(content)
                content.says("RIFF", 0) && content.says("WEBP", 8) -> inWebp(content)
                else -> null
            }
            if (block == null) UPRIGHT else orientationIn(ByteBuffer.wrap(file, block, file.size - block).slice())
        } catch (beyondTheEnd: RuntimeException) { // a damaged block is no reason to refuse sound pixels
            UPRIGHT
        }

    private fun inJpeg(file: ByteBuffer): Int? {
        var at = 2
        while (!file.says("\u00FF\u00DA", at)) { // the scan, behind all blocks
            if (file.says("\u00FF\u00E1", at) && file.says(HEAD, at + 4)) return at + 4 + HEAD.length
            at += 2 + (file.getShort(at + 2).toInt() and 0xFFFF)
        }
        return null
    }

    private fun inPng(file: ByteBuffer): Int? {
        var at = 8
        while (!file.says("IEND", at + 4)) {
            if (file.says("eXIf", at + 4)) return at + 8
            at += 12 + sizeAt(file, at)
        }
        return null
    }

    private fun inWebp(file: ByteBuffer): Int {
        file.order(ByteOrder.LITTLE_ENDIAN)
        var at = 12
        while (!file.says("EXIF", at)) {
            val size = sizeAt(file, at + 4)
            at += 8 + size + size % 2
        }
        return at + 8 + if (file.says(HEAD, at + 8)) HEAD.length else 0
    }

    private fun sizeAt(file: ByteBuffer, at: Int): Int = file.getInt(at).also { require(it >= 0) }

    private fun orientationIn(block: ByteBuffer): Int {
        block.order(if (block.says("II", 0)) ByteOrder.LITTLE_ENDIAN else ByteOrder.BIG_ENDIAN)
        val list = block.getInt(4)
        val entries = List(block.getShort(list).toInt()) { list + 2 + ENTRY * it }
        val found = entries.firstOrNull { block.getShort(it) == ORIENTATION } ?: return UPRIGHT
        return block.getShort(found + 8).toInt().takeIf { it in 1..8 } ?: UPRIGHT
    }

    private fun ByteBuffer.says(letters: String, at: Int): Boolean =
        letters.indices.all { get(at + it) == letters[it].code.toByte() }
}
