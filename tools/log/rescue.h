#pragma once

#include "tools/cli/program.h"

namespace reeve::log {

/// Both return an exit status; `coordinator`: of this node's coordinator instead of its worker.
int rescue(cli::Context& context, bool coordinator);
int resolve(cli::Context& context, bool coordinator);

}  // namespace reeve::log
