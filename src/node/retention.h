#pragma once

// Retention at work: a scan over what lies on the share, a few directories a step, and the removal
// of what the policy lets go. Used by the bulk task of the writer that keeps the duties, and by
// `reeve retention`, which only looks.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/time.h"
#include "control/retention.h"
#include "node/config.h"
#include "node/messages.h"
#include "projection/projection.h"
#include "share/share.h"

namespace reeve::node {

/// When a file was first seen in quarantine, by name: it was moved there with the time of its last
/// write, which says nothing of how long it has been there.
using SeenSince = std::map<std::string, std::int64_t>;

/// One look at everything that retention may remove. Finds what is there in the order of age, so
/// that when there is too much to hold, the oldest has been seen.
class RetentionScan {
public:
    RetentionScan(share::Attic& attic, SeenSince seen, std::int64_t now_ms);
    /// Lists up to `directories` of them; false when all is seen. A failure ends the scan.
    Result<bool> step(const projection::Snapshot& view, int directories);
    const std::vector<control::RetentionItem>& items() const { return items_; }
    /// What stands in quarantine now, for the next scan.
    const SeenSince& seen() const { return still_there_; }

private:
    struct Place {  // a directory to list
        control::RetentionClass what;
        std::string path;
        std::optional<std::size_t> item;  // its files belong to this one
        int depth = 0;
    };
    void take(const projection::Snapshot& view, const Place& place,
              const share::Attic::Entry& entry);
    void take_job(const projection::Snapshot& view, const Place& place, const std::string& path,
                  const std::string& name);
    void take_refused(const share::Attic::Entry& entry);

    share::Attic& attic_;
    const SeenSince seen_;
    SeenSince still_there_;
    const std::int64_t now_ms_;
    std::vector<Place> open_;
    std::vector<control::RetentionItem> items_;
    std::map<std::string, std::size_t> refused_;                       // name -> item
    std::optional<std::map<std::string, std::int64_t>> last_success_;  // task type -> day
};

/// The policy in force on this node: `path`, or the defaults when there is none.
Result<control::RetentionPolicy> load_retention(env::FileSystem& files, const std::string& path);

/// What an earlier scan remembered; empty when it cannot be read, and then all is new again.
SeenSince load_seen(env::FileSystem& files, const std::string& path);

/// The doer: scans from time to time, asks the loop to write down what goes, and removes it then.
class Retention {
public:
    Retention(env::Env env, const NodeConfig& config, share::Attic& attic,
              const projection::Projection& projection);
    /// What is to be written down now, if anything. Nothing is removed before go().
    std::optional<RetentionBatch> step(MonoTime now, WallTime wall);
    /// The batch of this number stands in the log.
    void go(std::uint64_t number);
    /// The first day whose rendering is kept, as the last scan found; empty: all of them.
    const std::string& oldest_rendered() const { return oldest_rendered_; }
    /// Another writer has the duties: what was planned is forgotten.
    void forget();

private:
    bool begin(WallTime wall);
    void scan();
    std::optional<RetentionBatch> next_batch(MonoTime now);
    Status files_of(control::RetentionClass what, const std::string& name, int depth);
    void remember_seen(const SeenSince& seen);
    void say(const std::string& text);

    struct Doomed {
        std::string name;
        bool directory = false;
        std::uint64_t bytes = 0;
    };

    env::Env env_;
    const NodeConfig& config_;
    share::Attic& attic_;
    const projection::Projection& projection_;
    MonoTime next_scan_;
    MonoTime next_batch_;
    std::optional<RetentionScan> scan_;
    std::int64_t scan_ms_ = 0;  // of the share, when the scan began
    control::RetentionPolicy policy_;
    std::vector<control::RetentionRemoval> plan_;  // the next at the back
    std::vector<Doomed> doomed_;                   // of the batch that was asked for, in order
    control::RetentionClass doomed_class_ = control::RetentionClass::results;
    std::uint64_t asked_ = 0;
    bool waiting_ = false;
    std::string oldest_rendered_;
    std::string said_;  // last complaint: told once
};

}  // namespace reeve::node
