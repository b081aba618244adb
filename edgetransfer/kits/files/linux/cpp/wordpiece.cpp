#include "wordpiece.hpp"

#include <algorithm>

#include "files.hpp"

namespace edge {
namespace {

constexpr char32_t kMalformed = 0xFFFD, kLastCodePoint = 0x10FFFF;
constexpr char32_t kFirstSyllable = 0xAC00, kLastSyllable = 0xD7A3;

const std::string& setting(const Settings& settings, const std::string& name) {
    const auto found = settings.find(name);
    if (found == settings.end()) throw KitError("model.tsv says nothing of " + name);
    return found->second;
}

template <typename Number>
Number numeric(const Settings& settings, const std::string& name) {
    return number_in<Number>(setting(settings, name), "model.tsv, " + name);
}

/// How many bytes follow the first of a sequence, and between which bounds the next of them lies.
struct Lead {
    int more;
    unsigned char low, high;
};

Lead lead_of(unsigned char byte) {
    if (byte < 0x80) return {0, 0x80, 0xBF};
    if (byte >= 0xC2 && byte < 0xE0) return {1, 0x80, 0xBF};
    if (byte == 0xE0) return {2, 0xA0, 0xBF};  // shorter forms of the same are malformed
    if (byte == 0xED) return {2, 0x80, 0x9F};  // so are halves of a surrogate pair
    if (byte > 0xE0 && byte < 0xF0) return {2, 0x80, 0xBF};
    if (byte == 0xF0) return {3, 0x90, 0xBF};
    if (byte > 0xF0 && byte < 0xF4) return {3, 0x80, 0xBF};
    if (byte == 0xF4) return {3, 0x80, 0x8F};
    return {-1, 0, 0};
}

/// The letters of a syllable of Hangul (Unicode, section 3.12).
void add_letters(char32_t syllable, std::u32string& found) {
    const char32_t index = syllable - kFirstSyllable, last = index % 28;
    found += 0x1100 + index / 588;
    found += 0x1161 + index % 588 / 28;
    if (last != 0) found += 0x11A7 + last;
}

char32_t code_point_in(const std::string& hexadecimal, const std::string& where) {
    const auto found = number_in<std::uint32_t>(hexadecimal, where, 16);
    if (found > kLastCodePoint) throw KitError(where + ": no code point: " + hexadecimal);
    return found;
}

}  // namespace

std::u32string code_points(std::string_view utf8) {
    std::u32string found;
    for (std::size_t at = 0; at < utf8.size();) {
        const auto first = static_cast<unsigned char>(utf8[at++]);
        auto [more, low, high] = lead_of(first);
        char32_t code = more <= 0 ? first : first & (0x3F >> more);
        for (; more > 0 && at < utf8.size(); --more, low = 0x80, high = 0xBF) {
            const auto next = static_cast<unsigned char>(utf8[at]);
            if (next < low || next > high) break;
            code = code << 6 | (next & 0x3F);
            ++at;
        }
        found += more == 0 ? code : kMalformed;
    }
    return found;
}

WordPiece::WordPiece(const std::filesystem::path& folder, const Settings& settings)
    : longest_(numeric<std::size_t>(settings, "longest")),
      longest_word_(numeric<std::size_t>(settings, "longest_word")),
      unknown_(numeric<std::int64_t>(settings, "unknown")),
      before_(numbers_in<std::int64_t>(setting(settings, "before"), "model.tsv, before")),
      after_(numbers_in<std::int64_t>(setting(settings, "after"), "model.tsv, after")),
      keeps_end_(setting(settings, "truncate") == "left") {
    std::int64_t number = 0;
    for (const std::string& line : lines_of(folder / "vocabulary.txt")) {
        std::u32string token = code_points(line);
        longest_token_ = std::max(longest_token_, token.size());
        vocabulary_[std::move(token)] = number++;
    }
    read_characters(folder / "characters.tsv");
    const std::string prefix = "added.";
    for (const auto& [name, token] : settings)
        if (name.compare(0, prefix.size(), prefix) == 0 && !token.empty())
            added_.emplace_back(
                code_points(token),
                number_in<std::int64_t>(name.substr(prefix.size()), "model.tsv, " + name));
    std::stable_sort(added_.begin(), added_.end(), [](const auto& one, const auto& other) {
        return one.first.size() > other.first.size();
    });
}

void WordPiece::read_characters(const std::filesystem::path& file) {
    const std::map<std::string, Kind> kinds{{"drop", Kind::replaced},
                                            {"to", Kind::replaced},
                                            {"space", Kind::space},
                                            {"alone", Kind::alone},
                                            {"hangul", Kind::hangul}};
    std::size_t number = 0;
    for (const std::string& line : lines_of(file)) {
        const std::string where = file.string() + ", line " + std::to_string(++number);
        const std::vector<std::string> cells = parted(line, '\t');
        const auto kind = cells.size() < 3 ? kinds.end() : kinds.find(cells[2]);
        if (kind == kinds.end() || cells.size() != (cells[2] == "to" ? 4U : 3U))
            throw KitError(where + ": not a range of code points and what becomes of it");
        Range range{code_point_in(cells[0], where), code_point_in(cells[1], where), kind->second,
                    {}};
        if (cells.size() == 4)
            for (const std::string& each : parted(cells[3], ' '))
                range.becomes += code_point_in(each, where);
        if (range.first > range.last || (number > 1 && range.first <= ranges_.back().last))
            throw KitError(where + ": the range ends before it begins, or overlaps another");
        if (range.kind == Kind::hangul &&
            (range.first < kFirstSyllable || range.last > kLastSyllable))
            throw KitError(where + ": no syllables of Hangul");
        ranges_.push_back(std::move(range));
    }
}

std::vector<std::int64_t> WordPiece::ids(std::string_view utf8) const {
    const std::u32string text = code_points(utf8);
    const std::u32string_view view = text;
    Ids found;
    std::size_t start = 0, at = 0;
    while (at < text.size()) {
        const auto token = std::find_if(added_.begin(), added_.end(), [&](const auto& each) {
            return view.compare(at, each.first.size(), each.first) == 0;
        });
        if (token == added_.end()) {
            ++at;
            continue;
        }
        add_words(view.substr(start, at - start), found);
        found.push_back(token->second);
        start = at += token->first.size();
    }
    add_words(view.substr(start), found);

    const std::size_t around = before_.size() + after_.size();
    const std::size_t kept = std::min(found.size(), longest_ - std::min(longest_, around));
    if (keeps_end_) found.erase(found.begin(), found.end() - static_cast<std::ptrdiff_t>(kept));
    found.resize(kept);
    found.insert(found.begin(), before_.begin(), before_.end());
    found.insert(found.end(), after_.begin(), after_.end());
    return found;
}

const WordPiece::Range* WordPiece::range_of(char32_t letter) const {
    const auto next =
        std::upper_bound(ranges_.begin(), ranges_.end(), letter,
                         [](char32_t code, const Range& range) { return code < range.first; });
    if (next == ranges_.begin() || std::prev(next)->last < letter) return nullptr;
    return &*std::prev(next);
}

WordPiece::Kind WordPiece::kind_of(char32_t letter) const {
    const Range* range = range_of(letter);
    return range == nullptr ? Kind::letter : range->kind;
}

std::u32string WordPiece::changed(std::u32string_view text) const {
    std::u32string made;
    for (const char32_t letter : text) {
        const Range* range = range_of(letter);
        if (range != nullptr && range->kind == Kind::replaced)
            made += range->becomes;
        else if (range != nullptr && range->kind == Kind::hangul)
            add_letters(letter, made);
        else
            made += letter;
    }
    return made;
}

void WordPiece::add_words(std::u32string_view text, Ids& found) const {
    std::u32string word;
    for (const char32_t letter : changed(text)) {
        const Kind kind = kind_of(letter);
        if (kind != Kind::space && kind != Kind::alone) {
            word += letter;
            continue;
        }
        add_word(word, found);
        word.clear();
        if (kind == Kind::alone) add_word({&letter, 1}, found);
    }
    add_word(word, found);
}

void WordPiece::add_word(std::u32string_view word, Ids& found) const {
    const std::size_t before = found.size();
    std::size_t start = 0;
    while (word.size() <= longest_word_ && start < word.size()) {
        std::size_t end = std::min(word.size(), start + longest_token_);
        const std::int64_t* token = nullptr;
        while (end > start && !(token = token_of(word.substr(start, end - start), start > 0))) --end;
        if (token == nullptr) break;
        found.push_back(*token);
        start = end;
    }
    if (start == word.size()) return;
    found.resize(before);
    found.push_back(unknown_);
}

const std::int64_t* WordPiece::token_of(std::u32string_view part, bool inside) const {
    std::u32string token = inside ? U"##" : U"";
    const auto found = vocabulary_.find(token.append(part));
    return found == vocabulary_.end() ? nullptr : &found->second;
}

}  // namespace edge
