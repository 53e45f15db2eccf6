#pragma once

namespace reeve::sim {

/// How many mutexes the calling thread holds now. Counted by the linker's --wrap of
/// pthread_mutex_lock in every program that links the simulator, so the code under test needs no
/// special mutex. Under fibers it is the count of the running task, because a task that holds one
/// may not be switched away.
int locks_held();

}  // namespace reeve::sim
