#include "decoder.hpp"

#include <opencv2/imgcodecs.hpp>

#include "files.hpp"

namespace edge {
namespace {

cv::Mat opened(const std::string& content) {
    const cv::Mat bytes(1, static_cast<int>(content.size()), CV_8U,
                        const_cast<char*>(content.data()));  // is only read
    cv::Mat found;
    try {
        // As it is stored: with opacity, with 16 bits, and not turned, which is done for all alike.
        if (!content.empty()) found = cv::imdecode(bytes, cv::IMREAD_UNCHANGED);
    } catch (const cv::Exception& error) {
        throw KitError("not a picture that can be read: " + error.err);
    }
    if (found.empty()) throw KitError("not a picture in a format that this OpenCV knows");
    if (found.depth() != CV_8U && found.depth() != CV_16U)
        throw KitError("32 bits a pixel, which have no agreed range: save it with 8");
    return found;
}

}  // namespace

Rgba decoded(const std::string& content) {
    const cv::Mat found = opened(content);
    const int channels = found.channels();
    Rgba made{found.rows, found.cols, {}};
    made.bytes.reserve(found.total() * 4);
    const auto add = [&](const auto* pixel, auto in_8_bits, std::uint8_t opaque) {
        const bool grey = channels < 3;
        for (const int channel : {2, 1, 0}) made.bytes.push_back(in_8_bits(pixel[grey ? 0 : channel]));
        const bool clear = channels == 2 || channels == 4;
        made.bytes.push_back(clear ? in_8_bits(pixel[channels - 1]) : opaque);
    };
    const auto cut = [](std::uint16_t deep) { return static_cast<std::uint8_t>(deep >> 8); };
    for (int row = 0; row < found.rows; ++row)
        for (int column = 0; column < found.cols; ++column) {
            const int at = column * channels;
            if (found.depth() == CV_8U)
                add(found.ptr<std::uint8_t>(row) + at, [](std::uint8_t each) { return each; }, 255);
            else if (channels < 3)
                add(found.ptr<std::uint16_t>(row) + at, rounded, 255);
            else
                add(found.ptr<std::uint16_t>(row) + at, cut, 255);
        }
    return made;
}

}  // namespace edge
