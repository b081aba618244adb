#pragma once

#include <charconv>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace edge {

/// Something that is not as it should be, in words.
class KitError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The bytes of a file; KitError where it cannot be read.
std::string content_of(const std::filesystem::path& file);

/// The lines of a file, which end in "\n" and in nothing else.
std::vector<std::string> lines_of(const std::filesystem::path& file);

/// What stands between separators: one part more than there are of those.
std::vector<std::string> parted(std::string_view text, char separator);

/// The number that a text is, and nothing beside it; KitError that begins with `where`.
template <typename Number, typename... Base>
Number number_in(std::string_view text, const std::string& where, Base... base) {
    Number found{};
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, found, base...);
    if (error != std::errc{} || stop != end)
        throw KitError(where + ": no number: \"" + std::string(text) + "\"");
    return found;
}

/// The numbers of a list with commas between; an empty text is an empty list.
template <typename Number>
std::vector<Number> numbers_in(std::string_view text, const std::string& where) {
    std::vector<Number> found;
    if (text.empty()) return found;
    for (const std::string& each : parted(text, ','))
        found.push_back(number_in<Number>(each, where));
    return found;
}

}  // namespace edge
