package android.content;

import android.content.res.AssetManager;

/** An app whose assets are the files of a folder. */
public class Context {
    private final AssetManager assets;

    public Context(String folder) {
        assets = new AssetManager(folder);
    }

    public AssetManager getAssets() {
        return assets;
    }
}
