#pragma once

// The world around the writers: machines with a local disk and a clock each, one NAS for all of
// them, and what goes wrong there: the fault model is the first comment of faults.h.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "env/env.h"
#include "tests/sim/disk.h"
#include "tests/sim/faults.h"
#include "tests/sim/nas_client.h"
#include "tests/sim/scheduler.h"
#include "tests/sim/weather.h"

namespace reeve::sim {

class Process;
class World;

/// A machine's wall clock: what it says of the true time.
struct SimWallClock {
    std::int64_t offset_ms = 0;
    std::int64_t drift_ppm = 0;  // since `since`
    MonoTime since{};
    std::optional<WallTime> stands_at{};

    WallTime at(WallTime true_time, MonoTime now) const;
};

/// What a scene does to single calls of a machine, which are told by the words of their trace
/// ("rename /local/mira/..."): the rest of the machine goes on. Never by the seed.
struct Mishap {
    std::string words;
    MonoTime until;
    bool fails = false;  // with EIO, and nothing is done; else they return at `until`
};

struct Node {
    Node(std::string its_name, ClientId number, std::int64_t offset_ms)
        : name(std::move(its_name)),
          home(name),
          client(number),
          disk(false, number + 1U),
          mount_point(false, number + 1U) {
        wall.offset_ms = offset_ms;
    }
    const std::string name;
    std::string home;       // whose files lie here: of the machine that this is a copy of
    const ClientId client;  // its number as a client of the NAS, from 1
    Disk disk;
    Disk mount_point;  // what stands at /nas while nothing is mounted there
    SimWallClock wall;
    NasClient nas;
    MonoTime booted{0};
    std::vector<Mishap> mishaps;

    /// The one that meets a call now, if any.
    const Mishap* mishap(const std::string& what, MonoTime now) const;
};

/// Owned by a test; outlives nothing but the Scheduler that it refers to, which it must not
/// outlive. All of it under the baton.
class World {
public:
    World(Scheduler& scheduler, Faults faults);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    Node& add_node(const std::string& name, std::int64_t wall_offset_ms = 0);
    /// A second machine with the disk of `of` as it is now, or, with `torn`, as the power would
    /// leave it.
    Node& add_copy(const Node& of, const std::string& name, bool torn);
    /// One life of a program on a node; it sees /local/<home>/... and /nas/.... `main` is its first
    /// task.
    Process& start(Node& node, const std::string& program, std::function<void(env::Env&)> main);
    /// kill -9.
    void kill(Process& process);
    /// The power of the machine goes and comes back at once; nothing is started by itself.
    void crash(Node& node);
    /// SIGSTOP, and SIGCONT after `d`: the calls under way are carried out then.
    void pause(Process& process, Duration d);
    /// The same of all that runs on the machine.
    void pause(Node& node, Duration d);
    /// The server of the NAS restarts: calls hang for `down`, what was not synced is there or not.
    void restart_nas(Duration down);
    /// The NAS holds what it held then; open handles are stale.
    void put_nas_back(const DiskState& state);
    /// The NAS is an empty directory, until something is put back.
    void empty_nas();
    bool nas_is_empty() const { return nas_is_empty_; }
    /// Everything that was written until now is durable: the end of the preparations of a run.
    void settle();

    // For tasks of the stage.
    void sleep(Duration d);
    /// Until all tasks of the process have ended or been killed.
    void wait_ended(const Process& process);

    Scheduler& scheduler() { return scheduler_; }
    Random& random() { return scheduler_.random(); }
    const Faults& faults() const { return faults_; }
    /// From now on these happen, with their outages in the time that begins now.
    void set_faults(const Faults& faults);
    Disk& nas() { return nas_; }
    WallTime true_time() const;
    Weather& weather() { return weather_; }
    void add_front(Storm storm, std::optional<ClientId> client, Duration lasts);
    /// Calls of this client on the NAS made now return no sooner than after this.
    Duration hang_left(const Node& node) const;
    bool is(Storm storm, const Node& node) const;
    const std::vector<std::unique_ptr<Node>>& nodes() const { return nodes_; }
    void count(const std::string& what) { ++coverage_[what]; }
    const Coverage& coverage() const { return coverage_; }

private:
    Scheduler& scheduler_;
    Faults faults_;
    Disk nas_{true, 1};
    std::vector<std::unique_ptr<Node>> nodes_;
    std::vector<std::unique_ptr<Process>> processes_;
    Weather weather_;
    bool nas_is_empty_ = false;
    Coverage coverage_;
};

}  // namespace reeve::sim
