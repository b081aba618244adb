// From version 9 on these plugins compile Kotlin themselves.
plugins {
    id("com.android.application") version "9.0.0" apply false
    id("com.android.library") version "9.0.0" apply false
}
