#include "tools/cli/context.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "base/time_text.h"
#include "observability/documents.h"
#include "projection/kv/lmdb_store.h"
#include "runtime/control_client.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/process.h"

namespace reeve::cli {
namespace {

int exit_of(Code code) {
    switch (code) {
        case Code::not_found: return exit_not_found;
        case Code::conflict: return exit_conflict;
        case Code::invalid: return exit_usage;
        case Code::corrupt: return exit_verification;
        case Code::timeout: return exit_timed_out;
        case Code::unavailable: return exit_unreachable;
        case Code::denied: return exit_denied;
        case Code::replaced: return 11;
        case Code::io:
        case Code::full:
        case Code::cancelled:
        case Code::unsupported: return exit_failed;
    }
    return exit_failed;
}

std::uint64_t events_in(const projection::Cut& cut) {
    std::uint64_t sum = 0;
    for (const auto& [writer, row] : cut) {
        sum += row.position.seq.v;
    }
    return sum;
}

// Rows are checked as they are read; LMDB's own pages are not.
constexpr const char* fault_as_text =
    "error: the view is damaged\n"
    "  why: reading it ended in a fault: a page of the store has rotted, or it is a defect\n"
    "  fix: restart the daemon: a damaged view is rebuilt at the next start of reeve-worker\n";
constexpr const char* fault_as_json =
    R"({"type":"error","code":"corrupt","exit":10,"message":"the view is damaged",)"
    R"("why":"reading it ended in a fault: a page of the store has rotted, or it is a defect",)"
    R"("fix":"restart the daemon: a damaged view is rebuilt at the next start of reeve-worker"})"
    "\n";

/// How far a view has read; one that is damaged is no view, and another one may be whole.
Result<std::uint64_t> events_of(kv::Store& store) {
    TRY_ASSIGN(auto transaction, store.read());
    try {
        return events_in(projection::Snapshot(std::move(transaction)).cut());
    } catch (const projection::ViewFailed& failed) {
        return failed.error();
    }
}

}  // namespace

Failure damaged_view(const Error& error) {
    return {std::string(code_name(Code::corrupt)), exit_verification, "the view is damaged",
            error.message,
            "restart the daemon: it is rebuilt at the next start of reeve-worker (or "
            "reeve-coordinator) from the logs"};
}

int Context::fail(const Failure& failure) const {
    if (options.json) {
        const nlohmann::json document{{"type", "error"},      {"code", failure.code},
                                      {"exit", failure.exit}, {"message", failure.message},
                                      {"why", failure.why},   {"fix", failure.fix}};
        fmt::print(stderr, "{}\n",
                   document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
        return failure.exit;
    }
    fmt::print(stderr, "error: {}\n", failure.message);
    if (!failure.why.empty()) {
        fmt::print(stderr, "  why: {}\n", failure.why);
    }
    if (!failure.fix.empty()) {
        fmt::print(stderr, "  fix: {}\n", failure.fix);
    }
    return failure.exit;
}

int Context::fail(const Error& error, const std::string& fix) const {
    return fail({std::string(code_name(error.code)), exit_of(error.code), error.message, "", fix});
}

void Context::print(const nlohmann::json& document) const {
    fmt::print("{}\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

bool Context::color() const {
    const char* no_color = std::getenv("NO_COLOR");
    return !options.no_color && !options.plain && (no_color == nullptr || *no_color == '\0') &&
           runtime::is_terminal(1);
}

Result<const daemon::FileConfig*> Context::config() {
    if (!config_) {
        TRY_ASSIGN(config_, daemon::load_config(options.config));
    }
    return static_cast<const daemon::FileConfig*>(&*config_);
}

eventlog::Trust Context::trust_for(const eventlog::ClusterId& cluster) {
    const auto file = config();
    return file && (*file)->cluster == cluster ? (*file)->trust()
                                               : eventlog::Trust::unpinned(cluster);
}

Result<WriterId> Context::view_writer() {
    TRY(view());
    return writer_;
}

Result<projection::Snapshot> Context::view() {
    TRY_ASSIGN(const auto* file, config());
    runtime::explain_faults(options.json ? fault_as_json : fault_as_text, exit_verification);
    std::uint64_t best = 0;
    if (store_ == nullptr) {
        Error last{Code::unavailable, "no daemon of node " + file->node.v + " has ever run here"};
        for (const auto role : {node::Role::worker, node::Role::coordinator}) {
            const auto writer = file->writer(role);
            kv::LmdbStore::Options how;
            how.read_only = true;
            auto store = kv::LmdbStore::open(file->projection_directory(writer),
                                             projection::Projection::table_names(), how);
            if (!store) {
                if (store.error().code != Code::not_found) {
                    last = store.error();
                }
                continue;
            }
            const auto events = events_of(**store);
            if (!events) {
                last = events.error();
                continue;
            }
            if (store_ == nullptr || *events > best) {
                best = *events;
                store_ = std::move(*store);
                writer_ = writer;
            }
        }
        if (store_ == nullptr && last.code == Code::corrupt) {
            throw projection::ViewFailed(last);
        }
        if (store_ == nullptr) {
            return last;
        }
    }
    TRY_ASSIGN(auto transaction, store_->read());
    projection::Snapshot view(std::move(transaction));
    TRY(view.expect_built());
    return view;
}

/// One request to one daemon. A request with an id is done once however often it is sent, so it is
/// sent again when the daemon died under it.
Result<Bytes> call_until_known(const std::string& socket, const nlohmann::json& request,
                               milliseconds timeout) {
    constexpr milliseconds again{100};
    const std::string body = request.dump();
    const std::int64_t deadline = wall_now_ms() + timeout.count();
    auto answer = runtime::control_call(socket, as_bytes(body), timeout);
    bool in_doubt = !answer && answer.error().code == Code::io;
    while (in_doubt && request.contains("request_id") && wall_now_ms() < deadline) {
        pause(again);
        answer = runtime::control_call(socket, as_bytes(body), timeout);
        in_doubt = !answer &&
                   (answer.error().code == Code::io || answer.error().code == Code::unavailable);
    }
    if (in_doubt) {
        return Error{Code::timeout,
                     answer.error().message + "; whether the request was done is not known"};
    }
    return answer;
}

Result<nlohmann::json> Context::call(const nlohmann::json& request, milliseconds timeout) {
    TRY_ASSIGN(const auto* file, config());
    Error last{Code::unavailable, ""};
    for (const auto role : {node::Role::worker, node::Role::coordinator}) {
        auto answer = call_until_known(file->control_socket(file->writer(role)), request, timeout);
        if (answer) {
            auto parsed = nlohmann::json::parse(as_text(*answer), nullptr, false);
            if (!parsed.is_object()) {
                return Error{Code::corrupt, "the daemon's answer is not a JSON object"};
            }
            return parsed;
        }
        last = answer.error();
        if (last.code != Code::unavailable) {
            return last;
        }
    }
    return Error{Code::unavailable,
                 "no daemon of node " + file->node.v + " answers: " + last.message};
}

std::optional<Failure> Context::refusal(const nlohmann::json& reply) {
    if (reply.value("ok", false)) {
        return std::nullopt;
    }
    const auto error = reply.value("error", nlohmann::json::object());
    return Failure{error.value("code", "failed"), error.value("exit", exit_failed),
                   error.value("message", "refused"), error.value("why", ""),
                   error.value("fix", "")};
}

Result<JobId> Context::find_job(const projection::Snapshot& view, const std::string& text) const {
    constexpr std::size_t least_characters = 4;
    if (auto whole = JobId::parse(text)) {
        if (!view.job(*whole)) {
            return Error{Code::not_found, "no job " + text + " in this node's view"};
        }
        return *whole;
    }
    std::vector<JobId> found;
    if (text.size() >= least_characters) {
        view.jobs(true, [&](const JobId& job, const projection::JobRow&) {
            const auto id = job.text();
            if (id.starts_with(text) || id.ends_with(text)) {
                found.push_back(job);
            }
            return found.size() < 2;
        });
    }
    if (found.size() == 1) {
        return found.front();
    }
    return Error{Code::not_found,
                 found.empty() ? "no job '" + text.substr(0, 40) + "' in this node's view"
                               : "'" + text.substr(0, 40) + "' stands for more than one job"};
}

std::string relative_time(std::int64_t ms, std::int64_t now_ms) {
    const std::int64_t delta = now_ms - ms;
    const std::int64_t s = std::abs(delta) / 1000;
    const std::string amount = s < 120      ? fmt::format("{} s", s)
                               : s < 7200   ? fmt::format("{} min", s / 60)
                               : s < 172800 ? fmt::format("{} h", s / 3600)
                                            : fmt::format("{} d", s / 86400);
    return delta >= 0 ? amount + " ago" : "in " + amount;
}

Result<std::int64_t> parse_moment(const std::string& text, std::int64_t now_ms) {
    static const std::map<char, std::int64_t> units{
        {'s', 1000}, {'m', 60'000}, {'h', 3'600'000}, {'d', 86'400'000}};
    if (text == "now") {
        return now_ms;
    }
    if (const auto moment = parse_rfc3339(text)) {
        return *moment;
    }
    std::int64_t amount = 0;
    if (text.size() >= 3 && text.front() == '-' && units.contains(text.back())) {
        const char* last = text.data() + text.size() - 1;
        const auto parsed = std::from_chars(text.data() + 1, last, amount);
        constexpr std::int64_t most = 100'000'000;  // a hundred million days still fits
        if (parsed.ec == std::errc() && parsed.ptr == last && amount >= 0 && amount <= most) {
            return now_ms - amount * units.at(text.back());
        }
    }
    return Error{Code::invalid,
                 "'" + text.substr(0, 40) +
                     "' is no moment: 2026-01-02T03:04:05Z, -90s, -10m, -2h, -1d, now"};
}

std::string human_bytes(std::uint64_t bytes) {
    static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < std::size(units)) {
        value /= 1024;
        ++unit;
    }
    return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

void pause(milliseconds time) { runtime::sleep_for(time); }

std::int64_t wall_now_ms() { return runtime::PosixClock().wall_now().ms; }

std::string random_hex(std::size_t bytes) {
    Bytes out(bytes);
    runtime::OsEntropy().fill(out);
    return to_hex(out);
}

void Table::print(const Options& options) const {
    std::vector<std::size_t> widths;
    for (const auto& row : rows_) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], row[i].size());
        }
    }
    for (const auto& row : rows_) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const bool last = i + 1 == row.size();
            line += options.plain ? row[i] + (last ? "" : "\t")
                    : last        ? row[i]
                                  : fmt::format("{:<{}}  ", row[i], widths[i]);
        }
        fmt::print("{}\n", line);
    }
}

}  // namespace reeve::cli
