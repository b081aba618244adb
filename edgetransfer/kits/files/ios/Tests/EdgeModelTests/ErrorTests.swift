import EdgeModel
import Foundation
import XCTest

/// Errors are sentences, and no crashes.
final class ErrorTests: XCTestCase {
    private var folder = URL(fileURLWithPath: "/")

    override func setUpWithError() throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    override func tearDownWithError() throws {
        try FileManager.default.removeItem(at: folder)
    }

    private func opened(_ settings: String) -> String {
        try? Data(settings.utf8).write(to: folder.appendingPathComponent("model.tsv"))
        do {
            _ = try EdgeModel(folder: folder)
        } catch {
            return error.localizedDescription.replacingOccurrences(of: folder.path, with: "FOLDER")
        }
        return ""
    }

    func testNoModel() {
        XCTAssertThrowsError(try EdgeModel(folder: folder)) {
            XCTAssertTrue("\($0)".hasPrefix("\(folder.path)/model.tsv cannot be read: "), "\($0)")
        }
    }

    func testAnotherContract() {
        XCTAssertEqual(
            opened("contract\t7\n"),
            "FOLDER holds a model of contract 7, and this kit reads 1: make the kit again")
        XCTAssertEqual(opened("kind\tpicture\n"), "FOLDER/model.tsv says nothing of contract")
    }

    func testWhatIsNoModel() throws {
        try Data("a\nb\n".utf8).write(to: folder.appendingPathComponent("labels.txt"))
        try Data("no model".utf8).write(to: folder.appendingPathComponent("model.onnx"))
        let start = "contract\t1\nkind\tpicture\ninputs\tpicture\noutput\tlogits\nthreshold\t0\n"
        XCTAssertEqual(
            opened(start + "temperature\t0\n"), "FOLDER/model.tsv: temperature is not above zero")
        XCTAssertEqual(
            opened(start + "temperature\twarm\n"),
            "FOLDER/model.tsv, temperature: warm is no number")
        let found = opened(start + "temperature\t1\n")
        XCTAssertTrue(found.hasPrefix("ONNX Runtime: "), found)
    }

    func testTextsAndPicturesAreNotExchanged() throws {
        let model = try EdgeModel()
        if model.tokenizer == nil {
            XCTAssertThrowsError(try model.classify("a text"))
            XCTAssertThrowsError(try model.logits([1]))
        } else {
            XCTAssertThrowsError(
                try model.classify(Picture(height: 1, width: 1, rgb: [0, 0, 0])))
        }
    }
}
