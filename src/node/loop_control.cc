// Requests of people: JSON over the control socket, one object each way (docs/formats/control.md).

#include <algorithm>
#include <nlohmann/json.hpp>

#include "node/loop.h"
#include "projection/spec_rules.h"

namespace reeve::node {
namespace {

using nlohmann::json;

constexpr std::size_t documents_limit = 10'000;  // of one submission
constexpr std::size_t event_overhead_bytes = 200;  // of a JobSubmitted beside its texts
constexpr std::size_t submission_limit_bytes = eventlog::max_batch_bytes / 2;
constexpr std::size_t own_batch_bytes = 64 * 1024;  // a larger submission begins a batch of its own
constexpr std::size_t text_limit = 200;
constexpr std::size_t deferred_limit = 256;
constexpr int rounds_to_wait = 2;  // the first may have begun before the question
constexpr milliseconds deferred_patience{1000};

/// A failed request: code and exit status of the interface page, with why and how to mend.
struct Refusal {
    std::string code;
    int exit = 1;
    std::string message;
    std::string why;
    std::string fix;
};

std::string refuse(const Refusal& refusal) {
    return json{{"schema", "reeve.reply/v1"},
                {"ok", false},
                {"error",
                 {{"code", refusal.code},
                  {"exit", refusal.exit},
                  {"message", refusal.message},
                  {"why", refusal.why},
                  {"fix", refusal.fix}}}}
        .dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string accept(json body) {
    body["schema"] = "reeve.reply/v1";
    body["ok"] = true;
    return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string text_of(const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// A job under a dedupe key has the id that the key gives, on every node: one job per key, ever.
JobId dedupe_id(const std::string& key) {
    const auto hash = sha256(as_bytes("reeve dedupe " + key));
    JobId id;
    std::copy_n(hash.begin(), id.bytes.size(), id.bytes.begin());
    return id;
}

}  // namespace

struct SubmitArguments {
    std::vector<std::string> documents;
    std::string request_id;
    std::string retry_of;
};

namespace {

std::optional<Refusal> read_arguments(const json& request, SubmitArguments& out) {
    const Refusal bad{"usage", 2, "the submission is malformed", "'documents' must be a list of JSON texts",
                      "use reeve submit"};
    const auto documents = request.find("documents");
    if (documents == request.end() || !documents->is_array() || documents->empty()) {
        return bad;
    }
    if (documents->size() > documents_limit) {
        return Refusal{"too_many", 2, "too many jobs in one submission",
                       std::to_string(documents->size()) + " documents, at most " + std::to_string(documents_limit),
                       "split the file"};
    }
    for (const auto& document : *documents) {
        if (!document.is_string()) {
            return bad;
        }
        out.documents.push_back(document.get<std::string>());
    }
    out.request_id = text_of(request, "request_id").substr(0, text_limit);
    out.retry_of = text_of(request, "retry_of");
    if (!out.retry_of.empty() && !JobId::parse(out.retry_of)) {
        return Refusal{"usage", 2, "'retry_of' is not a job id", "it names the job that is tried again", "use reeve job retry"};
    }
    // One submission is one batch of the log, so that it is taken whole or not at all.
    std::size_t bytes = 0;
    for (const auto& document : out.documents) {
        bytes += document.size() + out.request_id.size() + event_overhead_bytes;
    }
    if (bytes > submission_limit_bytes) {
        return Refusal{"too_large", 2, "the submission is too large",
                       std::to_string(bytes) + " bytes, at most " + std::to_string(submission_limit_bytes) +
                           " are taken as a whole",
                       "split the file"};
    }
    return std::nullopt;
}

}  // namespace

void Loop::on_request(const env::ControlRequest& request) { serve(request, rounds_to_wait); }

// A job that was submitted on another node a moment ago may not have arrived here: before a request is
// refused for it, the logs are read once more. A refused request has changed nothing, so it is served anew.
void Loop::serve(const env::ControlRequest& request, int rounds_left) {
    missed_job_ = false;
    const auto now = answer(request);
    if (missed_job_ && rounds_left > 0 && share_ok_ && deferred_.size() < deferred_limit) {
        deferred_.push_back({request, rounds_left, now_ + deferred_patience});
        static_cast<void>(links_.pull.push(LookNow{}).has_value());
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
    round_came_ = false;
}

std::string Loop::answer(const env::ControlRequest& request) {
    const auto parsed = json::parse(as_text(request.body), nullptr, false);
    if (!parsed.is_object()) {
        return refuse({"usage", 2, "the request is not a JSON object", "it does not parse", "use the reeve command"});
    }
    const std::string verb = text_of(parsed, "verb");
    if (verb == "ping") {
        return accept({{"writer", config_.writer.v}, {"version", config_.version}});
    }
    if (verb == "live") {
        return accept({{"live", json::parse(live_status_json())}});
    }
    if (verb == "submit") {
        SubmitArguments arguments;
        const auto refusal = read_arguments(parsed, arguments);
        return refusal ? refuse(*refusal) : submit(request, arguments);
    }
    if (verb == "cancel") {
        const auto give_up = parsed.find("give_up_lost");
        return cancel(request, text_of(parsed, "job"), give_up != parsed.end() && *give_up == true,
                      text_of(parsed, "request_id"));
    }
    if (verb == "switch") {
        return set_switch(request, text_of(parsed, "name"), text_of(parsed, "value"), text_of(parsed, "reason"));
    }
    return refuse({"usage", 2, "unknown verb '" + verb.substr(0, text_limit) + "'",
                   "this daemon is version " + config_.version, "use the reeve command of the same version"});
}

queue::DoorContext Loop::door_context(const projection::Snapshot& view, const std::set<JobId>& earlier) {
    return {[this](const std::string& role) {
                return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& node) {
                    return std::find(node.second.roles.begin(), node.second.roles.end(), role) !=
                           node.second.roles.end();
                });
            },
            [this, &view, &earlier](const JobId& job) {
                const bool known = earlier.contains(job) || view.job(job).has_value();
                missed_job_ = missed_job_ || !known;
                return known;
            }};
}

// Empty when the answer waits until what was appended is shared.
std::string Loop::submit(const env::ControlRequest& request, const SubmitArguments& arguments) {
    if (request.body.size() > own_batch_bytes) {
        commit();
    }
    auto view = snapshot();
    std::set<JobId> earlier;
    const auto context = door_context(view, earlier);
    json answers = json::array();
    std::vector<std::pair<events::JobSubmitted, queue::JobSpec>> accepted;
    std::map<JobId, Sha256> dedupes;  // of this submission
    for (std::size_t i = 0; i < arguments.documents.size(); ++i) {
        auto checked = queue::check_document(as_bytes(arguments.documents[i]), context);
        if (const auto* rejection = std::get_if<queue::Rejection>(&checked)) {
            const std::string which =
                arguments.documents.size() > 1 ? "job " + std::to_string(i + 1) + " of the submission" : "the job";
            // Nothing of a submission is taken when one of its jobs is refused.
            return refuse({"rejected", 2, which + " was refused: " + rejection->field, rejection->reason,
                           "mend " + (rejection->field.empty() ? "the document" : rejection->field) +
                               " and submit again"});
        }
        auto& good = std::get<queue::AcceptedDocument>(checked);
        events::JobSubmitted submitted;
        std::array<std::uint8_t, 10> random{};
        env_.entropy.fill(random);
        submitted.job = good.spec.dedupe.empty() ? JobId::make(wall_.ms, random) : dedupe_id(good.spec.dedupe);
        if (!arguments.request_id.empty()) {
            submitted.request_id = arguments.request_id + "/" + std::to_string(i);
            if (const auto known = view.request(submitted.request_id)) {
                answers.push_back({{"job", known->text()}, {"repeated", true}});
                continue;
            }
        }
        if (!good.spec.dedupe.empty()) {
            const auto row = view.job(submitted.job);
            const auto sibling = dedupes.find(submitted.job);
            const bool differs = (row && row->submission() != nullptr && row->spec_hash() != good.hash) ||
                                 (sibling != dedupes.end() && sibling->second != good.hash);
            if (differs) {
                return refuse({"conflict", 6, "another job stands under the dedupe key '" + good.spec.dedupe + "'",
                               "job " + submitted.job.text() + " has a different document",
                               "use another key (put the date in it), or submit the same document"});
            }
            dedupes.emplace(submitted.job, good.hash);
            if (earlier.contains(submitted.job) || (row && row->submission() != nullptr)) {
                answers.push_back({{"job", submitted.job.text()}, {"repeated", true}});
                continue;
            }
        }
        submitted.document = std::move(good.canonical);
        submitted.spec_hash = good.hash;
        submitted.uid = request.uid;
        submitted.retry_of = arguments.retry_of;
        earlier.insert(submitted.job);
        answers.push_back({{"job", submitted.job.text()}});
        accepted.emplace_back(std::move(submitted), std::move(good.spec));
    }
    for (auto& [submitted, spec] : accepted) {
        append(submitted);
        start_at_once(submitted.job, spec, submitted);
    }
    std::string reply = accept({{"jobs", std::move(answers)}, {"writer", config_.writer.v}});
    if (accepted.empty()) {
        return reply;
    }
    replies_.emplace_back(request.id, std::move(reply));
    return "";
}

std::string Loop::cancel(const env::ControlRequest& request, const std::string& job_text, bool give_up_lost,
                         const std::string& request_id) {
    const auto job = JobId::parse(job_text);
    if (!job) {
        return refuse({"usage", 2, "not a job id", job.error().message, "reeve jobs"});
    }
    auto view = snapshot();
    const auto row = view.job(*job);
    if (!row || row->submission() == nullptr) {
        missed_job_ = true;
        return refuse({"not_found", 5, "no job " + job_text, "no log that this node has read names it", "reeve jobs"});
    }
    const auto now = projection::situation_of(*row, projection::rules_of_document(row->submission()->document));
    const std::string state(projection::state_name(now.state));
    if (projection::is_terminal(now.state)) {
        return refuse({"conflict", 6, "job " + job_text + " is over", "it " + state + " already", "reeve job show " + job_text});
    }
    if (now.state == projection::JobState::lost && !give_up_lost && now.next == projection::Next::ask_person) {
        return refuse({"conflict", 6, "job " + job_text + " is lost",
                       now.reason + "; if it still runs somewhere, a cancel cannot reach it",
                       "reeve job cancel " + job_text + " --give-up    (when you know that it does not run)"});
    }
    append(events::JobCancelRequested{*job, request.uid, request_id.substr(0, text_limit), give_up_lost});
    replies_.emplace_back(request.id, accept({{"job", job_text}, {"state_before", state}, {"cancel", "asked"}}));
    return "";
}

std::string Loop::set_switch(const env::ControlRequest& request, const std::string& name, const std::string& value,
                             const std::string& reason) {
    const std::string prefix = "drain/";
    const NodeId node(name.starts_with(prefix) ? name.substr(prefix.size()) : "");
    const bool known = std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& one) {
        return one.second.node == node && one.second.role == "worker";
    });
    if (!known) {
        return refuse({"not_found", 5, "no node '" + node.v.substr(0, text_limit) + "'", "no worker of that name has a log here",
                       "reeve nodes"});
    }
    if (value != "on" && value != "off") {
        return refuse({"usage", 2, "a switch is on or off", "'" + value.substr(0, text_limit) + "' is neither", ""});
    }
    const auto before = switches_.find(name);
    const std::uint64_t version = before == switches_.end() ? 1 : before->second.version + 1;
    append(events::SwitchSet{name, value, version, request.uid, reason.substr(0, text_limit)});
    replies_.emplace_back(request.id, accept({{"switch", name}, {"value", value}}));
    return "";
}

void Loop::on_dropped_file(const DroppedFile& dropped) {
    const auto settle = [this, taken = dropped.taken](std::optional<std::string> rejection) {
        then([this, taken, rejection = std::move(rejection)] {
            static_cast<void>(links_.bulk.push(SettleFile{taken, rejection}).has_value());
        });
    };
    auto view = snapshot();
    if (const auto row = view.job(dropped.taken.job); row && row->submission() != nullptr) {
        settle(std::nullopt);  // taken in before a crash
        return;
    }
    const auto reject = [&](const std::string& field, const std::string& reason) {
        append(events::JobRejected{dropped.taken.name, field, reason, 0});
        settle((field.empty() ? std::string("the document") : field) + ": " + reason + "\n");
    };
    if (!dropped.unreadable.empty()) {
        reject("", dropped.unreadable);
        return;
    }
    if (config_.incoming_command == IncomingCommand::reject) {
        reject("/type", "free commands are not taken from incoming/ in this cluster. Set incoming.command = "
                        "\"allow\" in the node's configuration, or use reeve submit");
        return;
    }
    const std::set<JobId> none;
    const auto context = door_context(view, none);
    auto checked = queue::check_document(dropped.document, context);
    if (const auto* rejection = std::get_if<queue::Rejection>(&checked)) {
        reject(rejection->field, rejection->reason);
        return;
    }
    auto& good = std::get<queue::AcceptedDocument>(checked);
    if (!good.spec.dedupe.empty()) {
        const auto row = view.job(dedupe_id(good.spec.dedupe));
        if (row && row->submission() != nullptr) {
            if (row->spec_hash() != good.hash) {
                reject("/dedupe", "another job stands under this key with a different document");
            } else {
                settle(std::nullopt);
            }
            return;
        }
    }
    events::JobSubmitted submitted;
    submitted.job = good.spec.dedupe.empty() ? dropped.taken.job : dedupe_id(good.spec.dedupe);
    submitted.document = std::move(good.canonical);
    submitted.spec_hash = good.hash;
    submitted.door = events::SubmitDoor::incoming;
    submitted.origin = dropped.taken.name;
    append(std::move(submitted));
    settle(std::nullopt);
}

}  // namespace reeve::node
