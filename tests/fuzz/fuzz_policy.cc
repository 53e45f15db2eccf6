// retention.toml.

#include "control/retention.h"
#include "tests/fuzz/fuzz.h"

using namespace reeve;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(as_text(ByteView(data, size)));
    const auto policy = control::parse_retention(text, "retention.toml");
    if (!policy) {
        REQUIRE(policy.error().code == Code::invalid);
        REQUIRE(policy.error().message.find("retention.toml") != std::string::npos);
        return 0;
    }
    // Nothing that was written a moment ago or in the future goes, whatever the policy says (I8).
    constexpr std::int64_t now_ms = 1'700'000'000'000;
    std::vector<control::RetentionItem> items;
    for (const auto what : control::retention_classes) {
        REQUIRE(policy->of(what).age_days >= 0);
        items.push_back({what, "new", 1, 1ULL << 50, now_ms, ""});
        items.push_back({what, "later", 1, 1ULL << 50, now_ms + 86'400'000, ""});
        items.push_back({what, "needed", 1, 1ULL << 50, 0, "it is the last good one"});
    }
    REQUIRE(control::what_goes(*policy, items, now_ms).empty());
    return 0;
}
