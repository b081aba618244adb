import Foundation

/// Something that is not as it should be, in words.
public struct KitError: LocalizedError, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }

    public var errorDescription: String? { description }
}

/// What `model.tsv` says of a model.
public struct Settings: Sendable {
    static let contract = "1"

    let file: URL
    private let values: [String: String]

    /// KitError where the folder holds no model, or one that another version of the kit reads.
    init(folder: URL) throws {
        file = folder.appendingPathComponent("model.tsv")
        let rows = try lines(of: file).map { cells(of: $0, most: 2) }
        values = Dictionary(rows.map { ($0[0], $0.last ?? "") }, uniquingKeysWith: { $1 })
        let found = try self["contract"]
        guard found == Self.contract else {
            throw KitError(
                "\(folder.path) holds a model of contract \(found), and this kit reads "
                    + "\(Self.contract): make the kit again")
        }
    }

    public subscript(name: String) -> String {
        get throws {
            guard let found = values[name] else {
                throw KitError("\(file.path) says nothing of \(name)")
            }
            return found
        }
    }

    public func number<Number: LosslessStringConvertible>(_ name: String) throws -> Number {
        try parsed(try self[name], in: "\(file.path), \(name)")
    }

    /// The settings whose names begin with a prefix, by what follows it.
    func all(_ prefix: String) -> [String: String] {
        let found = values.filter { $0.key.hasPrefix(prefix) }
        return Dictionary(
            uniqueKeysWithValues: found.map { (String($0.key.dropFirst(prefix.count)), $0.value) })
    }
}

/// What a file holds. KitError where it cannot be read.
package func content(of file: URL) throws -> Data {
    do {
        return try Data(contentsOf: file)
    } catch {
        throw KitError("\(file.path) cannot be read: \(error.localizedDescription)")
    }
}

/// The lines of a file, which end in a line feed and in nothing else.
package func lines(of file: URL) throws -> [String] {
    // Bytes are split: to Swift, CR LF is one character, and no line feed.
    var parts = try content(of: file).split(separator: 0x0A, omittingEmptySubsequences: false)
    if parts.last?.isEmpty == true { parts.removeLast() }
    return parts.map { String(decoding: $0, as: UTF8.self) }
}

/// The cells of a line.
package func cells(
    of line: String, separator: Unicode.Scalar = "\t", most: Int = .max
) -> [String] {
    line.unicodeScalars
        .split(separator: separator, maxSplits: most - 1, omittingEmptySubsequences: false)
        .map(String.init)
}

/// The number that a text says. KitError, which says where, where it says none.
package func parsed<Number: LosslessStringConvertible>(
    _ text: String, in place: @autoclosure () -> String
) throws -> Number {
    guard let found = Number(text) else { throw KitError("\(place()): \(text) is no number") }
    return found
}

/// The numbers of a text, with commas between.
package func numbers<Number: LosslessStringConvertible>(
    _ text: String, in place: @autoclosure () -> String
) throws -> [Number] {
    try text.isEmpty ? [] : cells(of: text, separator: ",").map { try parsed($0, in: place()) }
}
