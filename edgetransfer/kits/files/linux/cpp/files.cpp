#include "files.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

namespace edge {

std::string content_of(const std::filesystem::path& file) {
    const auto unreadable = [&](const std::string& why) {
        return KitError(file.string() + " cannot be read: " + why);
    };
    if (std::error_code none; std::filesystem::is_directory(file, none))
        throw unreadable("it is a folder");
    errno = 0;
    std::ifstream stream(file, std::ios::binary);
    std::string content{std::istreambuf_iterator<char>(stream), {}};
    if (!stream) throw unreadable(errno != 0 ? std::strerror(errno) : "an error of the device");
    return content;
}

std::vector<std::string> lines_of(const std::filesystem::path& file) {
    std::string content = content_of(file);
    if (!content.empty() && content.back() == '\n') content.pop_back();
    return parted(content, '\n');
}

std::vector<std::string> parted(std::string_view text, char separator) {
    std::vector<std::string> parts;
    for (std::size_t end; (end = text.find(separator)) != text.npos; text.remove_prefix(end + 1))
        parts.emplace_back(text.substr(0, end));
    parts.emplace_back(text);
    return parts;
}

}  // namespace edge
