#include "runtime/thread_tasks.h"

#include <fmt/format.h>
#include <pthread.h>
#include <time.h>

#include <exception>
#include <system_error>

#include "runtime/os.h"

namespace reeve::runtime {

namespace {

class ThreadWaitPoint final : public env::WaitPoint {
public:
    void notify() override {
        // Under the lock, so that the sleeper cannot wake and destroy this before we are done.
        const std::lock_guard lock(mutex_);
        notified_ = true;
        condition_.notify_one();
    }

    bool wait_until(MonoTime deadline) override {
        std::unique_lock lock(mutex_);
        if (!wait_mono(condition_, lock, deadline, [this] { return notified_; })) {
            return false;
        }
        notified_ = false;
        return true;
    }

private:
    std::mutex mutex_;
    std::condition_variable condition_;
    bool notified_ = false;
};

}  // namespace

ThreadTasks::~ThreadTasks() {
    for (auto& thread : threads_) {
        thread.join();
    }
}

std::unique_ptr<env::WaitPoint> ThreadTasks::make_wait_point() {
    return std::make_unique<ThreadWaitPoint>();
}

void ThreadTasks::run(const std::string& name, const std::function<void()>& body) {
    ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
    try {
        body();
    } catch (const std::exception& e) {
        telemetry_.log(env::Level::error, "runtime",
                       fmt::format("task {} ended with an exception: {}", name, e.what()));
        std::terminate();
    }
    const std::lock_guard lock(mutex_);
    --running_;
    ended_.notify_all();
}

void ThreadTasks::spawn(const std::string& name, std::function<void()> body) {
    const std::lock_guard lock(mutex_);
    try {
        threads_.emplace_back([this, name, task = std::move(body)] { run(name, task); });
    } catch (const std::system_error& e) {
        telemetry_.log(env::Level::error, "runtime",
                       fmt::format("cannot start the thread of task {}: {}", name, e.what()));
        std::terminate();
    }
    ++running_;
}

void ThreadTasks::sleep_until(MonoTime deadline) {
    const auto ns = deadline.ns > 0 ? deadline.ns : 0;
    const timespec at{.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
    while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
    }
}

bool ThreadTasks::join_all(Duration timeout) {
    std::unique_lock lock(mutex_);
    const auto deadline = monotonic_now() + timeout;
    if (!wait_mono(ended_, lock, deadline, [this] { return running_ == 0; })) {
        return false;
    }
    auto threads = std::exchange(threads_, {});
    lock.unlock();
    for (auto& thread : threads) {
        thread.join();
    }
    return true;
}

}  // namespace reeve::runtime
