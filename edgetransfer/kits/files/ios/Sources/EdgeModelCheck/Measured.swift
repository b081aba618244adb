import EdgeModel
import Foundation

/// `measured.json`.
struct Measured: Encodable {
    struct Output: Encodable {
        let name: String
        let outputs: [Float]
    }

    let schema = "edgetransfer.app/1"
    let kit = "ios"
    let sha256: String
    let runtime = EdgeModel.runtime
    let device = Measured.thisDevice
    let cases: [Output]
    let wrong: [String]
    let milliseconds: [Double]

    /// What this device is called, and its system.
    static var thisDevice: String {
        var names = utsname()
        uname(&names)
        let machine = withUnsafeBytes(of: &names.machine) {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        return machine + ", " + ProcessInfo.processInfo.operatingSystemVersionString
    }
}
