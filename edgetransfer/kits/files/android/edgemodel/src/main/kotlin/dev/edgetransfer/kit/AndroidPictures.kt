package dev.edgetransfer.kit

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.system.Os

private const val MODEL = "model"
private val ORIENTATIONS = mapOf(0 to 1, 90 to 6, 180 to 3, 270 to 8)

/** Open the model in the app's assets. Not on the main thread: it takes tenths of a second. */
fun edgeModel(context: Context, threads: Int = 2): EdgeModel {
    Os.setenv("ORT_DISABLE_TELEMETRY", "1", true) // before the runtime is loaded
    return EdgeModel({ name -> context.assets.open("$MODEL/$name") }, threads)
}

/** Return the pixels of a bitmap, turned as EXIF's `orientation` says. */
fun rgb(bitmap: Bitmap, orientation: Int = 1): Rgb {
    val read = if (bitmap.config == Bitmap.Config.ARGB_8888) bitmap else bitmap.copy(Bitmap.Config.ARGB_8888, false)
    return Rgb.of(read.height, read.width, orientation) { y, row ->
        read.getPixels(row, 0, row.size, 0, y, row.size, 1)
    }
}

/** Decode the bytes of a picture file, upright; [KitException] where they are none. */
fun decode(file: ByteArray): Rgb {
    val options = BitmapFactory.Options()
    options.inPremultiplied = false // else the colours of clear pixels are rounded
    try {
        val bitmap = BitmapFactory.decodeByteArray(file, 0, file.size, options)
            ?: throw KitException("not a picture that can be read")
        return rgb(bitmap, Exif.orientation(file))
    } catch (error: OutOfMemoryError) {
        throw KitException("the picture is too large for the memory that the app has: take a smaller one", error)
    }
}

/** Decide on a bitmap that is upright once it is turned right by `degrees`, as CameraX says of its images. */
fun EdgeModel.classify(bitmap: Bitmap, degrees: Int = 0, top: Int = 3): Answer {
    val orientation = ORIENTATIONS[degrees]
        ?: throw KitException("a bitmap is turned by 0, 90, 180 or 270 degrees, not by $degrees")
    return classify(rgb(bitmap, orientation), top)
}
