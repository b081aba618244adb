package dev.edgetransfer.kit

import java.io.File
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

private const val OPAQUE = 0xFF shl 24

/** Runs on the JVM of a desktop, `./gradlew :edgemodel:testDebugUnitTest`: all but what is Android's, which decodes. */
class CoreTest {
    @Test
    fun goldenCasesAreAsOnTheBuildHost() {
        EdgeModel(folder("src/main/assets/model")).use { model ->
            val check = Check(model, folder("src/androidTest/assets/golden")).run()
            println(check.told())
            assertEquals("", check.wrong.joinToString("\n"))
        }
    }

    @Test
    fun aPictureIsTurnedInEightWays() {
        // 1 2 3
        // 4 5 6
        val upright = listOf("123456", "321654", "654321", "456123", "142536", "415263", "635241", "362514")
        for ((number, wanted) in upright.withIndex()) {
            val picture = Rgb.of(2, 3, number + 1) { y, row ->
                for (x in row.indices) row[x] = OPAQUE or (3 * y + x + 1)
            }
            assertEquals(wanted, picture.bytes.filterIndexed { place, _ -> place % 3 == 2 }.joinToString(""))
            assertEquals(if (number < 4) 2 else 3, picture.height)
        }
    }

    @Test
    fun aPictureIsLaidOverWhite() {
        val pixels = intArrayOf(0x00123456, 128 shl 24, OPAQUE or 0x102030)
        val picture = Rgb.of(1, 3, 1) { _, row -> pixels.copyInto(row) }
        val expected = intArrayOf(255, 255, 255, 127, 127, 127, 0x10, 0x20, 0x30)
        assertArrayEquals(expected.map { it.toByte() }.toByteArray(), picture.bytes)
    }

    @Test
    fun anOrientationIsReadFromJpegPngAndWebp() {
        for (order in listOf("II", "MM")) {
            val exif = exif(order, 6)
            val jpeg = "\u00FF\u00D8\u00FF\u00E0\u0000\u0004ab\u00FF\u00E1\u0000\u0022Exif\u0000\u0000$exif"
            val png = "\u0089PNG\r\n\u001A\n\u0000\u0000\u0000\u0001IHDRx0000\u0000\u0000\u0000\u001AeXIf$exif"
            val webp = "RIFF0000WEBPVP8 \u0001\u0000\u0000\u0000x\u0000EXIF\u001A\u0000\u0000\u0000"
            for (file in listOf(jpeg, png, webp + exif, webp + "Exif\u0000\u0000" + exif)) {
                assertEquals(6, Exif.orientation(bytes(file)))
            }
        }
    }

    @Test
    fun aDamagedBlockSaysNothing() {
        val jpeg = "\u00FF\u00D8\u00FF\u00E1\u0000\u0022Exif\u0000\u0000"
        val backwards = "\u0089PNG\r\n\u001A\n\u00FF\u00FF\u00FF\u00F4tEXt"
        val beyond = "II*\u0000\u00FF\u00FF\u00FF\u007F"
        for (file in listOf("", "text", jpeg, jpeg + beyond, backwards, jpeg + exif("II", 9))) {
            assertEquals(1, Exif.orientation(bytes(file)))
        }
    }

    @Test
    fun whatIsAbsentOrOfAnotherKitIsNamed() {
        val absent = assertThrows(KitException::class.java) { EdgeModel(folder("nowhere")) }
        assertEquals("model.tsv cannot be read: ", absent.message!!.take(26))
        val other = assertThrows(KitException::class.java) { EdgeModel({ "contract\t2\n".byteInputStream() }) }
        assertEquals(
            "model.tsv: a model of contract 2, and this kit reads 1: make the kit again",
            other.message,
        )
    }

    private fun folder(path: String) = Files { name -> File(path, name).inputStream() }

    private fun bytes(letters: String) = letters.toByteArray(Charsets.ISO_8859_1)

    /** A block of one entry, in either order of bytes. */
    private fun exif(order: String, orientation: Int): String {
        fun number(value: Int, size: Int): String {
            val letters = List(size) { (value shr 8 * (size - 1 - it) and 255).toChar() }
            return (if (order == "MM") letters else letters.reversed()).joinToString("")
        }
        val entry = number(0x0112, 2) + number(3, 2) + number(1, 4) + number(orientation, 2) + number(0, 2)
        return order + number(42, 2) + number(8, 4) + number(1, 2) + entry
    }
}
