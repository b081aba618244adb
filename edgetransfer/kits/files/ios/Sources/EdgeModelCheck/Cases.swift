import EdgeModel
import Foundation

/// A golden case: what the app is given, and what it has to make of it.
struct Case {
    let name: String
    fileprivate let values: [String: String]
    fileprivate let file: URL

    subscript(column: String) -> String { values[column] ?? "" }

    func number<Number: LosslessStringConvertible>(_ column: String) throws -> Number {
        try parsed(self[column], in: "\(file.path): case \(name), \(column)")
    }

    func list<Number: LosslessStringConvertible>(_ column: String) throws -> [Number] {
        try numbers(self[column], in: "\(file.path): case \(name), \(column)")
    }

    /// The decoded picture.
    func picture() throws -> Picture {
        let bytes = file.deletingLastPathComponent().appendingPathComponent("\(name).picture.bin")
        return try Picture(
            height: number("height"), width: number("width"), rgb: Array(content(of: bytes)))
    }

    /// The picture as a user has it.
    var encoded: URL { file.deletingLastPathComponent().appendingPathComponent(self["file"]) }

    /// The text; what stands for a tab, the end of a line, a zero and a backslash is undone.
    var text: String {
        let codes: [Unicode.Scalar: Unicode.Scalar] = ["t": "\t", "n": "\n", "r": "\r", "0": "\0"]
        var found = String.UnicodeScalarView()
        var letters = self["text"].unicodeScalars.makeIterator()
        while let letter = letters.next() {
            if letter == "\\", let code = letters.next() {
                found.append(codes[code] ?? code)
            } else {
                found.append(letter)
            }
        }
        return String(found)
    }

    /// The cases of `golden.tsv`: one a line, by the names of its first.
    static func all(in folder: URL, of model: EdgeModel) throws -> [Case] {
        let file = folder.appendingPathComponent("golden.tsv")
        let rows = try lines(of: file).map { cells(of: $0) }
        let ofPictures = ["file", "height", "width", "levels"]
        let given = model.tokenizer == nil ? ofPictures : ["text", "input_ids"]
        for name in try ["name", model.settings["output"]] + given
        where rows.first?.contains(name) != true {
            throw KitError("\(file.path): no column \(name), which this model's cases have")
        }
        for (number, row) in rows.enumerated() where row.count != rows[0].count {
            throw KitError(
                "\(file.path), line \(number + 1): \(row.count) cells, not \(rows[0].count)")
        }
        guard rows.count > 1 else { throw KitError("\(file.path): no case") }
        return rows.dropFirst().map { row in
            let values = Dictionary(zip(rows[0], row), uniquingKeysWith: { $1 })
            return Case(name: values["name"] ?? "", values: values, file: file)
        }
    }
}
