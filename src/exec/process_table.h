#pragma once

// Which processes belong to an attempt: read from /proc, by the tag REEVE_ATTEMPT in their
// environment, which children inherit unless they clear it.

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "exec/fd.h"

namespace reeve::exec {

constexpr std::string_view attempt_tag = "REEVE_ATTEMPT=";

struct ProcessLook {
    bool zombie = false;             // ended, waits for its parent
    std::optional<std::string> tag;  // value of REEVE_ATTEMPT; absent too when it cannot be read
};

/// A descriptor of the process (readable when it has ended), or none.
Fd open_process(pid_t pid);

/// Nothing when there is no such process.
std::optional<ProcessLook> look_at(pid_t pid);

/// The children of this (single-threaded) process, ended ones too.
std::vector<pid_t> own_children();

/// Every process of the machine but this one, in no order.
std::vector<pid_t> all_processes();

/// Kills everything but this process that carries `tag`, until two looks in a row find nothing.
/// Returns how many processes that were; Code::timeout when some are still there after `limit`.
Result<int> kill_tagged(std::string_view tag, Duration limit);

}  // namespace reeve::exec
