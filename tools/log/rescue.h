#pragma once

#include "tools/cli/program.h"

namespace reeve::log {

/// Both return an exit status; `coordinator`: of this node's coordinator instead of its worker.
int rescue(cli::Context& context, bool coordinator);
int resolve(cli::Context& context, bool coordinator);
/// An operator's word that the log of `writer`, which was cut at a fork, goes on there.
int decide(cli::Context& context, const std::string& writer, const std::string& reason,
           const std::string& operator_key);

}  // namespace reeve::log
