// Whether a cluster has come to rest: everybody runs, has read all, and nothing is under way.

#include <algorithm>

#include "projection/spec_rules.h"
#include "tests/sim/checks.h"

namespace reeve::sim {

using projection::JobRow;
using projection::JobState;

std::vector<std::string> names_below(World& world, const std::string& path) {
    std::vector<std::string> out;
    const auto entries = world.nas().list(path);
    for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
        const auto below = path + "/" + entry.name;
        if (entry.kind == env::FileKind::directory) {
            const auto more = names_below(world, below);
            out.insert(out.end(), more.begin(), more.end());
        } else {
            out.push_back(below);
        }
    }
    return out;
}

projection::Situation situation(const JobRow& row) {
    const auto* submission = row.submission();
    return submission == nullptr
               ? projection::Situation{}
               : projection::situation_of(row, projection::rules_of_document(submission->document));
}

namespace {

/// Nothing happens with the job until a person decides: it is over, or lost, or waits for another
/// that is at rest and not over.
bool at_rest(const projection::Snapshot& view, const JobRow& row, int depth = 0) {
    constexpr int deepest = 100;  // of a chain of jobs; a ring cannot be submitted
    const auto now = situation(row);
    if (projection::is_terminal(now.state) || now.state == JobState::lost) {
        return true;
    }
    if (now.next != projection::Next::resolve_after || depth == deepest) {
        return false;
    }
    const auto spec = queue::parse_canonical(row.submission()->document);
    return spec && std::any_of(spec->after.begin(), spec->after.end(), [&](const auto& rule) {
               const auto other = view.job(rule.job);
               return other && !projection::is_terminal(situation(*other).state) &&
                      at_rest(view, *other, depth + 1);
           });
}

std::string unrest_of_views(Cluster& cluster) {
    std::map<WriterId, eventlog::LogPosition> ends;
    if (const auto* machine = cluster.needs_rescue()) {
        return machine->node.name + " and its copy were both replaced";
    }
    for (const auto& machine : cluster.machines()) {
        const auto& daemon = *machine->daemons.front();
        if (machine->leaving && daemon.replaced && (daemon.wanted || daemon.process != nullptr)) {
            return daemon.writer.v + " was removed and does not know";
        }
    }
    for (auto* daemon : cluster.daemons()) {
        if (!daemon->up()) {
            return daemon->writer.v + " does not run";
        }
        if (ends.contains(daemon->writer)) {
            return daemon->machine->node.name + " and its copy both go on";
        }
        const auto cut = cluster.view(*daemon).cut();
        const auto own = cut.find(daemon->writer);
        if (own == cut.end()) {
            return daemon->writer.v + " has not folded its own log";
        }
        ends[daemon->writer] = own->second.position;
    }
    for (auto* daemon : cluster.daemons()) {
        const auto cut = cluster.view(*daemon).cut();
        for (const auto& [writer, end] : cluster.truth().removed_at) {
            const auto found = cut.find(writer);
            const auto read = found == cut.end() ? Seq() : found->second.position.seq;
            if (read != end.second) {
                return daemon->writer.v + " has not read " + writer.v +
                       ", which was removed, to its end: event " + std::to_string(read.v) + " of " +
                       std::to_string(end.second.v);
            }
        }
        for (const auto& [writer, end] : ends) {
            const auto found = cut.find(writer);
            if (found == cut.end() || found->second.position != end) {
                const auto read = found == cut.end() ? Seq() : found->second.position.seq;
                return daemon->writer.v + " has not read all of " + writer.v + ": event " +
                       std::to_string(read.v) + " of " + std::to_string(end.seq.v);
            }
        }
    }
    return "";
}

/// What others say of a job may outlast its submission, when only a machine that was replaced by
/// its copy accepted it: a person says it again there.
bool waits_for_a_rescue(Cluster& cluster, const JobId& job) {
    const auto& requests = cluster.truth().requests;
    return std::any_of(requests.begin(), requests.end(), [&](const Request& one) {
        return one.job == job && cluster.machine(one.node).twin != nullptr &&
               cluster.machine(one.node).daemons.front()->replaced.has_value();
    });
}

}  // namespace

namespace {

/// Who was to run it, in order.
std::string offer_text(const JobRow& row) {
    std::string out = row.offer ? "; offered to" : "";
    for (const auto& score : row.offer ? row.offer->scores : std::vector<events::OfferScore>{}) {
        out += " " + score.node.v + (score.eligible ? " " : " (not eligible) ") +
               std::to_string(score.expected_ms) + " ms,";
    }
    return out;
}

}  // namespace

std::string unrest(Cluster& cluster) {
    if (auto why = unrest_of_views(cluster); !why.empty()) {
        return why;
    }
    for (const auto& machine : cluster.machines()) {
        if (machine->exec.running()) {
            return machine->node.name + " executes something";
        }
    }
    for (const char* place : {"/queue/incoming", "/queue/ingest"}) {
        for (const auto& name : names_below(cluster.world(), cluster.root() + place)) {
            if (name.find("/.") == std::string::npos) {
                return name + " is not settled";
            }
        }
    }
    std::string why;
    const auto view = cluster.view(*cluster.daemons().front());
    view.jobs(false, [&](const JobId& job, const JobRow& row) {
        const auto now = situation(row);
        const bool lost = row.submission() == nullptr && waits_for_a_rescue(cluster, job);
        if (lost) {
            cluster.world().count("job whose submission waits for a rescue");
        } else if (!at_rest(view, row)) {
            why = "job " + job.text() + " is " + std::string(projection::state_name(now.state)) +
                  ": " + now.reason + offer_text(row);
        }
        return why.empty();
    });
    return why;
}

}  // namespace reeve::sim
