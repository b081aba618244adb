#if canImport(ImageIO)
import CoreGraphics
import Foundation
import ImageIO

extension Picture {
    private static let mostPixels = 89_478_485

    /// Decodes a file of pictures: its first, turned as its EXIF block says, over white.
    ///
    /// KitError where it holds none. Give the bytes as they are in the file: `UIImage` scales and
    /// turns by its own rules.
    public init(decoding content: Data) throws {
        guard let source = CGImageSourceCreateWithData(content as CFData, nil),
            let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
        else {
            throw KitError("not a picture that can be read")
        }
        let said = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
        let number = said?[kCGImagePropertyOrientation] as? UInt32
        let orientation = number.flatMap(CGImagePropertyOrientation.init(rawValue:))
        try self.init(image, orientation: orientation ?? .up)
    }

    public init(contentsOf file: URL) throws {
        try self.init(decoding: content(of: file))
    }

    /// Takes the pixels of an image, of a camera for example, and turns them.
    public init(_ image: CGImage, orientation: CGImagePropertyOrientation = .up) throws {
        guard image.width * image.height <= Self.mostPixels else {
            throw KitError("a picture of \(image.width) x \(image.height) pixels is too large")
        }
        self = try Stored(image).seen(orientation: Int(orientation.rawValue))
    }
}

extension Stored {
    /// Takes the numbers that the file has, whatever colours its profile makes of them: so did the
    /// training.
    fileprivate init(_ image: CGImage) throws {
        let own = image.colorSpace
        var drawn: Stored?
        switch own?.model {
        case .cmyk where image.bitsPerPixel == 32: drawn = Stored(ink: image)
        case .monochrome where image.alphaInfo == .none: drawn = Stored(image, .grey, in: own)
        case .rgb: drawn = Stored(image, .premultiplied, in: own)
        default: break
        }
        let standard = CGColorSpace(name: CGColorSpace.sRGB)
        guard let found = drawn ?? Stored(image, .premultiplied, in: standard) else {
            throw KitError("a picture of \(image.width) x \(image.height) pixels cannot be drawn")
        }
        self = found
    }

    /// Lets Core Graphics draw the image, of whatever depth and order of bytes, into 8 bits.
    private init?(_ image: CGImage, _ layout: Layout, in space: CGColorSpace?) {
        let perRow = layout.bytes * image.width
        let alpha: CGImageAlphaInfo = layout == .grey ? .none : .premultipliedLast
        guard let space,
            let context = CGContext(
                data: nil, width: image.width, height: image.height, bitsPerComponent: 8,
                bytesPerRow: perRow, space: space, bitmapInfo: alpha.rawValue),
            let drawn = context.data
        else { return nil }
        context.setBlendMode(.copy)
        context.interpolationQuality = .none
        context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
        let bytes = UnsafeRawBufferPointer(start: drawn, count: perRow * image.height)
        self.init(height: image.height, width: image.width, layout: layout, bytes: Array(bytes))
    }

    /// Takes ink as the file has it: Core Graphics would make colours of it by a printer's profile.
    private init?(ink image: CGImage) {
        guard let data = image.dataProvider?.data as Data?,
            data.count >= image.bytesPerRow * (image.height - 1) + 4 * image.width
        else { return nil }
        let isInverted = image.decode.map { $0[0] > $0[1] } ?? false
        let rows = (0..<image.height).map { data.dropFirst($0 * image.bytesPerRow) }
        let bytes = rows.flatMap { $0.prefix(4 * image.width) }
        self.init(
            height: image.height, width: image.width, layout: .ink,
            bytes: isInverted ? bytes.map { 255 - $0 } : bytes)
    }
}
#endif
