#pragma once

// Tasks and mailboxes: how the fixed set of sequential activities of a writer is run and how they
// meet.
//
// In production a task is a thread; in the simulator it runs under a baton, one at a time, in
// virtual time. A task makes no thread, reads no clock, has no mutable static, and shares nothing
// with another task but mailboxes and immutable snapshots. A killed writer's env calls throw
// Killed, which is caught at the task's root and nowhere else.

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace reeve::env {

/// Thrown by env calls of a writer that the simulator has killed. Not a std::exception on purpose.
struct Killed {};

/// One sleeper, any number of wakers: an auto-reset event. A notify without a sleeper is remembered
/// once.
class WaitPoint {
public:
    virtual ~WaitPoint() = default;
    virtual void notify() = 0;
    /// True when notified, false at the deadline. A point where time passes.
    virtual bool wait_until(MonoTime deadline) = 0;
};

class Tasks {
public:
    virtual ~Tasks() = default;
    virtual std::unique_ptr<WaitPoint> make_wait_point() = 0;
    /// Runs `body` as a task named `name` (at most 15 characters are shown by tools).
    virtual void spawn(const std::string& name, std::function<void()> body) = 0;
    virtual void sleep_until(MonoTime deadline) = 0;
};

/// A bounded queue with one receiving task and any number of senders. Owned by the receiver's node;
/// must outlive every sender. The lock is never held across a wait.
template <typename T>
class Mailbox {
public:
    Mailbox(Tasks& tasks, std::size_t capacity)
        : point_(tasks.make_wait_point()), capacity_(capacity) {}

    /// Code::full when the receiver is `capacity` messages behind: the sender decides what that
    /// means.
    Status push(T message) {
        {
            const std::lock_guard lock(mutex_);
            if (queue_.size() >= capacity_) {
                return Error{Code::full, "mailbox is full"};
            }
            queue_.push_back(std::move(message));
        }
        point_->notify();
        return ok();
    }

    /// Everything that has arrived, waiting until the deadline for the first; empty at the
    /// deadline.
    std::vector<T> take_all(MonoTime deadline) {
        auto out = drain();
        while (out.empty() && point_->wait_until(deadline)) {
            out = drain();
        }
        return out.empty() ? drain() : std::move(out);
    }

    /// One message, or nothing at the deadline.
    std::optional<T> take(MonoTime deadline) {
        for (;;) {
            {
                const std::lock_guard lock(mutex_);
                if (!queue_.empty()) {
                    T message = std::move(queue_.front());
                    queue_.pop_front();
                    return message;
                }
            }
            if (!point_->wait_until(deadline)) {
                const std::lock_guard lock(mutex_);
                if (queue_.empty()) {
                    return std::nullopt;
                }
            }
        }
    }

    std::size_t size() const {
        const std::lock_guard lock(mutex_);
        return queue_.size();
    }

private:
    std::vector<T> drain() {
        const std::lock_guard lock(mutex_);
        std::vector<T> out(std::make_move_iterator(queue_.begin()),
                           std::make_move_iterator(queue_.end()));
        queue_.clear();
        return out;
    }

    mutable std::mutex mutex_;
    std::deque<T> queue_;
    std::unique_ptr<WaitPoint> point_;
    std::size_t capacity_;
};

/// The newest immutable snapshot of something: one publisher, any number of readers.
template <typename T>
class Published {
public:
    void set(std::shared_ptr<const T> value) {
        const std::lock_guard lock(mutex_);
        value_ = std::move(value);
    }
    /// Null until the first set.
    std::shared_ptr<const T> get() const {
        const std::lock_guard lock(mutex_);
        return value_;
    }

private:
    mutable std::mutex mutex_;
    std::shared_ptr<const T> value_;
};

}  // namespace reeve::env
