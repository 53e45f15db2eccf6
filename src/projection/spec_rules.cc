#include "projection/spec_rules.h"

namespace reeve::projection {

StateRules rules_of(const queue::JobSpec& spec) {
    StateRules out;
    out.has_after = !spec.after.empty();
    out.not_before_ms = spec.not_before_ms.value_or(0);
    out.deadline_ms = spec.deadline_ms.value_or(0);
    out.retry_max = spec.retry.max;
    out.backoff_ms = spec.retry.backoff_s * 1000;
    out.retry_failed = spec.retry.on_failed;
    out.retry_timeout = spec.retry.on_timeout;
    out.retry_lost = spec.retry.on_lost;
    return out;
}

StateRules rules_of_document(std::string_view canonical) {
    const auto spec = queue::parse_canonical(canonical);
    return spec ? rules_of(*spec) : StateRules{};
}

}  // namespace reeve::projection
