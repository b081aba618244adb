// Goes among the tests of a kit: gives it pictures that Pillow decoded, and many texts.
import EdgeModel
import EdgeModelCheck
import Foundation
import XCTest

final class ProofTests: XCTestCase {
    private let folder = URL(fileURLWithPath: "/proof")

    func testPictures() throws {
        let rows = try lines(of: folder.appendingPathComponent("stored.tsv")).map { cells(of: $0) }
        var pictures: [Data: Picture] = [:]
        for row in rows {
            let file = folder.appendingPathComponent(row[0])
            let stored = Stored(
                height: Int(row[1])!, width: Int(row[2])!, layout: layouts[row[3]]!,
                bytes: Array(try content(of: file.appendingPathExtension("stored"))))
            pictures[try content(of: file)] = try stored.seen(orientation: Int(row[4])!)
        }
        let check = try Check(EdgeModel()) { pictures[$0]! }
        try check.run()
        for line in check.report { print(line) }
        XCTAssertEqual(check.wrong, [])
    }

    private let layouts: [String: Stored.Layout] = [
        "L": .grey, "RGBa": .premultiplied, "CMYK": .ink,
    ]

    func testTexts() throws {
        let tokenizer = try XCTUnwrap(EdgeModel().tokenizer)
        let texts = try content(of: folder.appendingPathComponent("texts.json"))
        let ids = try JSONDecoder().decode([String].self, from: texts).map(tokenizer.ids)
        try JSONEncoder().encode(ids).write(to: folder.appendingPathComponent("ids.json"))
    }
}
