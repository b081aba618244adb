package android.system;

import java.util.HashMap;
import java.util.Map;

/** Keeps the variables that are set: a JVM cannot change its own. */
public class Os {
    public static final Map<String, String> variables = new HashMap<>();

    public static void setenv(String name, String value, boolean overwrite) {
        variables.put(name, value);
    }
}
