import EdgeModel
import XCTest

final class PictureTests: XCTestCase {
    func testPicturesAreTurnedAsTheirExifBlockSays() throws {
        let stored = Stored(height: 2, width: 3, layout: .grey, bytes: [1, 2, 3, 4, 5, 6])
        let wanted: [(rows: [[UInt8]], orientation: Int)] = [
            ([[1, 2, 3], [4, 5, 6]], 1),
            ([[3, 2, 1], [6, 5, 4]], 2),
            ([[6, 5, 4], [3, 2, 1]], 3),
            ([[4, 5, 6], [1, 2, 3]], 4),
            ([[1, 4], [2, 5], [3, 6]], 5),
            ([[4, 1], [5, 2], [6, 3]], 6),
            ([[6, 3], [5, 2], [4, 1]], 7),
            ([[3, 6], [2, 5], [1, 4]], 8),
            ([[1, 2, 3], [4, 5, 6]], 9),
        ]
        for (rows, orientation) in wanted {
            let rgb = rows.flatMap { $0.flatMap { [$0, $0, $0] } }
            XCTAssertEqual(
                try stored.seen(orientation: orientation),
                try Picture(height: rows.count, width: rows[0].count, rgb: rgb),
                "orientation \(orientation)")
        }
    }

    func testWhatIsTransparentLiesOverWhite() throws {
        let bytes: [UInt8] = [10, 20, 30, 255, 0, 0, 0, 0, 5, 10, 15, 128]
        let stored = Stored(height: 1, width: 3, layout: .premultiplied, bytes: bytes)
        XCTAssertEqual(
            try stored.seen(orientation: 1).rgb, [10, 20, 30, 255, 255, 255, 132, 137, 142])
    }

    func testInkBecomesLight() throws {
        let bytes: [UInt8] = [0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255]
        let stored = Stored(height: 3, width: 1, layout: .ink, bytes: bytes)
        XCTAssertEqual(
            try stored.seen(orientation: 1).rgb, [255, 255, 255, 0, 255, 255, 0, 0, 0])
    }

    func testBytesThatAreNoPicture() {
        XCTAssertThrowsError(try Picture(height: 2, width: 2, rgb: [1, 2, 3])) {
            XCTAssertEqual("\($0)", "3 bytes are not RGB of 2 x 2 pixels")
        }
        XCTAssertThrowsError(try Picture(height: .max, width: .max, rgb: []))
    }
}
