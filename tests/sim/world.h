#pragma once

// The world around the writers: machines with a local disk and a clock each, one NAS for all of
// them, and what goes wrong there.
//
// FAULT MODEL. What may be injected, where, and why the cluster must survive it.
//
// Processes
//   A process may be killed at any env call (kill -9, OOM, a CHECK). All its tasks stop there. What
//   it had written to local files stays, the write under way stays by a prefix or not at all; a
//   request to the NAS that was under way is lost, or is still carried out, up to `most_late_ns`
//   later: the kernel finishes what was handed to it. Survived because: nothing is promised before
//   it is durable, every life is an incarnation of its own, and a claim is recognised by whose
//   ticket stands there.
// Machines
//   The power may go at any moment. All processes of the machine are killed; the local disk keeps
//   of the unsynced contents and names what disk.h says; what this client had written to the NAS
//   and not synced may be missing or torn. What was synced is there. (A disk that loses what it has
//   acknowledged is outside the budget of I2; it is not injected.)
// Local disk
//   A sync may fail with io: then the dirty pages are there or not and the descriptor is poisoned.
//   Survived because a segment ends at its last good sync. Reads never fail and bits do not rot
//   yet.
// NAS
//   Names (link, rename, remove, create) are atomic and durable when the server has done them.
//   Contents are durable after sync. Each call takes 0.2 to 3 ms, sometimes much longer.
//   - lost reply: the call was done, the client asks again and the server answers for the second
//   time:
//     link and create_new say conflict, rename and remove not_found. Measured on real servers.
//     Survived because a caller looks at what stands there.
//   - io: the call fails, and was done, or was not, or will be done up to `most_late_ns` later
//   (names
//     only). Survived for the same reason: nobody who was told "nothing" forgets what he has asked
//     for.
//   - stale absence: a name that a machine has asked for when it did not exist stays invisible to
//   opens
//     by that machine for up to a minute; listings show it. Measured on real clients.
//   - outage: nobody's calls return for a while (hard mount). Survived because only the tasks that
//     talk to the NAS wait (I12).
// Clocks
//   Each machine's wall clock is off by a constant. Monotonic time is right and starts anew with
//   each boot.
//
// Not injected yet, so nothing is proved about them: NAS rollback and crash of its server, a mount
// that is missing (an empty directory), full disks, bit rot, stale contents under a name that was
// replaced, clocks that step, partitions between machines, the supervisor.
//
// Each class is on or off for a whole seed (Faults::of), so that a seed shows one weakness clearly
// and rare classes meet each other in some seeds.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "env/env.h"
#include "tests/sim/disk.h"
#include "tests/sim/scheduler.h"

namespace reeve::sim {

struct Faults {
    std::uint32_t lost_reply_permille = 0;
    std::uint32_t nas_io_permille = 0;
    std::uint32_t nas_slow_permille = 0;
    std::uint32_t stale_absence_permille = 0;
    std::uint32_t local_sync_permille = 0;
    std::uint32_t outages =
        0;  // how many in a run, at random times of the first `outage_within_ns`
    std::int64_t outage_within_ns = 20'000'000'000;
    std::int64_t most_late_ns = 30'000'000'000;

    static Faults none() { return {}; }
    /// Each class on or off by the seed.
    static Faults of(Random& random);
    std::string text() const;
};

/// How often each thing really happened: a test of faults that did not occur proves nothing.
using Coverage = std::map<std::string, std::uint64_t>;

class Process;
class World;

struct Node {
    Node(std::string its_name, CacheId number, std::int64_t offset_ms)
        : name(std::move(its_name)),
          disk(false, number + 1U),
          cache(number),
          wall_offset_ms(offset_ms) {}
    const std::string name;
    Disk disk;
    const CacheId cache;  // its number as a client of the NAS, from 1
    const std::int64_t wall_offset_ms;
    MonoTime booted{0};
    std::map<std::string, MonoTime> absent_until;  // NAS paths that this client believes absent
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
    /// One life of a program on a node; it sees /local/<node>/... and /nas/.... `main` is its first
    /// task.
    Process& start(Node& node, const std::string& program, std::function<void(env::Env&)> main);
    /// kill -9.
    void kill(Process& process);
    /// The power of the machine goes and comes back at once; nothing is started by itself.
    void crash(Node& node);
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
    /// Calls on the NAS made now return no sooner than after this.
    Duration outage_left() const;
    void count(const std::string& what) { ++coverage_[what]; }
    const Coverage& coverage() const { return coverage_; }

private:
    Scheduler& scheduler_;
    Faults faults_;
    Disk nas_{true, 1};
    std::vector<std::unique_ptr<Node>> nodes_;
    std::vector<std::unique_ptr<Process>> processes_;
    std::vector<std::pair<MonoTime, MonoTime>> outages_;
    Coverage coverage_;
};

}  // namespace reeve::sim
