// Requests of people: JSON over the control socket, one object each way (docs/formats/control.md).

#include <algorithm>
#include <nlohmann/json.hpp>

#include "node/loop.h"
#include "node/replies.h"
#include "projection/spec_rules.h"

namespace reeve::node {
namespace {

using nlohmann::json;

constexpr std::size_t text_limit = 200;
constexpr std::size_t deferred_limit = 256;
constexpr milliseconds deferred_patience{1000};

}  // namespace

void Loop::on_request(const env::ControlRequest& request) { serve(request, rounds_to_wait); }

// A job that was submitted on another node a moment ago may not have arrived here: before a request
// is refused for it, the logs are read once more. A refused request has changed nothing, so it is
// served anew.
void Loop::serve(const env::ControlRequest& request, int rounds_left) {
    missed_job_ = false;
    const auto now = answer(request);
    if (missed_job_ && rounds_left > 0 && share_ok() && deferred_.size() < deferred_limit) {
        deferred_.push_back({request, rounds_left, now_ + deferred_patience});
        static_cast<void>(links_.pull.push(LookNow{{}}).has_value());
        return;
    }
    if (!now.empty()) {
        links_.control.reply(request.id, as_bytes(now));
    }
}

void Loop::serve_deferred() {
    auto waiting = std::move(deferred_);
    deferred_.clear();
    for (auto& one : waiting) {
        if (round_came_) {
            serve(one.request, one.rounds_left - 1);
        } else if (now_ >= one.deadline) {
            serve(one.request, 0);
        } else {
            deferred_.push_back(std::move(one));
        }
    }
    for (auto& [dropped, rounds_left] : std::exchange(deferred_files_, {})) {
        if (round_came_) {
            on_dropped_file(dropped, rounds_left - 1);
        } else {
            deferred_files_.emplace_back(std::move(dropped), rounds_left);
        }
    }
    round_came_ = false;
}

void Loop::refuse_deferred() {
    for (const auto& one : std::exchange(deferred_, {})) {
        links_.control.reply(one.request.id, as_bytes(trouble_reply));
    }
}

std::string Loop::answer(const env::ControlRequest& request) {
    const auto parsed = json::parse(as_text(request.body), nullptr, false);
    if (!parsed.is_object()) {
        return refuse({"usage", 2, "the request is not a JSON object", "it does not parse",
                       "use the reeve command"});
    }
    const std::string verb = text_of(parsed, "verb");
    if (verb == "ping") {
        return accept({{"writer", config_.writer.v}, {"version", config_.version}});
    }
    if (verb == "live") {
        return accept({{"live", json::parse(live_status_json())}});
    }
    if (verb == "submit") {
        return submit(request, parsed);
    }
    if (verb == "cancel") {
        const auto give_up = parsed.find("give_up_lost");
        return cancel(request, text_of(parsed, "job"), give_up != parsed.end() && *give_up == true,
                      text_of(parsed, "request_id"));
    }
    if (verb == "switch") {
        return set_switch(request, text_of(parsed, "name"), text_of(parsed, "value"),
                          text_of(parsed, "reason"));
    }
    if (verb == "append_signed") {
        return append_signed(request, parsed);
    }
    return refuse({"usage", 2, "unknown verb '" + verb.substr(0, text_limit) + "'",
                   "this daemon is version " + config_.version,
                   "use the reeve command of the same version"});
}

std::string Loop::cancel(const env::ControlRequest& request, const std::string& job_text,
                         bool give_up_lost, const std::string& request_id) {
    const auto job = JobId::parse(job_text);
    if (!job) {
        return refuse({"usage", 2, "not a job id", job.error().message, "reeve jobs"});
    }
    auto view = snapshot();
    const auto row = view.job(*job);
    if (!row || row->submission() == nullptr) {
        missed_job_ = true;
        return refuse({"not_found", 5, "no job " + job_text,
                       "no log that this node has read names it", "reeve jobs"});
    }
    const auto now =
        projection::situation_of(*row, projection::rules_of_document(row->submission()->document));
    const std::string state(projection::state_name(now.state));
    if (projection::is_terminal(now.state)) {
        return refuse({"conflict", 6, "job " + job_text + " is over", "it " + state + " already",
                       "reeve job show " + job_text});
    }
    if (now.state == projection::JobState::lost && !give_up_lost &&
        now.next == projection::Next::ask_person) {
        return refuse({"conflict", 6, "job " + job_text + " is lost",
                       now.reason + "; if it still runs somewhere, a cancel cannot reach it",
                       "reeve job cancel " + job_text +
                           " --give-up    (when you know that it does not run)"});
    }
    append(events::JobCancelRequested{*job, request.uid, request_id.substr(0, text_limit),
                                      give_up_lost});
    replies_.emplace_back(
        request.id, accept({{"job", job_text}, {"state_before", state}, {"cancel", "asked"}}));
    return "";
}

std::string Loop::set_switch(const env::ControlRequest& request, const std::string& name,
                             const std::string& value, const std::string& reason) {
    const std::string prefix = "drain/";
    const NodeId node(name.starts_with(prefix) ? name.substr(prefix.size()) : "");
    const bool known = std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& one) {
        return one.second.node == node && one.second.role == "worker";
    });
    if (!known) {
        return refuse({"not_found", 5, "no node '" + node.v.substr(0, text_limit) + "'",
                       "no worker of that name has a log here", "reeve nodes"});
    }
    if (value != "on" && value != "off") {
        return refuse({"usage", 2, "a switch is on or off",
                       "'" + value.substr(0, text_limit) + "' is neither", ""});
    }
    const auto before = switches_.find(name);
    const std::uint64_t version = before == switches_.end() ? 1 : before->second.version + 1;
    append(events::SwitchSet{name, value, version, request.uid, reason.substr(0, text_limit)});
    replies_.emplace_back(request.id, accept({{"switch", name}, {"value", value}}));
    return "";
}

}  // namespace reeve::node
