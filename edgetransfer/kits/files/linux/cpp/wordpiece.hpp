#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace edge {

/// What model.tsv says, by name.
using Settings = std::map<std::string, std::string>;

/// Code points of UTF-8; a malformed sequence becomes U+FFFD, as Python's decoder replaces it.
std::u32string code_points(std::string_view utf8);

/// Texts to token ids, by vocabulary.txt and characters.tsv.
class WordPiece {
public:
    WordPiece(const std::filesystem::path& folder, const Settings& settings);

    /// The ids of a text in UTF-8, those around it included, `longest` at most.
    std::vector<std::int64_t> ids(std::string_view utf8) const;

private:
    enum class Kind { letter, space, alone, hangul, replaced };
    struct Range {
        char32_t first, last;
        Kind kind;
        std::u32string becomes;
    };
    using Ids = std::vector<std::int64_t>;

    void read_characters(const std::filesystem::path& file);
    const Range* range_of(char32_t letter) const;
    Kind kind_of(char32_t letter) const;
    std::u32string changed(std::u32string_view text) const;
    void add_words(std::u32string_view text, Ids& found) const;
    void add_word(std::u32string_view word, Ids& found) const;
    const std::int64_t* token_of(std::u32string_view part, bool inside) const;

    std::unordered_map<std::u32string, std::int64_t> vocabulary_;
    std::vector<Range> ranges_;  // in the order of code points, none of two
    std::vector<std::pair<std::u32string, std::int64_t>> added_;  // the longest first
    std::size_t longest_, longest_word_, longest_token_ = 0;
    std::int64_t unknown_;
    Ids before_, after_;
    bool keeps_end_;
};

}  // namespace edge
