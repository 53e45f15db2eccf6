// Submissions: from the control socket, and files that were dropped into incoming/.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "node/loop.h"
#include "node/replies.h"

namespace reeve::node {

struct SubmitArguments {
    std::vector<std::string> documents;
    std::string request_id;
    std::string retry_of;
    std::size_t bytes = 0;  // of the log, about
};

namespace {

using nlohmann::json;

constexpr std::size_t documents_limit = 10'000;    // of one submission
constexpr std::size_t event_overhead_bytes = 200;  // of a JobSubmitted beside its texts
constexpr std::size_t submission_limit_bytes = eventlog::max_batch_bytes / 2;
constexpr std::size_t own_batch_bytes = 64 * 1024;  // a larger one begins a batch of its own
constexpr std::size_t text_limit = 200;
constexpr std::size_t deferred_files_limit = 1024;

std::optional<Refusal> read_arguments(const json& request, SubmitArguments& out) {
    const Refusal bad{"usage", 2, "the submission is malformed",
                      "'documents' must be a list of JSON texts", "use reeve submit"};
    const auto documents = request.find("documents");
    if (documents == request.end() || !documents->is_array() || documents->empty()) {
        return bad;
    }
    if (documents->size() > documents_limit) {
        return Refusal{"too_many", 2, "too many jobs in one submission",
                       std::to_string(documents->size()) + " documents, at most " +
                           std::to_string(documents_limit),
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
        return Refusal{"usage", 2, "'retry_of' is not a job id",
                       "it names the job that is tried again", "use reeve job retry"};
    }
    // One submission is one batch of the log, so that it is taken whole or not at all.
    for (const auto& document : out.documents) {
        out.bytes += document.size() + out.request_id.size() + event_overhead_bytes;
    }
    if (out.bytes > submission_limit_bytes) {
        return Refusal{"too_large", 2, "the submission is too large",
                       std::to_string(out.bytes) + " bytes, at most " +
                           std::to_string(submission_limit_bytes) + " are taken as a whole",
                       "split the file"};
    }
    return std::nullopt;
}

/// A job under a dedupe key has the id that the key gives, on every node: one job per key, ever.
JobId dedupe_id(const std::string& key) {
    const auto hash = sha256(as_bytes("reeve dedupe " + key));
    JobId id;
    std::copy_n(hash.begin(), id.bytes.size(), id.bytes.begin());
    return id;
}

}  // namespace

/// What a submission becomes, document by document.
struct Loop::Submission {
    std::vector<std::pair<events::JobSubmitted, queue::JobSpec>> accepted;
    json answers = json::array();
    std::set<JobId> earlier;
    std::map<JobId, Sha256> dedupes;
};

queue::DoorContext Loop::door_context(const projection::Snapshot& view,
                                      const std::set<JobId>& earlier) {
    return {[this](const std::string& role) {
                return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& node) {
                    const auto& roles = node.second.roles;
                    return !removed(node.first) &&
                           std::find(roles.begin(), roles.end(), role) != roles.end();
                });
            },
            [this, &view, &earlier](const JobId& job) {
                const bool known = earlier.contains(job) || view.job(job).has_value();
                missed_job_ = missed_job_ || !known;
                return known;
            }};
}

// What was submitted earlier in this turn is not in the view yet.
void Loop::commit_before(const SubmitArguments& arguments) {
    const bool repeats = requests_of_turn_.contains(arguments.request_id);
    const bool dedupes = std::any_of(
        arguments.documents.begin(), arguments.documents.end(),
        [](const std::string& text) { return text.find("\"dedupe\"") != std::string::npos; });
    const bool crowded = bytes_of_turn_ + arguments.bytes > submission_limit_bytes;
    if (arguments.bytes > own_batch_bytes || crowded ||
        (!payloads_.empty() && (repeats || dedupes))) {
        commit();
    }
    bytes_of_turn_ += arguments.bytes;
    if (!arguments.request_id.empty()) {
        requests_of_turn_.insert(arguments.request_id);
    }
}

// Empty when the answer waits until what was appended is shared.
std::string Loop::submit(const env::ControlRequest& request, const json& parsed) {
    if (!takes_work()) {
        return refuse_for_space();
    }
    SubmitArguments arguments;
    if (const auto refusal = read_arguments(parsed, arguments)) {
        return refuse(*refusal);
    }
    commit_before(arguments);
    auto view = snapshot();
    Submission submission;
    for (std::size_t i = 0; i < arguments.documents.size(); ++i) {
        // Nothing of a submission is taken when one of its jobs is refused.
        if (const auto refusal = take_document(view, arguments, i, submission)) {
            return refuse(*refusal);
        }
    }
    for (auto& [submitted, spec] : submission.accepted) {
        submitted.uid = request.uid;
        append(submitted);
        start_at_once(submitted.job, spec, submitted);
    }
    std::string reply =
        accept({{"jobs", std::move(submission.answers)}, {"writer", config_.writer.v}});
    if (submission.accepted.empty()) {
        return reply;
    }
    replies_.emplace_back(request.id, std::move(reply));
    return "";
}

std::optional<Refusal> Loop::take_document(const projection::Snapshot& view,
                                           const SubmitArguments& arguments, std::size_t index,
                                           Submission& out) {
    const auto context = door_context(view, out.earlier);
    auto checked = queue::check_document(as_bytes(arguments.documents[index]), context);
    if (const auto* rejection = std::get_if<queue::Rejection>(&checked)) {
        const std::string which = arguments.documents.size() > 1
                                      ? "job " + std::to_string(index + 1) + " of the submission"
                                      : "the job";
        const std::string what = rejection->field.empty() ? "the document" : rejection->field;
        return Refusal{"rejected", 2, which + " was refused: " + rejection->field,
                       rejection->reason, "mend " + what + " and submit again"};
    }
    auto& good = std::get<queue::AcceptedDocument>(checked);
    events::JobSubmitted submitted;
    if (!arguments.request_id.empty()) {
        submitted.request_id = arguments.request_id + "/" + std::to_string(index);
        if (const auto known = view.request(submitted.request_id)) {
            out.answers.push_back({{"job", known->text()}, {"repeated", true}});
            return std::nullopt;
        }
    }
    submitted.job = good.spec.dedupe.empty() ? new_job_id() : dedupe_id(good.spec.dedupe);
    if (!good.spec.dedupe.empty()) {
        const auto row = view.job(submitted.job);
        const bool known = row && row->submission() != nullptr;
        const auto sibling = out.dedupes.find(submitted.job);
        if ((known && row->spec_hash() != good.hash) ||
            (sibling != out.dedupes.end() && sibling->second != good.hash)) {
            return Refusal{"conflict", 6,
                           "another job stands under the dedupe key '" + good.spec.dedupe + "'",
                           "job " + submitted.job.text() + " has a different document",
                           "use another key (put the date in it), or submit the same document"};
        }
        out.dedupes.emplace(submitted.job, good.hash);
        if (known || out.earlier.contains(submitted.job)) {
            out.answers.push_back({{"job", submitted.job.text()}, {"repeated", true}});
            return std::nullopt;
        }
    }
    submitted.document = std::move(good.canonical);
    submitted.spec_hash = good.hash;
    submitted.retry_of = arguments.retry_of;
    out.earlier.insert(submitted.job);
    out.answers.push_back({{"job", submitted.job.text()}});
    out.accepted.emplace_back(std::move(submitted), std::move(good.spec));
    return std::nullopt;
}

JobId Loop::new_job_id() {
    std::array<std::uint8_t, 10> random{};
    env_.entropy.fill(random);
    return JobId::make(wall_.ms, random);
}

void Loop::on_dropped_file(const DroppedFile& dropped, int rounds_left) {
    if (!takes_work()) {
        return;  // handed over again when there is room
    }
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
        reject("/type",
               "free commands are not taken from incoming/ in this cluster. Set incoming.command = "
               "\"allow\" in the node's configuration, or use reeve submit");
        return;
    }
    const std::set<JobId> none;
    const auto context = door_context(view, none);
    missed_job_ = false;
    auto checked = queue::check_document(dropped.document, context);
    if (const auto* rejection = std::get_if<queue::Rejection>(&checked)) {
        if (missed_job_ && rounds_left > 0) {
            // The job may be on its way here. Too many: all are handed over again.
            if (deferred_files_.size() < deferred_files_limit) {
                deferred_files_.emplace_back(dropped, rounds_left);
            } else {
                tell_duties_ = true;
            }
            return;
        }
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
