#pragma once

// What a bench that writes or reads logs stands on: the production environment and a cluster of its
// own.

#include "env/env.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/thread_tasks.h"
#include "tests/lib/test_identity.h"

namespace reeve::bench {

inline const eventlog::ClusterId cluster{7};

struct World {
    runtime::PosixClock clock;
    runtime::PosixFileSystem files;
    runtime::SpdlogTelemetry telemetry;
    runtime::ThreadTasks tasks{telemetry};
    runtime::OsEntropy entropy;
    eventlog::Trust trust = testing_support::test_trust(cluster);
    env::Env env() { return {clock, files, tasks, entropy, telemetry}; }
};

}  // namespace reeve::bench
