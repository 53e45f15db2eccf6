#pragma once

// The event loop of the supervisor: its socket, its signals, the attempts and their outcomes.
//
// One client is served, the one that said hello last: a worker that was restarted replaces itself.
// Outcomes are told by number, from a cursor; nothing is queued twice for a client that does not
// read. SIGTERM ends every attempt (TERM, KILL after its grace), records the outcomes and leaves; a
// second one does not wait for the grace. SIGKILL leaves orphans, which the worker finds by tag.

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <variant>

#include "base/result.h"
#include "base/time.h"
#include "exec/attempts.h"
#include "exec/fd.h"
#include "exec/outcome_file.h"
#include "exec/protocol.h"

namespace reeve::exec {

struct ServerOptions {
    std::string state_directory;
    std::string socket_path;
    Duration idle_exit{};  // 0: never
};

class Server {
public:
    /// Takes the lock of the state directory and the socket. Code::conflict when another supervisor
    /// has either. SIGTERM, SIGINT, SIGHUP and SIGCHLD must be blocked and come in by `signal_fd`.
    static Result<std::unique_ptr<Server>> open(const ServerOptions& options, Fd signal_fd);
    ~Server();
    /// Until told to stop, or idle.
    Status run();

private:
    struct Connection {
        Fd fd;
        bool greeted = false;
        bool hello_due = false;
        bool wants_write = false;
        std::uint64_t told = 0;  // outcomes up to here have been told
        // Told out of turn: outcomes that were asked for again (by number), refusals.
        std::deque<std::variant<std::uint64_t, env::ExecRefused>> extra;
    };

    Server(ServerOptions options, Fd lock, Fd epoll, Fd listener, Fd signal_fd,
           OutcomeFile outcomes, std::string instance);
    void watch(Watch what, std::uint64_t id, int fd);
    void on_event(Watch what, std::uint64_t id);
    void on_signals();
    void accept_client();
    void receive(std::uint64_t id);
    bool handle(std::uint64_t id, ByteView packet);
    void greet(std::uint64_t id, const ClientHello& hello);
    void start(Connection& client, const Start& message);
    void record_finished();
    void tell();
    std::optional<Bytes> next_packet(Connection& client);
    void pop_told(Connection& client);
    void want_write(std::uint64_t id, Connection& client, bool wanted);
    void close_connection(std::uint64_t id);
    bool may_leave(MonoTime now) const;
    int wait_ms(MonoTime now) const;

    ServerOptions options_;
    Fd lock_;
    Fd epoll_;
    Fd listener_;
    Fd signal_fd_;
    OutcomeFile outcomes_;
    std::string instance_;
    Attempts attempts_;
    std::map<std::uint64_t, Connection> connections_;
    std::uint64_t next_connection_ = 1;
    std::optional<std::uint64_t> client_;  // the greeted one
    MonoTime alone_since_;
    MonoTime mend_at_;  // when a file that lacks something is tried again
    bool leaving_ = false;
    bool foreign_worker_ = false;  // the last that said hello speaks another version
    Bytes buffer_;
};

}  // namespace reeve::exec
