#include "tests/sim/doors.h"

#include "mirror/mirror.h"

namespace reeve::sim {
namespace {

constexpr std::uint32_t a_person = 1000;  // uid and gid
constexpr std::size_t most_requests = 256;
constexpr std::size_t most_datagrams = 64;

}  // namespace

std::optional<std::string> ControlSocket::call(env::Env& caller, const std::string& body,
                                               milliseconds patience) {
    if (open_ == nullptr) {
        return std::nullopt;
    }
    const auto id = ++last_id_;
    const auto answer = std::make_shared<Answer>(caller.tasks, 1);
    const auto bytes = as_bytes(body);
    env::ControlRequest request{id, a_person, a_person, 1, Bytes(bytes.begin(), bytes.end())};
    if (!open_->box_.push(std::move(request))) {
        return std::nullopt;
    }
    waiting_[id] = answer;
    auto got = answer->take(caller.clock.mono_now() + patience);
    waiting_.erase(id);
    return got && !got->empty() ? got : std::nullopt;
}

SimControlServer::SimControlServer(ControlSocket& socket, env::Tasks& tasks)
    : socket_(socket), box_(tasks, most_requests) {
    socket_.open_ = this;
}

SimControlServer::~SimControlServer() {
    if (socket_.open_ == this) {
        socket_.open_ = nullptr;
    }
    for (const auto& [id, answer] : socket_.waiting_) {
        static_cast<void>(answer->push("").has_value());  // hangs up
    }
}

std::optional<env::ControlRequest> SimControlServer::next(MonoTime deadline) {
    return box_.take(deadline);
}

void SimControlServer::reply(std::uint64_t id, ByteView body) {
    const auto found = socket_.waiting_.find(id);
    if (found != socket_.waiting_.end()) {
        static_cast<void>(found->second->push(std::string(as_text(body))).has_value());
    }
}

SimDoorbell::SimDoorbell(BellNetwork& network, std::string name, env::Tasks& tasks)
    : network_(network), name_(std::move(name)), box_(tasks, most_datagrams) {
    network_.bells_[name_] = this;
}

SimDoorbell::~SimDoorbell() {
    const auto mine = network_.bells_.find(name_);
    if (mine != network_.bells_.end() && mine->second == this) {
        network_.bells_.erase(mine);
    }
}

void SimDoorbell::ring(ByteView message) {
    for (const auto& [name, bell] : network_.bells_) {
        if (name == name_) {
            continue;
        }
        if (network_.world_.random().chance(network_.loss_permille_)) {
            network_.world_.count("datagram lost");
            continue;
        }
        static_cast<void>(bell->box_.push(Bytes(message.begin(), message.end())).has_value());
    }
}

std::optional<Bytes> SimDoorbell::next(MonoTime deadline) { return box_.take(deadline); }

env::HostFacts SimHost::facts() {
    return {500, 4096, 100'000, node_.name + " boot at " + std::to_string(node_.booted.ns)};
}

void StoryTelemetry::log(env::Level level, std::string_view category, std::string_view message) {
    below_.log(level, category, message);
    if (message.starts_with(mirror::rolled_back)) {
        truth_.rollbacks_told.push_back(truth_.now());
    }
    if (level != env::Level::debug) {
        truth_.tell(who_ + ": " + std::string(category) + ": " + std::string(message));
    }
}

}  // namespace reeve::sim
