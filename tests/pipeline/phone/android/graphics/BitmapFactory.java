package android.graphics;

import java.awt.image.BufferedImage;
import java.awt.image.Raster;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.Iterator;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStream;

/** Decodes files as they are stored: not turned, the first of their pictures. */
public class BitmapFactory {
    public static class Options {
        public Bitmap.Config inPreferredConfig = Bitmap.Config.ARGB_8888;
        public boolean inPremultiplied = true;
    }

    public static Bitmap decodeByteArray(byte[] file, int offset, int length, Options options) {
        if (options.inPremultiplied) throw new IllegalArgumentException("would round the colours of clear pixels");
        try (ImageInputStream stream = ImageIO.createImageInputStream(new ByteArrayInputStream(file, offset, length))) {
            Iterator<ImageReader> readers = ImageIO.getImageReaders(stream);
            if (!readers.hasNext()) return null;
            ImageReader reader = readers.next();
            reader.setInput(stream);
            boolean ink = reader.getFormatName().equals("JPEG") && reader.readRaster(0, null).getNumBands() == 4;
            BufferedImage image = ink ? ofInk(reader.readRaster(0, null)) : reader.read(0);
            boolean deep = image.getSampleModel().getSampleSize(0) == 16;
            return new Bitmap(deep ? ofDeepGrey(image.getRaster()) : image, options.inPreferredConfig);
        } catch (IOException damaged) {
            return null;
        }
    }

    /** Which javax.imageio does not read: cyan, magenta, yellow and black, stored as the light that they leave. */
    private static BufferedImage ofInk(Raster stored) {
        BufferedImage image = empty(stored);
        int[] light = new int[4];
        for (int y = 0; y < image.getHeight(); y++) {
            for (int x = 0; x < image.getWidth(); x++) {
                stored.getPixel(x, y, light);
                int rgb = 0xFF;
                for (int each = 0; each < 3; each++) rgb = rgb << 8 | light[each] * light[3] / 255;
                image.setRGB(x, y, rgb);
            }
        }
        return image;
    }

    /** Which javax.imageio takes for linear light. */
    private static BufferedImage ofDeepGrey(Raster stored) {
        BufferedImage image = empty(stored);
        for (int y = 0; y < image.getHeight(); y++) {
            for (int x = 0; x < image.getWidth(); x++) {
                image.setRGB(x, y, 0xFF000000 | 0x010101 * (stored.getSample(x, y, 0) >> 8));
            }
        }
        return image;
    }

    private static BufferedImage empty(Raster like) {
        return new BufferedImage(like.getWidth(), like.getHeight(), BufferedImage.TYPE_INT_ARGB);
    }
}
