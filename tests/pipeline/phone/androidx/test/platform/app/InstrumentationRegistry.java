package androidx.test.platform.app;

import android.app.Instrumentation;

/** What the kit's test on a phone is compiled against: AndroidX itself is in no registry at hand. */
public final class InstrumentationRegistry {
    public static Instrumentation getInstrumentation() {
        throw new UnsupportedOperationException();
    }
}
