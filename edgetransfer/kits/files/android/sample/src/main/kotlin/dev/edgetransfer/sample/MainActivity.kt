package dev.edgetransfer.sample

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import dev.edgetransfer.kit.Answer
import dev.edgetransfer.kit.EdgeModel
import dev.edgetransfer.kit.KitException
import dev.edgetransfer.kit.decode
import dev.edgetransfer.kit.edgeModel
import java.util.concurrent.Executors

/** Picks a picture, or takes a text, and shows what the model says of it. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val model: EdgeModel by lazy { edgeModel(applicationContext) } // touched on the worker alone
    private lateinit var shown: TextView
    private lateinit var form: LinearLayout

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        shown = TextView(this)
        form = LinearLayout(this).apply { orientation = LinearLayout.VERTICAL }
        form.addView(shown)
        setContentView(form)
        answer { if (model.takesTexts) "Type a text." else "Pick a picture." }
        worker.execute {
            val texts = try {
                model.takesTexts
            } catch (error: KitException) {
                return@execute // it is shown already
            }
            runOnUiThread { form.addView(if (texts) textForm() else pictureForm()) }
        }
    }

    private fun pictureForm(): View = Button(this).apply {
        text = "Pick a picture"
        setOnClickListener {
            val intent = Intent(Intent.ACTION_GET_CONTENT).setType("image/*")
            startActivityForResult(intent, PICKED)
        }
    }

    private fun textForm(): View = LinearLayout(this).apply {
        orientation = LinearLayout.VERTICAL
        val typed = EditText(context)
        addView(typed)
        addView(Button(context).apply {
            text = "Classify"
            setOnClickListener {
                val given = typed.text.toString()
                answer { told(model.classify(given)) }
            }
        })
    }

    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        val picked = data?.data ?: return
        answer {
            val file = contentResolver.openInputStream(picked)!!.use { it.readBytes() }
            told(model.classify(decode(file)))
        }
    }

    /** Work off the main thread, and show what comes of it. */
    private fun answer(work: () -> String) = worker.execute {
        val words = try {
            work()
        } catch (error: KitException) {
            error.message
        }
        runOnUiThread { shown.text = words }
    }

    private fun told(answer: Answer): String {
        val lines = answer.labels.map { "%s  %.1f %%".format(it.name, 100 * it.probability) }
        return (if (answer.accepted) lines else listOf("Not sure.") + lines).joinToString("\n")
    }

    override fun onDestroy() {
        worker.execute { model.close() }
        worker.shutdown()
        super.onDestroy()
    }

    private companion object {
        const val PICKED = 1
    }
}
