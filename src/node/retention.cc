#include "node/retention.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/time_text.h"
#include "projection/spec_rules.h"

namespace reeve::node {
namespace {

using control::RetentionClass;

constexpr std::int64_t day_ms = 86'400'000;
constexpr std::size_t items_limit = 100'000;
constexpr std::size_t places_limit = 200'000;
constexpr std::size_t seen_limit = 10'000;
constexpr std::uint64_t seen_file_limit = 4 * 1024 * 1024;
constexpr std::uint64_t policy_file_limit = 256 * 1024;
constexpr int deepest = 16;
constexpr int directories_a_step = 50;
constexpr std::size_t files_a_batch = 200;
constexpr milliseconds begin_again{60'000};
constexpr milliseconds batch_interval{5'000};
constexpr milliseconds batch_patience{60'000};
constexpr std::int64_t most_clock_difference_ms = 600'000;
constexpr std::string_view reason_suffix = ".reason.txt";

share::Attic::Room room_of(RetentionClass what) {
    switch (what) {
        case RetentionClass::results: return share::Attic::Room::results;
        case RetentionClass::rendering: return share::Attic::Room::rendering;
        case RetentionClass::rejected: return share::Attic::Room::rejected;
        case RetentionClass::quarantine: return share::Attic::Room::quarantine;
    }
    return share::Attic::Room::results;
}

/// The first moment of the day that a directory is named after.
std::optional<std::int64_t> day_of(const std::string& name) {
    return name.size() == 10 ? parse_rfc3339(name + "T00:00:00Z") : std::nullopt;
}

/// Newest day with a success, by task type.
std::map<std::string, std::int64_t> last_successes(const projection::Snapshot& view) {
    std::map<std::string, std::int64_t> out;
    for (const auto& [key, row] : view.routing()) {
        if (row.succeeded > 0) {
            auto& day = out.try_emplace(key.task_type, key.day).first->second;
            day = std::max(day, key.day);
        }
    }
    return out;
}

}  // namespace

RetentionScan::RetentionScan(share::Attic& attic, SeenSince seen, std::int64_t now_ms)
    : attic_(attic), seen_(std::move(seen)), now_ms_(now_ms) {
    // The last one is listed first.
    open_.push_back({RetentionClass::quarantine, "", std::nullopt, 0});
    open_.push_back({RetentionClass::rejected, "", std::nullopt, 0});
    for (const char* folder : {"cancelled", "failed", "done"}) {
        open_.push_back({RetentionClass::rendering, folder, std::nullopt, 0});
    }
    open_.push_back({RetentionClass::results, "", std::nullopt, 0});
}

Result<bool> RetentionScan::step(const projection::Snapshot& view, int directories) {
    if (!last_success_) {
        last_success_ = last_successes(view);
    }
    for (int i = 0; i < directories && !open_.empty(); ++i) {
        const Place place = open_.back();
        open_.pop_back();
        TRY_ASSIGN(auto entries, attic_.list(room_of(place.what), place.path));
        std::reverse(entries.begin(), entries.end());  // days sort by age: the oldest is next
        for (const auto& entry : entries) {
            if (items_.size() < items_limit && open_.size() < places_limit) {
                take(view, place, entry);
            }
        }
    }
    return !open_.empty();
}

void RetentionScan::take(const projection::Snapshot& view, const Place& place,
                         const share::Attic::Entry& entry) {
    const auto path = place.path.empty() ? entry.name : place.path + "/" + entry.name;
    if (place.item) {
        auto& item = items_[*place.item];
        if (entry.directory && place.depth < deepest) {
            open_.push_back({place.what, path, place.item, place.depth + 1});
        } else if (!entry.directory) {
            ++item.files;
            item.bytes += entry.bytes;
        }
        if (item.what != RetentionClass::rendering) {
            item.changed_ms = std::max(item.changed_ms, entry.changed_ms);
        }
        return;
    }
    if (place.what == RetentionClass::results) {
        take_job(view, place, path, entry.name);
    } else if (place.what == RetentionClass::rendering) {
        const auto day = day_of(entry.name);
        if (day && entry.directory) {
            // A rendering is written anew whenever it differs: its day is its age.
            items_.push_back({place.what, path, 0, 0, *day + day_ms, ""});
            open_.push_back({place.what, path, items_.size() - 1, 1});
        }
    } else if (place.what == RetentionClass::rejected) {
        take_refused(entry);
    } else if (place.path.empty() && entry.directory) {
        open_.push_back({place.what, path, std::nullopt, 1});
    } else if (!place.path.empty() && !entry.directory && still_there_.size() < seen_limit) {
        const auto before = seen_.find(path);
        const auto since = before == seen_.end() ? now_ms_ : before->second;
        still_there_[path] = since;
        items_.push_back({place.what, path, 1, entry.bytes, since, ""});
    }
}

// results/<day>, then results/<day>/<job>: a job's results go as a whole.
void RetentionScan::take_job(const projection::Snapshot& view, const Place& place,
                             const std::string& path, const std::string& name) {
    if (place.path.empty()) {
        if (day_of(name)) {
            open_.push_back({place.what, path, std::nullopt, 1});
        }
        return;
    }
    const auto job = JobId::parse(name);
    if (!job) {
        return;  // not ours: whoever put it there may remove it
    }
    control::RetentionItem item{place.what, path, 0, 0, 0, ""};
    const auto row = view.job(*job);
    if (!row || row->submission() == nullptr) {
        item.kept_because = "its job is not known here";
    } else {
        const auto& document = row->submission()->document;
        const auto state =
            projection::situation_of(*row, projection::rules_of_document(document)).state;
        const auto spec = queue::parse_canonical(document);
        if (!projection::is_terminal(state)) {
            item.kept_because = "its job is not over";
        } else if (state == projection::JobState::succeeded && spec) {
            const auto last = last_success_->find(spec->task_type());
            const auto day = hlc_ms(row->submission()->stamp.hlc) / day_ms;
            if (last == last_success_->end() || last->second <= day) {
                item.kept_because = "the last good one of " + spec->task_type();
            }
        }
    }
    items_.push_back(std::move(item));
    open_.push_back({place.what, path, items_.size() - 1, 1});
}

// A refused file and its reason go together, and are as old as the reason: the file bears the time
// that the person who dropped it gave it.
void RetentionScan::take_refused(const share::Attic::Entry& entry) {
    if (entry.directory) {
        return;
    }
    auto name = entry.name;
    const bool reason = name.ends_with(reason_suffix);
    if (reason) {
        name.resize(name.size() - reason_suffix.size());
    }
    const auto [found, is_new] = refused_.try_emplace(name, items_.size());
    if (is_new) {
        items_.push_back({RetentionClass::rejected, name, 0, 0, 0, "it has no reason beside it"});
    }
    auto& item = items_[found->second];
    ++item.files;
    item.bytes += entry.bytes;
    if (reason) {
        item.changed_ms = entry.changed_ms;
        item.kept_because.clear();
    }
}

Result<control::RetentionPolicy> load_retention(env::FileSystem& files, const std::string& path) {
    const auto text = files.read_file(path, policy_file_limit);
    if (!text && text.error().code == Code::not_found) {
        return control::RetentionPolicy{};
    }
    TRY(text ? ok() : Status(text.error()));
    return control::parse_retention(std::string(as_text(*text)), path);
}

Retention::Retention(env::Env env, const NodeConfig& config, share::Attic& attic,
                     const projection::Projection& projection)
    : env_(env), config_(config), attic_(attic), projection_(projection) {}

void Retention::forget() {
    scan_.reset();
    plan_.clear();
    doomed_.clear();
    waiting_ = false;
}

void Retention::say(const std::string& text) {
    if (text != said_) {
        said_ = text;
        env_.telemetry.log(env::Level::warning, "retention", text);
    }
}

std::optional<RetentionBatch> Retention::step(MonoTime now, WallTime wall) {
    if (scan_) {
        scan();
        return std::nullopt;
    }
    if (!plan_.empty() || waiting_) {
        return next_batch(now);
    }
    if (now >= next_scan_) {
        next_scan_ = now + (begin(wall) ? config_.retention_interval
                                        : std::min(config_.retention_interval, begin_again));
    }
    return std::nullopt;
}

// Ages are differences of times that the share gave. The own clock must agree with it about the
// present: on a node that believes itself in another year everything would be too old.
bool Retention::begin(WallTime wall) {
    auto policy = load_retention(env_.files, config_.retention_file());
    if (!policy) {
        say("nothing is removed: " + policy.error().message);
        return false;
    }
    policy_ = *policy;
    const auto there = attic_.time_ms(config_.writer);
    if (!there || std::abs(*there - wall.ms) > most_clock_difference_ms) {
        say("nothing is removed: " + (there
                                          ? "the clocks of the share and of this node differ by " +
                                                std::to_string((*there - wall.ms) / 1000) + " s"
                                          : there.error().message));
        return false;
    }
    const auto days = policy_.of(RetentionClass::rendering).age_days;
    oldest_rendered_ = days > 0 ? utc_day(*there - days * day_ms) : std::string();
    scan_ms_ = *there;
    scan_.emplace(attic_, load_seen(env_.files, config_.seen_file()), scan_ms_);
    return true;
}

void Retention::scan() {
    auto view = projection_.snapshot();
    auto more = view ? scan_->step(*view, directories_a_step) : Result<bool>(view.error());
    if (more && *more) {
        return;
    }
    if (more) {
        remember_seen(scan_->seen());
        plan_ = control::what_goes(policy_, scan_->items(), scan_ms_);
        std::reverse(plan_.begin(), plan_.end());
    } else {
        say(more.error().message);
    }
    scan_.reset();
}

/// The files below `name`, then the directories from the innermost out, until the batch is full.
Status Retention::files_of(RetentionClass what, const std::string& name, int depth) {
    TRY_ASSIGN(const auto entries, attic_.list(room_of(what), name));
    for (const auto& entry : entries) {
        const auto path = name + "/" + entry.name;
        if (doomed_.size() >= files_a_batch) {
            return ok();
        }
        if (!entry.directory) {
            doomed_.push_back({path, false, entry.bytes});
        } else if (depth < deepest) {
            TRY(files_of(what, path, depth + 1));
        }
    }
    if (doomed_.size() < files_a_batch) {
        doomed_.push_back({name, true, 0});
    }
    return ok();
}

// At most so many files of one class, so that neither the share nor the log feels it.
std::optional<RetentionBatch> Retention::next_batch(MonoTime now) {
    if (now < next_batch_) {
        return std::nullopt;
    }
    doomed_.clear();
    waiting_ = false;
    RetentionBatch batch;
    while (!plan_.empty() && doomed_.size() < files_a_batch) {
        const auto& item = plan_.back().item;
        if (!doomed_.empty() && item.what != doomed_class_) {
            break;
        }
        doomed_class_ = item.what;
        batch.oldest_ms = batch.oldest_ms == 0 ? item.changed_ms : batch.oldest_ms;
        batch.reason = batch.reason.empty() ? plan_.back().reason : batch.reason;
        Status listed = ok();
        if (item.what == RetentionClass::rejected) {
            doomed_.push_back({item.name, false, item.bytes});
            doomed_.push_back({item.name + std::string(reason_suffix), false, 0});
        } else if (item.what == RetentionClass::quarantine) {
            doomed_.push_back({item.name, false, item.bytes});
        } else {
            listed = files_of(item.what, item.name, 0);
        }
        if (!listed) {
            say(listed.error().message);
            forget();
            return std::nullopt;
        }
        if (doomed_.size() < files_a_batch) {
            plan_.pop_back();  // one that did not fit goes on in the next batch
        }
    }
    if (doomed_.empty()) {
        return std::nullopt;
    }
    for (const auto& one : doomed_) {
        batch.files += one.directory ? 0U : 1U;
        batch.bytes += one.bytes;
    }
    batch.what = doomed_class_;
    batch.number = ++asked_;
    waiting_ = true;
    next_batch_ = now + batch_patience;  // asked again then, when the loop has not answered
    return batch;
}

void Retention::go(std::uint64_t number) {
    if (!waiting_ || number != asked_) {
        return;  // the answer to a question that was given up
    }
    waiting_ = false;
    next_batch_ = env_.clock.mono_now() + batch_interval;
    for (const auto& one : std::exchange(doomed_, {})) {
        auto done = attic_.remove(room_of(doomed_class_), one.name, one.directory);
        if (!done && !one.directory) {
            say(done.error().message);
            forget();
            return;
        }
        // The day of a job's results, when this was the last of it.
        const auto slash = one.name.find('/');
        if (one.directory && doomed_class_ == RetentionClass::results &&
            slash == one.name.rfind('/') && slash != std::string::npos) {
            static_cast<void>(
                attic_.remove(room_of(doomed_class_), one.name.substr(0, slash), true).has_value());
        }
    }
}

SeenSince load_seen(env::FileSystem& files, const std::string& path) {
    SeenSince out;
    const auto bytes = files.read_file(path, seen_file_limit);
    const auto parsed =
        bytes ? nlohmann::json::parse(as_text(*bytes), nullptr, false) : nlohmann::json();
    if (parsed.is_object()) {
        for (const auto& [name, since] : parsed.items()) {
            if (since.is_number_integer()) {
                out[name] = since.get<std::int64_t>();
            }
        }
    }
    return out;
}

void Retention::remember_seen(const SeenSince& seen) {
    if (seen == load_seen(env_.files, config_.seen_file())) {
        return;
    }
    const auto text =
        nlohmann::json(seen).dump(0, ' ', false, nlohmann::json::error_handler_t::replace);
    if (auto kept = env_.files.replace_file(config_.seen_file(), as_bytes(text), true); !kept) {
        say(kept.error().message);
    }
}

}  // namespace reeve::node
