#pragma once

#include <functional>
#include <memory>

namespace reeve::sim {

/// How a task keeps its stack while another runs.
enum class Backend {
    fibers,   // Boost.Context; fast, the default
    threads,  // one OS thread a task, one at a time: a debugger shows every stack. The same digest.
};

/// One stack that runs until it yields. resume() and yield() hand the baton over: exactly one of
/// the scheduler and its strands runs at any time, whatever the backend.
class Strand {
public:
    virtual ~Strand() = default;  // only after the body has returned, or before the first resume
    /// From the scheduler: runs the body until it yields or returns.
    virtual void resume() = 0;
    /// From the body: back to the scheduler.
    virtual void yield() = 0;
};

/// The body must not throw.
std::unique_ptr<Strand> make_strand(Backend backend, std::function<void()> body);

}  // namespace reeve::sim
