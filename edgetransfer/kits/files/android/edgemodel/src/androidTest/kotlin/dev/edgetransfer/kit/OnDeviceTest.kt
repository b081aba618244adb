package dev.edgetransfer.kit

import android.app.Instrumentation
import android.os.Build
import android.os.Bundle
import androidx.test.platform.app.InstrumentationRegistry
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Test

/** Runs on a phone, by `adb shell am instrument`, which prints where `measured.json` is. */
class OnDeviceTest {
    private val instrumentation = InstrumentationRegistry.getInstrumentation()

    @Test
    fun goldenCasesAreAsOnTheBuildHost() {
        val cases = instrumentation.context.assets
        val context = instrumentation.targetContext
        edgeModel(context).use { model ->
            val check = Check(model, { name -> cases.open("golden/$name") }, ::decode).run()
            val device = "${Build.MANUFACTURER} ${Build.MODEL}, Android ${Build.VERSION.RELEASE}, " +
                Build.SUPPORTED_ABIS[0]
            val file = File(context.getExternalFilesDir(null), "measured.json")
            file.writeText(check.measured(device))
            say("${check.told()}\nadb pull $file")
            assertEquals("", check.wrong.joinToString("\n"))
        }
    }

    private fun say(words: String) {
        val status = Bundle()
        status.putString(Instrumentation.REPORT_KEY_STREAMRESULT, "\n$words\n")
        instrumentation.sendStatus(0, status)
    }
}
