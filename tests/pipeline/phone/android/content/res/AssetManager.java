package android.content.res;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;

/** The files of a folder. */
public class AssetManager {
    private final String folder;

    public AssetManager(String folder) {
        this.folder = folder;
    }

    public InputStream open(String name) throws IOException {
        return Files.newInputStream(Path.of(folder, name));
    }
}
