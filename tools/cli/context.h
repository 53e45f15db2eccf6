#pragma once

// What every verb shares: options, configuration, the view of this node, requests to its daemon,
// and the one way to print errors. Verbs print data on stdout and messages on stderr.

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "daemon/config_file.h"
#include "projection/projection.h"

namespace reeve::cli {

// Exit statuses of the interface page.
constexpr int exit_done = 0;
constexpr int exit_failed = 1;
constexpr int exit_usage = 2;
constexpr int exit_warnings = 3;
constexpr int exit_denied = 4;
constexpr int exit_not_found = 5;
constexpr int exit_conflict = 6;
constexpr int exit_refused = 7;
constexpr int exit_unreachable = 8;
constexpr int exit_timed_out = 9;
constexpr int exit_verification = 10;

struct Options {
    std::string config = "/etc/reeve/reeve.toml";
    bool json = false;
    bool plain = false;
    bool quiet = false;
    bool verbose = false;
    bool no_color = false;
    bool yes = false;
    bool dry_run = false;
};

/// What, why, how to mend, and the exit status.
struct Failure {
    std::string code;
    int exit = exit_failed;
    std::string message;
    std::string why;
    std::string fix;
};

/// The stored view gave no answer, or cannot be opened.
Failure damaged_view(const Error& error);

class Context {
public:
    Options options;

    /// Prints the failure in the form that was asked for and returns its exit status.
    int fail(const Failure& failure) const;
    int fail(const Error& error, const std::string& fix) const;
    /// A machine-readable document on stdout.
    void print(const nlohmann::json& document) const;
    bool color() const;

    /// The configuration, read once. Prints nothing; the caller fails with it.
    Result<const daemon::FileConfig*> config();
    /// What this machine has pinned, when that is the cluster; else nothing is.
    eventlog::Trust trust_for(const eventlog::ClusterId& cluster);
    /// The view of this node's daemon with the newest cut: worker's or coordinator's. Works while
    /// the daemons are stopped or hung.
    Result<projection::Snapshot> view();
    /// Which writer's view `view()` reads.
    Result<WriterId> view_writer();
    /// One request to a daemon of this machine. Code::unavailable when none listens.
    Result<nlohmann::json> call(const nlohmann::json& request,
                                milliseconds timeout = milliseconds(15'000));
    /// Turns a daemon's refusal into a Failure; nullopt when the reply is good.
    static std::optional<Failure> refusal(const nlohmann::json& reply);
    /// A job id, or the unique job whose id starts or ends with `text` (at least 4 characters).
    Result<JobId> find_job(const projection::Snapshot& view, const std::string& text) const;

private:
    std::optional<daemon::FileConfig> config_;
    std::unique_ptr<kv::Store> store_;
    WriterId writer_;
};

/// "3 s ago", "2 h ago", "in 5 s".
std::string relative_time(std::int64_t ms, std::int64_t now_ms);
/// A moment as people give it: RFC 3339 in UTC, "-90s", "-10m", "-2h", "-1d" before now, or "now".
Result<std::int64_t> parse_moment(const std::string& text, std::int64_t now_ms);
std::string human_bytes(std::uint64_t bytes);
std::int64_t wall_now_ms();
/// Between two looks at what somebody else changes.
void pause(milliseconds time);
std::string random_hex(std::size_t bytes);

/// A table with a header: padded for people, tab-separated with --plain.
class Table {
public:
    explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
    void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
    void print(const Options& options) const;
    std::size_t size() const { return rows_.size() - 1; }

private:
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace reeve::cli
