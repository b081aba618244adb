import EdgeModel
import EdgeModelCheck
import XCTest

final class GoldenTests: XCTestCase {
    func testEveryCaseGivesWhatTheBuildHostGave() throws {
        let check = try Check(EdgeModel())
        try check.run()
        try check.time()
        for line in check.report { print(line) }
        #if !os(Linux)
        let measured = XCTAttachment(data: try check.measured())
        measured.name = "measured.json"
        measured.lifetime = .keepAlways
        add(measured)
        #endif
        XCTAssertEqual(check.wrong, [])
    }

    func testDecisions() throws {
        let model = try EdgeModel()
        var logits = [Float](repeating: 0, count: model.labels.count)
        logits[1] = 60
        let sure = model.decide(logits, top: 2)
        XCTAssertEqual(sure.labels.map(\.name), [model.labels[1], model.labels[0]])
        XCTAssertGreaterThan(sure.labels[0].probability, 0.99)
        XCTAssertTrue(sure.accepted)
        let even = model.decide([Float](repeating: 0, count: model.labels.count))
        XCTAssertEqual(even.labels.first?.name, model.labels[0])
        let share = 1 / Double(model.labels.count)
        XCTAssertEqual(even.labels[0].probability, share, accuracy: 1e-12)
        let threshold: Double = try model.settings.number("threshold")
        XCTAssertEqual(even.accepted, share >= threshold)
    }
}
