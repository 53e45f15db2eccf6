#pragma once

// What may be removed, and when: the text of retention.toml, and the decision over an inventory.
// Both pure. Nothing is removed that is not of one of these classes (I8).

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace reeve::control {

enum class RetentionClass : std::uint8_t { results, rendering, rejected, quarantine };
constexpr std::array<RetentionClass, 4> retention_classes = {
    RetentionClass::results, RetentionClass::rendering, RetentionClass::rejected,
    RetentionClass::quarantine};
const char* retention_class_name(RetentionClass what);

struct RetentionRule {
    std::int64_t age_days = 0;  // 0: nothing goes because of its age
    std::uint64_t total_bytes =
        0;  // 0: no bound; else the oldest go first, none younger than a day
};

struct RetentionPolicy {
    std::array<RetentionRule, retention_classes.size()> rules = {
        RetentionRule{30, 20ULL << 30}, RetentionRule{30, 0}, RetentionRule{30, 0},
        RetentionRule{90, 0}};
    std::int64_t archive_days = 30;  // segments that were over for so long are compressed; 0: never
    const RetentionRule& of(RetentionClass what) const {
        return rules[static_cast<std::size_t>(what)];
    }
    RetentionRule& of(RetentionClass what) { return rules[static_cast<std::size_t>(what)]; }
};

/// `name` stands in errors: file, line, column, key, value, and what is accepted. Code::invalid.
/// What the text does not say keeps its default.
Result<RetentionPolicy> parse_retention(const std::string& text, const std::string& name);

/// Something that goes or stays as a whole: the results of a job, a day of the rendering, a refused
/// file, a segment in quarantine.
struct RetentionItem {
    RetentionClass what = RetentionClass::results;
    std::string name;
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
    std::int64_t changed_ms = 0;  // when the youngest part of it was written
    std::string kept_because;     // not empty: it stays whatever its age
};

struct RetentionRemoval {
    RetentionItem item;
    std::string reason;
};

/// What goes at `now_ms`: class by class, the oldest first. What was written in the future stays.
std::vector<RetentionRemoval> what_goes(const RetentionPolicy& policy,
                                        std::vector<RetentionItem> items, std::int64_t now_ms);

}  // namespace reeve::control
