#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "env/tasks.h"
#include "env/telemetry.h"

namespace reeve::runtime {

/// Tasks as threads, one each. A body that ends with an exception is a defect of this program: it
/// is logged and the process ends. Thread-safe. `telemetry` outlives this.
class ThreadTasks final : public env::Tasks {
public:
    explicit ThreadTasks(env::Telemetry& telemetry) : telemetry_(telemetry) {}
    ThreadTasks(const ThreadTasks&) = delete;
    ThreadTasks& operator=(const ThreadTasks&) = delete;
    /// Joins what still runs. A caller for whom join_all was false does not get here: it calls
    /// exit_now (process.h), because a task may hang on a share for ever.
    ~ThreadTasks() override;

    std::unique_ptr<env::WaitPoint> make_wait_point() override;
    void spawn(const std::string& name, std::function<void()> body) override;
    void sleep_until(MonoTime deadline) override;

    /// True when every task has ended within `timeout` and is joined; false when some still run.
    bool join_all(Duration timeout);

private:
    void run(const std::string& name, const std::function<void()>& body);

    env::Telemetry& telemetry_;
    std::mutex mutex_;
    std::condition_variable ended_;
    std::size_t running_ = 0;
    std::vector<std::thread> threads_;
};

}  // namespace reeve::runtime
