// Classifies pictures, or texts: edge-classify [--model FOLDER] FILE_OR_TEXT...; one line each.

#include <cstdio>
#include <string>
#include <vector>

#include "edge_model.hpp"

namespace {

edge::Classified classified(edge::EdgeModel& model, const std::string& given) {
    return model.takes_texts() ? model.classify(given) : model.classify(edge::decode_file(given));
}

void print(const std::string& given, const edge::Classified& found) {
    std::printf("%s\t", given.c_str());
    const char* before = "";
    for (const auto& [name, probability] : found.labels) {
        std::printf("%s%s %.3f", before, name.c_str(), probability);
        before = ", ";
    }
    std::puts(found.accepted ? "" : "\tnot sure");
}

int run(const std::string& folder, const std::vector<std::string>& all) {
    edge::EdgeModel model(folder);
    int status = 0;
    for (const std::string& given : all) try {
            print(given, classified(model, given));
        } catch (const edge::KitError& error) {
            std::fprintf(stderr, "%s: %s\n", given.c_str(), error.what());
            status = 1;
        }
    return status;
}

}  // namespace

int main(int count, char** words) {
    std::vector<std::string> given(words + 1, words + count);
    std::string folder = "model";
    if (given.size() > 1 && given.front() == "--model") {
        folder = given[1];
        given.erase(given.begin(), given.begin() + 2);
    }
    if (given.empty()) {
        std::fputs("edge-classify [--model FOLDER] FILE_OR_TEXT...\n", stderr);
        return 2;
    }
    try {
        return run(folder, given);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
