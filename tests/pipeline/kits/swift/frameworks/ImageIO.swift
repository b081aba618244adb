// What the iOS kit uses of Image I/O, as Apple's documentation declares it, with nothing inside.
@_exported import CoreGraphics

public final class CGImageSource {}

public func CGImageSourceCreateWithData(
    _ data: CFData, _ options: CFDictionary?
) -> CGImageSource? { nil }

public func CGImageSourceCreateImageAtIndex(
    _ source: CGImageSource, _ index: Int, _ options: CFDictionary?
) -> CGImage? { nil }

public func CGImageSourceCopyPropertiesAtIndex(
    _ source: CGImageSource, _ index: Int, _ options: CFDictionary?
) -> CFDictionary? { nil }

public let kCGImagePropertyOrientation: CFString = "Orientation"

public enum CGImagePropertyOrientation: UInt32 {
    case up = 1
    case upMirrored, down, downMirrored, leftMirrored, right, rightMirrored, left
}
