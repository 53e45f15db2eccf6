// Other writers as the share shows them: whose files are whose, their signs of life, their clocks.

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "tools/reeve/doctor/judge_share.h"

namespace reeve::doctor {
namespace {

constexpr std::int64_t most_write_delay_ms = 10'000;  // of a status file behind its content
constexpr std::int64_t least_silence_ms = 2'000;

std::string owner_of(const runtime::FileFacts& facts) {
    return fmt::format("{}:{}", facts.uid, facts.gid);
}

/// Writers whose files belong to another user than ours do.
std::vector<std::string> strangers(const ShareProbe& probe, const std::vector<WriterFile>& others) {
    std::set<std::string> out;
    for (const auto& one : others) {
        if (one.facts.uid != probe.made.uid) {
            out.insert(fmt::format("{} writes as {}", one.writer, owner_of(one.facts)));
        }
    }
    return {out.begin(), out.end()};
}

}  // namespace

Check judge_owner(const runtime::UserFacts& self, const ShareProbe& probe,
                  const std::vector<WriterFile>& others) {
    const char* id = "share.owner";
    if (probe.made.mtime_ms == 0) {
        return skipped(id, "no file could be made: " + probe.failed_step + " failed");
    }
    const auto made = owner_of(probe.made);
    const std::string one_user =
        "let the daemons of all nodes run as one user with one uid:gid: usermod -u UID reeve && "
        "groupmod -g GID reeve, then chown -R the tree once";
    if (self.uid == 0 && probe.made.uid != 0) {
        return warned(id, fmt::format("root is squashed to {} on the share", made),
                      "do not run daemons as root; " + one_user);
    }
    if (probe.made.uid == runtime::nobody_uid && self.uid != runtime::nobody_uid) {
        return failed(id,
                      fmt::format("a file made as {} belongs to nobody ({}): the server does not "
                                  "know this user (idmap), or squashes all",
                                  self.uid, made),
                      "give /etc/idmapd.conf of server and client one Domain, or use "
                      "anonuid/anongid of the export for all nodes");
    }
    const auto strange = strangers(probe, others);
    if (!strange.empty()) {
        return warned(id,
                      fmt::format("this node writes as {}, but {}", made, fmt::join(strange, ", ")),
                      one_user);
    }
    const auto same = others.empty() ? std::string("no files of other writers to compare with")
                                     : fmt::format("like {} files of the writers", others.size());
    if (probe.made.uid != self.uid) {
        return warned(id, fmt::format("the server turns user {} into {}, {}", self.uid, made, same),
                      "right when the export maps everybody to one user on purpose (all_squash, "
                      "anonuid); else: " +
                          one_user);
    }
    return good(id, fmt::format("files belong to {}, {}", made, same));
}

Check judge_permissions(const std::vector<std::string>& unreadable,
                        const std::vector<std::string>& unchangeable, std::size_t looked_at) {
    constexpr std::size_t shown = 5;
    std::vector<std::string> wrong;
    for (const auto& [list, what] :
         {std::pair(&unreadable, "not readable"), std::pair(&unchangeable, "not writable")}) {
        for (std::size_t i = 0; i < list->size() && i < shown; ++i) {
            wrong.push_back(fmt::format("{} is {}", (*list)[i], what));
        }
        if (list->size() > shown) {
            wrong.push_back(fmt::format("{} more are {}", list->size() - shown, what));
        }
    }
    return wrong.empty()
               ? good("share.permissions",
                      fmt::format("{} files and directories of all writers can be used", looked_at))
               : failed("share.permissions", fmt::format("{}", fmt::join(wrong, "; ")),
                        "one user for all daemons, directories 2770, files 0660: chown -R and "
                        "chmod -R u+rwX,g+rwX the tree on the server");
}

Check judge_heartbeat(const Heartbeat& one) {
    const auto id = "heartbeat." + one.writer;
    if (!one.age_ms) {
        return warned(id, "it has a directory but never declared anything shared",
                      "start its daemon; on that node: reeve doctor");
    }
    const auto age = *one.age_ms;
    const auto h = one.heartbeat_ms;
    const auto seen =
        fmt::format("HEAD is {} ms old by the share's clock (heartbeat {} ms)", age, h);
    if (age < -max_skew_ms) {
        return warned(id, fmt::format("HEAD is {} ms newer than the share's clock", -age),
                      "the clock of the share went back, or the file was copied in: set its clock "
                      "by NTP");
    }
    if (age <= std::max(3 * h, least_silence_ms)) {
        return good(id, seen);
    }
    if (one.ours && !one.answers) {
        return skipped(id, seen + "; its daemon does not run here");
    }
    if (one.ours) {
        return failed(id, seen + ": its daemon answers, but shares nothing",
                      "reeve status; journalctl -u reeve-worker: is the share slow or hung?");
    }
    if (one.state == "stopped") {
        return good(id, seen + "; it was stopped and said so");
    }
    const bool dead = age > std::max(18 * h, least_silence_ms);
    return warned(id, seen + (dead ? ": dead" : ": silent"),
                  "on that node: systemctl status reeve-worker reeve-coordinator; reeve doctor");
}

Check judge_writer_clock(const WriterClock& one) {
    const auto id = "clock." + one.writer;
    const std::string fix = "on that node: timedatectl set-ntp true";
    if (one.hlc_ms && one.head_mtime_ms && *one.hlc_ms > *one.head_mtime_ms + max_skew_ms) {
        return warned(id,
                      fmt::format("its last event is {} ms ahead of the time that the share gave "
                                  "to its HEAD",
                                  *one.hlc_ms - *one.head_mtime_ms),
                      fix);
    }
    if (!one.status_at_ms || !one.status_mtime_ms) {
        return one.hlc_ms && one.head_mtime_ms
                   ? good(id, "its last event is not ahead of its HEAD; no status file to compare")
                   : skipped(id, "it left no times to compare");
    }
    const auto ahead = *one.status_at_ms - *one.status_mtime_ms;
    if (ahead > max_skew_ms) {
        return warned(id, fmt::format("{} ms ahead of the share's clock", ahead), fix);
    }
    // What lies between the document and its writing looks like a late clock, so more is let pass.
    if (-ahead > most_write_delay_ms) {
        return warned(
            id,
            fmt::format("{} ms behind the share's clock, or its status is written so late", -ahead),
            fix);
    }
    return good(id, fmt::format("within {} ms of the share's clock", std::abs(ahead)));
}

}  // namespace reeve::doctor
