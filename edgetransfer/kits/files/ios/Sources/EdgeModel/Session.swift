import COrt
import Foundation

/// ONNX Runtime itself, which measures nothing and sends nothing.
final class Runtime {
    /// Of ONNX Runtime 1.19, the first that reads the models of kits; newer ones have it too.
    private static let apiVersion: UInt32 = 19

    let api: OrtApi
    let environment: OpaquePointer

    init() throws {
        setenv("ORT_DISABLE_TELEMETRY", "1", 0)  // is read when the environment is made
        guard let found = OrtGetApiBase().pointee.GetApi(Self.apiVersion) else {
            throw KitError("\(Self.version) is too old: 1.19 or newer is needed")
        }
        api = found.pointee
        var made: OpaquePointer?
        try Self.check(found.pointee.CreateEnv(ORT_LOGGING_LEVEL_ERROR, "EdgeModel", &made), api)
        environment = made!
        try check(api.DisableTelemetryEvents(environment))
    }

    deinit {
        api.ReleaseEnv(environment)
    }

    static var version: String {
        "onnxruntime " + text(OrtGetApiBase().pointee.GetVersionString())
    }

    /// Throws what a call says went wrong.
    func check(_ status: OpaquePointer?) throws {
        try Self.check(status, api)
    }

    private static func check(_ status: OpaquePointer?, _ api: OrtApi) throws {
        guard let status else { return }
        defer { api.ReleaseStatus(status) }
        throw KitError("ONNX Runtime: " + text(api.GetErrorMessage(status)))
    }

    private static func text(_ letters: UnsafePointer<CChar>?) -> String {
        letters.map(String.init(cString:)) ?? ""
    }
}

/// Numbers, as a model takes them.
struct Tensor {
    let bytes: [UInt8]
    let shape: [Int64]
    let type: ONNXTensorElementDataType

    init(bytes: [UInt8], shape: [Int64]) {
        (self.bytes, self.shape, type) = (bytes, shape, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8)
    }

    init(numbers: [Int64], shape: [Int64]) {
        bytes = numbers.withUnsafeBytes(Array.init)
        (self.shape, type) = (shape, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64)
    }
}

/// A network that was loaded. ONNX Runtime runs one in several threads at a time.
final class Session: @unchecked Sendable {
    private let runtime: Runtime
    private let session: OpaquePointer

    init(file: URL, threads: Int, config: [String: String]) throws {
        runtime = try Runtime()
        let api = runtime.api
        var options: OpaquePointer?
        try runtime.check(api.CreateSessionOptions(&options))
        defer { api.ReleaseSessionOptions(options) }
        try runtime.check(api.SetIntraOpNumThreads(options, Int32(clamping: threads)))
        for (name, value) in config {
            try runtime.check(api.AddSessionConfigEntry(options, name, value))
        }
        var made: OpaquePointer?
        try runtime.check(api.CreateSession(runtime.environment, file.path, options, &made))
        session = made!
    }

    deinit {
        runtime.api.ReleaseSession(session)
    }

    /// What the model makes of named inputs: one of its outputs, of 32-bit floats.
    func run(_ inputs: [(name: String, tensor: Tensor)], output: String) throws -> [Float] {
        let api = runtime.api
        var names: [UnsafePointer<CChar>?] = []
        var values: [OpaquePointer?] = []
        var made: OpaquePointer?
        defer {
            for name in names { free(UnsafeMutableRawPointer(mutating: name)) }
            for value in values + [made] { api.ReleaseValue(value) }
        }
        for (name, tensor) in inputs {
            names.append(UnsafePointer(strdup(name)))
            values.append(try value(of: tensor))
        }
        names.append(UnsafePointer(strdup(output)))
        try names.withUnsafeBufferPointer {
            let outputs = $0.baseAddress! + inputs.count
            try runtime.check(
                api.Run(session, nil, $0.baseAddress, values, inputs.count, outputs, 1, &made))
        }
        return try floats(of: made)
    }

    /// A tensor of ONNX Runtime's, with a copy of the numbers. The caller releases it.
    private func value(of tensor: Tensor) throws -> OpaquePointer? {
        let api = runtime.api
        var allocator: UnsafeMutablePointer<OrtAllocator>?
        try runtime.check(api.GetAllocatorWithDefaultOptions(&allocator))
        var made: OpaquePointer?
        try runtime.check(
            api.CreateTensorAsOrtValue(
                allocator, tensor.shape, tensor.shape.count, tensor.type, &made))
        var place: UnsafeMutableRawPointer?
        do {
            try runtime.check(api.GetTensorMutableData(made, &place))
        } catch {
            api.ReleaseValue(made)
            throw error
        }
        place?.copyMemory(from: tensor.bytes, byteCount: tensor.bytes.count)
        return made
    }

    private func floats(of value: OpaquePointer?) throws -> [Float] {
        let api = runtime.api
        var info: OpaquePointer?
        try runtime.check(api.GetTensorTypeAndShape(value, &info))
        defer { api.ReleaseTensorTypeAndShapeInfo(info) }
        var type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED
        var count = 0
        try runtime.check(api.GetTensorElementType(info, &type))
        try runtime.check(api.GetTensorShapeElementCount(info, &count))
        guard type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT else {
            throw KitError("the model gives no 32-bit floats")
        }
        var place: UnsafeMutableRawPointer?
        try runtime.check(api.GetTensorMutableData(value, &place))
        let first = place?.assumingMemoryBound(to: Float.self)
        return Array(UnsafeBufferPointer(start: first, count: count))
    }
}
