plugins {
    id("com.android.library")
}

android {
    namespace = "dev.edgetransfer.kit"
    compileSdk = 36

    defaultConfig {
        minSdk = 24
        consumerProguardFiles("consumer-rules.pro")
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        ndk { abiFilters += listOf("arm64-v8a", "armeabi-v7a", "x86_64") } // of the test; an app has its own
    }

    androidResources { noCompress += "onnx" } // as above

    // The check is in no app: only tests have it.
    sourceSets {
        getByName("test").kotlin.directories += "src/check/kotlin"
        getByName("androidTest").kotlin.directories += "src/check/kotlin"
    }
}

dependencies {
    // Golden cases were run with this version. Its libraries are aligned for pages of 16 KB.
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.29.0")
    testImplementation("com.microsoft.onnxruntime:onnxruntime:1.29.0")
    testImplementation("junit:junit:4.13.2")
    androidTestImplementation("androidx.test:runner:1.6.2")
    androidTestImplementation("junit:junit:4.13.2")
}

// On the JVM of a desktop its own ONNX Runtime takes the place of Android's.
configurations.matching { it.name.endsWith("UnitTestRuntimeClasspath") }.configureEach {
    exclude(group = "com.microsoft.onnxruntime", module = "onnxruntime-android")
}

tasks.withType<Test>().configureEach { environment("ORT_DISABLE_TELEMETRY", "1") }
