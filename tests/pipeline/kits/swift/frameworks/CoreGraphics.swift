// What the iOS kit uses of Core Graphics, as Apple's documentation declares it, with nothing inside.
@_exported import Foundation

public typealias CFData = NSData
public typealias CFDictionary = NSDictionary
public typealias CFString = NSString

public enum CGColorSpaceModel: Int32 {
    case unknown = -1
    case monochrome, rgb, cmyk, lab, deviceN, indexed, pattern, XYZ
}

public final class CGColorSpace {
    public static let sRGB: CFString = "kCGColorSpaceSRGB"
    public init?(name: CFString) {}
    public var model: CGColorSpaceModel { .unknown }
    public var supportsOutput: Bool { false }
}

public enum CGImageAlphaInfo: UInt32 {
    case none, premultipliedLast, premultipliedFirst, last, first
    case noneSkipLast, noneSkipFirst, alphaOnly
}

public final class CGDataProvider {
    public var data: CFData? { nil }
}

public final class CGImage {
    public var width: Int { 0 }
    public var height: Int { 0 }
    public var bitsPerPixel: Int { 0 }
    public var bytesPerRow: Int { 0 }
    public var alphaInfo: CGImageAlphaInfo { .none }
    public var colorSpace: CGColorSpace? { nil }
    public var dataProvider: CGDataProvider? { nil }
    public var decode: UnsafePointer<CGFloat>? { nil }
}

public enum CGBlendMode: Int32 {
    case normal = 0
    case copy = 17
}

public enum CGInterpolationQuality: Int32 {
    case `default`, none, low, high, medium
}

public final class CGContext {
    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int,
        bytesPerRow: Int, space: CGColorSpace, bitmapInfo: UInt32
    ) {}
    public var data: UnsafeMutableRawPointer? { nil }
    public var interpolationQuality = CGInterpolationQuality.default
    public func setBlendMode(_ mode: CGBlendMode) {}
    public func draw(_ image: CGImage, in rect: CGRect, byTiling: Bool = false) {}
}
