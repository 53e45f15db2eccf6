// retention: what automation would remove from the share now, by class, and which segments of logs
// it would archive. Only looks.

#include "node/retention.h"

#include <fmt/format.h>

#include "base/time_text.h"
#include "mirror/archive_due.h"
#include "mirror/kept.h"
#include "mirror/segments.h"
#include "node/archive_words.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "share/dir/dir_share.h"
#include "verbs.h"

namespace reeve::cli {
namespace {

using nlohmann::json;

constexpr int directories_a_step = 1000;
constexpr std::int64_t day_ms = 86'400'000;

struct Sums {
    std::size_t items = 0;
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
    std::int64_t oldest_ms = 0;
};

void add(Sums& sums, const control::RetentionItem& item) {
    ++sums.items;
    sums.files += item.files;
    sums.bytes += item.bytes;
    sums.oldest_ms =
        sums.oldest_ms == 0 ? item.changed_ms : std::min(sums.oldest_ms, item.changed_ms);
}

json document_of(const Sums& sums) {
    json out{{"items", sums.items}, {"files", sums.files}, {"bytes", sums.bytes}};
    if (sums.oldest_ms > 0) {
        out["oldest"] = rfc3339(sums.oldest_ms);
    }
    return out;
}

json class_document(control::RetentionClass what, const control::RetentionPolicy& policy,
                    const std::vector<control::RetentionItem>& items,
                    const std::vector<control::RetentionRemoval>& goes) {
    Sums there;
    Sums going;
    std::map<std::string, std::size_t> kept;
    for (const auto& item : items) {
        if (item.what == what) {
            add(there, item);
            if (!item.kept_because.empty()) {
                ++kept[item.kept_because];
            }
        }
    }
    json names = json::array();
    for (const auto& one : goes) {
        if (one.item.what == what) {
            add(going, one.item);
            names.push_back({{"name", one.item.name}, {"reason", one.reason}});
        }
    }
    return {{"class", control::retention_class_name(what)},
            {"age_days", policy.of(what).age_days},
            {"total_bytes", policy.of(what).total_bytes},
            {"there", document_of(there)},
            {"goes", document_of(going)},
            {"removals", std::move(names)},
            {"kept", kept}};
}

/// As the daemon of `self` sees them now.
mirror::ArchiveLimits archive_limits(env::FileSystem& files, const daemon::FileConfig& config,
                                     const std::string& log_root, const WriterId& self,
                                     const projection::Snapshot& view, std::int64_t age_days) {
    mirror::ArchiveLimits out;
    const auto trust = config.trust();
    for (const auto& word : view.retired()) {
        const bool ours = word.cluster == config.cluster && trust.is_operator(word.operator_key);
        const auto log = log_root + "/" + word.writer.v;
        if (ours && mirror::greatest_serial(files, log, trust, word.writer) <= word.serial) {
            out.removed.insert(word.writer);
        }
    }
    std::set<WriterId> logs{self};
    for (const auto& [writer, row] : view.cut()) {
        logs.insert(writer);
    }
    auto writers = logs;
    std::erase_if(writers, [&](const WriterId& one) { return out.removed.contains(one); });
    out.held = mirror::held_by_all(logs, writers, node::told_mirrored(view));
    out.over_before_ms = age_days > 0 ? wall_now_ms() - age_days * day_ms : 0;
    return out;
}

/// Segments of the logs on this disk, and on the share of this writer's and of removed ones.
Result<json> archive_document(env::FileSystem& files, share::Share& share,
                              const daemon::FileConfig& config, const WriterId& self,
                              const projection::Snapshot& view, std::int64_t age_days) {
    const auto log_root = config.writer_state(self) + "/log";
    const auto limits = archive_limits(files, config, log_root, self, view, age_days);
    const mirror::ArchiveDue look(files, share.archive(), log_root, config.trust(), self);
    TRY_ASSIGN(const auto places, look.places(limits));
    Sums there;
    Sums going;
    json names = json::array();
    for (const auto& place : places) {
        TRY_ASSIGN(const auto found, look.in(place, limits));
        for (const auto& id : found.plain) {
            const auto name = mirror::file_name(id);
            const auto shared = place.shared ? share.log().length(place.writer, name)
                                             : Result<std::optional<std::uint64_t>>(std::nullopt);
            const auto local = files.info(look.directory(place.writer) + "/" + name);
            ++there.items;
            there.bytes += place.shared ? (shared ? shared->value_or(0) : 0)
                           : local      ? local->size
                                        : 0;
        }
        for (const auto& one : found.due) {
            add(going, {{}, {}, 1, one.bytes, one.over_ms, {}});
            names.push_back({{"name", place.writer.v + "/" + mirror::file_name(one.id)},
                             {"where", place.shared ? "share" : "disk"}});
        }
    }
    there.files = there.items;
    return json{{"class", "archive"},
                {"age_days", age_days},
                {"total_bytes", 0},
                {"there", document_of(there)},
                {"goes", document_of(going)},
                {"removals", json::array()},
                {"archives", std::move(names)},
                {"kept", {{"young, not held by all, or the last", there.items - going.items}}}};
}

void print_table(const json& classes, const Options& options) {
    Table table({"CLASS", "AGE", "BOUND", "THERE", "SIZE", "GOES", "FILES", "SIZE", "OLDEST"});
    for (const auto& one : classes) {
        const auto days = one["age_days"].get<std::int64_t>();
        const auto bound = one["total_bytes"].get<std::uint64_t>();
        table.row(
            {one["class"].get<std::string>(), days > 0 ? std::to_string(days) + " days" : "never",
             bound > 0 ? human_bytes(bound) : "-", one["there"]["items"].dump(),
             human_bytes(one["there"]["bytes"].get<std::uint64_t>()), one["goes"]["items"].dump(),
             one["goes"]["files"].dump(), human_bytes(one["goes"]["bytes"].get<std::uint64_t>()),
             one["goes"].value("oldest", "-")});
    }
    table.print(options);
}

int retention(Context& context) {
    const auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "reeve config check");
    }
    auto view = context.view();
    if (!view) {
        return context.fail(view.error(), "start a daemon on this node: reeve-worker --config ...");
    }
    const auto writer = context.view_writer();
    if (!writer) {
        return context.fail(writer.error(), "reeve doctor");
    }
    runtime::PosixFileSystem files;
    runtime::PosixClock clock;
    runtime::OsEntropy entropy;
    const auto state = (*file)->writer_state(*writer);
    const auto path = state + "/policy/retention.toml";
    const auto policy = node::load_retention(files, path);
    if (!policy) {
        return context.fail(policy.error(), "mend the file; until then nothing is removed");
    }
    share::DirShare share(files, (*file)->nas, (*file)->trust(), entropy, clock);
    if (const auto there = share.identity().check(); !there) {
        return context.fail(there.error(), "mount the shared directory: reeve doctor");
    }
    // Ages in quarantine are known to the daemon that keeps the duties: seen from here all is new.
    node::RetentionScan scan(share.attic(), node::load_seen(files, state + "/retention.seen"),
                             wall_now_ms());
    for (bool more = true; more;) {
        const auto step = scan.step(*view, directories_a_step);
        if (!step) {
            return context.fail(step.error(), "reeve doctor");
        }
        more = *step;
    }
    const auto goes = control::what_goes(*policy, scan.items(), wall_now_ms());
    json classes = json::array();
    for (const auto what : control::retention_classes) {
        classes.push_back(class_document(what, *policy, scan.items(), goes));
    }
    auto archive = archive_document(files, share, **file, *writer, *view, policy->archive_days);
    if (!archive) {
        return context.fail(archive.error(), "reeve doctor");
    }
    classes.push_back(std::move(*archive));
    if (context.options.json) {
        context.print({{"schema", "reeve.retention/v1"}, {"policy", path}, {"classes", classes}});
        return exit_done;
    }
    print_table(classes, context.options);
    return exit_done;
}

}  // namespace

void register_retention(Program& program) {
    auto& context = program.context;
    verb(program, program.app, "retention", "what automation would remove or archive now, by class",
         "reeve retention --json", [&context] { return retention(context); });
}

}  // namespace reeve::cli
