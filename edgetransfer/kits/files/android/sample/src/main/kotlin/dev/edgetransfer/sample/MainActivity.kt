package dev.edgetransfer.sample

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import dev.edgetransfer.kit.Answer
import dev.edgetransfer.kit.EdgeModel
import dev.edgetransfer.kit.KitException
import dev.edgetransfer.kit.decode
import dev.edgetransfer.kit.edgeModel
import java.io.IOException
import java.util.concurrent.Executors

/** Picks a picture, or takes a text, and shows what the model says of it. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private var model: EdgeModel? = null // touched on the worker alone
    private lateinit var shown: TextView
    private lateinit var form: LinearLayout

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        shown = TextView(this)
        form = LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            fitsSystemWindows = true
            addView(shown)
        }
        setContentView(form)
        work {
            val opened = edgeModel(applicationContext)
            model = opened
            runOnUiThread { if (opened.takesTexts) addTextForm() else addPictureForm() }
            if (opened.takesTexts) "Type a text." else "Pick a picture."
        }
    }

    private fun addPictureForm() = addButton("Pick a picture") {
        startActivityForResult(Intent(Intent.ACTION_GET_CONTENT).setType("image/*"), PICKED)
    }

    private fun addTextForm() {
        val typed = EditText(this)
        form.addView(typed)
        addButton("Classify") {
            val text = typed.text.toString()
            classify { it.classify(text) }
        }
    }

    private fun addButton(name: String, press: () -> Unit) {
        val button = Button(this)
        button.text = name
        button.setOnClickListener { press() }
        form.addView(button)
    }

    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        val picked = data?.data ?: return
        classify {
            val stream = contentResolver.openInputStream(picked) ?: throw IOException("$picked is gone")
            it.classify(decode(stream.use { file -> file.readBytes() }))
        }
    }

    private fun classify(decide: (EdgeModel) -> Answer) = work {
        val answer = decide(model ?: throw KitException("the model is not open"))
        val lines = answer.labels.map { "%s  %.1f %%".format(it.name, 100 * it.probability) }
        (if (answer.accepted) lines else listOf("Not sure.") + lines).joinToString("\n")
    }

    /** Work off the main thread, and show what comes of it. */
    private fun work(work: () -> String) = worker.execute {
        val words = try {
            work()
        } catch (error: KitException) {
            error.message
        } catch (error: IOException) {
            "The file cannot be read: ${error.message}"
        }
        runOnUiThread { shown.text = words }
    }

    override fun onDestroy() {
        worker.execute { model?.close() }
        worker.shutdown()
        super.onDestroy()
    }

    private companion object {
        const val PICKED = 1
    }
}
