package dev.edgetransfer.kit

import java.io.ByteArrayInputStream
import java.io.File
import javax.imageio.ImageIO

/** Usage: check MODEL GOLDEN; tokens MODEL FILE; classify MODEL TEXT. */
fun main(arguments: Array<String>) {
    val folder = File(arguments[1])
    try {
        EdgeModel({ File(folder, it).inputStream() }, threads = 1).use { model ->
            when (arguments[0]) {
                "check" -> check(model, File(arguments[2]))
                "tokens" -> tokens(model, File(arguments[2]))
                else -> println(model.classify(arguments[2]).labels[0].name)
            }
        }
    } catch (error: KitException) {
        println("error: ${error.message}")
    }
}

private fun check(model: EdgeModel, golden: File) {
    val check = Check(model, { File(golden, it).inputStream() }, ::decoded).run()
    println(check.measured("onnxruntime for Android on a JVM", "this machine"))
    println(check.worst)
    check.wrong.forEach(::println)
}

private fun tokens(model: EdgeModel, file: File) {
    for (line in file.readText().split("\n")) println(model.tokenizer!!.ids(Check.plain(line)).joinToString(","))
}

/** Decode what a JVM can as a phone does: not CMYK, and not grey of 16 bits, whose gamma it changes. */
private fun decoded(file: ByteArray): Rgb? {
    if (components(file) == CMYK) return null
    val picture = try {
        ImageIO.read(ByteArrayInputStream(file))
    } catch (error: java.io.IOException) {
        return null
    }
    if (picture == null || picture.raster.sampleModel.getSampleSize(0) > 8) return null
    val pixels = IntArray(picture.width * picture.height)
    picture.getRGB(0, 0, picture.width, picture.height, pixels, 0, picture.width)
    return Rgb.of(pixels, picture.height, picture.width, Exif.orientation(file))
}

private const val CMYK = 4

/** How many components the frame of a JPEG file has; 0 of other files. */
private fun components(file: ByteArray): Int {
    val frame = (2 until file.size - 9).firstOrNull {
        file[it] == 0xFF.toByte() && file[it + 1].toInt() and 255 in 0xC0..0xC2
    }
    return if (frame == null || file[0] != 0xFF.toByte()) 0 else file[frame + 9].toInt()
}
