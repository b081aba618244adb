#include "decoder.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

#include "files.hpp"

#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_GIF
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>

namespace edge {
namespace {

constexpr std::size_t kMostBytes = 512U << 20;  // the head of a picture lies before

/// A picture's file as stb reads it; `cut` once more was asked for than there is, in which case stb
/// makes up the rest of some pictures.
struct Source {
    const std::string& content;
    std::size_t at = 0;
    bool cut = false;
};

int read(void* user, char* into, int size) {
    auto& source = *static_cast<Source*>(user);
    const std::size_t count =
        std::min(static_cast<std::size_t>(size), source.content.size() - source.at);
    source.cut |= count == 0;
    std::memcpy(into, source.content.data() + source.at, count);
    source.at += count;
    return static_cast<int>(count);
}

void skip(void* user, int count) {  // a negative one gives bytes back
    auto& source = *static_cast<Source*>(user);
    const auto left = static_cast<std::ptrdiff_t>(source.content.size() - source.at);
    source.at += static_cast<std::size_t>(std::min<std::ptrdiff_t>(count, left));
}

int at_end(void* user) {
    const auto& source = *static_cast<Source*>(user);
    return source.at == source.content.size();
}

constexpr stbi_io_callbacks kCallbacks{read, skip, at_end};

KitError unreadable(std::string why) {
    const auto odd = [](char each) { return each < ' ' || each > '~'; };  // stb names odd chunks
    std::replace_if(why.begin(), why.end(), odd, '?');
    return KitError("not a picture that can be read: " + (why.empty() ? "it is damaged" : why));
}

template <typename Sample>
using Samples = std::unique_ptr<Sample, decltype(&stbi_image_free)>;

template <typename Sample>
Samples<Sample> held(Sample* samples, const Source& source) {
    Samples<Sample> found(samples, stbi_image_free);
    if (found && source.cut) throw unreadable("the file ends before the picture does");
    if (!found) throw unreadable(stbi_failure_reason());
    return found;
}

}  // namespace

Rgba decoded(const std::string& content) {
    const auto* bytes = reinterpret_cast<const stbi_uc*>(content.data());
    const int size = static_cast<int>(std::min(content.size(), kMostBytes));
    int width = 0, height = 0, channels = 0;
    if (!stbi_info_from_memory(bytes, size, &width, &height, &channels))
        throw KitError("not a picture in a known format: JPEG, PNG, GIF, BMP");
    const std::int64_t pixels = static_cast<std::int64_t>(width) * height;
    if (pixels > kMostPixels)
        throw KitError(std::to_string(width) + " x " + std::to_string(height) +
                       " pixels, at most " + std::to_string(kMostPixels) + " are decoded");
    Source source{content};
    Rgba made{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(pixels) * 4)};
    if (!stbi_is_16_bit_from_memory(bytes, size)) {
        const auto found = held(
            stbi_load_from_callbacks(&kCallbacks, &source, &width, &height, &channels, 4), source);
        std::copy_n(found.get(), made.bytes.size(), made.bytes.begin());
        return made;
    }
    const auto found = held(
        stbi_load_16_from_callbacks(&kCallbacks, &source, &width, &height, &channels, 4), source);
    // Of colours the upper half is kept, as Pillow does it.
    std::transform(found.get(), found.get() + made.bytes.size(), made.bytes.begin(),
                   [&](std::uint16_t each) {
                       return channels < 3 ? rounded(each) : static_cast<std::uint8_t>(each >> 8);
                   });
    return made;
}

}  // namespace edge
