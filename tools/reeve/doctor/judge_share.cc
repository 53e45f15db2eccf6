#include "tools/reeve/doctor/judge_share.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "tools/cli/context.h"
#include "tools/reeve/doctor/judge_files.h"

namespace reeve::doctor {
namespace {

constexpr std::int64_t most_attribute_cache_s = 60;  // what NFS clients do by themselves

bool reached(const ShareProbe& probe, const std::string& step) {
    return std::any_of(probe.steps.begin(), probe.steps.end(),
                       [&](const Step& one) { return one.what == step; });
}

std::string ms(std::int64_t us) { return fmt::format("{:.2f} ms", static_cast<double>(us) / 1000); }

std::string taken(const ShareProbe& probe, std::initializer_list<const char*> steps) {
    std::vector<std::string> out;
    for (const auto& one : probe.steps) {
        if (std::find(steps.begin(), steps.end(), one.what) != steps.end()) {
            out.push_back(one.what + " " + ms(one.us));
        }
    }
    return fmt::format("{}", fmt::join(out, ", "));
}

std::string not_reached(const ShareProbe& probe) {
    return fmt::format("not reached: {} failed", probe.failed_step);
}

std::set<std::string> split(const std::string& options) {
    std::set<std::string> out;
    for (std::size_t at = 0; at <= options.size();) {
        const auto end = std::min(options.find(',', at), options.size());
        out.insert(options.substr(at, end - at));
        at = end + 1;
    }
    return out;
}

std::optional<std::int64_t> number(const std::set<std::string>& options, const std::string& key) {
    const auto at = options.lower_bound(key + "=");
    std::int64_t value = 0;
    if (at == options.end() || !at->starts_with(key + "=")) {
        return std::nullopt;
    }
    const auto* first = at->data() + key.size() + 1;
    return std::from_chars(first, at->data() + at->size(), value).ec == std::errc()
               ? std::optional(value)
               : std::nullopt;
}

/// What is wrong with NFS options: first what breaks promises, then what makes it slow or late.
void look_at_nfs(const std::set<std::string>& set, std::vector<std::string>& wrong,
                 std::vector<std::string>& odd) {
    if (set.contains("nocto")) {
        wrong.push_back(
            "nocto: a fresh open does not ask the server, so HEAD is read from the past");
    }
    for (const auto* option : {"soft", "softerr"}) {
        if (set.contains(option)) {
            odd.push_back(
                fmt::format("{}: a write that fails after its retries may still have "
                            "been done; use hard",
                            option));
        }
    }
    if (set.contains("noac")) {
        odd.push_back(
            "noac: each look is a call to the server, and each write waits; it is not "
            "needed here");
    }
    for (const auto* key : {"acregmax", "acdirmax", "actimeo"}) {
        const auto value = number(set, key);
        if (value && *value > most_attribute_cache_s) {
            odd.push_back(fmt::format("{}={}: others' files are seen late; {} or less", key, *value,
                                      most_attribute_cache_s));
        }
    }
    const auto version = number(set, "vers");
    if (version && *version < 3) {
        wrong.push_back(fmt::format("vers={}: version 3 or later is needed", *version));
    }
}

}  // namespace

Check judge_missing_share(const ShareMount& place, const std::string& error) {
    const char* id = "share.identity";
    if (!place.device) {
        return failed(id, error + "; " + place.path + " is not there",
                      "mkdir " + place.path + " and mount the share there");
    }
    const bool mounted = place.mount && place.mount->point != "/";
    if (mounted) {
        return failed(id,
                      fmt::format("{}; {} ({}) is mounted at {}", error, place.mount->source,
                                  place.mount->type, place.mount->point),
                      "is it the right export? A new or emptied share is made a cluster's with: "
                      "reeve init --cluster " +
                          place.path);
    }
    return failed(id,
                  error + "; nothing is mounted at " + place.path +
                      (place.in_fstab ? ", though /etc/fstab names it" : ""),
                  "mount " + place.path);
}

Check judge_share_mount(const ShareMount& place, bool other_nodes) {
    const char* id = "share.mount";
    if (!place.mount) {
        return skipped(id, "no mount of " + place.path + " in /proc/self/mountinfo");
    }
    const auto& mount = *place.mount;
    const auto seen = fmt::format("{} is {} of {} mounted at {}", place.path, mount.type,
                                  mount.source, mount.point);
    const bool own_device =
        place.device && place.root_device && *place.device != *place.root_device;
    if (is_smb(mount.type) || is_fuse(mount.type)) {
        return warned(id,
                      seen +
                          ": links and renames of SMB and FUSE servers are not known to exclude "
                          "between machines",
                      "mount the same directory by NFS version 4.1");
    }
    if (!is_network(mount.type) && other_nodes) {
        return warned(id, seen + ", a file system of this machine, but other nodes have logs in it",
                      "right on the machine that serves the share; elsewhere: mount " + place.path);
    }
    return good(id, seen + (own_device ? "" : ", part of the root file system"));
}

Check judge_mount_options(const runtime::Mount& mount) {
    const char* id = "share.options";
    auto set = split(mount.options);
    set.merge(split(mount.super_options));
    std::vector<std::string> wrong;
    std::vector<std::string> odd;
    if (set.contains("ro")) {
        wrong.push_back("ro: nothing can be shared");
    }
    if (is_nfs(mount.type)) {
        look_at_nfs(set, wrong, odd);
    } else if (wrong.empty() && !is_network(mount.type)) {
        return skipped(id, mount.type + " is no network file system: its options do not matter");
    }
    const auto fix =
        "change the options of " + mount.point + " in /etc/fstab, then: umount and mount it again";
    if (!wrong.empty()) {
        wrong.insert(wrong.end(), odd.begin(), odd.end());
        return failed(id, fmt::format("{}", fmt::join(wrong, "; ")), fix);
    }
    return odd.empty() ? good(id, mount.super_options)
                       : warned(id, fmt::format("{}", fmt::join(odd, "; ")), fix);
}

Check judge_writable(const ShareProbe& probe, const std::string& share) {
    const char* id = "share.writable";
    const auto& step = probe.failed_step;
    if (step.empty() || reached(probe, "look")) {
        return step == "remove"
                   ? failed(id, "the probe could not be removed: " + probe.error,
                            "remove .doctor-* from " + share + "/status; check its owner and mode")
                   : good(id, "a file was made, synced and seen in " + share + "/status");
    }
    return failed(id, fmt::format("{} in {}/status: {}", step, share, probe.error),
                  "the daemons' user needs to write there: check owner and mode of the tree, the "
                  "export (rw) and the mount (rw)");
}

Check judge_link(const ShareProbe& probe) {
    const char* id = "share.link";
    const std::string fix =
        "claims stand on hard links: use a file system that has them (NFS 4.1, ext4, xfs, zfs), "
        "not SMB, FAT or a FUSE mirror";
    if (!reached(probe, "link")) {
        return probe.failed_step == "link"
                   ? failed(id, "a hard link cannot be made: " + probe.error, fix)
                   : skipped(id, not_reached(probe));
    }
    if (probe.links != 2) {
        return failed(id, fmt::format("a linked file shows {} names instead of 2", probe.links),
                      fix);
    }
    if (!probe.second_link_refused || !probe.first_holds_the_name) {
        return failed(id,
                      probe.second_link_refused
                          ? "the name does not show what was linked first"
                          : "a second link to one name was not refused: two nodes could hold a "
                            "claim",
                      fix);
    }
    return good(id,
                "a second link to one name is refused; " + taken(probe, {"link", "second link"}));
}

Check judge_rename(const ShareProbe& probe) {
    const char* id = "share.rename";
    if (!reached(probe, "list")) {
        return probe.failed_step == "rename" || probe.failed_step == "list"
                   ? failed(id, probe.failed_step + ": " + probe.error,
                            "files are replaced by rename: check the server's log and the mount")
                   : skipped(id, not_reached(probe));
    }
    if (!probe.rename_seen) {
        return failed(id, "a renamed file is not seen under its new name by a fresh listing",
                      "turn off caching of directories at the mount (lookupcache, cache options)");
    }
    return good(id, "seen at once; " + taken(probe, {"rename", "list", "read"}));
}

Check judge_case(const ShareProbe& probe) {
    const char* id = "share.case";
    if (!reached(probe, "case")) {
        return skipped(id, not_reached(probe));
    }
    return probe.names_fold
               ? warned(id, "names that differ only in case are one file here",
                        "set the export to distinguish case; dropped files and outputs of one name "
                        "would replace each other")
               : good(id, "names that differ in case are two files");
}

Check judge_latency(const ShareProbe& probe, std::int64_t heartbeat_ms) {
    const char* id = "share.latency";
    if (!reached(probe, "sync")) {
        return skipped(id, not_reached(probe));
    }
    std::int64_t sync_us = 0;
    std::string all;
    for (const auto& one : probe.steps) {
        sync_us = one.what == "sync" ? one.us : sync_us;
        all += (all.empty() ? "" : ", ") + one.what + " " + ms(one.us);
    }
    const std::int64_t most_us = heartbeat_ms * 1000 / 2;
    return sync_us <= most_us
               ? good(id, all)
               : warned(id,
                        fmt::format("a sync took {}; two of them must fit in a heartbeat of {} ms "
                                    "({})",
                                    ms(sync_us), heartbeat_ms, all),
                        "look at the load of the NAS and its network; or raise timing.heartbeat_ms "
                        "on every node");
}

Check judge_share_clock(const ShareProbe& probe) {
    const char* id = "clock.skew";
    if (!reached(probe, "look")) {
        return skipped(id, not_reached(probe));
    }
    const auto at = probe.made.mtime_ms;
    const auto skew = at < probe.before_ms  ? probe.before_ms - at
                      : at > probe.after_ms ? at - probe.after_ms
                                            : 0;
    const auto seen = skew == 0 ? "in step with the share's clock"
                                : fmt::format("{} ms {} the share's clock", skew,
                                              at < probe.before_ms ? "ahead of" : "behind");
    return skew <= max_skew_ms ? good(id, seen)
                               : failed(id, seen,
                                        "let NTP set the clocks of this machine and of the NAS: "
                                        "timedatectl set-ntp true");
}

}  // namespace reeve::doctor
