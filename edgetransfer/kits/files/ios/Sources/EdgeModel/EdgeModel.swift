import Foundation

/// A class and its probability.
public struct Label: Equatable, Sendable {
    public let name: String
    public let probability: Double
}

/// The likeliest labels, best first; `accepted` is false where the model is too unsure.
public struct Classified: Equatable, Sendable {
    public let labels: [Label]
    public let accepted: Bool
}

/// The model of a folder, opened once: opening takes longer than running.
///
/// Every error is a `KitError`, which says it in words. Several threads may share one.
public final class EdgeModel: Sendable {
    public let settings: Settings
    public let labels: [String]
    /// What makes ids of texts; nil where the model takes pictures.
    public let tokenizer: WordPiece?

    private let session: Session
    private let inputs: [String]
    private let output: String
    private let temperature: Double
    private let threshold: Double

    /// Opens the model of a folder; of none, that which lies in this package.
    public init(folder: URL? = nil, threads: Int = 1) throws {
        let folder = folder ?? Bundle.module.bundleURL.appendingPathComponent("model")
        settings = try Settings(folder: folder)
        labels = try lines(of: folder.appendingPathComponent("labels.txt"))
        inputs = cells(of: try settings["inputs"], separator: ",")
        output = try settings["output"]
        temperature = try settings.number("temperature")
        threshold = try settings.number("threshold")
        guard temperature > 0 else {
            throw KitError("\(settings.file.path): temperature is not above zero")
        }
        tokenizer =
            try settings["kind"] == "text" ? WordPiece(folder: folder, settings: settings) : nil
        session = try Session(
            file: folder.appendingPathComponent("model.onnx"), threads: threads,
            config: settings.all("session."))
    }

    /// "onnxruntime" and the version of the library that runs.
    public static var runtime: String { Runtime.version }

    /// Decides on a picture.
    public func classify(_ picture: Picture, top: Int = 3) throws -> Classified {
        decide(try logits(picture), top: top)
    }

    /// Decides on a text.
    public func classify(_ text: String, top: Int = 3) throws -> Classified {
        guard let tokenizer else { throw KitError("this model takes pictures, and no texts") }
        return decide(try logits(tokenizer.ids(of: text)), top: top)
    }

    /// One number of each label, for a picture.
    public func logits(_ picture: Picture) throws -> [Float] {
        guard tokenizer == nil, let input = inputs.first else {
            throw KitError("this model takes texts, and no pictures")
        }
        let shape = [1, Int64(picture.height), Int64(picture.width), 3]
        return try run([(input, Tensor(bytes: picture.rgb, shape: shape))])
    }

    /// One number of each label, for token ids.
    public func logits(_ ids: [Int64]) throws -> [Float] {
        guard tokenizer != nil else { throw KitError("this model takes pictures, and no texts") }
        let filled = ["input_ids": ids, "attention_mask": ids.map { _ in 1 }]
        let zeros = [Int64](repeating: 0, count: ids.count)
        return try run(
            inputs.map { name in
                (name, Tensor(numbers: filled[name] ?? zeros, shape: [1, Int64(ids.count)]))
            })
    }

    private func run(_ given: [(name: String, tensor: Tensor)]) throws -> [Float] {
        let found = try session.run(given, output: output)
        guard found.count == labels.count, found.allSatisfy(\.isFinite) else {
            throw KitError("the model gives \(found.count) numbers, not one of each label")
        }
        return found
    }

    /// The labels of the largest logits, and whether the model is sure enough of one.
    public func decide(_ logits: [Float], top: Int = 3) -> Classified {
        let scaled = logits.map { Double($0) / temperature }
        let largest = scaled.max() ?? 0
        let shares = scaled.map { exp($0 - largest) }
        let sum = shares.reduce(0, +)
        // Swift's sort is stable, but does not promise it: the first of equals stays the first.
        let best = shares.indices.sorted { (shares[$1], $0) < (shares[$0], $1) }.prefix(max(1, top))
        let found = best.map { Label(name: labels[$0], probability: shares[$0] / sum) }
        return Classified(
            labels: found, accepted: found.first.map { $0.probability >= threshold } ?? false)
    }
}
