#include "queue/door/plain_document.h"

#include <algorithm>

namespace reeve::queue {
namespace {

/// Takes what it is asked for from the front, or nothing.
class Taker {
public:
    explicit Taker(std::string_view text) : text_(text) {}
    bool take(std::string_view expected) {
        const bool so = text_.starts_with(expected);
        text_.remove_prefix(so ? expected.size() : 0);
        return so;
    }
    /// What stands before the next quote, if all of it means itself.
    std::optional<std::string> take_text() {
        const auto end = text_.find('"');
        if (end == std::string_view::npos) {
            return std::nullopt;
        }
        const auto found = text_.substr(0, end);
        const bool plain = std::all_of(found.begin(), found.end(),
                                       [](char c) { return c >= ' ' && c <= '~' && c != '\\'; });
        if (!plain) {
            return std::nullopt;
        }
        text_.remove_prefix(end + 1);
        return std::string(found);
    }
    bool at_end() const { return text_.empty(); }

private:
    std::string_view text_;
};

}  // namespace

std::optional<JobSpec> read_plain(std::string_view canonical, std::size_t most_arguments,
                                  std::size_t most_name_bytes) {
    Taker in(canonical);
    JobSpec out;
    if (!in.take(R"({"argv":[")")) {
        return std::nullopt;
    }
    do {
        auto argument = in.take_text();
        if (!argument || out.argv.size() == most_arguments) {
            return std::nullopt;
        }
        out.argv.push_back(std::move(*argument));
    } while (in.take(R"(,")"));
    if (out.argv[0].empty() || !in.take("]")) {
        return std::nullopt;
    }
    if (in.take(R"(,"name":")")) {
        auto name = in.take_text();
        if (!name || name->empty() || name->size() > most_name_bytes) {
            return std::nullopt;
        }
        out.name = std::move(*name);
    }
    return in.take(R"(,"type":"command"})") && in.at_end() ? std::optional(std::move(out))
                                                           : std::nullopt;
}

}  // namespace reeve::queue
