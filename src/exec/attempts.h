#pragma once

// The attempts that run now: from the local claim to the outcome.
//
//     begin -> running --(TERM: time limit or stop)--> stopping --(KILL after grace)--> killed
//                 |                                       |                               |
//                 +------------ the leader ends ----------+-------------------------------+
//                                      |
//         kill(-pid, KILL) while the leader is a zombie (its group's number cannot be used again),
//         wait4(pid), then `ending`: escapees are killed and the pipes drained, for 200 ms at most
//                                      |
//                                   outcome
//
// This process is a subreaper: what an attempt leaves behind becomes our child, and the tag in its
// environment says whose it was. A helper that detached itself from a running attempt is left alone
// until that ends. One that cleared its environment is killed when nothing runs that it could
// belong to. Nobody here ever waits for "any child".
//
// Single-threaded, driven by the event loop of the server. Owns the processes and their pipes.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "env/supervisor.h"
#include "exec/capture.h"
#include "exec/fd.h"
#include "exec/launch.h"

namespace reeve::exec {

/// What an event of the epoll set is about; the rest of its 64 bits is an id.
enum class Watch : std::uint8_t { listener, signals, connection, leader, out, err };
constexpr std::uint64_t watch_data(Watch what, std::uint64_t id) {
    return id << 8 | static_cast<std::uint8_t>(what);
}

class Attempts {
public:
    /// Adds its descriptors to `epoll_fd`, with Watch::leader, out and err.
    explicit Attempts(int epoll_fd) : epoll_fd_(epoll_fd) {}

    bool running(const AttemptId& attempt) const { return ids_.contains(attempt); }
    std::vector<AttemptId> all_running() const;
    std::size_t count() const { return active_.size(); }

    /// The local claim must have been won. Whatever goes wrong becomes an outcome.
    void begin(const env::ExecPlan& plan);
    /// An outcome of an attempt that is not to run, without starting anything.
    void decline(const AttemptId& attempt, std::string reason);
    void stop(const AttemptId& attempt, std::int64_t grace_ms);
    /// TERM to all; each keeps its own grace. Again: KILL to all.
    void stop_all();

    void on_event(Watch what, std::uint64_t id);
    /// SIGCHLD: ended escapees are reaped, fresh ones looked at.
    void on_child();
    /// Carries out what is due.
    void tick(MonoTime now);
    /// When tick is to be called next.
    MonoTime next_deadline() const;

    /// What has ended since the last call, in order; without numbers.
    std::vector<env::ExecOutcome> take_finished();

private:
    struct Active {
        AttemptId attempt;
        std::string tag;  // text of the attempt
        std::int64_t grace_ms = 0;
        Launched process;
        Capture out;
        Capture err;
        MonoTime began;
        MonoTime deadline = MonoTime::never();  // of the time limit, or of KILL after TERM
        std::optional<env::ExecEnd> asked;      // why TERM was sent
        bool ending = false;
        MonoTime give_up = MonoTime::never();  // on escapees and open pipes
        env::ExecOutcome outcome;
    };

    void watch(Watch what, std::uint64_t id, int fd);
    void drain(Capture& capture);
    void terminate(Active& active, env::ExecEnd why, std::int64_t grace_ms);
    void kill_group(Active& active);
    bool leader_ended(const Active& active) const;
    void reap_leader(Active& active);
    void end_leader(Active& active);
    bool is_leader(pid_t pid) const;
    int sweep();
    bool is_stray(const std::optional<std::string>& tag) const;
    bool settled(Active& active, int strays) const;
    void finish_ending(MonoTime now);

    int epoll_fd_;
    std::uint64_t next_id_ = 1;
    std::map<std::uint64_t, Active> active_;
    std::map<AttemptId, std::uint64_t> ids_;
    std::vector<env::ExecOutcome> finished_;
    bool stopping_all_ = false;
};

}  // namespace reeve::exec
