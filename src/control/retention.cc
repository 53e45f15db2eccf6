#include "control/retention.h"

#include <toml++/toml.h>
#include <algorithm>
#include <sstream>

namespace reeve::control {
namespace {

constexpr std::int64_t day_ms = 86'400'000;
constexpr std::int64_t most_days = 36'500;
constexpr std::int64_t most_gib = 1 << 20;
constexpr const char* archive_table = "archive";

Error at(const std::string& name, const toml::source_position& where, const std::string& what) {
    return Error{Code::invalid, name + ":" + std::to_string(where.line) + ":" +
                                    std::to_string(where.column) + ": " + what};
}

Status read_number(const std::string& name, const std::string& key, const toml::node& node,
                   std::int64_t most, std::int64_t& out) {
    const auto value = node.value_exact<std::int64_t>();
    if (value && *value >= 0 && *value <= most) {
        out = *value;
        return ok();
    }
    std::ostringstream text;
    node.visit([&](const auto& one) { text << one; });
    return at(name, node.source().begin,
              "'" + key + "' is " + text.str().substr(0, 80) +
                  "; accepted: a whole number from 0 to " + std::to_string(most));
}

Status read_rule(const std::string& name, const std::string& what, bool bounded,
                 const toml::table& table, RetentionRule& out) {
    const std::string prefix = what + ".";
    for (const auto& [key, node] : table) {
        if (key.str() == "age_days") {
            TRY(read_number(name, prefix + "age_days", node, most_days, out.age_days));
        } else if (bounded && key.str() == "total_gib") {
            std::int64_t gib = 0;
            TRY(read_number(name, prefix + "total_gib", node, most_gib, gib));
            out.total_bytes = static_cast<std::uint64_t>(gib) << 30;
        } else {
            return at(name, node.source().begin,
                      "unknown key '" + prefix + std::string(key.str()) +
                          "'; accepted here: " + (bounded ? "age_days, total_gib" : "age_days"));
        }
    }
    return ok();
}

}  // namespace

const char* retention_class_name(RetentionClass what) {
    switch (what) {
        case RetentionClass::results: return "results";
        case RetentionClass::rendering: return "rendering";
        case RetentionClass::rejected: return "rejected";
        case RetentionClass::quarantine: return "quarantine";
    }
    return "unknown";
}

Result<RetentionPolicy> parse_retention(const std::string& text, const std::string& name) {
    toml::table table;
    try {
        table = toml::parse(text);
    } catch (const toml::parse_error& problem) {
        return at(name, problem.source().begin, std::string(problem.description()));
    }
    RetentionPolicy out;
    for (const auto& [key, node] : table) {
        const auto name_of_table = key.str();
        if (name_of_table == archive_table && node.as_table() != nullptr) {
            RetentionRule rule{out.archive_days, 0};
            TRY(read_rule(name, archive_table, false, *node.as_table(), rule));
            out.archive_days = rule.age_days;
            continue;
        }
        const auto what = std::find_if(
            retention_classes.begin(), retention_classes.end(),
            [&](const RetentionClass one) { return name_of_table == retention_class_name(one); });
        if (what == retention_classes.end()) {
            return at(name, node.source().begin,
                      "unknown key '" + std::string(key.str()) +
                          "'; accepted here: the tables results, rendering, rejected, quarantine, "
                          "archive");
        }
        if (node.as_table() == nullptr) {
            return at(name, node.source().begin,
                      "'" + std::string(key.str()) + "' is no table; accepted: [" +
                          std::string(key.str()) + "]");
        }
        TRY(read_rule(name, retention_class_name(*what), *what == RetentionClass::results,
                      *node.as_table(), out.of(*what)));
    }
    return out;
}

std::vector<RetentionRemoval> what_goes(const RetentionPolicy& policy,
                                        std::vector<RetentionItem> items, std::int64_t now_ms) {
    std::sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
        return std::tie(a.what, a.changed_ms, a.name) < std::tie(b.what, b.changed_ms, b.name);
    });
    std::array<std::uint64_t, retention_classes.size()> left{};
    for (const auto& item : items) {
        left[static_cast<std::size_t>(item.what)] += item.bytes;
    }
    std::vector<RetentionRemoval> out;
    // What is too old first, so that the bound looks at what stays.
    for (const bool by_age : {true, false}) {
        std::vector<RetentionItem> rest;
        for (auto& item : items) {
            const auto& rule = policy.of(item.what);
            auto& total = left[static_cast<std::size_t>(item.what)];
            const std::int64_t age_ms = now_ms - item.changed_ms;
            const bool old = rule.age_days > 0 && age_ms > rule.age_days * day_ms;
            const bool crowded =
                rule.total_bytes > 0 && total > rule.total_bytes && age_ms > day_ms;
            if (!item.kept_because.empty() || !(by_age ? old : crowded)) {
                rest.push_back(std::move(item));
                continue;
            }
            total -= item.bytes;
            out.push_back(
                {std::move(item), by_age ? "older than " + std::to_string(rule.age_days) + " days"
                                         : std::string("the oldest, over the bound of the class")});
        }
        items = std::move(rest);
    }
    std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
        return std::tie(a.item.what, a.item.changed_ms) < std::tie(b.item.what, b.item.changed_ms);
    });
    return out;
}

}  // namespace reeve::control
