#include "edge_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

namespace edge {
namespace {

constexpr const char* kContract = "1";

Settings settings_in(const std::filesystem::path& folder) {
    Settings found;
    for (const std::string& line : lines_of(folder / "model.tsv")) {
        const std::size_t end = std::min(line.find('\t'), line.size());
        found[line.substr(0, end)] = line.substr(std::min(end + 1, line.size()));
    }
    if (found["contract"] != kContract)
        throw KitError(folder.string() + " holds a model of contract " + found["contract"] +
                       ", and this kit reads " + kContract + ": make the kit again");
    return found;
}

Ort::SessionOptions options_of(const Settings& settings, int threads) {
    const std::string prefix = "session.";
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(threads);
    for (const auto& [name, value] : settings)
        if (name.compare(0, prefix.size(), prefix) == 0)
            options.AddConfigEntry(name.c_str() + prefix.size(), value.c_str());
    return options;
}

/// A tensor over numbers that the caller keeps.
template <typename Number>
Ort::Value tensor(const std::vector<Number>& numbers, const std::vector<std::int64_t>& shape) {
    static const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    return Ort::Value::CreateTensor<Number>(memory, const_cast<Number*>(numbers.data()),
                                            numbers.size(), shape.data(), shape.size());
}

}  // namespace

EdgeModel::EdgeModel(const std::filesystem::path& folder, int threads)
    : settings_(settings_in(folder)),
      labels_(lines_of(folder / "labels.txt")),
      inputs_(parted(setting("inputs"), ',')),
      output_(setting("output")),
      temperature_(number("temperature")),
      threshold_(number("threshold")) {
    if (!(temperature_ > 0)) throw KitError("model.tsv: temperature is not above zero");
    if (setting("kind") == "text") tokenizer_.emplace(folder, settings_);
    setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // before ONNX Runtime's environment is made
    try {
        env_ = Ort::Env(ORT_LOGGING_LEVEL_ERROR, "edge_model");
        session_ = Ort::Session(env_, (folder / "model.onnx").c_str(),
                                options_of(settings_, threads));
    } catch (const Ort::Exception& error) {
        throw KitError(folder.string() + ": ONNX Runtime cannot open it: " + error.what());
    }
}

const std::string& EdgeModel::setting(const std::string& name) const {
    const auto found = settings_.find(name);
    if (found == settings_.end()) throw KitError("model.tsv says nothing of " + name);
    return found->second;
}

double EdgeModel::number(const std::string& name) const {
    return number_in<double>(setting(name), "model.tsv, " + name);
}

std::vector<float> EdgeModel::logits(const Picture& picture) {
    std::vector<Ort::Value> feeds;
    feeds.push_back(tensor(picture.rgb, {1, picture.height, picture.width, 3}));
    return run(feeds);
}

std::vector<float> EdgeModel::logits(const std::vector<std::int64_t>& ids) {
    const std::vector<std::int64_t> ones(ids.size(), 1), zeros(ids.size(), 0);
    const std::vector<std::int64_t> shape{1, static_cast<std::int64_t>(ids.size())};
    std::vector<Ort::Value> feeds;
    for (const std::string& name : inputs_)
        feeds.push_back(
            tensor(name == "input_ids" ? ids : name == "attention_mask" ? ones : zeros, shape));
    return run(feeds);
}

std::vector<float> EdgeModel::run(const std::vector<Ort::Value>& feeds) {
    std::vector<const char*> names;
    for (const std::string& name : inputs_) names.push_back(name.c_str());
    const char* output = output_.c_str();
    std::vector<float> found;
    try {
        const auto given = session_.Run(Ort::RunOptions{nullptr}, names.data(), feeds.data(),
                                        std::min(feeds.size(), names.size()), &output, 1);
        const auto info = given.front().GetTensorTypeAndShapeInfo();
        if (info.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
            throw KitError("the model gives no 32-bit floats");
        const auto* first = given.front().GetTensorData<float>();
        found.assign(first, first + info.GetElementCount());
    } catch (const Ort::Exception& error) {
        throw KitError(std::string("ONNX Runtime cannot run the model: ") + error.what());
    }
    const auto is_finite = [](float each) { return std::isfinite(each); };
    if (found.size() != labels_.size() || !std::all_of(found.begin(), found.end(), is_finite))
        throw KitError("the model gives " + std::to_string(found.size()) +
                       " numbers, not one of each label");
    return found;
}

Classified EdgeModel::decide(const std::vector<float>& logits, std::size_t top) const {
    const double largest = *std::max_element(logits.begin(), logits.end()) / temperature_;
    std::vector<double> shares;
    for (const float each : logits) shares.push_back(std::exp(each / temperature_ - largest));
    const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);

    std::vector<std::size_t> best(logits.size());
    std::iota(best.begin(), best.end(), 0U);
    std::stable_sort(best.begin(), best.end(), [&](std::size_t one, std::size_t other) {
        return shares[one] > shares[other];
    });
    best.resize(std::clamp<std::size_t>(top, 1, best.size()));
    Classified found{{}, shares[best.front()] / sum >= threshold_};
    for (const std::size_t each : best) found.labels.push_back({labels_[each], shares[each] / sum});
    return found;
}

Classified EdgeModel::classify(const Picture& picture, std::size_t top) {
    return decide(logits(picture), top);
}

Classified EdgeModel::classify(std::string_view text, std::size_t top) {
    return decide(logits(tokenizer().ids(text)), top);
}

std::string EdgeModel::runtime() {
    return "onnxruntime " + Ort::GetVersionString();
}

}  // namespace edge
