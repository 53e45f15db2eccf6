#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/bytes.h"

namespace reeve::queue {

/// JSON that says one thing only: valid UTF-8, no duplicate keys, bounded depth, nothing behind it,
/// numbers that are whole. On failure nothing, and `why` and `field` say what and where.
std::optional<nlohmann::json> parse_strict(std::string_view text, std::string& field,
                                           std::string& why);

}  // namespace reeve::queue
