// The worker's end of the supervisor's socket, and the start of a detached supervisor. Between fork
// and exec only async-signal-safe calls are made: the daemon has other threads.

#include "runtime/supervisor_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "exec/fd.h"
#include "exec/process_table.h"
#include "exec/protocol.h"

namespace reeve::runtime {
namespace {

constexpr Duration connect_limit = seconds(5);
constexpr Duration relaunch_after = milliseconds(500);
constexpr int dial_pause_ms = 10;
constexpr Duration stray_limit = seconds(2);
constexpr std::size_t unsent_limit_bytes = 32 * 1024 * 1024;
constexpr int buffer_bytes = 256 * 1024;  // the kernel doubles it for its own use

MonoTime now() {
    timespec time{};
    CHECK(::clock_gettime(CLOCK_MONOTONIC, &time) == 0);
    return MonoTime{time.tv_sec * 1'000'000'000 + time.tv_nsec};
}

Error failed(Code code, const std::string& doing, int err) {
    const char* text = ::strerrordesc_np(err);
    return Error{code, doing + ": " + (text != nullptr ? text : "unknown error")};
}

std::string absolute(std::string path) {
    std::error_code error;
    auto full = std::filesystem::absolute(path, error);
    return error ? std::move(path) : full.string();
}

int poll_ms(MonoTime deadline) {
    if (deadline == MonoTime::never()) {
        return -1;
    }
    const auto left = to_ms(deadline - now() + (milliseconds(1) - Duration(1)));  // never too early
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
}

void ring(int event_fd) {
    const std::uint64_t one = 1;
    // Fails only when the counter is full: then it rings already.
    if (::write(event_fd, &one, sizeof one) < 0) {
        return;
    }
}

void silence(int event_fd) {
    std::uint64_t count = 0;
    if (::read(event_fd, &count, sizeof count) < 0) {
        return;
    }
}

Status make_directories(const std::string& path) {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) {
        return Error{Code::io, "make directory " + path + ": " + error.message()};
    }
    return ok();
}

/// The grandchild of the daemon: becomes the program, or writes errno to `report`.
[[noreturn]] void become(const char* const* argv, int log, int null, int report) {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    ::signal(SIGCHLD, SIG_DFL);
    int err = 0;
    if (::chdir("/") != 0 || ::dup2(null, STDIN_FILENO) < 0 || ::dup2(log, STDOUT_FILENO) < 0 ||
        ::dup2(log, STDERR_FILENO) < 0) {
        err = errno;
    } else {
        if (report > 3) {
            ::close_range(3, static_cast<unsigned>(report) - 1, 0);
        }
        ::close_range(static_cast<unsigned>(report) + 1, ~0U, 0);
        ::execv(argv[0], const_cast<char* const*>(argv));
        err = errno;
    }
    const auto told = ::write(report, &err, sizeof err);
    ::_exit(told > 0 ? 126 : 127);
}

/// Forks twice, so that the program is nobody's child and in a session of its own.
Status start_detached(const std::vector<std::string>& words, int log, int null) {
    std::vector<const char*> argv;
    for (const auto& word : words) {
        argv.push_back(word.c_str());
    }
    argv.push_back(nullptr);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        return failed(Code::unavailable, "pipe", errno);
    }
    const exec::Fd report_read(ends[0]);
    exec::Fd report_write(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) {
        return failed(Code::unavailable, "fork", errno);
    }
    if (child == 0) {
        ::setsid();
        const pid_t grandchild = ::fork();
        if (grandchild == 0) {
            become(argv.data(), log, null, ends[1]);
        }
        const int err = errno;
        if (grandchild < 0 && ::write(ends[1], &err, sizeof err) < 0) {
            ::_exit(127);
        }
        ::_exit(0);
    }
    report_write.reset();
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    int err = 0;
    ssize_t got = 0;
    while ((got = ::read(report_read.get(), &err, sizeof err)) < 0 && errno == EINTR) {
    }
    if (got == sizeof err) {
        return failed(Code::unavailable, "start " + words[0], err);
    }
    return ok();
}

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        return Error{Code::invalid, "socket path " + path +
                                        " of the supervisor: allowed are 1 to " +
                                        std::to_string(sizeof address.sun_path - 1) +
                                        " bytes; fix: choose a shorter run directory"};
    }
    path.copy(address.sun_path, path.size());
    return address;
}

}  // namespace

/// One connection. Shared, so that a sender can finish while another connect replaces it.
class SupervisorClient::Link {
public:
    explicit Link(exec::Fd fd) : fd_(std::move(fd)) {}
    int fd() const { return fd_.get(); }
    /// Ends the connection for both sides; the reader finds out.
    void give_up() const { ::shutdown(fd_.get(), SHUT_RDWR); }

private:
    exec::Fd fd_;
};

SupervisorClient::SupervisorClient(std::string program_path, std::string state_dir,
                                   std::string socket_path, std::string log_path)
    : program_path_(program_path.empty() ? "" : absolute(std::move(program_path))),
      state_dir_(absolute(std::move(state_dir))),
      socket_path_(absolute(std::move(socket_path))),
      log_path_(absolute(std::move(log_path))),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      buffer_(exec::packet_limit_bytes) {
    CHECK(wake_fd_ >= 0);
}

SupervisorClient::~SupervisorClient() { ::close(wake_fd_); }

Result<std::shared_ptr<SupervisorClient::Link>> SupervisorClient::dial() const {
    TRY_ASSIGN(const sockaddr_un address, address_of(socket_path_));
    exec::Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
        return failed(Code::unavailable, "socket", errno);
    }
    for (const int which : {SO_SNDBUF, SO_RCVBUF}) {
        ::setsockopt(fd.get(), SOL_SOCKET, which, &buffer_bytes, sizeof buffer_bytes);
    }
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        const Code code =
            errno == ENOENT || errno == ECONNREFUSED ? Code::not_found : Code::unavailable;
        return failed(code, "dial " + socket_path_, errno);
    }
    return std::make_shared<Link>(std::move(fd));
}

Status SupervisorClient::launch() const {
    TRY(make_directories(state_dir_));
    TRY(make_directories(std::filesystem::path(socket_path_).parent_path().string()));
    TRY(make_directories(std::filesystem::path(log_path_).parent_path().string()));
    const exec::Fd log(::open(log_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0660));
    if (!log) {
        return failed(Code::unavailable, "open " + log_path_, errno);
    }
    const exec::Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!null) {
        return failed(Code::unavailable, "open /dev/null", errno);
    }
    return start_detached({program_path_, "--state", state_dir_, "--socket", socket_path_},
                          log.get(), null.get());
}

Status SupervisorClient::connect(std::uint64_t last_recorded) {
    if (mismatch_) {
        return std::exchange(mismatch_, std::nullopt)->with("supervisor at " + socket_path_);
    }
    drop(link());
    const MonoTime end = now() + connect_limit;
    MonoTime launch_at = now();
    for (;;) {
        auto dialed = dial();
        if (dialed) {
            const std::scoped_lock lock(mutex_);
            link_ = std::move(*dialed);
            unsent_.clear();
            unsent_bytes_ = 0;
            const auto hello = exec::encode(
                exec::ClientMessage(exec::ClientHello{exec::protocol_version, last_recorded}));
            unsent_bytes_ = hello.size();
            unsent_.push_back(hello);
            ring(wake_fd_);
            return ok();
        }
        if (dialed.error().code == Code::invalid) {
            return std::move(dialed).error();
        }
        if (now() >= end) {
            return Error{Code::unavailable,
                         "no supervisor: " + dialed.error().message +
                             (program_path_.empty() ? "; fix: systemctl start reeve-exec"
                                                    : "; see " + log_path_)};
        }
        if (!program_path_.empty() && dialed.error().code == Code::not_found &&
            now() >= launch_at) {
            // A second one beside one that is just beginning, or ending, finds the lock and leaves.
            TRY(launch());
            launch_at = now() + relaunch_after;
        }
        ::poll(nullptr, 0, dial_pause_ms);
    }
}

std::shared_ptr<SupervisorClient::Link> SupervisorClient::link() {
    const std::scoped_lock lock(mutex_);
    return link_;
}

void SupervisorClient::drop(const std::shared_ptr<Link>& broken) {
    const std::scoped_lock lock(mutex_);
    if (link_ == broken) {
        link_.reset();
        unsent_.clear();
        unsent_bytes_ = 0;
    }
}

Status SupervisorClient::send(Bytes packet) {
    const std::scoped_lock lock(mutex_);
    if (!link_) {
        return Error{Code::unavailable, "not connected to the supervisor"};
    }
    if (unsent_.empty()) {
        const auto put =
            ::send(link_->fd(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put >= 0) {
            return ok();
        }
        if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
            const int err = errno;
            link_->give_up();
            return failed(Code::unavailable, "send to the supervisor", err);
        }
    }
    if (unsent_bytes_ + packet.size() > unsent_limit_bytes) {
        link_->give_up();
        return Error{Code::unavailable, "the supervisor does not read its requests"};
    }
    unsent_bytes_ += packet.size();
    unsent_.push_back(std::move(packet));
    ring(wake_fd_);
    return ok();
}

Status SupervisorClient::start(const env::ExecPlan& plan) { return send(exec::encode_start(plan)); }

Status SupervisorClient::stop(const AttemptId& attempt, std::int64_t grace_ms) {
    return send(exec::encode(exec::ClientMessage(exec::Stop{attempt, grace_ms})));
}

Status SupervisorClient::acknowledge(std::uint64_t number) {
    return send(exec::encode(exec::ClientMessage(exec::Ack{number})));
}

void SupervisorClient::reconnect() {
    const std::scoped_lock lock(mutex_);
    if (link_) {
        link_->give_up();
    }
    ring(wake_fd_);
}

/// Sends what waits; true when the socket takes no more now.
bool SupervisorClient::flush(const std::shared_ptr<Link>& to) {
    const std::scoped_lock lock(mutex_);
    while (to && link_ == to && !unsent_.empty()) {
        const auto& packet = unsent_.front();
        const auto put =
            ::send(to->fd(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put >= 0) {
            unsent_bytes_ -= packet.size();
            unsent_.pop_front();
        } else if (errno == EAGAIN || errno == ENOBUFS) {
            return true;
        } else if (errno != EINTR) {
            to->give_up();
            return false;
        }
    }
    return false;
}

std::optional<env::SupervisorMessage> SupervisorClient::next(MonoTime deadline) {
    for (;;) {
        const auto from = link();
        const bool waiting = flush(from);
        pollfd fds[2] = {{wake_fd_, POLLIN, 0}, {-1, POLLIN, 0}};
        if (from) {
            fds[1].fd = from->fd();
            fds[1].events = waiting ? static_cast<short>(POLLIN | POLLOUT) : POLLIN;
        }
        const int ready = ::poll(fds, 2, poll_ms(deadline));
        if (ready > 0 && fds[0].revents != 0) {
            silence(wake_fd_);
        }
        if (ready > 0 && (fds[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
            if (auto message = receive(from)) {
                return message;
            }
        }
        if (ready <= 0 && now() >= deadline) {
            return std::nullopt;
        }
    }
}

std::optional<env::SupervisorMessage> SupervisorClient::receive(const std::shared_ptr<Link>& from) {
    const auto got = ::recv(from->fd(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return std::nullopt;
    }
    const auto size = got > 0 ? static_cast<std::size_t>(got) : 0;
    if (size == 0 || size > buffer_.size()) {
        drop(from);
        return env::SupervisorGone{};
    }
    auto decoded = exec::decode_server(ByteView(buffer_.data(), size));
    if (!decoded) {
        mismatch_ = decoded.error();
        from->give_up();
        drop(from);
        return env::SupervisorGone{};
    }
    if (auto* hello = std::get_if<exec::ServerHello>(&*decoded)) {
        return std::move(hello->hello);
    }
    if (auto* outcome = std::get_if<env::ExecOutcome>(&*decoded)) {
        return std::move(*outcome);
    }
    return std::move(std::get<env::ExecRefused>(*decoded));
}

Result<int> SupervisorClient::kill_strays(const AttemptId& attempt) {
    return exec::kill_tagged(attempt.text(), stray_limit);
}

}  // namespace reeve::runtime
