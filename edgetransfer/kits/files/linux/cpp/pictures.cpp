#include "pictures.hpp"

#include <cstddef>
#include <string_view>
#include <utility>

#include "decoder.hpp"
#include "files.hpp"

namespace edge {
namespace {

constexpr std::string_view kJpeg = "\xFF\xD8", kPng = "\x89PNG\r\n\x1A\n";
constexpr std::string_view kExif{"Exif\0\0", 6};
constexpr unsigned kOrientation = 0x0112, kShort = 3;

/// Bytes that are read as numbers; beyond their end there are zeros.
class Bytes {
public:
    explicit Bytes(std::string_view bytes, bool little = false) : bytes_(bytes), little_(little) {}

    bool has(std::size_t at) const { return at < bytes_.size(); }

    bool are(std::size_t at, std::string_view wanted) const {
        return at <= bytes_.size() && bytes_.substr(at, wanted.size()) == wanted;
    }

    std::size_t number(std::size_t at, int size) const {
        std::size_t found = 0;
        for (int i = 0; i < size; ++i) {
            const std::size_t place = at + static_cast<std::size_t>(little_ ? size - 1 - i : i);
            found = found << 8 | (has(place) ? static_cast<unsigned char>(bytes_[place]) : 0U);
        }
        return found;
    }

    std::string_view part(std::size_t at, std::size_t size) const {
        return at < bytes_.size() ? bytes_.substr(at, size) : std::string_view{};
    }

private:
    std::string_view bytes_;
    bool little_;
};

/// The EXIF block of a JPEG file, which lies before the picture.
std::string_view exif_of_jpeg(std::string_view content) {
    const Bytes bytes(content);
    for (std::size_t at = kJpeg.size(); bytes.number(at, 1) == 0xFF;) {
        const std::size_t marker = bytes.number(at + 1, 1), size = bytes.number(at + 2, 2);
        if (marker == 0xFF) {  // may be repeated
            ++at;
            continue;
        }
        if (marker == 0xE1 && size > kExif.size() + 2 && bytes.are(at + 4, kExif))
            return bytes.part(at + 4 + kExif.size(), size - 2 - kExif.size());
        if (marker == 0xDA || size < 2) break;  // the picture begins
        at += 2 + size;
    }
    return {};
}

std::string_view exif_of_png(std::string_view content) {
    const Bytes bytes(content);
    for (std::size_t at = kPng.size(); bytes.has(at + 8);) {
        const std::size_t size = bytes.number(at, 4);
        if (bytes.are(at + 4, "eXIf")) return bytes.part(at + 8, size);
        at += size + 12;  // its size, its name and its checksum
    }
    return {};
}

/// The orientation that an EXIF block holds: a TIFF file without pixels.
int orientation_in(std::string_view exif) {
    const Bytes bytes(exif, Bytes(exif).are(0, "II"));
    const std::size_t first = bytes.number(4, 4), entries = bytes.number(first, 2);
    if (bytes.number(2, 2) != 42) return 1;
    for (std::size_t at = first + 2; at < first + 2 + 12 * entries && bytes.has(at); at += 12)
        if (bytes.number(at, 2) == kOrientation && bytes.number(at + 2, 2) == kShort) {
            const std::size_t found = bytes.number(at + 8, 2);
            return found >= 1 && found <= 8 ? static_cast<int>(found) : 1;
        }
    return 1;
}

/// The pixel of a turned picture, laid over white.
void lay(const std::uint8_t* pixel, std::uint8_t* rgb) {
    const unsigned opacity = pixel[3];
    for (int channel = 0; channel < 3; ++channel)
        rgb[channel] = static_cast<std::uint8_t>(
            (pixel[channel] * opacity + 255 * (255 - opacity) + 127) / 255);
}

Picture seen(const Rgba& stored, int orientation) {
    const bool on_its_side = orientation >= 5;
    Picture made{on_its_side ? stored.width : stored.height,
                 on_its_side ? stored.height : stored.width,
                 std::vector<std::uint8_t>(stored.bytes.size() / 4 * 3)};
    const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 ||
                            orientation == 8;
    const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 ||
                            orientation == 7;
    std::uint8_t* rgb = made.rgb.data();
    for (int row = 0; row < made.height; ++row)
        for (int column = 0; column < made.width; ++column, rgb += 3) {
            const int across = on_its_side ? row : column, down = on_its_side ? column : row;
            const int x = from_right ? stored.width - 1 - across : across;
            const int y = from_below ? stored.height - 1 - down : down;
            lay(&stored.bytes[(static_cast<std::size_t>(y) * stored.width + x) * 4], rgb);
        }
    return made;
}

}  // namespace

int orientation_of(const std::string& content) {
    const Bytes bytes(content);
    if (bytes.are(0, kJpeg)) return orientation_in(exif_of_jpeg(content));
    if (bytes.are(0, kPng)) return orientation_in(exif_of_png(content));
    return 1;
}

Picture decode(const std::string& content) {
    return seen(decoded(content), orientation_of(content));
}

Picture decode_file(const std::filesystem::path& file) {
    return decode(content_of(file));
}

}  // namespace edge
