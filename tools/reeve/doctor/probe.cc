#include "tools/reeve/doctor/probe.h"

#include <algorithm>
#include <functional>

#include "runtime/posix_clock.h"
#include "tools/cli/context.h"

namespace reeve::doctor {
namespace {

/// Names in a probe's directory: what a probe that was killed may have left.
constexpr const char* names[] = {"a", "b", "name", "moved"};
constexpr std::string_view prefix = ".doctor-";
constexpr std::int64_t left_behind_ms = 3'600'000;  // no probe runs for so long

class Prober {
public:
    Prober(env::FileSystem& files, const std::string& status, Findings& findings)
        : files_(files),
          status_(status),
          directory_(status + "/" + std::string(prefix) + cli::random_hex(8)),
          findings_(findings) {}

    ShareProbe run() {
        const bool made = step("create", [&] { return create(); });
        if (made) {
            static_cast<void>(first_file() && links() && renames() && cases());
        }
        if (made || files_.info(directory_)) {
            const bool clean = out_.failed_step.empty();
            const auto removed = remove_probe(directory_);
            if (!removed && clean) {
                out_.failed_step = "remove";
                out_.error = removed.error().message;
            }
        }
        remove_old_probes();
        return std::move(out_);
    }

private:
    std::string at(const char* name) const { return directory_ + "/" + name; }

    /// Runs and times one step; false when it failed, which is noted once.
    bool step(const std::string& what, const std::function<Status()>& call) {
        findings_.doing(what + " in " + directory_);
        const auto begun = clock_.mono_now();
        const auto done = call();
        const auto us = (clock_.mono_now() - begun).count() / 1'000;
        if (!done) {
            out_.failed_step = what;
            out_.error = done.error().message;
            return false;
        }
        out_.steps.push_back({what, us});
        return true;
    }

    /// status/ itself is never made: a share without it is reported, not mended.
    Status create() {
        TRY_ASSIGN(const auto info, files_.info(status_));
        if (info.kind != env::FileKind::directory) {
            return Error{Code::invalid, status_ + " is not a directory"};
        }
        TRY(files_.make_dirs(directory_));
        out_.before_ms = clock_.wall_now().ms;
        TRY_ASSIGN(file_, files_.open(at("a"), env::OpenMode::create_new));
        return file_->write_at(Offset(0), as_bytes("a"));
    }

    bool first_file() {
        return step("sync",
                    [&] {
                        auto synced = file_->sync();
                        out_.after_ms = clock_.wall_now().ms;
                        file_.reset();  // an open file that is removed stays on NFS as .nfs...
                        return synced;
                    }) &&
               step("look", [&]() -> Status {
                   TRY_ASSIGN(out_.made, runtime::opened_facts(at("a")));
                   return ok();
               });
    }

    bool links() {
        return step("second file",
                    [&] { return files_.replace_file(at("b"), as_bytes("b"), false); }) &&
               step("link", [&] { return files_.link(at("a"), at("name")); }) &&
               step("second link", [&]() -> Status {
                   const auto again = files_.link(at("b"), at("name"));
                   out_.second_link_refused = !again && again.error().code == Code::conflict;
                   TRY_ASSIGN(const auto facts, runtime::opened_facts(at("name")));
                   out_.links = facts.links;
                   TRY_ASSIGN(const auto content, files_.read_file(at("name"), 16));
                   out_.first_holds_the_name = as_text(content) == "a";
                   return ok();
               });
    }

    bool renames() {
        std::vector<env::DirEntry> listed;
        const auto holds = [&listed](const char* name) {
            return std::any_of(listed.begin(), listed.end(),
                               [name](const env::DirEntry& one) { return one.name == name; });
        };
        return step("rename", [&] { return files_.rename(at("b"), at("moved")); }) &&
               step("list",
                    [&]() -> Status {
                        TRY_ASSIGN(listed, files_.list(directory_));
                        return ok();
                    }) &&
               step("read", [&]() -> Status {
                   const auto content = files_.read_file(at("moved"), 16);
                   out_.rename_seen =
                       holds("moved") && !holds("b") && content && as_text(*content) == "b";
                   return ok();
               });
    }

    bool cases() {
        return step("case", [&]() -> Status {
            out_.names_fold = files_.info(at("NAME")).has_value();
            return ok();
        });
    }

    /// Only names that a probe makes, so that nothing else can be lost.
    Status remove_probe(const std::string& directory) {
        for (const auto* name : names) {
            if (auto gone = files_.remove(directory + "/" + name);
                !gone && gone.error().code != Code::not_found) {
                return gone;
            }
        }
        return files_.remove_dir(directory);
    }

    /// Of doctors that were killed. By the share's own times, so no clock needs to be right.
    void remove_old_probes() {
        const auto entries = files_.list(status_);
        for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>()) {
            const auto path = status_ + "/" + entry.name;
            const auto info =
                entry.name.starts_with(prefix) ? files_.info(path) : Result<env::FileInfo>(Error{});
            if (info && info->kind == env::FileKind::directory &&
                info->mtime_ms + left_behind_ms < out_.made.mtime_ms) {
                static_cast<void>(remove_probe(path).has_value());
            }
        }
    }

    env::FileSystem& files_;
    const std::string status_;
    const std::string directory_;
    Findings& findings_;
    runtime::PosixClock clock_;
    std::unique_ptr<env::File> file_;
    ShareProbe out_;
};

}  // namespace

ShareProbe probe_share(env::FileSystem& files, const std::string& status, Findings& findings) {
    return Prober(files, status, findings).run();
}

}  // namespace reeve::doctor
