import EdgeModel
import Foundation

/// Golden cases against a model on this device: what is wrong, how far logits are off, and times.
public final class Check {
    /// What decodes the bytes of a file.
    public typealias Decoder = (Data) throws -> Picture

    static let warmUps = 5
    static let runs = 50

    public private(set) var wrong: [String] = []
    public private(set) var worst: Float = 0
    /// Of the first case, from its decoded picture or its token ids to logits.
    public private(set) var milliseconds: [Double] = []

    private let model: EdgeModel
    private let cases: [Case]
    private let decoder: Decoder?
    private var outputs: [Measured.Output] = []
    private var mostOff: Float
    private var exact: Float

    /// Reads the cases of a folder; of none, those in this package.
    public init(
        _ model: EdgeModel, golden: URL? = nil, decoder: Decoder? = Check.platformDecoder
    ) throws {
        let folder = golden ?? Bundle.module.bundleURL.appendingPathComponent("golden")
        self.model = model
        self.decoder = decoder
        cases = try Case.all(in: folder, of: model)
        mostOff = try model.settings.number("tolerance_elsewhere")
        exact = try model.settings.number("tolerance")
    }

    /// Of this platform; nil where it has none, and then decoding is not checked.
    public static var platformDecoder: Decoder? {
        #if canImport(ImageIO)
        return { try Picture(decoding: $0) }
        #else
        return nil
        #endif
    }

    /// Checks every case: what the app makes of it, then what the model makes of that.
    public func run() throws {
        for each in cases {
            if let tokenizer = model.tokenizer {
                let wanted: [Int64] = try each.list("input_ids")
                let found = tokenizer.ids(of: each.text)
                if found != wanted {
                    say("tokens \(each.name): ids \(told(found)), expected \(told(wanted))")
                }
            } else if let decoder {
                try decode(each, decoder)
            }
            try compare(each)
        }
    }

    /// Times the model, after some runs that do not count.
    public func time() throws {
        guard let first = cases.first, outputs.first?.name == first.name else { return }
        let logits = try runner(of: first)
        for run in 0..<(Self.warmUps + Self.runs) {
            let start = DispatchTime.now().uptimeNanoseconds
            _ = try logits()
            let spent = DispatchTime.now().uptimeNanoseconds - start
            if run >= Self.warmUps { milliseconds.append(Double(spent) / 1e6) }
        }
    }

    /// What came of it: what is wrong, then a line or two.
    public var report: [String] {
        let near = worst <= exact ? "as on the build host" : "another kind of processor"
        var lines = wrong
        if model.tokenizer == nil, decoder == nil {
            lines.append("decoding was not checked: ImageIO is on Apple's systems alone")
        }
        lines.append(
            "\(cases.count) cases, \(wrong.count) wrong, logits off by \(short(worst)) at most "
                + "(\(near))")
        let sorted = milliseconds.sorted()
        if !sorted.isEmpty {
            let (middle, high) = (sorted[sorted.count / 2], sorted[sorted.count * 9 / 10])
            lines.append(
                String(format: "%.2f ms median, %.2f ms 90th percentile", middle, high)
                    + " of \(Self.runs) runs of \(cases[0].name): \(EdgeModel.runtime), "
                    + Measured.thisDevice)
        }
        return lines
    }

    /// All that was measured, which `edgetransfer report --app` reads.
    public func measured() throws -> Data {
        let found = Measured(
            sha256: try model.settings["sha256"], cases: outputs, wrong: wrong,
            milliseconds: milliseconds)
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return try encoder.encode(found)
    }

    private func say(_ fault: String) {
        wrong.append(String(String.UnicodeScalarView(fault.unicodeScalars.prefix(500))))
    }

    private func decode(_ each: Case, _ decoder: Decoder) throws {
        let wanted = try each.picture()
        let levels: Int = try each.number("levels")
        do {
            let found = try decoder(content(of: each.encoded))
            let isTurned = each.name.hasPrefix("turned")
            if let fault = fault(of: found, wanted, levels, isTurned: isTurned) {
                say("decode \(each.name): \(fault)")
            }
        } catch let error as KitError {
            say("decode \(each.name): \(error)")
        }
    }

    private func compare(_ each: Case) throws {
        let output = try model.settings["output"]
        let wanted: [Float] = try each.list(output)
        let logits = try runner(of: each)
        do {
            let found = try logits()
            outputs.append(Measured.Output(name: each.name, outputs: found))
            guard found.count == wanted.count else {
                return say("model \(each.name): \(found.count) \(output), expected \(wanted.count)")
            }
            let apart = zip(found, wanted).map { abs($0 - $1) }.max() ?? 0
            worst = max(worst, apart)
            if apart > mostOff {
                say(
                    "model \(each.name): \(output) are off by \(short(apart)), more than "
                        + short(mostOff))
            }
        } catch let error as KitError {
            say("model \(each.name): \(error)")
        }
    }

    /// What runs the model on a case.
    private func runner(of each: Case) throws -> () throws -> [Float] {
        let model = model
        if model.tokenizer == nil {
            let picture = try each.picture()
            return { try model.logits(picture) }
        }
        let ids: [Int64] = try each.list("input_ids")
        return { try model.logits(ids) }
    }
}

private func told(_ ids: [Int64]) -> String {
    "[" + ids.prefix(12).map(String.init).joined(separator: ", ") + "]"
}

private func short(_ number: Float) -> String {
    String(format: "%.4g", Double(number))
}

/// What is wrong with a decoded picture; nil where nothing is.
private func fault(
    of found: Picture, _ wanted: Picture, _ levels: Int, isTurned: Bool
) -> String? {
    guard (found.height, found.width) == (wanted.height, wanted.width) else {
        return "\(found.width) x \(found.height) pixels, expected \(wanted.width) x "
            + "\(wanted.height)" + (isTurned ? ": it was not turned as its EXIF block says" : "")
    }
    let apart = apart(found.rgb, wanted.rgb)
    guard apart > levels else { return nil }
    let exchanged = found.rgb.indices.map { found.rgb[$0 - $0 % 3 + 2 - $0 % 3] }
    return EdgeModelCheck.apart(exchanged, wanted.rgb) <= levels
        ? "red and blue are exchanged" : "bytes are off by \(apart), at most \(levels) is right"
}

private func apart(_ one: [UInt8], _ other: [UInt8]) -> Int {
    zip(one, other).map { abs(Int($0) - Int($1)) }.max() ?? 0
}
