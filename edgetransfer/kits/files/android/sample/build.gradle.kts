plugins {
    id("com.android.application")
}

android {
    namespace = "dev.edgetransfer.sample"
    compileSdk = 36

    defaultConfig {
        applicationId = "dev.edgetransfer.sample"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
        ndk { abiFilters += listOf("arm64-v8a", "armeabi-v7a", "x86_64") }
    }

    androidResources { noCompress += "onnx" }
}

dependencies {
    implementation(project(":edgemodel"))
}
