package android.graphics;

import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import javax.imageio.ImageIO;

/** A picture of a file. */
public class Bitmap {
    public enum Config {
        ARGB_8888,
        RGB_565
    }

    private final BufferedImage image;
    private final Config config;

    public Bitmap(String file) throws IOException {
        this(ImageIO.read(new File(file)), Config.ARGB_8888);
    }

    Bitmap(BufferedImage image, Config config) {
        this.image = image;
        this.config = config;
    }

    public Config getConfig() {
        return config;
    }

    public Bitmap copy(Config config, boolean mutable) {
        return new Bitmap(image, config);
    }

    public int getWidth() {
        return image.getWidth();
    }

    public int getHeight() {
        return image.getHeight();
    }

    public void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height) {
        if (config != Config.ARGB_8888) throw new IllegalStateException("read as " + config);
        image.getRGB(x, y, width, height, pixels, offset, stride);
    }
}
