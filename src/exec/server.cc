// Sockets, signals and the order of things of server.h. A turn of the loop: events, what is due,
// outcomes to the file, then to the client; so an outcome is never told before it is written.

#include "exec/server.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "exec/launch.h"
#include "exec/system.h"

namespace reeve::exec {
namespace {

constexpr int events_a_turn = 64;
constexpr int packets_a_turn = 32;
constexpr std::size_t connections_limit = 16;
constexpr int buffer_bytes = 256 * 1024;  // the kernel doubles it for its own use
constexpr Duration mend_pause = seconds(1);

Result<Fd> take_lock(const std::string& directory) {
    const auto path = directory + "/exec.lock";
    Fd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660));
    if (!lock) {
        return system_error(errno, "open " + path);
    }
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            return Error{Code::conflict, "another supervisor holds " + path};
        }
        return system_error(errno, "lock " + path);
    }
    return lock;
}

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        return Error{Code::invalid, "socket path " + path + ": allowed are 1 to " +
                                        std::to_string(sizeof address.sun_path - 1) + " bytes"};
    }
    path.copy(address.sun_path, path.size());
    return address;
}

Result<Fd> listen_on(const std::string& path) {
    TRY_ASSIGN(const sockaddr_un address, address_of(path));
    const auto* plain = reinterpret_cast<const sockaddr*>(&address);
    const Fd probe(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (probe && ::connect(probe.get(), plain, sizeof address) == 0) {
        return Error{Code::conflict, "another supervisor listens on " + path};
    }
    struct stat info {};
    if (::lstat(path.c_str(), &info) == 0) {
        if (!S_ISSOCK(info.st_mode)) {
            return Error{Code::conflict, path + " exists and is no socket; fix: remove it"};
        }
        ::unlink(path.c_str());  // of a supervisor that was killed
    }
    Fd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto old_mask = ::umask(0177);
    const bool bound = listener && ::bind(listener.get(), plain, sizeof address) == 0;
    const int err = errno;
    ::umask(old_mask);
    if (!bound) {
        return system_error(err, "listen on " + path);
    }
    if (::listen(listener.get(), 16) != 0) {
        return system_error(errno, "listen on " + path);
    }
    return listener;
}

bool allowed_peer(int fd) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        return false;
    }
    return peer.uid == ::geteuid() || peer.uid == 0;
}

}  // namespace

Result<std::unique_ptr<Server>> Server::open(const ServerOptions& options, Fd signal_fd) {
    TRY_ASSIGN(Fd lock, take_lock(options.state_directory));
    TRY_ASSIGN(OutcomeFile outcomes, OutcomeFile::open(options.state_directory));
    TRY_ASSIGN(std::string instance, random_name());
    TRY_ASSIGN(Fd listener, listen_on(options.socket_path));
    Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll) {
        return system_error(errno, "epoll");
    }
    return std::unique_ptr<Server>(new Server(options, std::move(lock), std::move(epoll),
                                              std::move(listener), std::move(signal_fd),
                                              std::move(outcomes), std::move(instance)));
}

Server::Server(ServerOptions options, Fd lock, Fd epoll, Fd listener, Fd signal_fd,
               OutcomeFile outcomes, std::string instance)
    : options_(std::move(options)),
      lock_(std::move(lock)),
      epoll_(std::move(epoll)),
      listener_(std::move(listener)),
      signal_fd_(std::move(signal_fd)),
      outcomes_(std::move(outcomes)),
      instance_(std::move(instance)),
      attempts_(epoll_.get()),
      alone_since_(monotonic_now()),
      buffer_(packet_limit_bytes + 1) {
    watch(Watch::listener, 0, listener_.get());
    watch(Watch::signals, 0, signal_fd_.get());
}

Server::~Server() {
    if (listener_) {
        ::unlink(options_.socket_path.c_str());
    }
}

void Server::watch(Watch what, std::uint64_t id, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = watch_data(what, id);
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        say("cannot watch a descriptor: " + errno_text(errno));
    }
}

Status Server::run() {
    std::array<epoll_event, events_a_turn> events;
    while (!may_leave(monotonic_now())) {
        const int ready =
            ::epoll_wait(epoll_.get(), events.data(), events_a_turn, wait_ms(monotonic_now()));
        if (ready < 0 && errno != EINTR) {
            return system_error(errno, "epoll");
        }
        for (int i = 0; i < ready; ++i) {
            const auto data = events[static_cast<std::size_t>(i)].data.u64;
            on_event(static_cast<Watch>(data & 0xff), data >> 8);
        }
        attempts_.tick(monotonic_now());
        record_finished();
        if (outcomes_.broken() && monotonic_now() >= mend_at_) {
            outcomes_.mend();
            mend_at_ = monotonic_now() + mend_pause;
        }
        tell();
    }
    return ok();
}

bool Server::may_leave(MonoTime now) const {
    if (attempts_.count() > 0) {
        return false;
    }
    // A worker of another build cannot be told: the next supervisor is its own, and finds in the
    // file what happened here.
    if (foreign_worker_ && !outcomes_.broken()) {
        return true;
    }
    return leaving_ || (options_.idle_exit.count() > 0 && connections_.empty() &&
                        outcomes_.outcomes().empty() && now - alone_since_ >= options_.idle_exit);
}

int Server::wait_ms(MonoTime now) const {
    auto next = attempts_.next_deadline();
    if (outcomes_.broken()) {
        next = std::min(next, mend_at_);
    }
    if (options_.idle_exit.count() > 0 && connections_.empty() && attempts_.count() == 0 &&
        outcomes_.outcomes().empty()) {
        next = std::min(next, alone_since_ + options_.idle_exit);
    }
    if (next == MonoTime::never()) {
        return -1;
    }
    const auto left = to_ms(next - now + (milliseconds(1) - Duration(1)));  // never too early
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
}

void Server::on_event(Watch what, std::uint64_t id) {
    switch (what) {
        case Watch::listener: accept_client(); return;
        case Watch::signals: on_signals(); return;
        case Watch::connection: receive(id); return;
        case Watch::leader:
        case Watch::out:
        case Watch::err: attempts_.on_event(what, id); return;
    }
}

void Server::on_signals() {
    signalfd_siginfo info{};
    bool child = false;
    while (::read(signal_fd_.get(), &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            child = true;
            continue;
        }
        say("signal " + std::to_string(info.ssi_signo) + ": stopping " +
            std::to_string(attempts_.count()) + " attempts");
        leaving_ = true;
        attempts_.stop_all();
        if (listener_) {
            ::unlink(options_.socket_path.c_str());
            listener_.reset();
        }
    }
    if (child) {
        attempts_.on_child();
    }
}

void Server::accept_client() {
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
        return;
    }
    if (!allowed_peer(fd.get())) {
        say("refused a connection of another user");
        return;
    }
    for (auto at = connections_.begin(); connections_.size() >= connections_limit;) {
        const auto id = (at++)->first;
        if (id != client_) {
            close_connection(id);  // the oldest that has said nothing
        }
    }
    static_cast<void>(
        ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes));
    static_cast<void>(
        ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes));
    const auto id = next_connection_++;
    watch(Watch::connection, id, fd.get());
    connections_[id].fd = std::move(fd);
}

void Server::receive(std::uint64_t id) {
    for (int i = 0; i < packets_a_turn; ++i) {
        const auto found = connections_.find(id);
        if (found == connections_.end()) {
            return;
        }
        const auto got = ::recv(found->second.fd.get(), buffer_.data(), buffer_.size(),
                                MSG_DONTWAIT | MSG_TRUNC);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (got <= 0) {
            close_connection(id);
            return;
        }
        const auto size = static_cast<std::size_t>(got);
        if (size > packet_limit_bytes || !handle(id, ByteView(buffer_.data(), size))) {
            say("a client sent what cannot be understood; disconnected");
            close_connection(id);
            return;
        }
    }
}

bool Server::handle(std::uint64_t id, ByteView packet) {
    auto decoded = decode_client(packet);
    auto& connection = connections_.at(id);
    if (!decoded) {
        say(decoded.error().message);
        if (decoded.error().code == Code::unsupported) {
            foreign_worker_ = foreign_worker_ || !client_;
            const auto answer =
                encode(ServerMessage(ServerHello{protocol_version, {instance_, {}}}));
            ::send(connection.fd.get(), answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        return false;
    }
    if (const auto* hello = std::get_if<ClientHello>(&*decoded)) {
        greet(id, *hello);
        return true;
    }
    if (!connection.greeted) {
        return false;
    }
    if (const auto* message = std::get_if<Start>(&*decoded)) {
        start(connection, *message);
    } else if (const auto* stop = std::get_if<Stop>(&*decoded)) {
        attempts_.stop(stop->attempt, stop->grace_ms);
    } else {
        static_cast<void>(outcomes_.acknowledge(std::get<Ack>(*decoded).number));
    }
    return true;
}

void Server::greet(std::uint64_t id, const ClientHello& hello) {
    if (client_ && *client_ != id) {
        close_connection(*client_);
    }
    client_ = id;
    foreign_worker_ = false;
    auto& client = connections_.at(id);
    client.greeted = true;
    client.hello_due = true;
    // A client that remembers more than was ever numbered here remembers another state directory.
    client.told = hello.last_recorded <= outcomes_.last_number() ? hello.last_recorded : 0;
    client.extra.clear();
}

void Server::start(Connection& client, const Start& message) {
    const auto& plan = message.plan;
    if (leaving_ || attempts_.running(plan.attempt)) {
        return;  // when we leave, the next supervisor is asked again
    }
    record_finished();  // what ended in this very turn is known, not startable
    if (const auto* known = outcomes_.of(plan.attempt)) {
        if (known->number <= client.told) {
            client.extra.emplace_back(known->number);
        }
        return;
    }
    if (plan.directory.empty() || plan.directory.front() != '/') {
        client.extra.emplace_back(
            env::ExecRefused{plan.attempt, "the attempt's directory is not an absolute path"});
        return;
    }
    if (auto won = win_local_claim(plan.directory); !won) {
        client.extra.emplace_back(env::ExecRefused{plan.attempt, won.error().message});
        return;
    }
    if (!message.impossible.empty()) {
        attempts_.decline(plan.attempt, message.impossible);
        return;
    }
    attempts_.begin(plan);
}

void Server::record_finished() {
    for (auto& outcome : attempts_.take_finished()) {
        outcomes_.add(std::move(outcome));
    }
}

/// The next packet for this client; stays the next one until pop_told.
std::optional<Bytes> Server::next_packet(Connection& client) {
    while (!client.extra.empty()) {
        if (const auto* refused = std::get_if<env::ExecRefused>(&client.extra.front())) {
            return encode(ServerMessage(*refused));
        }
        const auto again = outcomes_.outcomes().find(std::get<std::uint64_t>(client.extra.front()));
        if (again != outcomes_.outcomes().end()) {
            return encode(ServerMessage(again->second));
        }
        client.extra.pop_front();  // acknowledged in between
    }
    const auto next = outcomes_.outcomes().upper_bound(client.told);
    if (next != outcomes_.outcomes().end()) {
        return encode(ServerMessage(next->second));
    }
    if (client.hello_due) {
        return encode(
            ServerMessage(ServerHello{protocol_version, {instance_, attempts_.all_running()}}));
    }
    return std::nullopt;
}

void Server::pop_told(Connection& client) {
    if (!client.extra.empty()) {
        client.extra.pop_front();
        return;
    }
    const auto next = outcomes_.outcomes().upper_bound(client.told);
    if (next != outcomes_.outcomes().end()) {
        client.told = next->first;
    } else {
        client.hello_due = false;
    }
}

void Server::tell() {
    if (!client_) {
        return;
    }
    auto& client = connections_.at(*client_);
    while (const auto packet = next_packet(client)) {
        const auto put =
            ::send(client.fd.get(), packet->data(), packet->size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put >= 0) {
            pop_told(client);
        } else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
            want_write(*client_, client, true);
            return;
        } else if (errno != EINTR) {
            close_connection(*client_);
            return;
        }
    }
    want_write(*client_, client, false);
}

void Server::want_write(std::uint64_t id, Connection& client, bool wanted) {
    if (client.wants_write == wanted) {
        return;
    }
    epoll_event event{};
    event.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN;
    event.data.u64 = watch_data(Watch::connection, id);
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, client.fd.get(), &event) == 0) {
        client.wants_write = wanted;
    }
}

void Server::close_connection(std::uint64_t id) {
    connections_.erase(id);
    if (client_ == id) {
        client_.reset();
    }
    if (connections_.empty()) {
        alone_since_ = monotonic_now();
    }
}

}  // namespace reeve::exec
