// tokens MODEL_FOLDER: for each line of the input, a text in hexadecimal bytes, prints its code
// points and the ids of its tokens.

#include <cstdio>
#include <iostream>
#include <string>

#include "files.hpp"
#include "wordpiece.hpp"

int main(int, char** words) {
    const std::filesystem::path folder = words[1];
    edge::Settings settings;
    for (const std::string& line : edge::lines_of(folder / "model.tsv"))
        settings[line.substr(0, line.find('\t'))] = line.substr(line.find('\t') + 1);
    const edge::WordPiece tokenizer(folder, settings);
    for (std::string line; std::getline(std::cin, line);) {
        std::string text;
        for (std::size_t at = 0; at + 1 < line.size(); at += 2)
            text += static_cast<char>(std::stoi(line.substr(at, 2), nullptr, 16));
        for (const char32_t code : edge::code_points(text)) std::printf("%x ", unsigned{code});
        std::printf("\t");
        for (const std::int64_t id : tokenizer.ids(text)) std::printf("%ld ", long{id});
        std::printf("\n");
    }
}
