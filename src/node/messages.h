#pragma once

// What the tasks of one writer say to each other. Values only; each mailbox has one receiver.
//
//   control, doorbell, exec, push, pull, claims, bulk  --LoopMessage-->  loop
//   loop  --ClaimsMessage--> claims --PullMessage--> pull
//                                   --PushMessage--> push
//   loop  --BulkMessage--> bulk

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "control/duties.h"
#include "control/retention.h"
#include "control/space.h"
#include "env/sockets.h"
#include "env/supervisor.h"
#include "mirror/archiver.h"
#include "mirror/mirror.h"
#include "node/clock_check.h"
#include "share/share.h"

namespace reeve::node {

using RemoteLogs = std::map<WriterId, mirror::RemoteLog>;

/// A name to win. `ended` is what to append when an ending is won.
struct ClaimRequest {
    AttemptId attempt;
    share::TicketKind kind = share::TicketKind::run;
    std::optional<events::JobEnded> ended;
    bool only_look = false;
};

// ---- to the loop ----
struct LogsRead {  // a pull round ended
    RemoteLogs logs;
    MonoTime at;  // it began: what it found was true at some time since
};
struct ShareAway {  // a task could not reach the share
    std::string task;
    std::string reason;
};
struct Pushed {  // HEAD declares this
    eventlog::HeadSlot slot;
    MonoTime at;
    std::optional<ClockSample> clock;  // when a HEAD was written and the share told its time
};
struct ClaimAnswer {
    ClaimRequest request;
    bool mine = false;
    std::optional<share::Ticket> holder;  // another's; absent and not mine: nobody, or unknown
    std::string failure;                  // why it is unknown; pursued again by the loop
    RemoteLogs barrier;                   // state of all logs read after the look (mine only)
    std::string barrier_failure;          // why the barrier did not hold: the claim is released
};
struct OwnClaims {  // found by listing
    std::vector<share::Claims::Held> held;
};
struct DroppedFile {  // taken from incoming/
    share::Inbox::Taken taken;
    Bytes document;
    std::string unreadable;  // why it could not be read, else empty
};
struct Shipped {  // output of an attempt was copied to results/, or stays spooled
    events::JobFinished finished;
    bool complete = false;
};
struct Noticed {
    std::vector<mirror::Notice> notices;
};
struct ForksFound {  // two histories of one log
    std::vector<events::ForkSeen> forks;
};
struct Spooled {  // output of ended attempts that the share has not taken
    std::uint64_t bytes = 0;
};
struct RetentionBatch {  // what retention would remove next
    std::uint64_t number = 0;
    control::RetentionClass what = control::RetentionClass::results;
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
    std::int64_t oldest_ms = 0;
    std::string reason;
};
struct ArchiveMade {  // archives stand: to be told before their plain files go
    mirror::ArchiveBatch batch;
};
struct ReplacedByAnother {  // exit 11
    std::string reason;
};
struct ViewBroken {  // another task could not read the view
    Error error;
};
struct StopRequested {
    std::string reason;
};
using LoopMessage =
    std::variant<env::ControlRequest, env::SupervisorMessage, LogsRead, ShareAway, Pushed,
                 ClaimAnswer, OwnClaims, DroppedFile, Shipped, Noticed, ForksFound, RetentionBatch,
                 ArchiveMade, Spooled, ReplacedByAnother, ViewBroken, StopRequested>;

// ---- to push ----
struct PushUpTo {
    eventlog::LogPosition accepted;
    Hlc hlc;
};
struct IsHeadOurs {  // answered to claims
    std::uint64_t barrier = 0;
};
struct CompareShared {};  // somebody says that the shared copy does not verify
struct StopTask {};
using PushMessage = std::variant<PushUpTo, IsHeadOurs, CompareShared, StopTask>;

// ---- to pull ----
struct LookNow {  // the doorbell rang, or somebody wants news
    std::optional<mirror::Ring> ring;
};
struct ReadAll {  // a round for the barrier, answered to claims
    std::uint64_t barrier = 0;
};
struct MendMirror {  // its copy here does not verify
    WriterId writer;
};
struct SetRetired {  // writers that an operator has removed
    std::map<WriterId, mirror::Retired> retired;
};
struct SetForks {  // where logs are cut
    eventlog::ForkBook forks;
};
using PullMessage = std::variant<LookNow, ReadAll, MendMirror, SetRetired, SetForks, StopTask>;

// ---- to claims ----
struct BarrierLogs {
    std::uint64_t barrier = 0;  // of the question: a late answer to an earlier one is ignored
    bool complete = false;      // every log was read to a HEAD read in this round
    std::string reason;
    RemoteLogs logs;
};
struct BarrierHead {
    std::uint64_t barrier = 0;
    bool ours = false;
    std::string reason;
};
struct ListOwn {};
using ClaimsMessage = std::variant<ClaimRequest, BarrierLogs, BarrierHead, ListOwn, StopTask>;

// ---- to bulk ----
struct ShipOutput {  // files of an ended attempt
    events::JobFinished finished;
    std::string directory;  // run/<attempt>
    std::string cwd;
    std::vector<std::string> outputs;
    std::int64_t submitted_ms = 0;
    bool out_in_file = false;
    bool err_in_file = false;
};
struct FollowOutput {  // a started attempt whose growing output is shown while it runs
    AttemptId attempt;
    std::string directory;
    std::int64_t submitted_ms = 0;
};
struct SettleFile {
    share::Inbox::Taken taken;
    std::optional<std::string> rejection;
};
struct ForgetAttempt {  // its outcome is durable: the local directory may go
    AttemptId attempt;
};
struct RenderChanged {  // jobs whose rendering changed
    std::vector<JobId> jobs;
};
struct DoDuties {  // this writer takes in dropped files and keeps the rendering
    bool on = false;
};
struct RetentionGo {  // the batch stands in the log: now it may go
    std::uint64_t number = 0;
};
struct ArchiveHeld {  // by log: the segment that the mirrors of all have reached
    std::map<WriterId, eventlog::SegmentId> held;
    std::set<WriterId> removed;  // whose shared logs are archived by who keeps the duties
};
struct ArchiveGo {  // the batch stands in the log: now the plain files may go
    std::uint64_t number = 0;
};
struct MakeBallast {  // there is room for it again
    control::SpacePolicy policy;
};
struct WriteStatus {  // status/<writer>.json
    std::string json;
};
using BulkMessage =
    std::variant<ShipOutput, FollowOutput, SettleFile, ForgetAttempt, RenderChanged, DoDuties,
                 RetentionGo, ArchiveHeld, ArchiveGo, MakeBallast, WriteStatus, StopTask>;

}  // namespace reeve::node
