#pragma once

// A writer that was replaced holds events that the share's log does not: what it accepted while it
// could not share. They are said again, as a new incarnation of the log that went on.

#include <cstdint>
#include <string>

#include "env/env.h"
#include "node/config.h"
#include "share/share.h"

namespace reeve::node {

struct Rescue {
    std::uint64_t events = 0;  // that were said again
    std::string kept;          // where this disk's own version of the log lies now
};

/// The daemon of this writer must not run. What was begun and interrupted is gone on with when it
/// is called again: the old log is moved aside first, and nothing of it is removed.
/// Code::not_found: the share has no log of this writer, so nothing else went on.
Result<Rescue> rescue_log(env::Env env, share::Share& share, const NodeConfig& config);

}  // namespace reeve::node
