#pragma once

// Moments as text: RFC 3339 in UTC with milliseconds. Reads no clock.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace reeve {

/// "2026-01-02T03:04:05.678Z"; `ms` since 1970-01-01 UTC.
std::string rfc3339(std::int64_t ms);
/// The UTC day, "2026-01-02".
std::string utc_day(std::int64_t ms);
/// YYYY-MM-DDTHH:MM:SS[.mmm]Z from 1970 on, nothing else: no other zone, no blanks, no leap second.
std::optional<std::int64_t> parse_rfc3339(const std::string& text);

}  // namespace reeve
