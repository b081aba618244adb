#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "files.hpp"
#include "pictures.hpp"
#include "wordpiece.hpp"

namespace edge {

/// A class and its probability.
struct Label {
    std::string name;
    double probability;
};

/// The likeliest labels, best first; `accepted` is false where the model is too unsure.
struct Classified {
    std::vector<Label> labels;
    bool accepted;
};

/// The model of a folder, opened once. Every error is a KitError that says it in words.
class EdgeModel {
public:
    explicit EdgeModel(const std::filesystem::path& folder, int threads = 1);

    bool takes_texts() const { return tokenizer_.has_value(); }
    const WordPiece& tokenizer() const { return tokenizer_.value(); }

    /// What model.tsv says under a name.
    const std::string& setting(const std::string& name) const;
    double number(const std::string& name) const;

    /// One number of each label, for a picture or for token ids.
    std::vector<float> logits(const Picture& picture);
    std::vector<float> logits(const std::vector<std::int64_t>& ids);

    /// The labels of the largest logits, and whether the model is sure enough of one.
    Classified decide(const std::vector<float>& logits, std::size_t top = 3) const;

    Classified classify(const Picture& picture, std::size_t top = 3);
    Classified classify(std::string_view text, std::size_t top = 3);

    /// "onnxruntime" and the version of the library that runs.
    static std::string runtime();

private:
    std::vector<float> run(const std::vector<Ort::Value>& feeds);

    Settings settings_;
    std::vector<std::string> labels_, inputs_;
    std::string output_;
    double temperature_, threshold_;
    std::optional<WordPiece> tokenizer_;
    Ort::Env env_{nullptr};
    Ort::Session session_{nullptr};
};

}  // namespace edge
