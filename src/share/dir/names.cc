#include "share/dir/names.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/hash.h"

namespace reeve::share {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }

bool plain(char c) {
    return digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' ||
           c == '-';
}

/// Bytes that follow a UTF-8 lead byte; -1 for a byte that leads nothing.
int utf8_followers(std::uint8_t lead) {
    if (lead < 0x80) {
        return 0;
    }
    if (lead >= 0xC2 && lead <= 0xDF) {
        return 1;
    }
    if (lead >= 0xE0 && lead <= 0xEF) {
        return 2;
    }
    return lead >= 0xF0 && lead <= 0xF4 ? 3 : -1;
}

/// Overlong forms and surrogates hide in the second byte.
bool second_byte_fits(std::uint8_t lead, std::uint8_t second) {
    switch (lead) {
        case 0xE0: return second >= 0xA0;
        case 0xED: return second <= 0x9F;
        case 0xF0: return second >= 0x90;
        case 0xF4: return second <= 0x8F;
        default: return true;
    }
}

bool valid_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto lead = static_cast<std::uint8_t>(text[i]);
        const int followers = utf8_followers(lead);
        if (followers < 0 || text.size() - i <= static_cast<std::size_t>(followers)) {
            return false;
        }
        for (std::size_t k = 1; k <= static_cast<std::size_t>(followers); ++k) {
            const auto next = static_cast<std::uint8_t>(text[i + k]);
            if ((next & 0xC0) != 0x80 || (k == 1 && !second_byte_fits(lead, next))) {
                return false;
            }
        }
        i += static_cast<std::size_t>(followers) + 1;
    }
    return true;
}

}  // namespace

bool valid_component(std::string_view name) {
    return !name.empty() && name.size() <= max_name_bytes && name[0] != '.' &&
           std::all_of(name.begin(), name.end(), plain);
}

bool valid_relative_path(std::string_view path) {
    if (path.size() > max_path_bytes) {
        return false;
    }
    for (;;) {
        const auto slash = path.find('/');
        if (!valid_component(path.substr(0, slash))) {
            return false;
        }
        if (slash == std::string_view::npos) {
            return true;
        }
        path.remove_prefix(slash + 1);
    }
}

bool valid_dropped_name(std::string_view name) {
    const auto hostile = [](char c) {
        const auto byte = static_cast<std::uint8_t>(c);
        return byte < 0x20 || byte == 0x7F || c == '/';
    };
    return name.size() > 5 && name.size() <= max_name_bytes && name[0] != '.' &&
           name.ends_with(".json") && std::none_of(name.begin(), name.end(), hostile) &&
           valid_utf8(name);
}

std::string ten_digits(std::uint64_t value) {
    const auto text = std::to_string(value);
    return text.size() >= 10 ? text : std::string(10 - text.size(), '0') + text;
}

std::optional<std::uint64_t> parse_decimal(std::string_view text) {
    if (text.empty() || text.size() > 18 || (text.size() > 1 && text[0] == '0') ||
        !std::all_of(text.begin(), text.end(), digit)) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    for (const char c : text) {
        value = value * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return value;
}

std::optional<std::uint64_t> parse_ten_digits(std::string_view text) {
    if (text.size() != 10 || !std::all_of(text.begin(), text.end(), digit)) {
        return std::nullopt;
    }
    const auto first = std::min(text.find_first_not_of('0'), text.size() - 1);
    return parse_decimal(text.substr(first));
}

std::string claim_bucket(const JobId& job) {
    const auto crc = crc32c(ByteView(job.bytes));
    const std::array<std::uint8_t, 1> top{static_cast<std::uint8_t>(crc >> 24)};
    return to_hex(top);
}

}  // namespace reeve::share
