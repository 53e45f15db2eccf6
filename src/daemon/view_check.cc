#include "daemon/view_check.h"

#include <cstdio>

#include "projection/kv/lmdb_store.h"
#include "projection/scrub.h"
#include "runtime/posix_file_system.h"

namespace reeve::daemon {
namespace {

// Exit statuses of the process that checks; any other end is damage too.
constexpr int exit_good = 0;
constexpr int exit_outdated = 3;  // whole, but of another version of this program
constexpr int exit_damaged = 10;

constexpr milliseconds look_interval{50};
constexpr std::size_t part_bytes = 1 << 20;
// Above this size the first check leaves out what only a defect of this program could bring about:
// the rows themselves are read in a tenth of the time that it takes to count again what follows
// from them (docs/performance.md: about ten seconds for a file of this size).
constexpr std::uint64_t recounted_at_start_bytes = 400'000'000;
// A hundred times what it takes where it was measured (docs/performance.md): a slow disk is no
// damage, and a page that leads in a circle ends.
constexpr seconds least_patience{60};
constexpr std::uint64_t bytes_a_second = 1 << 20;

std::string data_file(const std::string& directory) { return directory + "/data.mdb"; }

seconds patience_of(env::FileSystem& files, const std::string& directory) {
    const auto info = files.info(data_file(directory));
    return least_patience + seconds(info ? info->size / bytes_a_second : 0);
}

/// In order, so that what follows finds it in memory; and a sector that cannot be read is an error
/// here, not the end of the process.
Status read_through(env::FileSystem& files, const std::string& path) {
    TRY_ASSIGN(const auto file, files.open(path, env::OpenMode::read));
    Bytes part(part_bytes);
    std::size_t got = part_bytes;
    for (std::uint64_t at = 0; got == part_bytes; at += got) {
        TRY_ASSIGN(got, file->read_at(Offset(at), part));
    }
    return ok();
}

/// Code::unsupported for rows of another version; every other error is damage.
Status examine(env::FileSystem& files, const std::string& directory, ViewCheck what) {
    if (const auto read = read_through(files, data_file(directory)); !read) {
        return read.error().code == Code::not_found ? ok() : read;
    }
    kv::LmdbStore::Options how;
    how.read_only = true;
    auto store = kv::LmdbStore::open(directory, projection::Projection::table_names(), how);
    if (!store) {
        const bool incomplete = store.error().code == Code::not_found;
        return incomplete ? Error{Code::unsupported, store.error().message} : store.error();
    }
    TRY((*store)->scrub());
    if (what == ViewCheck::rows) {
        return ok();
    }
    TRY_ASSIGN(const auto reading, (*store)->read());
    TRY_ASSIGN(const auto difference, projection::scrub(*reading));
    return difference ? Status(Error{Code::corrupt, difference->text()}) : ok();
}

Result<runtime::Child> start_check(env::FileSystem& files, const FileConfig& file, node::Role role,
                                   ViewCheck what) {
    const std::string program =
        runtime::self_exe_dir() +
        (role == node::Role::worker ? "/reeve-worker" : "/reeve-coordinator");
    return runtime::Child::start(
        {program, "--config", file.path, "--check-view", what == ViewCheck::rows ? "rows" : "all"},
        patience_of(files, file.projection_directory(file.writer(role))));
}

std::string damage_of(const runtime::ChildEnd& end) {
    if (!end.in_time) {
        return "its check did not come to an end";
    }
    if (end.signal != 0) {
        return "its check ended by signal " + std::to_string(end.signal);
    }
    if (end.exit == exit_good || end.exit == exit_outdated) {
        return "";
    }
    return end.said.empty() ? "its check ended with status " + std::to_string(end.exit) : end.said;
}

Status discard(env::FileSystem& files, const std::string& directory) {
    const auto entries = files.list(directory);
    if (!entries) {
        return entries.error().code == Code::not_found ? ok() : Status(entries.error());
    }
    for (const auto& entry : *entries) {
        TRY(files.remove(directory + "/" + entry.name));
    }
    return files.remove_dir(directory);
}

/// Kept for who wants to look at it, until the next one.
Status set_aside(env::FileSystem& files, const std::string& directory) {
    const std::string kept = directory + ".damaged";
    TRY(discard(files, kept));
    return files.rename(directory, kept);
}

}  // namespace

int check_view(const FileConfig& file, node::Role role, ViewCheck what) {
    runtime::PosixFileSystem files;
    const auto directory = file.projection_directory(file.writer(role));
    runtime::end_with_parent(2 * patience_of(files, directory));
    const auto found = examine(files, directory, what);
    if (found) {
        return exit_good;
    }
    std::printf("%s", found.error().message.c_str());
    std::fflush(stdout);
    return found.error().code == Code::unsupported ? exit_outdated : exit_damaged;
}

Status settle_view(const env::Env& env, const FileConfig& file, node::Role role,
                   const node::NodeConfig& config, runtime::SignalWaiter& signals) {
    auto& files = env.files;
    const auto directory = file.projection_directory(config.writer);
    if (!files.info(directory)) {
        return ok();
    }
    if (files.info(config.rebuild_file())) {
        return set_aside(files, directory);
    }
    if (node::view_is_void(files, config, runtime::process_boot_id())) {
        return discard(files, directory);  // not even looked at: a cut of power leaves anything
    }
    const auto data = files.info(data_file(directory));
    const bool large = data && data->size > recounted_at_start_bytes;
    TRY_ASSIGN(auto child,
               start_check(files, file, role, large ? ViewCheck::rows : ViewCheck::all));
    std::optional<runtime::ChildEnd> end;
    while (!end) {
        if (signals.wait(milliseconds(0))) {
            return Error{Code::cancelled, "asked to stop while the view was checked"};
        }
        end = child.ended(look_interval);
    }
    const auto damage = damage_of(*end);
    if (damage.empty() && end->exit == exit_good) {
        return ok();
    }
    env.telemetry.log(damage.empty() ? env::Level::info : env::Level::error, "view",
                      "built again: " + (damage.empty() ? end->said : damage));
    if (damage.empty()) {
        return discard(files, directory);
    }
    TRY(files.replace_file(config.rebuild_file(), as_bytes(damage), true));
    return set_aside(files, directory);
}

ViewWatch::ViewWatch(const env::Env& env, const FileConfig& file, node::Role role, seconds interval)
    : env_(env),
      file_(file),
      role_(role),
      interval_(interval),
      next_(env.clock.mono_now() + interval) {}

std::optional<Error> ViewWatch::look() {
    const auto now = env_.clock.mono_now();
    if (!child_ && now >= next_) {
        next_ = now + interval_;
        auto started = start_check(env_.files, file_, role_, ViewCheck::all);
        if (started) {
            child_.emplace(std::move(*started));
        } else {
            env_.telemetry.log(env::Level::warning, "view",
                               "not checked: " + started.error().message);
        }
    }
    const auto end = child_ ? child_->ended(milliseconds(0)) : std::nullopt;
    if (!end) {
        return std::nullopt;
    }
    child_.reset();
    const auto damage = damage_of(*end);
    return damage.empty() ? std::nullopt : std::optional(Error{Code::corrupt, damage});
}

}  // namespace reeve::daemon
