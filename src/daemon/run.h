#pragma once

#include "node/config.h"

namespace reeve::daemon {

/// The whole life of a daemon: options, configuration, wiring, signals. Returns the exit status.
int run_daemon(node::Role role, int argc, char** argv);

}  // namespace reeve::daemon
