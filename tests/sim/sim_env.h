#pragma once

// env::Env for one life of one program on one machine of a World. Every call is a point of the
// scheduler: time passes, others run, the process may be killed there, and the faults of world.h
// happen. Notifying a wait point, closing a file and telemetry are not points: they are what
// destructors do.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "env/env.h"
#include "tests/sim/world.h"

namespace reeve::sim {

class SimClock : public env::Clock {
public:
    explicit SimClock(Process& process) : process_(process) {}
    WallTime wall_now() override;
    MonoTime mono_now() override;

private:
    Process& process_;
};

class SimTasks : public env::Tasks {
public:
    explicit SimTasks(Process& process) : process_(process) {}
    std::unique_ptr<env::WaitPoint> make_wait_point() override;
    void spawn(const std::string& name, std::function<void()> body) override;
    void sleep_until(MonoTime deadline) override;

private:
    Process& process_;
};

class SimEntropy : public env::Entropy {
public:
    explicit SimEntropy(Process& process) : process_(process) {}
    void fill(std::span<std::uint8_t> out) override;

private:
    Process& process_;
};

/// Keeps the last lines and all counters, for tests to ask.
class SimTelemetry : public env::Telemetry {
public:
    explicit SimTelemetry(Process& process) : process_(process) {}
    void log(env::Level level, std::string_view category, std::string_view message) override;
    void count(std::string_view name, std::int64_t n) override {
        counters_[std::string(name)] += n;
    }
    void observe(std::string_view name, double value) override {
        gauges_[std::string(name)] = value;
    }
    void gauge(std::string_view name, double value) override { gauges_[std::string(name)] = value; }

    const std::deque<std::string>& lines() const { return lines_; }
    std::int64_t counter(const std::string& name) const;

private:
    Process& process_;
    std::deque<std::string> lines_;
    std::map<std::string, std::int64_t> counters_;
    std::map<std::string, double> gauges_;
};

/// Which disk a path lies on, and where there.
struct Where {
    Disk* disk = nullptr;
    bool nas = false;
    std::string path;
};

class SimFileSystem : public env::FileSystem {
public:
    explicit SimFileSystem(Process& process) : process_(process) {}
    Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override;
    Result<Bytes> read_file(const std::string& path, std::uint64_t limit) override;
    Status replace_file(const std::string& path, ByteView bytes, bool durable) override;
    Status link(const std::string& from, const std::string& to) override;
    Status rename(const std::string& from, const std::string& to) override;
    Status remove(const std::string& path) override;
    Status make_dir(const std::string& path) override;
    Status make_dirs(const std::string& path) override;
    Status remove_dir(const std::string& path) override;
    Status sync_dir(const std::string& path) override;
    Result<std::vector<env::DirEntry>> list(const std::string& path) override;
    Result<env::FileInfo> info(const std::string& path) override;
    Result<std::uint64_t> free_bytes(const std::string& path) override;

private:
    Result<Where> where(const std::string& path) const;
    /// not_found when this client believes that the name is absent.
    Status believed(const Where& where);
    void remember_absent(const Where& where);
    Result<std::unique_ptr<NasFile>> open_nas(const Where& at, env::OpenMode mode);
    Result<std::unique_ptr<env::File>> open_local(const Where& at, env::OpenMode mode);
    Result<env::FileInfo> info_nas(const Where& at);
    Status write_temporary(const std::string& path, ByteView bytes, bool durable);
    InodeId opened_by(const std::string& path, InodeId real);
    Status change_name(const std::string& what, const Where& to, bool grows,
                       std::optional<Code> lie, std::function<Status()> effect);
    Process& process_;
    std::uint64_t temporary_count_ = 0;
};

/// One life of a program. Owned by the World, which outlives its tasks.
class Process {
public:
    Process(World& world, Node& node, GroupId group, std::string name);

    env::Env& env() { return env_; }
    World& world() { return world_; }
    Scheduler& scheduler() { return world_.scheduler(); }
    Node& node() { return node_; }
    GroupId group() const { return group_; }
    const std::string& name() const { return name_; }
    bool has_power() const { return has_power_; }
    void lose_power() { has_power_ = false; }
    bool ended() const { return !world_.scheduler().has_tasks(group_); }
    const SimTelemetry& telemetry() const { return telemetry_; }
    void spawn(const std::string& task, std::function<void()> body);
    void pause_until(MonoTime until) { paused_until_ = std::max(paused_until_, until); }

    /// As those of the scheduler, but a paused process stands there until it goes on.
    bool pass(Duration cost, std::string_view what);
    bool enter(Duration cost, std::string_view what);
    /// For calls that take no time to speak of: in the middle of one in eight others run.
    bool glance(std::string_view what);
    /// At once, unless it is paused.
    void stand_still(std::string_view what);

    /// Virtual time of a monotonic time of this machine.
    MonoTime to_virtual(MonoTime mono) const;
    MonoTime to_mono(MonoTime at) const;

    /// One call: time passes, then `effect` happens, then (on the NAS) the reply travels, or is
    /// lost.
    struct Call {
        std::string what;
        bool nas = false;
        bool changes = false;      // may still be carried out after the death of the caller
        bool may_be_late = false;  // may be carried out after an io error was reported
        bool grows = false;        // needs room
        bool once = false;         // never carried out twice: the server knows its opens
        std::optional<Code> lie = std::nullopt;  // what the second answer says after a lost reply
        std::int64_t most_local_ns = 100'000;
    };
    /// `effect` must own what it needs: it may run later than this call.
    Status call(const Call& call, const std::function<Status()>& effect);

private:
    enum class Fate { done, reply_lost, io_done, io_not_done, io_late };
    Fate fate_of(const Call& call);
    Duration travel(const Call& call);
    Status killed_in(const Call& call, const std::function<Status()>& effect);
    std::optional<Error> refused(const Call& call);
    std::function<Status()> handled(std::function<Status()> effect);
    Status call_nas(const Call& call, const std::function<Status()>& effect);
    Status call_local(const Call& call, const std::function<Status()>& effect);
    Status reply(const Call& call, const std::function<Status()>& effect, Fate fate);
    void leave_behind(const Call& call, const std::function<Status()>& effect);
    Status told(const Call& call, Status result, const char* fate);

    World& world_;
    Node& node_;
    const GroupId group_;
    const std::string name_;
    bool has_power_ = true;
    MonoTime paused_until_;
    SimClock clock_{*this};
    SimFileSystem files_{*this};
    SimTasks tasks_{*this};
    SimEntropy entropy_{*this};
    SimTelemetry telemetry_{*this};
    env::Env env_{clock_, files_, tasks_, entropy_, telemetry_};
};

}  // namespace reeve::sim
