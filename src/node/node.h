#pragma once

// One writer, composed: opens its log as a new incarnation, then runs its fixed set of tasks over
// env. The daemon gives it real services, the simulator simulated ones.

#include <atomic>
#include <memory>
#include <optional>

#include "node/config.h"
#include "node/loop.h"
#include "node/tasks.h"

namespace reeve::node {

/// What a writer needs from outside; all outlive the Node. `supervisor` is null for a coordinator,
/// `doorbell` may be null (then the mirror polls).
struct NodeServices {
    env::Env env;
    share::Share& share;
    kv::Store& store;
    env::ControlServer& control;
    env::Supervisor* supervisor;
    env::Doorbell* doorbell;
    env::Host& host;
};

/// The stored view is not to be read: another boot wrote it without a sync, or the mark to build it
/// again is there.
bool view_is_void(env::FileSystem& files, const NodeConfig& config, const std::string& boot_id);

class Node {
public:
    /// Recovers the own log and claims an incarnation (boot.h), opens the new segment and the
    /// projection. Code::replaced: another process has gone on with this log (exit 11).
    static Result<std::unique_ptr<Node>> open(NodeServices services, NodeConfig config);
    /// Spawns the tasks. Called once.
    void start();
    /// Asks all tasks to end; any thread.
    void stop(const std::string& reason);
    /// The view was found damaged: the node ends with exit_failed; any thread.
    void leave_view(const Error& damage);
    /// The loop's exit status once it has ended; any thread.
    std::optional<int> ended() const;
    Incarnation incarnation() const { return incarnation_; }

private:
    Node(NodeServices services, NodeConfig config);
    Status make_directories();
    Status open_log();
    Status open_projection();
    Status look_at_boot();
    Status settle_boot();
    void stop_tasks();

    NodeServices services_;
    NodeConfig config_;
    Mail mail_;
    Incarnation incarnation_;
    share::Nonce nonce_{};
    bool rebooted_ = false;
    bool boot_unknown_ = false;  // nothing says in which boot this writer ran last
    std::string boot_id_;
    Incarnation incarnation_before_;   // of the last run that the own log knows
    std::uint64_t serial_before_ = 0;  // of the certificate that its log was signed with
    std::unique_ptr<eventlog::LogWriter> writer_;
    std::unique_ptr<projection::Projection> projection_;
    std::unique_ptr<Loop> loop_;
    std::atomic<bool> stop_{false};
    std::atomic<int> exit_{-1};
};

}  // namespace reeve::node
