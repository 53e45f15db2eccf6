#include "runtime/control_server.h"

// A session is a small cycle, driven by callbacks on the server's one thread:
//
//     header -> body -> (queued for next(), watching for a hang-up) -> answer -> header ...
//
// It reads nothing while its request is being worked on, so a connection holds one request at most.
// Sessions, the map of waiting ones and the acceptor are touched by that thread only; the queue of
// requests is the one thing shared, under its mutex.

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "runtime/asio.h"
#include "runtime/control_client.h"
#include "runtime/os.h"
#include "runtime/unix_address.h"

namespace reeve::runtime {

namespace {

using Protocol = asio::local::stream_protocol;

constexpr std::size_t read_step = 256 * 1024;  // memory follows what came, not what was announced
constexpr std::chrono::milliseconds accept_pause{100};

Bytes refusal(std::string_view code, int exit, std::string_view message, std::string_view fix) {
    const auto text = fmt::format(R"({{"schema":"reeve.reply/v1","ok":false,"error":)"
                                  R"({{"code":"{}","exit":{},"message":"{}","fix":"{}"}}}})",
                                  code, exit, message, fix);
    const auto view = as_bytes(text);
    return Bytes(view.begin(), view.end());
}

Bytes busy(std::string_view message) {
    return refusal("busy", 8, message, "try again in a moment");
}

Bytes framed(ByteView body) {
    ByteWriter out;
    out.bytes(body);
    return std::move(out).take();
}

/// Makes room at `path`, unless somebody listens there.
Status clear_stale(const std::string& path, const sockaddr_un& address) {
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) {
        return errno == ENOENT ? ok() : Status(os_error(errno, "stat", path));
    }
    if (!S_ISSOCK(st.st_mode)) {
        return Error{Code::conflict, fmt::format("{} exists and is not a socket", path)};
    }
    const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe) {
        return os_error(errno, "make a socket for", path);
    }
    const int result = retry_eintr([&] {
        return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    });
    if (result == 0 || errno == EAGAIN) {
        return Error{Code::conflict, fmt::format("another daemon listens on {}", path)};
    }
    if (errno != ECONNREFUSED && errno != ENOENT) {
        return os_error(errno, "connect to", path);
    }
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
        return os_error(errno, "remove the stale socket", path);
    }
    return ok();
}

}  // namespace

struct UnixControlServer::Impl {
    Impl(std::string socket_path, std::size_t request_bytes, const ControlBounds& b)
        : path(std::move(socket_path)), max_request_bytes(request_bytes), bounds(b) {}

    Status listen(const sockaddr_un& address, unsigned mode);
    void run();
    void accept();
    void turn_away(Protocol::socket& socket);
    std::uint64_t enqueue(const ucred& peer, Bytes body);  // 0 when there is no room
    bool reserve(std::size_t bytes);                       // for a request that comes in
    void answer(std::uint64_t id, Bytes body);

    const std::string path;
    const std::size_t max_request_bytes;
    const ControlBounds bounds;
    dev_t device = 0;  // of the socket file we made
    ino_t inode = 0;

    asio::io_context io{1};
    Protocol::acceptor acceptor{io};
    asio::steady_timer pause{io};
    std::unordered_map<std::uint64_t, std::shared_ptr<Session>> waiting;
    std::size_t connections = 0;
    std::size_t coming_bytes = 0;  // of requests that are being read
    std::uint64_t last_id = 0;

    std::mutex mutex;
    std::condition_variable arrived;
    std::deque<env::ControlRequest> queue;
    // Queued, or taken by next() and not answered, whether or not its peer is still there.
    std::unordered_map<std::uint64_t, std::size_t> in_hand;
    std::size_t in_hand_bytes = 0;
    std::thread thread;
};

class UnixControlServer::Session : public std::enable_shared_from_this<Session> {
public:
    Session(Impl& server, Protocol::socket socket)
        : server_(server), socket_(std::move(socket)), timer_(server.io) {
        ++server_.connections;
    }

    void start() {
        socklen_t size = sizeof peer_;
        if (::getsockopt(socket_.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer_, &size) != 0) {
            close();
            return;
        }
        read_header();
    }

    /// The answer to the request that waits.
    void answer(ByteView body) {
        request_id_ = 0;
        error_code ignored;
        socket_.cancel(ignored);  // ends the watch for a hang-up
        send(framed(body), false);
    }

private:
    void read_header() {
        limit_time();
        auto done = [self = shared_from_this()](error_code ec, std::size_t) {
            ec ? self->close() : self->on_header();
        };
        asio::async_read(socket_, asio::buffer(header_), std::move(done));
    }

    void on_header() {
        const std::size_t size = load_le<std::uint32_t>(header_.data());
        if (size > server_.max_request_bytes) {
            const auto text = fmt::format("the request has {} bytes, allowed are {}", size,
                                          server_.max_request_bytes);
            send(framed(refusal("too_large", 2, text, "send less at once")), true);
            return;
        }
        body_.clear();
        limit_time();
        read_body(size);
    }

    void read_body(std::size_t left) {
        if (left == 0) {
            submit();
            return;
        }
        const auto step = std::min(left, read_step);
        if (!server_.reserve(step)) {
            send(framed(busy("too many bytes of requests are coming in")), true);
            return;
        }
        coming_ += step;
        const auto at = body_.size();
        body_.resize(at + step);
        auto done = [self = shared_from_this(), rest = left - step](error_code ec, std::size_t) {
            ec ? self->close() : self->read_body(rest);
        };
        asio::async_read(socket_, asio::buffer(body_.data() + at, step), std::move(done));
    }

    void release() { server_.coming_bytes -= std::exchange(coming_, 0); }

    void submit() {
        timer_.cancel();
        release();
        // An answer is posted to this thread, so it cannot come before we are registered below.
        request_id_ = server_.enqueue(peer_, std::exchange(body_, {}));
        if (request_id_ == 0) {
            send(framed(busy("too many requests wait for this daemon")), false);
            return;
        }
        server_.waiting.emplace(request_id_, shared_from_this());
        auto done = [self = shared_from_this()](error_code ec) {
            if (!ec) {
                self->close();
            }
        };
        socket_.async_wait(Protocol::socket::wait_error, std::move(done));
    }

    void send(Bytes frame, bool then_close) {
        out_ = std::move(frame);
        limit_time();
        auto done = [self = shared_from_this(), then_close](error_code ec, std::size_t) {
            ec || then_close ? self->close() : self->read_header();
        };
        asio::async_write(socket_, asio::buffer(out_), std::move(done));
    }

    /// Hangs up unless the step that begins now ends in time.
    void limit_time() {
        timer_.expires_after(server_.bounds.idle);
        auto done = [self = shared_from_this()](error_code ec) {
            // A later step may have moved the limit after this call was queued.
            if (!ec && self->timer_.expiry() <= std::chrono::steady_clock::now()) {
                self->close();
            }
        };
        timer_.async_wait(std::move(done));
    }

    void close() {
        if (closed_) {
            return;
        }
        closed_ = true;
        --server_.connections;
        release();
        timer_.cancel();
        error_code ignored;
        socket_.close(ignored);
        server_.waiting.erase(request_id_);  // may drop the last reference but that of our caller
    }

    Impl& server_;
    Protocol::socket socket_;
    asio::steady_timer timer_;
    ucred peer_{};
    std::array<std::uint8_t, 4> header_{};
    Bytes body_;
    std::size_t coming_ = 0;  // of it, as reserved
    Bytes out_;
    std::uint64_t request_id_ = 0;  // 0: none waits
    bool closed_ = false;
};

Status UnixControlServer::Impl::listen(const sockaddr_un& address, unsigned mode) {
    TRY(clear_stale(path, address));
    error_code ec;
    acceptor.open(Protocol(), ec);
    if (!ec) {
        acceptor.bind(Protocol::endpoint(path), ec);
    }
    if (ec) {
        return os_error(ec.value(), "bind", path);
    }
    struct stat st {};
    // Nobody can connect before listen(), so nobody gets in with wider permissions than `mode`.
    if (::chmod(path.c_str(), mode) != 0 || ::lstat(path.c_str(), &st) != 0) {
        return os_error(errno, "set the permissions of", path);
    }
    device = st.st_dev;
    inode = st.st_ino;
    acceptor.listen(static_cast<int>(bounds.connections), ec);
    if (ec) {
        return os_error(ec.value(), "listen on", path);
    }
    accept();
    return ok();
}

void UnixControlServer::Impl::run() {
    ::pthread_setname_np(::pthread_self(), "control");
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    io.run();
}

void UnixControlServer::Impl::accept() {
    auto done = [this](error_code ec, Protocol::socket socket) {
        if (ec == asio::error::operation_aborted) {
            return;
        }
        if (ec) {
            // Out of descriptors, most likely: the backlog keeps the callers until there are some.
            pause.expires_after(accept_pause);
            pause.async_wait([this](error_code stopped) { stopped ? void() : accept(); });
            return;
        }
        if (connections >= bounds.connections) {
            turn_away(socket);
        } else {
            std::make_shared<Session>(*this, std::move(socket))->start();
        }
        accept();
    };
    acceptor.async_accept(std::move(done));
}

/// A fresh socket has room for this much, so nothing waits; the socket closes when it goes.
void UnixControlServer::Impl::turn_away(Protocol::socket& socket) {
    const auto frame = framed(busy("too many connections to this daemon"));
    (void)::send(socket.native_handle(), frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

std::uint64_t UnixControlServer::Impl::enqueue(const ucred& peer, Bytes body) {
    const std::lock_guard lock(mutex);
    const bool too_many = in_hand.size() >= bounds.in_hand;
    const bool too_long = !in_hand.empty() && in_hand_bytes + body.size() > bounds.in_hand_bytes;
    if (too_many || too_long) {
        return 0;
    }
    in_hand.emplace(++last_id, body.size());
    in_hand_bytes += body.size();
    queue.push_back({last_id, peer.uid, peer.gid, peer.pid, std::move(body)});
    arrived.notify_one();
    return last_id;
}

bool UnixControlServer::Impl::reserve(std::size_t bytes) {
    if (coming_bytes != 0 && coming_bytes + bytes > bounds.in_hand_bytes) {
        return false;
    }
    coming_bytes += bytes;
    return true;
}

void UnixControlServer::Impl::answer(std::uint64_t id, Bytes body) {
    const auto it = waiting.find(id);
    if (it == waiting.end()) {
        return;  // hung up, or answered already
    }
    const auto session = it->second;
    waiting.erase(it);
    session->answer(body);
}

UnixControlServer::UnixControlServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<UnixControlServer>> UnixControlServer::open(const std::string& path,
                                                                   std::size_t max_request_bytes,
                                                                   unsigned mode,
                                                                   const ControlBounds& bounds) {
    TRY_ASSIGN(const auto address, unix_address(path));
    try {
        auto impl = std::make_unique<Impl>(path, max_request_bytes, bounds);
        // From here the destructor takes back what listen has made.
        std::unique_ptr<UnixControlServer> server(new UnixControlServer(std::move(impl)));
        TRY(server->impl_->listen(address, mode));
        server->impl_->thread = std::thread([p = server->impl_.get()] { p->run(); });
        return server;
    } catch (const std::exception& e) {  // no descriptors for the event loop, or no thread
        return Error{Code::io, fmt::format("serve {}: {}", path, e.what())};
    }
}

UnixControlServer::~UnixControlServer() {
    impl_->io.stop();
    if (impl_->thread.joinable()) {
        impl_->thread.join();
    }
    impl_->waiting.clear();
    struct stat st {};
    if (impl_->inode != 0 && ::lstat(impl_->path.c_str(), &st) == 0 && st.st_ino == impl_->inode &&
        st.st_dev == impl_->device) {
        ::unlink(impl_->path.c_str());
    }
}

std::optional<env::ControlRequest> UnixControlServer::next(MonoTime deadline) {
    std::unique_lock lock(impl_->mutex);
    if (!wait_mono(impl_->arrived, lock, deadline, [this] { return !impl_->queue.empty(); })) {
        return std::nullopt;
    }
    auto request = std::move(impl_->queue.front());
    impl_->queue.pop_front();
    return request;
}

void UnixControlServer::reply(std::uint64_t id, ByteView body) {
    {
        const std::lock_guard lock(impl_->mutex);
        if (const auto found = impl_->in_hand.find(id); found != impl_->in_hand.end()) {
            impl_->in_hand_bytes -= found->second;
            impl_->in_hand.erase(found);
        }
    }
    Bytes copy(body.begin(), body.end());
    if (body.size() > max_control_reply_bytes) {
        copy = refusal("failed", 1, "the answer is too long to be sent", "ask for less at once");
    }
    asio::post(impl_->io, [impl = impl_.get(), id, out = std::move(copy)]() mutable {
        impl->answer(id, std::move(out));
    });
}

}  // namespace reeve::runtime
