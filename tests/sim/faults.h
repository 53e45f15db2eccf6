#pragma once

// FAULT MODEL of the simulator: what may be injected where, and why the cluster must survive it.
// docs/simulation.md says how to run it and how often each fault happened.
//
// Processes
//   Kill: at any env call (kill -9, OOM, a CHECK). All its tasks stop there. What it had written to
//   local files stays, the write under way by a prefix or not at all; what it had written to the
//   share lies in the page cache of its machine and is sent on; a request under way is lost, or is
//   still carried out up to `most_late_ns` later. Survived because nothing is promised before it
//   is durable, every life is an incarnation of its own, and a claim is recognised by whose ticket
//   stands there.
//   Pause: a process, or all of a machine, stands still for seconds to minutes, in the middle of
//   any call, which is carried out afterwards. Survived because no right follows from time alone:
//   what others concluded meanwhile is found in the logs before anything is done.
//   Stop: SIGTERM.
// Machines
//   Power: all processes of the machine are killed; the local disk keeps of what was not synced
//   what disk.h says (torn and lost sectors, lost names); what this client had not sent to the
//   share is gone.
//   Amnesia: a machine comes back with an empty disk. Its log comes back from the share; what it
//   had accepted and shared with nobody is lost, which is the budget of I1. It must run nothing
//   again (I2).
//   Clone: a second machine starts from a copy of a disk, taken at any moment as files or as the
//   power would leave it, while the first runs on, stands still, or is off for a while. Its view is
//   worthless there, as after a boot. At most one of the two goes on: the other, or both, end with
//   status 11, say by whom they were replaced, and stay away also when they are started again (I6).
//   Only what the replaced one alone accepted may be missing; what it ran is lost, and runs nowhere
//   else (I2). When both were replaced a person rescues one log, and decides where a forked one
//   goes on. Not injected: a copy that is started under the same boot.
// Local disk
//   A sync fails: the dirty pages are there or not, the descriptor is poisoned. Reads and writes
//   fail with io, a write after a prefix. The disk is full: everything that grows fails. Survived
//   because a segment ends at its last good sync, and what cannot be written was not promised. (A
//   disk that loses what it has acknowledged is outside the budget of I2.)
// The share: its server
//   Names are atomic and durable when the server has done them. Contents are unstable until a sync;
//   a server that restarts loses what is unstable, page by page, while all calls hang.
//   Snapshots: the whole share is put back to what it was, with every name, content and claim
//   since then gone, and every open handle stale. Survived because owners find their own HEAD gone
//   and share again, and nobody claims before all have (I2, I6). Not within the budget of I2 when
//   the disk of an owner is lost as well.
//   Loss: the directory is empty, for everybody, and comes back later as it was. For one client: it
//   is not mounted, and an empty, writable directory of the machine's own disk stands in its
//   place. Nothing may be made there (I8), and an absence of names there proves nothing (I2).
//   Errors for a while, for one client or for all: EIO (carried out or not), ENOSPC, EROFS, ESTALE.
//   An outage: nobody's calls return for a while. A cut: those of one machine do not. Survived
//   because only the tasks that talk to the share wait (I12).
// The share: the transport
//   Each request and each reply takes its own time, so requests of two tasks arrive in any order;
//   a call may be slow, or hang for minutes alone.
//   Lost reply: the call was done, the client asks again and the server answers for the second
//   time: link and create_new say conflict, rename and remove not_found. Measured on real servers.
//   Lost request: the call fails with io, and was done, or was not, or is done up to `most_late_ns`
//   later. Repeated request: what was done once is done a second time, later. Survived because a
//   caller looks at what stands there, contested names are never removed, and whoever was told
//   nothing does not forget what he has asked for.
// The share: what each client keeps
//   Written pages stay at the client until a sync or a close, or are sent early, in any order: then
//   other clients see zeros where an earlier page is to come. A sync, too, arrives in two parts.
//   Errors of writes are told at the sync. Survived because bytes count when HEAD declares them,
//   and zeros never parse.
//   Attributes are believed for seconds: info() may tell of a file as it was, even of one that is
//   gone; an open file seems to end where it ended when it was opened, and when its growth is seen,
//   the rest of its last page may be zeros. A fresh open asks anew (close-to-open). Survived
//   because every look is a fresh open.
//   Names: one that a machine has asked for when it did not exist stays invisible to it for up to a
//   minute (listings show it); one that was replaced may open the file of before for some seconds.
//   Survived because names are listed and not probed, and nothing contested is ever replaced.
// Clocks
//   Each machine's wall clock is off by a constant, steps, drifts, stands still, or is ten years
//   ahead, and is put right in the end. Monotonic time is right and starts anew with each boot.
//   Survived because nothing compares two machines' clocks, and who is off claims nothing.
//
// Not injected: bit rot (tests/rot does that on real files), partitions between doorbells other
// than lost datagrams, a local disk that loses what it has synced.
//
// Each class is on or off for a whole seed, with a rate of its own, so that a seed shows one
// weakness clearly and rare classes meet each other in some seeds.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/sim/random.h"

namespace reeve::sim {

/// What calls meet. How often, in a thousand calls that could meet it; 0: never.
struct Faults {
    std::uint32_t lost_reply_permille = 0;
    std::uint32_t nas_io_permille = 0;
    std::uint32_t nas_slow_permille = 0;
    std::uint32_t nas_hang_permille = 0;
    std::uint32_t repeat_permille = 0;
    std::uint32_t stale_absence_permille = 0;
    std::uint32_t stale_name_permille = 0;
    std::uint32_t stale_attributes_permille = 0;
    std::uint32_t writeback_permille = 0;
    std::uint32_t local_sync_permille = 0;
    std::uint32_t local_io_permille = 0;
    std::uint32_t outages = 0;  // in a run, at random times of the first `outage_within_ns`
    std::int64_t outage_within_ns = 20'000'000'000;
    std::int64_t most_late_ns = 30'000'000'000;

    static Faults none() { return {}; }
    /// Each class on or off by the seed.
    static Faults of(Random& random);
    std::string text() const;
};

/// How often each thing really happened: a test of faults that did not occur proves nothing.
using Coverage = std::map<std::string, std::uint64_t>;
void add(Coverage& total, const Coverage& more);

/// A thing that is counted when it happens, and the class that switches it off (Plan::without).
struct FaultRow {
    const char* name;
    const char* klass;
};
/// All of them, in the order of the table that is printed.
const std::vector<FaultRow>& fault_rows();
/// One line a row, and what was counted besides.
std::string coverage_table(const Coverage& coverage);
/// Those that never happened.
std::vector<std::string> never_happened(const Coverage& coverage);

}  // namespace reeve::sim
