#include "observability/documents.h"

#include <fmt/format.h>

#include "base/time_text.h"
#include "projection/spec_rules.h"
#include "queue/door/door.h"

namespace reeve::observability {
namespace {

using nlohmann::json;
using projection::JobRow;
using projection::JobState;

const char* outcome_name(events::Outcome outcome) {
    switch (outcome) {
        case events::Outcome::succeeded: return "succeeded";
        case events::Outcome::failed: return "failed";
        case events::Outcome::timeout: return "timeout";
        case events::Outcome::stopped: return "stopped";
    }
    return "unknown";
}

json scores_document(const std::vector<events::OfferScore>& scores) {
    json out = json::array();
    for (const auto& score : scores) {
        json one{{"node", score.node.v}, {"eligible", score.eligible}};
        if (score.eligible) {
            one["terms_ppm"] = {{"role", score.role_ppm},
                                {"success", score.success_ppm},
                                {"speed", score.speed_ppm},
                                {"recency", score.recency_ppm}};
            one["expected_ms"] = score.expected_ms;
            one["cost_ms"] = score.cost_ms;
        } else {
            one["reason"] = score.reason;
        }
        out.push_back(std::move(one));
    }
    return out;
}

projection::Situation situation(const JobRow& row) {
    const auto* submission = row.submission();
    return projection::situation_of(row, submission == nullptr
                                             ? projection::StateRules{}
                                             : projection::rules_of_document(submission->document));
}

}  // namespace

json attempt_document(AttemptNo k, const projection::AttemptRow& attempt) {
    json out{{"attempt", k.v}};
    for (const auto& [writer, mark] : attempt.starts) {
        json start{{"writer", writer.v}, {"node", mark.node.v}, {"released", mark.released}};
        if (mark.started) {
            start["at"] = rfc3339(hlc_ms(mark.stamp.hlc));
        }
        out["starts"].push_back(std::move(start));
    }
    if (attempt.opened) {
        out["opened"] = {{"at", rfc3339(hlc_ms(attempt.opened->stamp.hlc))},
                         {"reason", attempt.opened->reason}};
        if (attempt.opened->not_before_ms > 0) {
            out["opened"]["not_before"] = rfc3339(attempt.opened->not_before_ms);
        }
    }
    if (attempt.lost) {
        out["lost"] = {{"at", rfc3339(hlc_ms(attempt.lost->stamp.hlc))},
                       {"owner", attempt.lost->owner.v},
                       {"by_owner", attempt.lost->by_owner},
                       {"reason", attempt.lost->reason}};
    }
    if (attempt.finished) {
        const auto& end = *attempt.finished;
        out["finished"] = {{"at", rfc3339(hlc_ms(end.stamp.hlc))},
                           {"outcome", outcome_name(end.outcome)},
                           {"node", end.node.v},
                           {"exit", end.exit},
                           {"signal", end.signal},
                           {"wall_ms", end.wall_ms},
                           {"cpu_user_ms", end.cpu_user_ms},
                           {"cpu_system_ms", end.cpu_system_ms},
                           {"max_rss_kib", end.max_rss_kib}};
        if (!end.error.empty()) {
            out["finished"]["error"] = end.error;
        }
    }
    return out;
}

json job_line(const JobId& job, const JobRow& row) {
    const auto now = situation(row);
    json out{{"job", job.text()}, {"state", projection::state_name(now.state)}};
    if (!now.reason.empty()) {
        out["reason"] = now.reason;
    }
    const auto* submission = row.submission();
    if (submission != nullptr) {
        out["submitted"] = rfc3339(hlc_ms(submission->stamp.hlc));
        const auto spec = queue::parse_canonical(submission->document);
        if (spec) {
            out["name"] = spec->name;
            out["type"] = spec->task_type();
        }
    }
    const AttemptNo k = row.current();
    out["attempt"] = k.v;
    const auto* attempt = row.attempt(k);
    if (attempt != nullptr) {
        for (const auto& [writer, mark] : attempt->starts) {
            if (mark.started && !mark.released) {
                out["node"] = mark.node.v;
            }
        }
        if (attempt->finished) {
            out["exit"] = attempt->finished->exit;
            out["wall_ms"] = attempt->finished->wall_ms;
        }
    }
    return out;
}

json job_document(const JobId& job, const JobRow& row) {
    json out = job_line(job, row);
    out["schema"] = "reeve.job/v1";
    const auto* submission = row.submission();
    if (submission != nullptr) {
        auto spec = json::parse(submission->document, nullptr, false);
        out["spec"] = spec.is_discarded() ? json(submission->document) : std::move(spec);
        out["spec_sha256"] = to_hex(row.spec_hash());
        out["submitted_by"] = {{"writer", submission->stamp.writer.v}, {"uid", submission->uid}};
        if (!submission->origin.empty()) {
            out["submitted_by"]["file"] = submission->origin;
        }
        if (!submission->retry_of.empty()) {
            out["retry_of"] = submission->retry_of;
        }
    }
    out["attempts"] = json::array();
    for (const auto& [k, attempt] : row.attempts) {
        out["attempts"].push_back(attempt_document(k, attempt));
    }
    if (row.offer) {
        out["offer"] = {{"attempt", row.offer->attempt.v},
                        {"at", rfc3339(hlc_ms(row.offer->stamp.hlc))},
                        {"by", row.offer->stamp.writer.v},
                        {"seq", row.offer->stamp.seq.v},
                        {"nodes", scores_document(row.offer->scores)}};
    }
    if (row.cancel) {
        out["cancel_requested"] = {{"at", rfc3339(hlc_ms(row.cancel->stamp.hlc))},
                                   {"uid", row.cancel->uid}};
    }
    if (row.ended) {
        out["ended"] = {{"at", rfc3339(hlc_ms(row.ended->stamp.hlc))},
                        {"reason", row.ended->reason}};
    }
    return out;
}

Place place_of(const JobId& job, const JobRow& row) {
    const auto now = situation(row);
    const AttemptNo k = row.current();
    const std::string attempt = AttemptId{job, k}.text();
    const auto* submission = row.submission();
    const std::string day =
        submission == nullptr ? "" : "/" + utc_day(hlc_ms(submission->stamp.hlc));
    std::string node;
    if (const auto* one = row.attempt(k); one != nullptr) {
        for (const auto& [writer, mark] : one->starts) {
            node = mark.started && !mark.released ? mark.node.v : node;
        }
    }
    switch (now.state) {
        case JobState::unknown: return {};
        case JobState::waiting:
        case JobState::ending:
        case JobState::lost: return {"waiting", attempt + ".json"};
        case JobState::pending: return {"pending", attempt + ".json"};
        case JobState::running: return {"running", attempt + "." + node + ".json"};
        case JobState::cancelling:
            return node.empty() ? Place{"waiting", attempt + ".json"}
                                : Place{"running", attempt + "." + node + ".json"};
        case JobState::succeeded: return {"done" + day, job.text() + ".json"};
        case JobState::failed: return {"failed" + day, job.text() + ".json"};
        case JobState::cancelled: return {"cancelled" + day, job.text() + ".json"};
    }
    return {};
}

}  // namespace reeve::observability
