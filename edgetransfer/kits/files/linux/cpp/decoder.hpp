#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace edge {

constexpr std::int64_t kMostPixels = 89'478'485;  // 0.25 GiB of RGB, as Pillow has it

/// Red, green, blue and opacity as they lie in a file, row by row, in 8 bits.
struct Rgba {
    int height, width;
    std::vector<std::uint8_t> bytes;
};

/// Decodes what a picture's file holds; KitError where it is none. In decoder_stb.cpp, or in
/// decoder_opencv.cpp.
Rgba decoded(const std::string& content);

/// 16 bits of grey in 8, rounded.
inline std::uint8_t rounded(std::uint16_t deep) {
    return static_cast<std::uint8_t>((deep * 255U + 32767U) / 65535U);
}

}  // namespace edge
