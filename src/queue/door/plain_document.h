#pragma once

// Most documents say a command and perhaps a name, in printable ASCII: those are read without a
// JSON value being built. Private to the door.

#include <optional>
#include <string_view>

#include "queue/door/door.h"

namespace reeve::queue {

/// {"argv":["...",...],"name":"...","type":"command"}, the name or not, as check_document writes
/// it. Nothing for every other text, also for one that says the same in another way.
std::optional<JobSpec> read_plain(std::string_view canonical, std::size_t most_arguments,
                                  std::size_t most_name_bytes);

}  // namespace reeve::queue
