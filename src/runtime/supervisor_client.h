#pragma once

// The worker's end of the supervisor reeve-exec: dials it, starts it when none answers (if it may).
//
// Threads: one calls connect() and next(), any call the rest. Owns its connection only: the
// supervisor that it started is detached and outlives it, which is its purpose. Requests that the
// socket does not take at once wait in a bounded queue that next() empties; when that is full the
// connection is given up, so that the hello after the next connect puts everything right.

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "env/supervisor.h"

namespace reeve::runtime {

class SupervisorClient final : public env::Supervisor {
public:
    /// `program_path` is started as `program --state state_dir --socket socket_path`, with its
    /// output appended to `log_path`. Directories that are missing are made. An empty path starts
    /// nothing: a service manager keeps the supervisor, and the client waits for it.
    SupervisorClient(std::string program_path, std::string state_dir, std::string socket_path,
                     std::string log_path);
    SupervisorClient(const SupervisorClient&) = delete;
    SupervisorClient& operator=(const SupervisorClient&) = delete;
    ~SupervisorClient() override;

    /// Takes at most about 5 s. Code::unavailable when no supervisor could be reached or started,
    /// Code::unsupported once after one of another version answered.
    Status connect(std::uint64_t last_recorded) override;
    Status start(const env::ExecPlan& plan) override;
    Status stop(const AttemptId& attempt, std::int64_t grace_ms) override;
    Status acknowledge(std::uint64_t number) override;
    void reconnect() override;
    std::optional<env::SupervisorMessage> next(MonoTime deadline) override;
    /// Takes at most about 2 s. Code::timeout when some processes do not go.
    Result<int> kill_strays(const AttemptId& attempt) override;

private:
    class Link;

    Result<std::shared_ptr<Link>> dial() const;
    Status launch() const;
    Status send(Bytes packet);
    std::shared_ptr<Link> link();
    void drop(const std::shared_ptr<Link>& broken);
    bool flush(const std::shared_ptr<Link>& to);
    std::optional<env::SupervisorMessage> receive(const std::shared_ptr<Link>& from);

    const std::string program_path_;
    const std::string state_dir_;
    const std::string socket_path_;
    const std::string log_path_;
    const int wake_fd_;  // an eventfd: what next() waits for has changed

    std::mutex mutex_;
    std::shared_ptr<Link> link_;     // under mutex_
    std::deque<Bytes> unsent_;       // under mutex_
    std::size_t unsent_bytes_ = 0;   // under mutex_
    std::optional<Error> mismatch_;  // of the thread of connect() and next()
    Bytes buffer_;                   // likewise
};

}  // namespace reeve::runtime
