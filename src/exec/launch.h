#pragma once

// From a plan to a process.

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "env/supervisor.h"
#include "exec/fd.h"

namespace reeve::exec {

struct Launched {
    pid_t pid = 0;
    Fd pidfd;  // absent when the kernel had no descriptor left: the leader is then seen by SIGCHLD
    Fd out;    // read ends, non-blocking
    Fd err;
};

/// Wins ready -> started in the attempt's directory, or says why not. Nothing may run without it.
Status win_local_claim(const std::string& directory);

/// Starts the plan in a session of its own. An error means that nothing ran.
Result<Launched> launch(const env::ExecPlan& plan);

}  // namespace reeve::exec
