#pragma once

// The loop task of one writer: the only one that decides and the only one that appends.
//
//   mail -> handle -> fold mirrors -> decide (dispatch, duties) -> append + sync -> apply -> send
//
// Everything that leaves the writer (exec requests, claims, replies, files) is sent after what it
// derives from is durable, and is idempotent, so a crash between two steps is mended by deriving it
// again at the next start. The loop makes no call on the share (I12): other tasks do and send mail.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "compute/attempt.h"
#include "control/duties.h"
#include "control/router.h"
#include "env/env.h"
#include "env/host.h"
#include "env/sockets.h"
#include "env/supervisor.h"
#include "eventlog/cuts.h"
#include "eventlog/reader.h"
#include "eventlog/recovery.h"
#include "eventlog/writer.h"
#include "node/clock_check.h"
#include "node/config.h"
#include "node/log_merge.h"
#include "node/messages.h"
#include "node/turn_times.h"
#include "projection/projection.h"
#include "queue/door/door.h"

namespace reeve::node {

struct SubmitArguments;
struct Refusal;

/// Everything the loop talks to. All outlive it; `supervisor` is null for a coordinator.
struct LoopLinks {
    env::Mailbox<LoopMessage>& inbox;
    env::Mailbox<PushMessage>& push;
    env::Mailbox<PullMessage>& pull;
    env::Mailbox<ClaimsMessage>& claims;
    env::Mailbox<BulkMessage>& bulk;
    env::Supervisor* supervisor;
    env::ControlServer& control;
    env::Host& host;
};

/// Exit statuses of a daemon that the loop decides about.
constexpr int exit_done = 0;
constexpr int exit_failed = 1;
constexpr int exit_replaced = 11;
/// Rounds of the mirror that a request waits for which names a job not known here: the first may
/// have begun before it came.
constexpr int rounds_to_wait = 2;
/// How long the first word of the share is waited for.
constexpr milliseconds first_word_patience{5'000};
/// The state that a node tells of itself while its clock is off: others keep its duties.
constexpr std::string_view wrong_clock = "degraded: the clock differs from the share's";

class Loop {
public:
    Loop(env::Env env, NodeConfig config, LoopLinks links, projection::Projection& projection,
         std::unique_ptr<eventlog::LogWriter> writer, bool rebooted);
    /// Runs until StopRequested, ReplacedByAnother or a view that fails; returns the exit status.
    int run();
    /// Before run(): room had to be made to start.
    void started_without_ballast(const std::string& why) { ballast_released(why); }

private:
    // --- turn (loop.cc)
    int live();
    void turn();
    void handle(LoopMessage message);
    void load_view();
    std::optional<LogToRead> log_to_load(const WriterId& writer) const;
    void fold_local_mirrors();
    void fold_mirrors();
    Status fold_mirror(const WriterId& writer, const mirror::RemoteLog& remote);
    Status catch_up_own_log();
    void commit();
    void show_life();
    void drop_impossible();
    void drop_unusable();
    void append_failed();
    Result<projection::Applied> apply(std::span<const projection::FoldInput> inputs);
    void view_failed(const Error& error);
    void leave_broken_view(const Error& error);
    void tell_rebuilt();
    void enter_trouble(const std::string& what, Code code = Code::full);
    void leave_trouble();
    void note_changed(const projection::Applied& applied);
    void note_nodes();
    void answer_shared();
    MonoTime next_wake() const;
    void append(events::Payload payload) { payloads_.push_back(std::move(payload)); }
    /// Runs after everything appended in this turn is durable and applied.
    void then(std::function<void()> send) { sends_.push_back(std::move(send)); }
    projection::Snapshot snapshot();
    const queue::JobSpec* spec_of(const JobId& job, const projection::JobRow& row);
    void on_notices(const Noticed& noticed);
    bool first_time(const std::string& problem);
    void remember_replaced(const std::string& reason);
    void look_at(const WriterId& writer, const eventlog::Batch& batch);
    void read_heeded_rollbacks();
    void heed_rollback(const WriterId& writer, Seq seq);

    // --- what operators have signed (loop_operators.cc)
    void heed_operators(const projection::Snapshot& view);
    void load_retired();
    void keep_policy(const projection::Snapshot& view);
    void keep_policy_again();
    eventlog::LogPosition fold_limit(const WriterId& writer, const mirror::RemoteLog& remote) const;
    std::string append_signed(const env::ControlRequest& request, const nlohmann::json& parsed);

    // --- age of logs (loop_archive.cc)
    void keep_archives();
    void tell_mirrored();
    std::map<WriterId, eventlog::SegmentId> held_by_all();
    void on_archived(const mirror::ArchiveBatch& batch);

    // --- forks of logs (loop_forks.cc)
    void load_forks();
    bool may_tell_forks() const;
    void on_forks(const ForksFound& found);
    void heed_forks(const projection::Snapshot& view);
    void leave_forked_log();
    void say_forks();
    bool read_to_its_cut(const WriterId& writer, const mirror::RemoteLog& log, Seq folded) const;

    // --- room on the own disk (loop_space.cc)
    void watch_space();
    void keep_ballast();
    bool disk_is_full() const;
    bool release_ballast(const std::string& why);
    void ballast_released(const std::string& why);
    void tell_ballast_released();
    std::uint64_t output_cap() const;
    void on_retention(const RetentionBatch& batch);
    bool takes_work() const;
    std::string refuse_for_space() const;
    nlohmann::json space_document() const;

    // --- requests of people (loop_control.cc)
    void on_request(const env::ControlRequest& request);
    void serve(const env::ControlRequest& request, int rounds_left);
    void serve_deferred();
    void refuse_deferred();
    std::string answer(const env::ControlRequest& request);
    std::string cancel(const env::ControlRequest& request, const std::string& job,
                       bool give_up_lost, const std::string& request_id);
    std::string set_switch(const env::ControlRequest& request, const std::string& name,
                           const std::string& value, const std::string& reason);

    // --- submissions (loop_submit.cc)
    struct Submission;
    std::string submit(const env::ControlRequest& request, const nlohmann::json& parsed);
    void commit_before(const SubmitArguments& arguments);
    std::optional<Refusal> take_document(const projection::Snapshot& view,
                                         const SubmitArguments& arguments, std::size_t index,
                                         Submission& out);
    JobId new_job_id();
    queue::DoorContext door_context(const projection::Snapshot& view,
                                    const std::set<JobId>& earlier);
    void on_dropped_file(const DroppedFile& dropped, int rounds_left);

    // --- attempts of this node (loop_attempts.cc)
    void load_own_attempts();
    void on_supervisor(const env::SupervisorMessage& message);
    void on_hello(const env::SupervisorHello& hello);
    void on_outcome(const env::ExecOutcome& outcome);
    void on_shipped(const Shipped& shipped);
    void begin_attempt(const AttemptId& attempt, const projection::JobRow& row, bool claimed);
    bool adopt(const AttemptId& attempt, const projection::JobRow& row);
    bool adopt(const AttemptId& attempt);
    void adopt_late(const std::set<JobId>& changed);
    void start_durable(const AttemptId& attempt);
    void start_exec(const AttemptId& attempt);
    void settle();
    bool owes_a_word();
    void tell_kept_outcomes();
    bool fenced() const;
    bool settle_unknown(const AttemptId& attempt, bool heard);
    bool started_on_another_disk(const AttemptId& attempt);
    void end_unknown(const AttemptId& attempt, events::Payload payload);
    bool gone_on_without(const AttemptId& attempt);
    bool win_void(const AttemptId& attempt);
    void remember_boot();
    void stop_cancelled(const std::set<JobId>& changed);
    void fence();
    compute::LocalClaim local_claim(const AttemptId& attempt);

    // --- dispatch (loop_dispatch.cc)
    void dispatch();
    void offer();
    bool may_claim(std::string* why) const;
    std::vector<control::Candidate> candidates(const projection::Snapshot& view) const;
    struct Line;
    std::vector<events::OfferScore> order_for(const AttemptId& attempt,
                                              const projection::JobRow& row,
                                              const queue::JobSpec& spec, Line& line);
    std::vector<control::Choice> line(const projection::Snapshot& view);
    std::vector<std::pair<JobId, projection::JobRow>> jobs_in_line(
        const projection::Snapshot& view);
    control::Candidate own_candidate() const;
    bool past_deadline(const queue::JobSpec& spec) const;
    bool has_own_word(const std::optional<projection::JobRow>& row, const AttemptId& attempt) const;
    void pursue();
    std::size_t busy_slots() const;
    void refresh_stats(const projection::Snapshot& view);
    bool start_at_once(const JobId& job, const queue::JobSpec& spec,
                       const events::JobSubmitted& submitted);
    void on_claim(const ClaimAnswer& answer);
    void claim_won(const ClaimAnswer& answer);
    void on_own_claims(const OwnClaims& claims);
    void load_known_since();
    void settle_unexplained(const AttemptId& attempt, const share::Ticket& ticket,
                            const projection::AttemptRow* known);
    std::uint32_t passes(const control::Choice& choice) const;
    void leave_to_others(const std::vector<control::Choice>& choices);
    void request_claim(ClaimRequest request);

    // --- duties and what is known of others (loop_duties.cc)
    void on_logs(const RemoteLogs& logs, MonoTime at);
    void duties();
    void do_duties_for(const projection::Snapshot& view, const JobId& job,
                       const control::DutyView& duty);
    control::DutyView duty_view(const projection::Snapshot& view) const;
    /// By an operator, for good.
    bool removed(const WriterId& writer) const;
    control::Liveness liveness(const WriterId& writer) const;
    milliseconds silent_for(const WriterId& writer) const;
    bool coordinator_live() const;
    bool another_publishes() const;
    bool share_ok() const;
    void notice_silence();
    void remember_rollback();
    void forget_rollback();
    bool any_behind() const;
    bool hides_nothing(const WriterId& writer) const;
    bool does_duties() const;
    bool outdated(const projection::NodeRow& node) const { return node.level < cluster_level_; }
    /// This build does not know all that the log may say: it decides nothing.
    bool outdated() const { return events::current_level < cluster_level_; }
    void raise_level();
    void heed_level(std::uint32_t raised);
    std::string own_state() const;
    bool all_caught_up() const;
    bool all_heard_since(MonoTime moment) const;
    void health();
    std::string live_status_json() const;

    // --- its own times and its clock (loop_watch.cc)
    nlohmann::json turn_times_json() const;
    nlohmann::json clock_json() const;
    void compare_clock(const ClockSample& sample);
    bool clock_is_off(const NodeId& node) const;

    // One attempt that this node has started and not ended.
    struct OwnAttempt {
        queue::JobSpec spec;
        std::int64_t submitted_ms = 0;
        bool durable = false;   // its JobStarted is: before that nothing may run (I3)
        bool asked = false;     // the supervisor has been asked to run it, or runs it
        bool stopping = false;  // TERM was asked for
        bool told = false;      // its JobFinished is on the way into the log
        std::optional<events::JobFinished>
            finished{};  // while its output is on the way to the share
        MonoTime ships_since{};
        bool ended = false;  // its outcome is on the way into the log
    };
    struct SharedWaiter {  // a reply that waits until HEAD covers `seq`
        Seq seq;
        std::uint64_t request = 0;
        std::string reply;  // JSON object
        MonoTime deadline;
    };
    struct KnownSpec {
        Sha256 hash{};  // two submissions may race for one dedupe key
        queue::JobSpec spec;
    };
    struct Deferred {  // a request that names a job which may be on its way here
        env::ControlRequest request;
        int rounds_left = 0;
        MonoTime deadline;
    };
    struct Pursuit {  // a claim whose result is unknown: never forgotten
        ClaimRequest request;
        MonoTime again;
    };

    struct SpaceSeen {  // of the own disk
        std::uint64_t free_bytes = 0;
        control::SpaceLevel level = control::SpaceLevel::ample;
        std::uint64_t ballast_bytes = 0;
        std::string released_because;  // until that is in the log
        MonoTime next_look;
        std::optional<MonoTime> roomy_since;  // there is room for the ballast that is missing
        MonoTime make_again;
    };

    env::Env env_;
    NodeConfig config_;
    LoopLinks links_;
    projection::Projection& projection_;
    std::unique_ptr<eventlog::LogWriter> writer_;
    bool rebooted_;

    MonoTime now_;
    WallTime wall_;
    bool stopping_ = false;
    bool dirty_ = true;  // something changed: the next turn does not wait
    int exit_status_ = exit_done;
    std::vector<events::Payload> payloads_;
    std::vector<std::function<void()>> sends_;
    std::vector<std::pair<std::uint64_t, std::string>>
        replies_;              // after accepted, waiting for shared
    std::set<JobId> changed_;  // since the last duties

    RemoteLogs remote_;
    MonoTime last_round_;                       // last good pull round
    MonoTime sighted_since_;                    // the share has been readable without a gap since
    std::map<WriterId, Seq> heeded_rollbacks_;  // the last word of each, on the own disk as well
    std::set<WriterId> rollback_tellers_;       // whose word is waited out now
    std::optional<MonoTime> rolled_back_at_;    // the share was seen older than what was written
    MonoTime last_push_;                        // last declared HEAD
    MonoTime last_life_;                        // last word to the push task
    Hlc last_hlc_;                              // of the own log
    std::optional<events::NodeStarted> announcement_;  // of this run, until it is in the log
    SpaceSeen space_;
    std::uint64_t spooled_bytes_ = 0;  // of ended attempts, as last told
    bool in_trouble_ = false;          // the own disk takes nothing
    MonoTime try_again_;               // then: not before this
    Seq shared_seq_;
    bool pull_ok_ = false;      // the logs can be read
    bool push_ok_ = true;       // the own one can be shared
    bool share_heard_ = false;  // a task has reached it, or failed to
    std::map<WriterId, eventlog::LogReader> readers_;
    MonoTime next_compare_;                        // of the shared copy, when others complain
    std::map<WriterId, MonoTime> fold_again_;      // of logs that do not verify: not before
    std::map<WriterId, mirror::Retired> retired_;  // that count here
    MonoTime next_archive_;
    std::string told_mirrored_;             // of this run: where the mirrors stand
    eventlog::ForkBook forks_;              // that count here
    eventlog::ForkBook seen_forks_;         // here, and not said yet
    bool say_forks_ = false;                // some may not stand in the own view
    bool cut_back_ = false;                 // the view is folded again at the next start
    Sha256 policy_kept_{};                  // the one that lies in policy_root
    std::optional<MonoTime> policy_again_;  // when it could not be written there
    std::map<WriterId, projection::NodeRow> nodes_;
    std::map<std::string, projection::SwitchRow> switches_;
    std::map<NodeId, std::string> health_of_;            // what each node last told of itself
    std::uint32_t cluster_level_ = events::first_level;  // event types above it are not written
    std::optional<std::uint32_t> level_known_;  // of the level file; 0: not known yet in any run
    control::RoutingStats stats_;
    MonoTime stats_at_;
    std::deque<SharedWaiter> waiters_;
    std::vector<Deferred> deferred_;
    std::vector<std::pair<DroppedFile, int>> deferred_files_;  // with the rounds left
    std::set<std::string> requests_of_turn_;  // submissions that are not in the view yet
    std::size_t bytes_of_turn_ = 0;           // of them in the log, about: they share one batch
    bool missed_job_ = false;  // the request being served named a job that is not known here
    bool round_came_ = false;  // the logs were read since the last turn

    std::map<AttemptId, OwnAttempt> own_;
    bool supervisor_ready_ = false;
    std::vector<env::ExecOutcome> kept_outcomes_;  // of jobs that have not arrived here
    std::set<AttemptId> to_settle_;                // own ones that the supervisor knows nothing of
    bool settle_reboot_ = false;  // a hello came: the boot is remembered when all is settled
    MonoTime settle_again_;
    std::set<AttemptId> claims_in_flight_;
    std::map<AttemptId, Pursuit> pursued_;
    std::map<AttemptId, share::Ticket> foreign_claims_;
    struct Passed {
        std::uint32_t times = 0;               // another job was taken
        std::optional<MonoTime> left_at = {};  // to others, with a free slot here: the first time
    };
    std::map<AttemptId, Passed> passed_over_;
    std::map<AttemptId, MonoTime> first_seen_;  // pending without an offer since
    std::map<AttemptId, MonoTime> offered_;
    std::map<JobId, MonoTime> unplaceable_;  // that no node can run, as of then
    std::set<JobId> unfit_;                  // that this node can never run
    std::map<AttemptId, MonoTime> inspected_;
    std::map<JobId, KnownSpec> specs_;  // parsed documents, bounded
    std::size_t spec_bytes_ = 0;        // of their texts
    std::set<std::string> rejected_recently_;
    MonoTime next_scan_;       // own claims by listing
    Incarnation known_since_;  // the first run of which this disk knows everything
    MonoTime next_duty_scan_;
    MonoTime next_status_;
    MonoTime next_health_;
    std::string health_state_;  // as last told
    std::string health_seen_;
    MonoTime health_since_;
    bool tell_duties_ = false;  // the bulk task has not been told
    bool duties_on_ = false;
    ClockCheck clock_;
    TurnTimes turn_times_;
};

}  // namespace reeve::node
