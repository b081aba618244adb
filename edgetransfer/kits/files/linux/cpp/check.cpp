// Runs the golden cases on this device, says which step of which is wrong, and times the model:
// edge-check [MODEL_FOLDER [GOLDEN_FOLDER]]
//
// Exits with 1 where a case is wrong. All that was measured goes to measured.json in the working
// directory. Times are of a case's decoded picture, or of its token ids, to logits.

#include <sys/utsname.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "edge_model.hpp"

namespace {

using edge::KitError;
using Case = std::map<std::string, std::string>;
using Ids = std::vector<std::int64_t>;
namespace fs = std::filesystem;

constexpr int kWarmUps = 5, kRuns = 50;
constexpr std::size_t kLongest = 500;

std::string printed(const char* form, double number) {
    char text[32];
    std::snprintf(text, sizeof text, form, number);
    return text;
}

/// The cases of golden.tsv, by the names of its first line.
std::vector<Case> cases_of(const fs::path& folder, const edge::EdgeModel& model) {
    const fs::path file = folder / "golden.tsv";
    const std::vector<std::string> lines = edge::lines_of(file);
    const std::vector<std::string> head = edge::parted(lines.front(), '\t');
    std::vector<std::string> needed{"name", model.setting("output")};
    if (model.takes_texts())
        needed.insert(needed.end(), {"text", "input_ids"});
    else
        needed.insert(needed.end(), {"file", "height", "width", "levels"});
    for (const std::string& name : needed)
        if (std::find(head.begin(), head.end(), name) == head.end())
            throw KitError(file.string() + ": no column " + name +
                           ", which this model's cases have");
    std::vector<Case> found;
    for (std::size_t line = 1; line < lines.size(); ++line) {
        const std::vector<std::string> cells = edge::parted(lines[line], '\t');
        if (cells.size() != head.size())
            throw KitError(file.string() + ", line " + std::to_string(line + 1) + ": " +
                           std::to_string(cells.size()) + " cells, not " +
                           std::to_string(head.size()));
        Case made;
        for (std::size_t i = 0; i < head.size(); ++i) made[head[i]] = cells[i];
        found.push_back(std::move(made));
    }
    if (found.empty()) throw KitError(file.string() + ": no case");
    return found;
}

/// Undoes what stands for a tab, the end of a line, a zero and a backslash.
std::string plain(const std::string& text) {
    static const std::map<char, char> codes{{'t', '\t'}, {'n', '\n'}, {'r', '\r'}, {'0', '\0'}};
    std::string found;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '\\' || at + 1 == text.size()) {
            found += text[at];
            continue;
        }
        const auto code = codes.find(text[++at]);
        found += code == codes.end() ? text[at] : code->second;
    }
    return found;
}

std::string told(const Ids& ids) {
    std::string found;
    for (std::size_t i = 0; i < std::min<std::size_t>(ids.size(), 12); ++i)
        found += (i == 0 ? "" : ", ") + std::to_string(ids[i]);
    return "[" + found + "]";
}

/// How far bytes are apart at most; with `exchanged`, of red and blue changed places in one.
int apart(const std::vector<std::uint8_t>& one, const std::vector<std::uint8_t>& other,
          bool exchanged = false) {
    int most = 0;
    for (std::size_t i = 0; i < one.size(); ++i) {
        const std::size_t from = exchanged ? i - i % 3 + (2 - i % 3) : i;
        most = std::max(most, std::abs(one[from] - other[i]));
    }
    return most;
}

std::string size_of(const edge::Picture& picture) {
    return std::to_string(picture.width) + " x " + std::to_string(picture.height);
}

/// What is wrong with a decoded picture; an empty text where nothing is.
std::string fault_of(const std::string& name, const edge::Picture& found,
                     const edge::Picture& wanted, int levels) {
    if (found.height != wanted.height || found.width != wanted.width)
        return size_of(found) + " pixels, expected " + size_of(wanted) +
               (name.compare(0, 6, "turned") == 0 ? ": it was not turned as its EXIF block says"
                                                  : "");
    const int most = apart(found.rgb, wanted.rgb);
    if (most <= levels) return {};
    if (apart(found.rgb, wanted.rgb, true) <= levels) return "red and blue are exchanged";
    return "bytes are off by " + std::to_string(most) + ", at most " + std::to_string(levels) +
           " is right";
}

/// Golden cases against a model: what is wrong, how far logits are off, and all that is measured.
class Check {
public:
    Check(const fs::path& model, fs::path golden)
        : model_(model), golden_(std::move(golden)), cases_(cases_of(golden_, model_)) {}

    void run();
    void time();
    void write(const fs::path& file) const;
    void print() const;
    bool holds() const { return wrong_.empty(); }

private:
    int whole(const Case& golden, const std::string& column) const {
        return edge::number_in<int>(golden.at(column), where(golden) + ", " + column);
    }
    std::string where(const Case& golden) const {
        return golden_.string() + ": case " + golden.at("name");
    }
    Ids ids_of(const Case& golden) const {
        return edge::numbers_in<std::int64_t>(golden.at("input_ids"), where(golden));
    }
    edge::Picture picture_of(const Case& golden) const;
    void decode(const Case& golden, const edge::Picture& wanted);
    void compare(const Case& golden, const std::vector<float>& found);
    std::vector<float> logits(const Case& golden);

    edge::EdgeModel model_;
    fs::path golden_;
    std::vector<Case> cases_;
    std::vector<std::string> wrong_;
    double worst_ = 0;
    std::vector<std::pair<std::string, std::vector<float>>> outputs_;
    std::vector<double> milliseconds_;
};

edge::Picture Check::picture_of(const Case& golden) const {
    const fs::path file = golden_ / (golden.at("name") + ".picture.bin");
    const std::string bytes = edge::content_of(file);
    edge::Picture found{whole(golden, "height"), whole(golden, "width"),
                        {bytes.begin(), bytes.end()}};
    if (found.height < 1 || found.width < 1 ||
        std::size_t{3} * found.height * found.width != bytes.size())
        throw KitError(file.string() + ": " + std::to_string(bytes.size()) +
                       " bytes, which is not that of " + size_of(found) + " pixels");
    return found;
}

void Check::run() {
    for (const Case& golden : cases_) {
        if (!model_.takes_texts()) {
            decode(golden, picture_of(golden));
        } else {
            const Ids wanted = ids_of(golden);
            const Ids found = model_.tokenizer().ids(plain(golden.at("text")));
            if (found != wanted)
                wrong_.push_back("tokens " + golden.at("name") + ": ids " + told(found) +
                                 ", expected " + told(wanted));
        }
        try {
            compare(golden, logits(golden));
        } catch (const KitError& error) {
            wrong_.push_back("model " + golden.at("name") + ": " + error.what());
        }
    }
}

void Check::decode(const Case& golden, const edge::Picture& wanted) {
    const std::string& name = golden.at("name");
    std::string fault;
    try {
        fault = fault_of(name, edge::decode_file(golden_ / golden.at("file")), wanted,
                         whole(golden, "levels"));
    } catch (const KitError& error) {
        fault = error.what();
    }
    if (!fault.empty()) wrong_.push_back("decode " + name + ": " + fault);
}

std::vector<float> Check::logits(const Case& golden) {
    return model_.takes_texts() ? model_.logits(ids_of(golden))
                                : model_.logits(picture_of(golden));
}

void Check::compare(const Case& golden, const std::vector<float>& found) {
    const std::string &name = golden.at("name"), &output = model_.setting("output");
    const auto wanted = edge::numbers_in<float>(golden.at(output), where(golden));
    outputs_.emplace_back(name, found);
    if (found.size() != wanted.size())
        throw KitError(std::to_string(found.size()) + " " + output + ", expected " +
                       std::to_string(wanted.size()));
    double most = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        const double off = std::fabs(double{found[i]} - wanted[i]);
        if (!(off <= most)) most = off;  // keeps what is no number
    }
    worst_ = std::max(worst_, most);
    const double allowed = model_.number("tolerance_elsewhere");
    if (!(most <= allowed))
        throw KitError(output + " are off by " + printed("%.4g", most) + ", more than " +
                       printed("%.4g", allowed));
}

void Check::time() {
    if (outputs_.empty() || outputs_.front().first != cases_.front().at("name"))
        return;  // `wrong` says why the model did not run
    using Clock = std::chrono::steady_clock;
    const bool texts = model_.takes_texts();
    const Ids ids = texts ? ids_of(cases_.front()) : Ids{};
    const edge::Picture picture = texts ? edge::Picture{} : picture_of(cases_.front());
    for (int run = 0; run < kWarmUps + kRuns; ++run) {
        const auto start = Clock::now();
        texts ? model_.logits(ids) : model_.logits(picture);
        const std::chrono::duration<double, std::milli> spent = Clock::now() - start;
        if (run >= kWarmUps) milliseconds_.push_back(spent.count());
    }
}

/// A text of JSON; what controls a terminal becomes a space.
std::string quoted(const std::string& text) {
    std::string found = "\"";
    for (const char letter : text)
        if (static_cast<unsigned char>(letter) < 0x20)
            found += " ";
        else
            found += (letter == '"' || letter == '\\' ? "\\" : "") + std::string(1, letter);
    return found + "\"";
}

/// A list of JSON.
template <typename Items, typename Write>
std::string listed(const Items& items, Write write) {
    std::string found;
    for (const auto& each : items) found += (found.empty() ? "" : ", ") + write(each);
    return "[" + found + "]";
}

/// The shortest text that is read as the same number.
template <typename Number>
std::string shortest(Number number) {
    char text[32];
    return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

/// What this device is called: by its device tree, or else its processor.
std::string device() {
    std::string line;
    std::ifstream board("/proc/device-tree/model"), processors("/proc/cpuinfo");
    if (std::getline(board, line, '\0') && !line.empty()) return line;
    while (std::getline(processors, line))
        if (line.rfind("model name", 0) == 0) return line.substr(line.find(": ") + 2);
    utsname system{};
    uname(&system);
    return system.machine;
}

void Check::write(const fs::path& file) const {
    const auto one = [](const auto& output) {
        return "{\"name\": " + quoted(output.first) +
               ", \"outputs\": " + listed(output.second, shortest<float>) + "}";
    };
    std::ofstream stream(file, std::ios::binary);
    stream << "{\"schema\": \"edgetransfer.app/1\", \"kit\": \"linux\""
           << ", \"sha256\": " << quoted(model_.setting("sha256"))
           << ", \"runtime\": " << quoted(edge::EdgeModel::runtime())
           << ", \"device\": " << quoted(device())  //
           << ", \"cases\": " << listed(outputs_, one)
           << ", \"wrong\": "
           << listed(wrong_, [](const auto& each) { return quoted(each.substr(0, kLongest)); })
           << ", \"milliseconds\": " << listed(milliseconds_, shortest<double>) << "}\n";
    if (!stream.flush()) throw KitError(file.string() + " cannot be written");
}

void Check::print() const {
    for (const std::string& each : wrong_) std::puts(each.c_str());
    const char* near = worst_ <= model_.number("tolerance")
                           ? "as on the build host"
                           : "another kind of processor or runtime";
    std::printf("%zu cases, %zu wrong, logits off by %.3g at most (%s)\n", cases_.size(),
                wrong_.size(), worst_, near);
    std::vector<double> sorted = milliseconds_;
    if (sorted.empty()) return;
    std::sort(sorted.begin(), sorted.end());
    std::printf("%.2f ms median, %.2f ms 90th percentile of %d runs of %s: %s, %s\n",
                sorted[kRuns / 2], sorted[kRuns * 9 / 10], kRuns, cases_.front().at("name").c_str(),
                edge::EdgeModel::runtime().c_str(), device().c_str());
}

/// Where the golden cases of a model lie: in its folder after an update, else beside it.
fs::path golden_of(const fs::path& model) {
    return fs::is_directory(model / "golden") ? model / "golden" : model.parent_path() / "golden";
}

}  // namespace

int main(int count, char** words) {
    const std::vector<std::string> given(words + 1, words + count);
    try {
        const fs::path model = given.empty() ? "model" : given[0];
        Check check(model, given.size() > 1 ? fs::path(given[1]) : golden_of(model));
        check.run();
        check.time();
        check.write("measured.json");
        check.print();
        return check.holds() ? 0 : 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
