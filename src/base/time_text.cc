#include "base/time_text.h"

#include <array>
#include <chrono>
#include <cstdio>

namespace reeve {
namespace {

constexpr std::int64_t day_ms = 86'400'000;

/// Every 'd' of `shape` a digit, every other character itself.
bool has_shape(std::string_view text, std::string_view shape) {
    if (text.size() != shape.size()) {
        return false;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool digit = text[i] >= '0' && text[i] <= '9';
        if (shape[i] == 'd' ? !digit : text[i] != shape[i]) {
            return false;
        }
    }
    return true;
}

int number(std::string_view digits) {
    int out = 0;
    for (const char c : digits) {
        out = out * 10 + (c - '0');
    }
    return out;
}

std::int64_t floor_days(std::int64_t ms) { return (ms >= 0 ? ms : ms - (day_ms - 1)) / day_ms; }

}  // namespace

std::string utc_day(std::int64_t ms) {
    const std::chrono::year_month_day date{
        std::chrono::sys_days{std::chrono::days{floor_days(ms)}}};
    std::array<char, 32> out{};
    std::snprintf(out.data(), out.size(), "%04d-%02u-%02u", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
    return out.data();
}

std::string rfc3339(std::int64_t ms) {
    const auto in_day = static_cast<int>(ms - floor_days(ms) * day_ms);
    std::array<char, 48> out{};
    std::snprintf(out.data(), out.size(), "T%02d:%02d:%02d.%03dZ", in_day / 3'600'000,
                  in_day / 60'000 % 60, in_day / 1000 % 60, in_day % 1000);
    return utc_day(ms) + out.data();
}

std::optional<std::int64_t> parse_rfc3339(const std::string& text) {
    const bool fraction = has_shape(text, "dddd-dd-ddTdd:dd:dd.dddZ");
    if (!fraction && !has_shape(text, "dddd-dd-ddTdd:dd:ddZ")) {
        return std::nullopt;
    }
    const auto part = [&](std::size_t at, std::size_t n) {
        return number(std::string_view(text).substr(at, n));
    };
    const int year = part(0, 4), h = part(11, 2), mi = part(14, 2), s = part(17, 2);
    const std::chrono::year_month_day date{std::chrono::year(year),
                                           std::chrono::month(static_cast<unsigned>(part(5, 2))),
                                           std::chrono::day(static_cast<unsigned>(part(8, 2)))};
    if (!date.ok() || year < 1970 || h > 23 || mi > 59 || s > 59) {
        return std::nullopt;
    }
    const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
    return ((days * 24 + h) * 60 + mi) * 60'000 + s * 1000 + (fraction ? part(20, 3) : 0);
}

}  // namespace reeve
