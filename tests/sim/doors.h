#pragma once

// The two small doors of a simulated daemon, its machine's word about itself, and its diagnostics
// in the story.

#include <map>
#include <memory>
#include <set>
#include <string>

#include "env/host.h"
#include "env/sockets.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/truth.h"

namespace reeve::sim {

class SimControlServer;

/// A control socket as people see it: the name stays, daemons come and go behind it.
class ControlSocket {
public:
    /// One request; nothing when nobody listens, the daemon hangs up, or it takes too long: then it
    /// may have been carried out.
    std::optional<std::string> call(env::Env& caller, const std::string& body,
                                    milliseconds patience);

private:
    friend class SimControlServer;
    using Answer = env::Mailbox<std::string>;
    SimControlServer* open_ = nullptr;
    std::uint64_t last_id_ = 0;
    std::map<std::uint64_t, std::shared_ptr<Answer>> waiting_;
};

class SimControlServer : public env::ControlServer {
public:
    SimControlServer(ControlSocket& socket, env::Tasks& tasks);
    ~SimControlServer() override;
    std::optional<env::ControlRequest> next(MonoTime deadline) override;
    void reply(std::uint64_t id, ByteView body) override;

private:
    friend class ControlSocket;
    ControlSocket& socket_;
    env::Mailbox<env::ControlRequest> box_;
};

class SimDoorbell;

/// The network between the doorbells: datagrams, some of which are lost.
class BellNetwork {
public:
    explicit BellNetwork(World& world) : world_(world) {}
    void set_loss(std::uint32_t permille) { loss_permille_ = permille; }

private:
    friend class SimDoorbell;
    World& world_;
    std::uint32_t loss_permille_ = 0;
    std::map<std::string, SimDoorbell*> bells_;
};

class SimDoorbell : public env::Doorbell {
public:
    SimDoorbell(BellNetwork& network, std::string name, env::Tasks& tasks);
    ~SimDoorbell() override;
    void ring(ByteView message) override;
    std::optional<Bytes> next(MonoTime deadline) override;

private:
    BellNetwork& network_;
    const std::string name_;
    env::Mailbox<Bytes> box_;
};

class SimHost : public env::Host {
public:
    explicit SimHost(Node& node) : node_(node) {}
    env::HostFacts facts() override;

private:
    Node& node_;
};

/// Warnings and errors go into the story as well.
class StoryTelemetry : public env::Telemetry {
public:
    StoryTelemetry(env::Telemetry& below, Truth& truth, std::string who)
        : below_(below), truth_(truth), who_(std::move(who)) {}
    void log(env::Level level, std::string_view category, std::string_view message) override;
    void count(std::string_view name, std::int64_t n) override { below_.count(name, n); }
    void observe(std::string_view name, double value) override { below_.observe(name, value); }
    void gauge(std::string_view name, double value) override { below_.gauge(name, value); }

private:
    env::Telemetry& below_;
    Truth& truth_;
    const std::string who_;
};

}  // namespace reeve::sim
