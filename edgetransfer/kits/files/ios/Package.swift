// swift-tools-version:5.9
import PackageDescription

/// On Apple's systems ONNX Runtime comes from Microsoft's package; where this is true, from
/// Frameworks/onnxruntime.xcframework, which you put there. On Linux it is the system's.
let hasFramework = false

var packages: [Package.Dependency] = []
var runtime: [Target.Dependency] = []
var binaries: [Target] = []

#if !os(Linux)
let source = "onnxruntime-swift-package-manager"
if hasFramework {
    runtime = ["onnxruntime"]
    binaries = [
        .binaryTarget(name: "onnxruntime", path: "Frameworks/onnxruntime.xcframework")
    ]
} else {
    runtime = [.product(name: "onnxruntime", package: source)]
    packages = [.package(url: "https://github.com/microsoft/\(source)", from: "1.24.2")]
}
#endif

let package = Package(
    name: "EdgeModel",
    platforms: [.iOS(.v15), .macOS(.v14)],
    products: [
        .library(name: "EdgeModel", targets: ["EdgeModel"]),
        .library(name: "EdgeModelCheck", targets: ["EdgeModelCheck"]),
    ],
    dependencies: packages,
    targets: binaries + [
        .target(
            name: "COrt",
            dependencies: runtime,
            linkerSettings: [
                .linkedLibrary("onnxruntime", .when(platforms: [.linux])),
                .linkedLibrary("c++", .when(platforms: [.iOS, .macOS, .macCatalyst])),
                .linkedFramework("CoreML", .when(platforms: [.iOS, .macOS, .macCatalyst])),
                .linkedFramework("Network", .when(platforms: [.iOS, .macOS, .macCatalyst])),
                .linkedFramework("UIKit", .when(platforms: [.iOS, .macCatalyst])),
            ]
        ),
        .target(
            name: "EdgeModel",
            dependencies: ["COrt"],
            resources: [.copy("Resources/model"), .copy("Resources/PrivacyInfo.xcprivacy")]
        ),
        .target(
            name: "EdgeModelCheck",
            dependencies: ["EdgeModel"],
            resources: [.copy("Resources/golden")]
        ),
        .executableTarget(name: "golden", dependencies: ["EdgeModelCheck"]),
        .testTarget(name: "EdgeModelTests", dependencies: ["EdgeModel", "EdgeModelCheck"]),
    ]
)
