#pragma once

// Which names of the shared directory are ours. Everything there may be hostile: a name that does
// not pass here is never opened, and nothing that passes leads out of the root.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace reeve::share {

constexpr std::size_t max_name_bytes = 200;
constexpr std::size_t max_path_bytes = 1024;

/// One component: [A-Za-z0-9._-]+, not starting with a dot, at most max_name_bytes.
bool valid_component(std::string_view name);
/// A relative path of valid components.
bool valid_relative_path(std::string_view path);
/// A dropped job file: *.json, no leading dot, no slash, no control character, valid UTF-8.
bool valid_dropped_name(std::string_view name);

/// "0000000007": fixed width, so that names sort like numbers.
std::string ten_digits(std::uint64_t value);
/// The canonical inverse; nothing for any other text.
std::optional<std::uint64_t> parse_ten_digits(std::string_view text);
/// Decimal without leading zeros, at most 18 digits.
std::optional<std::uint64_t> parse_decimal(std::string_view text);

/// claims/<xx>: two hexadecimal digits, the top byte of the CRC32C of the job's 16 bytes.
std::string claim_bucket(const JobId& job);

}  // namespace reeve::share
