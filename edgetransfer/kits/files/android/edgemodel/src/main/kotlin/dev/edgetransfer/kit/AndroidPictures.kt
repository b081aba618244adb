package dev.edgetransfer.kit

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.system.Os

private const val MODEL = "model"

/** Open the model in the app's assets. Not on the main thread: it takes tenths of a second. */
fun edgeModel(context: Context, threads: Int = 2): EdgeModel {
    Os.setenv("ORT_DISABLE_TELEMETRY", "1", true) // before the runtime is loaded
    return EdgeModel({ name -> context.assets.open("$MODEL/$name") }, threads)
}

/** Return the pixels of a bitmap, as CameraX and the gallery give it, turned as EXIF's `orientation` says. */
fun rgb(bitmap: Bitmap, orientation: Int = 1): Rgb {
    val read = if (bitmap.config == Bitmap.Config.ARGB_8888) bitmap else bitmap.copy(Bitmap.Config.ARGB_8888, false)
    val pixels = IntArray(read.width * read.height)
    read.getPixels(pixels, 0, read.width, 0, 0, read.width, read.height)
    return Rgb.of(pixels, read.height, read.width, orientation)
}

/** Decode the bytes of a picture file, upright; [KitException] where they are none. */
fun decode(file: ByteArray): Rgb {
    val options = BitmapFactory.Options().apply { inPremultiplied = false }
    val bitmap = BitmapFactory.decodeByteArray(file, 0, file.size, options)
        ?: throw KitException("not a picture that can be read")
    return rgb(bitmap, Exif.orientation(file))
}

fun EdgeModel.classify(bitmap: Bitmap, top: Int = 3): Answer = classify(rgb(bitmap), top)
