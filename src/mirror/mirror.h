#pragma once

// The mirror: push the own log to the share, pull every other log from it. Steps, not tasks: `node`
// runs Pusher in its `push` task and Puller in its `pull` task, and decides when.
//
//   own segment files --Pusher--> <share>/log/<writer>/*.rlog, then HEAD
//   <share>/log/<other>/* --Puller--> <state>/log/<other>/*.rlog (same bytes, same offsets), then
//   the slot
//
// Both may hang with the share; both are restarted from what is on disk and repeat nothing harmful.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "env/env.h"
#include "eventlog/cuts.h"
#include "eventlog/head.h"
#include "eventlog/reader.h"
#include "share/share.h"

namespace reeve::mirror {

struct MirrorOptions {
    std::string log_root;  // <state>/log: one directory a writer
    eventlog::Trust trust = eventlog::Trust::unpinned({});
    eventlog::Identity identity;  // signs HEAD
    std::string host;             // stands in HEAD, for people
    WriterId self;
    Incarnation incarnation;
    share::Nonce nonce{};
    std::uint64_t serial_before = 0;  // of the certificate of the own log's last segment at boot
    /// How often a puller lists directories for new logs and incarnations, unless it is told to.
    milliseconds relist{0};
    /// A writer that is silent for so long and whose log the share has lost is shared for.
    milliseconds orphan{300'000};
    std::uint64_t step_bytes = 64 << 20;  // of the own log, read or put in one step, about
    milliseconds scrub_interval{15'000};
    std::uint64_t scrub_bytes = 256 * 1024;  // of local logs, read again in each interval
    std::string fork_root;                   // where the other side of a fork is pulled to
    eventlog::ForkBook forks;                // that are known at the start
};

/// Kind of the notice that the share shows less than was written to it.
constexpr const char* rolled_back = "nas.rolled_back";

/// Kind of the notice that the own disk has no room for what must be remembered before HEAD.
constexpr const char* own_disk_full = "disk.full";

/// What a step noticed that people or the log must learn (kind, subject, detail of an Observation).
struct Notice {
    std::string kind;
    std::string subject;
    std::string detail;
};

/// Owned by the push task.
class Pusher {
public:
    Pusher(env::Env env, share::LogShare& share, MirrorOptions options);
    /// Shares everything up to `accepted` (the end of the own log on the local disk) and declares
    /// it, or a step on the way there: see busy(). With `heartbeat`, writes a HEAD even when
    /// nothing is new. On (re)start and after an error the shared files are compared with the own
    /// ones: shorter is shared again, different goes to quarantine and is shared anew (I6).
    /// Code::replaced when HEAD bears a tag that this writer never wrote in this or a later
    /// incarnation. Returns the slot now declared; nothing when none was, in this step.
    Result<std::optional<eventlog::HeadSlot>> push(const eventlog::LogPosition& accepted, Hlc hlc,
                                                   bool heartbeat);
    /// The next push has more to do, and should not wait.
    bool busy() const;
    /// scrub() has more to compare, and should not wait.
    bool comparing() const;
    /// The own HEAD on the share still bears the last tag that was written (barrier of the claim).
    Result<bool> head_is_ours();
    /// The shared copy is to be compared whole before the next HEAD.
    void doubt_shared();
    /// Compares a step of what was declared by earlier runs; when that is done, reads a little of
    /// the own log and of its shared copy again, when it is time to.
    void scrub();
    std::vector<Notice> take_notices();

private:
    struct State;
    std::shared_ptr<State> state_;
};

/// What the puller knows of one writer's log after a round.
struct RemoteLog {
    eventlog::LogPosition mirrored;          // end of the mirror: verified, synced, signed for
    std::optional<eventlog::HeadSlot> head;  // the last seen slot
    MonoTime head_changed;                   // when the observer last saw HEAD change
    MonoTime head_moved;     // when it was last seen newer than one that the share showed before
    MonoTime head_read;      // when the last read of HEAD without an error began
    bool caught_up = false;  // mirrored == declared end of `head`
    bool retired = false;    // by an operator: see Retired
    bool cut = false;        // what HEAD declares is behind a cut, and the mirror has reached that
    bool share_behind = false;  // the share shows an older HEAD than `head`: rolled back
    std::string error;          // why it stopped, empty when well
};

/// Read no further than this, and never waited for; lifted by a certificate of a greater serial.
struct Retired {
    std::uint64_t serial = 0;
    eventlog::LogPosition end;
};

/// The doorbell's payload: "look now". At most 128 bytes; a hostile one decodes to nothing.
struct Ring {
    share::ClusterId cluster{};
    WriterId writer;
    SegmentNo segment;
    Offset end;
};
Bytes encode(const Ring& ring);
std::optional<Ring> decode_ring(ByteView bytes);

/// What a round looks at: the HEADs that it knows, or also what else has appeared.
enum class Look { heads, names };

/// Owned by the pull task.
class Puller {
public:
    Puller(env::Env env, share::LogShare& share, MirrorOptions options,
           std::map<WriterId, Retired> retired = {});
    /// One round over all writers but the own: reads every HEAD by a fresh open, and pulls what is
    /// new for those that moved. A writer that fails does not stop the others. Returns the state of
    /// all. Code::unavailable when the share itself is away. A look at heads alone may miss, for
    /// `relist`, a log or an incarnation that is new.
    Result<std::map<WriterId, RemoteLog>> round(Look look = Look::names);
    /// Which look shows what a ring tells of; nothing: it was seen before.
    std::optional<Look> news(const Ring& ring) const;
    void set_retired(std::map<WriterId, Retired> retired);
    /// Nothing behind a cut is pulled; mirrors that hold some of it go on from the cut.
    void set_forks(eventlog::ForkBook forks);
    /// Two histories of one log, both verified: one on the local disk, one on the share.
    std::vector<events::ForkSeen> take_forks();
    /// The mirror of `writer` was found damaged: it is read again whole, and mended.
    void doubt(const WriterId& writer);
    std::vector<Notice> take_notices();

private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace reeve::mirror
