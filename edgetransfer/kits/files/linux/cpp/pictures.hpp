#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace edge {

/// RGB, row by row.
struct Picture {
    int height, width;
    std::vector<std::uint8_t> rgb;
};

/// What a person sees of a picture on a white page: turned as its EXIF block says, of an animation
/// the first frame. KitError where it is no picture.
Picture decode(const std::string& content);
Picture decode_file(const std::filesystem::path& file);

/// How a picture lies in its file by its EXIF block, 1 to 8; 1 where nothing is said.
int orientation_of(const std::string& content);

}  // namespace edge
