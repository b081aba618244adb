package dev.edgetransfer.kit;

import android.content.Context;
import android.graphics.BitmapFactory;
import android.system.Os;
import java.nio.file.Files;
import java.nio.file.Path;

/** Usage: check KIT...; tokens KIT FILE; label KIT TEXT...; file KIT PICTURE...; bitmap KIT PICTURE DEGREES. */
public class Replay {
    public static void main(String[] words) throws Exception {
        if (words[0].equals("check")) {
            for (int each = 1; each < words.length; each++) System.out.println(check(words[each]) + "\n--");
            return;
        }
        try (EdgeModel model = open(words[1])) {
            switch (words[0]) {
                case "tokens":
                    for (String line : Files.readString(Path.of(words[2])).split("\n", -1)) {
                        long[] ids = model.ids(Check.Companion.plain(line));
                        System.out.println(java.util.Arrays.toString(ids).replaceAll("[\\[\\] ]", ""));
                    }
                    break;
                case "label":
                    for (int each = 2; each < words.length; each++) {
                        System.out.println(model.classify(words[each], 1).getLabels().get(0).getName());
                    }
                    break;
                case "file":
                    for (int each = 2; each < words.length; each++) System.out.println(file(model, words[each]));
                    break;
                default:
                    System.out.println(bitmap(model, words[2], Integer.parseInt(words[3])));
            }
        }
    }

    private static EdgeModel open(String kit) {
        EdgeModel model = AndroidPicturesKt.edgeModel(new Context(kit + "/edgemodel/src/main/assets"), 1);
        if (!"1".equals(Os.variables.get("ORT_DISABLE_TELEMETRY"))) throw new IllegalStateException("telemetry is on");
        return model;
    }

    /** What a check says, a line each: what was measured, in two or one what came of it, what is wrong. */
    private static String check(String kit) throws Exception {
        Path golden = Path.of(kit, "edgemodel/src/androidTest/assets/golden");
        try (EdgeModel model = open(kit)) {
            dev.edgetransfer.kit.Files files = name -> Files.newInputStream(golden.resolve(name));
            Check check = new Check(model, files, AndroidPicturesKt::decode).run();
            String wrong = String.join("\n", check.getWrong());
            return check.measured("a \"JVM\"") + "\n" + check.told() + (wrong.isEmpty() ? "" : "\n" + wrong);
        } catch (Exception error) {
            return said(error);
        }
    }

    private static String file(EdgeModel model, String file) throws Exception {
        try {
            return model.classify(AndroidPicturesKt.decode(Files.readAllBytes(Path.of(file))), 3).toString();
        } catch (Exception error) {
            return said(error);
        }
    }

    private static String bitmap(EdgeModel model, String file, int degrees) throws Exception {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inPremultiplied = false;
        options.inPreferredConfig = android.graphics.Bitmap.Config.RGB_565;
        byte[] content = Files.readAllBytes(Path.of(file));
        android.graphics.Bitmap bitmap = BitmapFactory.decodeByteArray(content, 0, content.length, options);
        try {
            return AndroidPicturesKt.classify(model, bitmap, degrees, 3).toString();
        } catch (Exception error) {
            return said(error);
        }
    }

    private static String said(Exception error) throws Exception {
        if (!(error instanceof KitException)) throw error;
        return "error: " + error.getMessage();
    }
}
