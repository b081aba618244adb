/// What a person sees of a picture on a white page: RGB, row by row.
public struct Picture: Equatable, Sendable {
    public let height, width: Int
    public let rgb: [UInt8]

    /// A picture that was decoded, turned and laid over white elsewhere.
    public init(height: Int, width: Int, rgb: [UInt8]) throws {
        guard areOf(rgb.count, bytes: 3, height, width) else {
            throw KitError("\(rgb.count) bytes are not RGB of \(width) x \(height) pixels")
        }
        (self.height, self.width, self.rgb) = (height, width, rgb)
    }
}

/// A picture as it lies in its file, in one of the ways that decoders hand it over.
package struct Stored {
    package enum Layout {
        case grey
        /// Red, green, blue and opacity, by which the other three were multiplied already.
        case premultiplied
        /// Cyan, magenta, yellow and black: 255 is all of the ink.
        case ink

        var bytes: Int { self == .grey ? 1 : 4 }
    }

    package let height, width: Int
    package let layout: Layout
    package let bytes: [UInt8]

    package init(height: Int, width: Int, layout: Layout, bytes: [UInt8]) {
        (self.height, self.width, self.layout, self.bytes) = (height, width, layout, bytes)
    }

    /// The picture, turned as its EXIF block says (1 to 8; another number turns nothing).
    package func seen(orientation: Int) throws -> Picture {
        guard areOf(bytes.count, bytes: layout.bytes, height, width) else {
            throw KitError("\(bytes.count) bytes are not \(width) x \(height) pixels")
        }
        let onItsSide = (5...8).contains(orientation)
        let fromRight = [2, 3, 7, 8].contains(orientation)
        let fromBelow = [3, 4, 6, 7].contains(orientation)
        var rgb: [UInt8] = []
        rgb.reserveCapacity(3 * height * width)
        for row in 0..<(onItsSide ? width : height) {
            for column in 0..<(onItsSide ? height : width) {
                let (across, down) = onItsSide ? (row, column) : (column, row)
                let x = fromRight ? width - 1 - across : across
                let y = fromBelow ? height - 1 - down : down
                addPixel(at: layout.bytes * (y * width + x), to: &rgb)
            }
        }
        return try Picture(
            height: onItsSide ? width : height, width: onItsSide ? height : width, rgb: rgb)
    }

    private func addPixel(at place: Int, to rgb: inout [UInt8]) {
        switch layout {
        case .grey:
            for _ in 0..<3 { rgb.append(bytes[place]) }
        case .premultiplied:
            let white = 255 - Int(bytes[place + 3])
            for channel in 0..<3 {
                rgb.append(UInt8(min(255, Int(bytes[place + channel]) + white)))
            }
        case .ink:
            let light = 255 - Int(bytes[place + 3])
            for channel in 0..<3 {
                rgb.append(UInt8(((255 - Int(bytes[place + channel])) * light + 127) / 255))
            }
        }
    }
}

private func areOf(_ count: Int, bytes: Int, _ height: Int, _ width: Int) -> Bool {
    let (pixels, isTooMany) = height.multipliedReportingOverflow(by: width)
    return height > 0 && width > 0 && !isTooMany && count / bytes == pixels
        && count.isMultiple(of: bytes)
}
