package dev.edgetransfer.kit

import ai.onnxruntime.OrtEnvironment
import android.os.Build
import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Test
import org.junit.runner.RunWith

/** Runs on a phone: `./gradlew :edgemodel:connectedAndroidTest`, which prints where `measured.json` is. */
@RunWith(AndroidJUnit4::class)
class GoldenTest {
    @Test
    fun goldenCasesAreAsOnTheBuildHost() {
        val instrumentation = InstrumentationRegistry.getInstrumentation()
        val cases = instrumentation.context.assets
        edgeModel(instrumentation.targetContext).use { model ->
            val check = Check(model, { name -> cases.open("golden/$name") }, ::decode).run()
            val runtime = "onnxruntime " + OrtEnvironment.getEnvironment().version
            val device = "${Build.MANUFACTURER} ${Build.MODEL}, Android ${Build.VERSION.RELEASE}"
            val file = File(instrumentation.targetContext.getExternalFilesDir(null), "measured.json")
            file.writeText(check.measured(runtime, device))
            println("adb pull $file")
            assertEquals(emptyList<String>(), check.wrong)
        }
    }
}
