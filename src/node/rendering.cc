#include "node/rendering.h"

#include "projection/spec_rules.h"

namespace reeve::node {
namespace {

constexpr std::size_t rendered_terminal_jobs = 5000;  // newest ones that are kept complete
constexpr std::size_t contents_a_round = 256;
constexpr std::uint64_t rendered_limit_bytes = 1024 * 1024;
constexpr std::string_view live_folders[] = {"pending", "waiting", "running"};
constexpr std::string_view day_folders[] = {"done", "failed", "cancelled"};

/// The job that a rendered file is about, if its name has the form of one.
std::optional<JobId> job_of_name(const std::string& name) {
    constexpr std::size_t ulid_chars = 26;
    if (name.size() <= ulid_chars || !name.ends_with(".json")) {
        return std::nullopt;
    }
    auto id = JobId::parse(std::string_view(name).substr(0, ulid_chars));
    return id ? std::optional(*id) : std::nullopt;
}

}  // namespace

void Renderer::changed(const std::vector<JobId>& jobs) { due_.insert(jobs.begin(), jobs.end()); }

void Renderer::forget() {
    placed_.clear();
    next_reconcile_ = MonoTime{};
}

void Renderer::step(MonoTime now) {
    for (const auto& job : due_) {
        render(job);
    }
    due_.clear();
    if (now >= next_reconcile_) {
        next_reconcile_ = now + reconcile_interval_;
        reconcile();
    }
}

/// What stands for a job now, and where; nothing while its submission has not arrived.
std::optional<Renderer::Drawn> Renderer::draw(const JobId& job) const {
    auto view = projection_.snapshot();
    const auto row = view ? view->job(job) : std::nullopt;
    if (!row || row->submission() == nullptr) {
        return std::nullopt;
    }
    const auto rules = projection::rules_of_document(row->submission()->document);
    const auto state = projection::situation_of(*row, rules).state;
    const auto document = observability::job_document(job, *row);
    return Drawn{observability::place_of(job, *row),
                 document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n",
                 projection::is_terminal(state)};
}

/// Whether the day of a job's folder has not been given up by retention.
bool Renderer::kept(const observability::Place& place) const {
    const auto slash = place.folder.find('/');
    return slash == std::string::npos || place.folder.substr(slash + 1) >= first_day_;
}

void Renderer::render(const JobId& job) {
    const auto drawn = draw(job);
    if (!drawn) {
        return;
    }
    const auto& place = drawn->place;
    const auto before = placed_.find(job);
    if (kept(place) && !board_.put(place.folder, place.name, as_bytes(drawn->document))) {
        return;  // mended by the next reconciliation
    }
    if (before != placed_.end() && before->second != place) {
        static_cast<void>(board_.remove(before->second.folder, before->second.name).has_value());
    }
    if (drawn->terminal) {
        placed_.erase(job);
    } else {
        placed_[job] = place;
    }
}

std::map<observability::Place, JobId> Renderer::wanted() const {
    std::map<observability::Place, JobId> out;
    auto view = projection_.snapshot();
    if (!view) {
        return out;
    }
    std::size_t seen = 0;
    view->jobs(true, [&](const JobId& job, const projection::JobRow& row) {
        if (row.submission() != nullptr) {
            auto place = observability::place_of(job, row);
            if (kept(place)) {
                out.emplace(std::move(place), job);
            }
        }
        return ++seen < rendered_terminal_jobs;
    });
    return out;
}

void Renderer::reconcile() {
    const auto places = wanted();
    std::set<std::string> folders;
    for (const auto folder : live_folders) {
        folders.insert(std::string(folder));
    }
    for (const auto folder : day_folders) {
        auto days = board_.folders(std::string(folder));
        for (const auto& day : days ? *days : std::vector<std::string>{}) {
            folders.insert(std::string(folder) + "/" + day);
        }
    }
    for (const auto& [place, job] : places) {
        folders.insert(place.folder);
    }
    for (const auto& folder : folders) {
        mend_folder(folder, places);
    }
    check_contents(places);
}

// Reading every file each time would cost the NAS more than the rendering is worth: so many a
// round, and the next round goes on behind them.
void Renderer::check_contents(const std::map<observability::Place, JobId>& places) {
    auto at = places.upper_bound(checked_);
    const auto checks = std::min(places.size(), contents_a_round);
    for (std::size_t i = 0; i < checks; ++i, ++at) {
        at = at == places.end() ? places.begin() : at;
        checked_ = at->first;
        const auto drawn = draw(at->second);
        const auto there = board_.get(checked_.folder, checked_.name, rendered_limit_bytes);
        const bool away = !there && there.error().code == Code::unavailable;
        if (!away && drawn && drawn->place == checked_ &&
            !(there && as_text(*there) == drawn->document)) {
            render(at->second);
        }
    }
}

void Renderer::mend_folder(const std::string& folder,
                           const std::map<observability::Place, JobId>& places) {
    auto names = board_.list(folder);
    if (!names) {
        return;
    }
    const std::set<std::string> present(names->begin(), names->end());
    for (const auto& name : misplaced(folder, present)) {
        static_cast<void>(board_.remove(folder, name).has_value());
    }
    for (auto at = places.lower_bound({folder, ""});
         at != places.end() && at->first.folder == folder; ++at) {
        if (!present.contains(at->first.name)) {
            render(at->second);
        }
    }
}

// Only names that are ours and wrong are removed; what people put here stays.
std::vector<std::string> Renderer::misplaced(const std::string& folder,
                                             const std::set<std::string>& names) const {
    std::vector<std::string> out;
    auto view = projection_.snapshot();
    for (const auto& name : names) {
        const auto job = job_of_name(name);
        const auto row = job && view ? view->job(*job) : std::nullopt;
        if (row && row->submission() != nullptr &&
            observability::place_of(*job, *row) != observability::Place{folder, name}) {
            out.push_back(name);
        }
    }
    return out;
}

}  // namespace reeve::node
