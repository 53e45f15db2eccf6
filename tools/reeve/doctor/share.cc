// The share as this node sees it: identity first, because nothing is written into a directory that
// is not this cluster's; then mount, tree, a probe, and the files of all writers.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "share/dir/dir_share.h"
#include "share/dir/dir_tree.h"
#include "tools/reeve/doctor/logs.h"
#include "tools/reeve/doctor/probe.h"

namespace reeve::doctor {
namespace {

constexpr std::uint64_t most_status_bytes = 1024 * 1024;
constexpr double most_moment_ms = 1e14;  // in some thousand years; a double holds it exactly

class ShareExam {
public:
    ShareExam(const Subject& subject, Findings& findings)
        : subject_(subject),
          config_(subject.config),
          findings_(findings),
          share_(files_, config_.nas, config_.trust(), entropy_, clock_) {}

    void run() {
        look_at_place();
        if (!is_ours()) {
            findings_.add(skipped("share.writable",
                                  "nothing is written into a directory that is "
                                  "not this cluster's"));
            findings_.add(skipped("clock.skew", "the share of this cluster is not there"));
            examine_logs(subject_, share_.log(), {}, findings_);
            return;
        }
        const auto writers = find_writers();
        look_at_mount(writers);
        look_at_tree();
        look_at_room();
        probe(writers);
        look_at_permissions(writers);
        std::vector<Heartbeat> hearts;
        for (const auto& writer : writers) {
            hearts.push_back(look_at_heartbeat(writer));
        }
        look_at_quarantine(writers);
        examine_logs(subject_, share_.log(), hearts, findings_);
    }

private:
    std::string path(const std::string& below) const { return config_.nas + "/" + below; }

    void look_at_place() {
        findings_.doing("look at " + config_.nas);
        std::error_code problem;
        place_.path = config_.nas;
        const auto real = std::filesystem::canonical(config_.nas, problem);
        const auto facts = runtime::file_facts(problem ? config_.nas : real.string());
        place_.device = facts ? std::optional(facts->device) : std::nullopt;
        const auto root = runtime::file_facts("/");
        place_.root_device = root ? std::optional(root->device) : std::nullopt;
        place_.mount =
            runtime::mount_of(runtime::read_mounts(), problem ? config_.nas : real.string());
        place_.in_fstab = runtime::read_small_file("/etc/fstab").find(" " + config_.nas + " ") !=
                          std::string::npos;
    }

    bool is_ours() {
        const char* id = "share.identity";
        findings_.doing("read the identity of " + config_.nas);
        const auto found = share::read_identity(files_, config_.nas);
        if (!found) {
            findings_.add(judge_no_identity(found.error()));
            return false;
        }
        const auto seen = config_.nas + " is cluster " + to_hex(*found);
        const bool ours = *found == config_.cluster;
        findings_.add(ours ? good(id, seen)
                           : failed(id, seen + ", this node belongs to " + to_hex(config_.cluster),
                                    "mount the share of this node's cluster at " + config_.nas +
                                        "; or correct 'nas' in " + config_.path));
        return ours;
    }

    /// Missing, refused, or damaged.
    Check judge_no_identity(const Error& error) const {
        const auto file = path(std::string(share::identity_file));
        const auto facts = runtime::file_facts(file);
        if (error.code != Code::unavailable) {
            return failed("share.identity", error.message,
                          "restore " + file +
                              " from a snapshot of the NAS; its content is in "
                              "docs/formats/share.md");
        }
        if (facts) {
            return failed("share.identity", file + " is there but cannot be read: " + error.message,
                          "chown -R the tree to the daemons' user, or export it to that user");
        }
        if (facts.error().code != Code::not_found) {
            return failed("share.identity", facts.error().message,
                          "is the server up, and may this user enter the directory? dmesg; then "
                          "umount and mount it again");
        }
        return judge_missing_share(place_, error.message);
    }

    std::vector<WriterId> find_writers() {
        findings_.doing("list the writers");
        auto writers = share_.log().writers();
        return writers ? *writers : std::vector<WriterId>();
    }

    bool other_nodes(const std::vector<WriterId>& writers) const {
        return std::any_of(writers.begin(), writers.end(),
                           [&](const WriterId& one) { return !subject_.is_ours(one.v); });
    }

    void look_at_mount(const std::vector<WriterId>& writers) {
        findings_.add(judge_share_mount(place_, other_nodes(writers)));
        if (place_.mount) {
            findings_.add(judge_mount_options(*place_.mount));
        }
    }

    /// All directories are there, and those between which names are linked and moved lie in one
    /// file system.
    void look_at_tree() {
        const char* id = "share.tree";
        std::vector<std::string> missing;
        std::set<std::uint64_t> devices;
        for (const auto* below : share::tree_directories) {
            findings_.doing(std::string("look at ") + below);
            const auto facts = runtime::file_facts(path(below));
            if (!facts || facts->kind != env::FileKind::directory) {
                missing.emplace_back(below);
            } else {
                devices.insert(facts->device);
            }
        }
        if (!missing.empty()) {
            findings_.add(failed(id, fmt::format("missing: {}", fmt::join(missing, ", ")),
                                 "restore the directories (mode 2770, the daemons' user), or run "
                                 "reeve init for a new node: it completes the tree"));
        } else if (devices.size() != 1) {
            findings_.add(failed(id,
                                 "the directories lie in several file systems: links and "
                                 "renames between them are not possible",
                                 "keep the whole tree in one export and one data set"));
        } else {
            findings_.add(good(id, "whole, in one file system"));
        }
    }

    void look_at_room() {
        findings_.doing("ask for free room");
        const auto facts = runtime::file_system_facts(config_.nas);
        if (!facts) {
            findings_.add(failed("share.space", facts.error().message, "check the mount"));
            return;
        }
        findings_.add(judge_space("share.space", config_.nas, *facts));
        findings_.add(judge_inodes("share.inodes", config_.nas, *facts));
    }

    void probe(const std::vector<WriterId>& writers) {
        probe_ = probe_share(files_, path("status"), findings_);
        probed_at_ = clock_.mono_now();
        auto heartbeat = config_.timing.worker_heartbeat;
        if (config_.coordinator) {
            heartbeat = std::min(heartbeat, config_.timing.coordinator_heartbeat);
        }
        findings_.add(judge_writable(probe_, config_.nas));
        findings_.add(judge_link(probe_));
        findings_.add(judge_rename(probe_));
        findings_.add(judge_case(probe_));
        findings_.add(judge_latency(probe_, heartbeat.count()));
        findings_.add(judge_share_clock(probe_));
        std::vector<WriterFile> files;
        for (const auto& writer : writers) {
            collect_files_of(writer, files);
        }
        findings_.add(subject_.users.self == subject_.users.daemon
                          ? judge_owner(runtime::current_user(), probe_, files)
                          : skipped("share.owner", "not looked at as the daemons' user"));
    }

    /// What this writer made: its directory, its HEAD, its status.
    void collect_files_of(const WriterId& writer, std::vector<WriterFile>& out) {
        findings_.doing("look at the files of " + writer.v);
        for (const auto& file : {path("log/" + writer.v), path("status/" + writer.v + ".json")}) {
            if (const auto facts = runtime::file_facts(file)) {
                out.push_back({writer.v, file, *facts});
            }
        }
    }

    void expect_changeable(const std::string& directory, std::vector<std::string>& refused) {
        findings_.doing("look at " + directory);
        ++looked_at_;
        if (!runtime::may_change(directory)) {
            refused.push_back(directory);
        }
    }

    /// The newest directory below one that everybody makes directories in.
    void expect_newest_changeable(const std::string& parent, std::vector<std::string>& refused) {
        const auto entries = files_.list(parent);
        for (auto at = entries ? entries->size() : 0; at > 0; --at) {
            const auto& entry = (*entries)[at - 1];
            if (entry.kind == env::FileKind::directory && entry.name.front() != '.') {
                expect_changeable(parent + "/" + entry.name, refused);
                return;
            }
        }
    }

    void look_at_permissions(const std::vector<WriterId>& writers) {
        if (subject_.users.self != subject_.users.daemon) {
            findings_.add(skipped("share.permissions", "not looked at as the daemons' user"));
            return;
        }
        std::vector<std::string> unreadable;
        std::vector<std::string> refused;
        for (const auto* below : share::tree_directories) {
            expect_changeable(path(below), refused);
        }
        const auto claims = files_.list(path("queue/claims"));
        for (const auto& entry : claims ? *claims : std::vector<env::DirEntry>()) {
            if (entry.kind == env::FileKind::directory) {
                expect_changeable(path("queue/claims/" + entry.name), refused);
            }
        }
        for (const auto* below : {"queue/done", "queue/failed", "queue/cancelled", "results"}) {
            expect_newest_changeable(path(below), refused);
        }
        for (const auto& writer : writers) {
            expect_readable(writer, unreadable);
        }
        findings_.add(judge_permissions(unreadable, refused, looked_at_));
    }

    void expect_readable(const WriterId& writer, std::vector<std::string>& refused) {
        findings_.doing("read what " + writer.v + " wrote");
        std::vector<std::string> files{path("status/" + writer.v + ".json")};
        const auto segments = share_.log().segments(writer);
        if (!segments) {
            refused.push_back(path("log/" + writer.v));
        } else if (!segments->empty()) {
            files.push_back(path("log/" + writer.v + "/" + segments->back()));
        }
        for (const auto& file : files) {
            const auto opened = runtime::opened_facts(file);
            looked_at_ += opened ? 1U : 0U;
            if (!opened && opened.error().code != Code::not_found) {
                refused.push_back(file);
            }
        }
    }

    /// The clock of the share now: of the probe's file, moved on by our own.
    std::optional<std::int64_t> share_now_ms() {
        if (probe_.made.mtime_ms == 0) {
            return std::nullopt;
        }
        return probe_.made.mtime_ms + to_ms(clock_.mono_now() - probed_at_);
    }

    Heartbeat look_at_heartbeat(const WriterId& writer) {
        findings_.doing("read the HEAD of " + writer.v);
        Heartbeat heart;
        WriterClock clock;
        heart.writer = clock.writer = writer.v;
        heart.ours = subject_.is_ours(writer.v);
        heart.answers = subject_.answers(writer.v);
        heart.state = subject_.state_of(writer.v);
        heart.heartbeat_ms = (writer.v.ends_with(".coord") ? config_.timing.coordinator_heartbeat
                                                           : config_.timing.worker_heartbeat)
                                 .count();
        const auto slot = share_.log().head(writer);
        if (slot && *slot) {
            const auto file =
                path("log/" + writer.v + "/" + eventlog::head_name((*slot)->incarnation));
            const auto facts = runtime::opened_facts(file);
            const auto now = share_now_ms();
            if (facts) {
                clock.head_mtime_ms = facts->mtime_ms;
                clock.hlc_ms = hlc_ms((*slot)->hlc);
                heart.age_ms = now ? std::optional(*now - facts->mtime_ms) : std::nullopt;
            }
        }
        read_status(writer, clock);
        if (heart.age_ms || !slot || !*slot) {
            findings_.add(judge_heartbeat(heart));
        } else {
            findings_.add(
                skipped("heartbeat." + writer.v, "the share told no time to compare with"));
        }
        findings_.add(judge_writer_clock(clock));
        return heart;
    }

    void read_status(const WriterId& writer, WriterClock& clock) {
        const auto file = path("status/" + writer.v + ".json");
        const auto bytes = files_.read_file(file, most_status_bytes);
        const auto facts = runtime::opened_facts(file);
        const auto json =
            bytes ? nlohmann::json::parse(as_text(*bytes), nullptr, false) : nlohmann::json();
        const auto at = json.is_object() ? json.find("at_ms") : json.end();
        if (facts && json.is_object() && at != json.end() && at->is_number_integer()) {
            // Whoever can write the share can write any number.
            clock.status_at_ms =
                static_cast<std::int64_t>(std::clamp(at->get<double>(), 0.0, most_moment_ms));
            clock.status_mtime_ms = facts->mtime_ms;
        }
    }

    void look_at_quarantine(const std::vector<WriterId>& writers) {
        std::vector<std::string> found;
        for (const auto& writer : writers) {
            findings_.doing("look into the quarantine of " + writer.v);
            const auto directory = "log/" + writer.v + "/quarantine";
            const auto entries = files_.list(path(directory));
            if (entries && !entries->empty()) {
                found.push_back(fmt::format("{} in {}", entries->size(), path(directory)));
            }
        }
        findings_.add(found.empty()
                          ? good("quarantine.share", "empty")
                          : warned("quarantine.share",
                                   fmt::format("files that differed from their owner's log: {}",
                                               fmt::join(found, "; ")),
                                   "reeve log tail --type Observation says when and why; move them "
                                   "away when that is understood"));
    }

    const Subject& subject_;
    const daemon::FileConfig& config_;
    Findings& findings_;
    runtime::PosixFileSystem files_;
    runtime::OsEntropy entropy_;
    runtime::PosixClock clock_;
    share::DirShare share_;
    ShareMount place_;
    ShareProbe probe_;
    MonoTime probed_at_;
    std::size_t looked_at_ = 0;
};

}  // namespace

void examine_share(const Subject& subject, Findings& findings) {
    ShareExam(subject, findings).run();
}

}  // namespace reeve::doctor
