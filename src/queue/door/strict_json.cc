#include "queue/door/strict_json.h"

#include <set>
#include <vector>

namespace reeve::queue {
namespace {

using nlohmann::json;

constexpr std::size_t max_depth = 32;

/// Builds the value and refuses what a lenient parser would let pass. A method that returns false
/// stops.
class StrictBuilder : public nlohmann::json_sax<json> {
public:
    std::string field;
    std::string why;
    json root;

    bool null() override { return add(nullptr); }
    bool boolean(bool value) override { return add(value); }
    bool number_integer(number_integer_t value) override { return add(value); }
    bool number_unsigned(number_unsigned_t value) override { return add(value); }
    bool number_float(number_float_t, const string_t& text) override {
        return refuse("the number " + text.substr(0, 40) +
                      " is not whole; write it without a point or exponent");
    }
    bool string(string_t& value) override { return add(std::move(value)); }
    bool binary(binary_t&) override { return refuse("binary values are not JSON"); }
    bool start_object(std::size_t) override { return open(json::object()); }
    bool start_array(std::size_t) override { return open(json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(string_t& value) override {
        if (!keys_.back().insert(value).second) {
            field = path() + "/" + value.substr(0, 80);
            why = "the key stands twice; keep one of them";
            return false;
        }
        key_ = std::move(value);
        return true;
    }
    bool parse_error(std::size_t position, const std::string&,
                     const json::exception& problem) override {
        if (why.empty()) {
            why = "not JSON at byte " + std::to_string(position) + ": " +
                  std::string(problem.what()).substr(0, 200) +
                  "; check it with: python3 -m json.tool";
        }
        return false;
    }

private:
    std::string path() const {
        std::string out;
        for (const auto& step : steps_) {
            out += "/" + step.substr(0, 80);
        }
        return out;
    }
    std::string here() const {
        if (stack_.empty()) {
            return "";
        }
        return path() + "/" +
               (stack_.back()->is_array() ? std::to_string(stack_.back()->size())
                                          : key_.substr(0, 80));
    }
    bool refuse(std::string reason) {
        field = here();
        why = std::move(reason);
        return false;
    }
    json* place(json value) {
        if (stack_.empty()) {
            root = std::move(value);
            return &root;
        }
        auto& parent = *stack_.back();
        if (parent.is_array()) {
            parent.push_back(std::move(value));
            return &parent.back();
        }
        return &(parent[key_] = std::move(value));
    }
    bool add(json value) {
        place(std::move(value));
        return true;
    }
    bool open(json value) {
        if (stack_.size() >= max_depth) {
            return refuse("nested deeper than " + std::to_string(max_depth) + " levels");
        }
        if (!stack_.empty()) {
            steps_.push_back(stack_.back()->is_array() ? std::to_string(stack_.back()->size())
                                                       : key_);
        }
        stack_.push_back(place(std::move(value)));
        keys_.emplace_back();
        return true;
    }
    bool close() {
        stack_.pop_back();
        keys_.pop_back();
        if (!steps_.empty()) {
            steps_.pop_back();
        }
        return true;
    }
    // Pointers into `root`: a container is only appended to while it is the innermost open one.
    std::vector<json*> stack_;
    std::vector<std::string> steps_;
    std::vector<std::set<std::string>> keys_;
    std::string key_;
};

}  // namespace

std::optional<json> parse_strict(std::string_view text, std::string& field, std::string& why) {
    StrictBuilder builder;
    if (!json::sax_parse(text.begin(), text.end(), &builder)) {
        field = builder.field;
        why = builder.why;
        return std::nullopt;
    }
    return std::move(builder.root);
}

}  // namespace reeve::queue
