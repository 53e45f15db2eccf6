#pragma once

// The share: what its mount, a probe in it and the files of all writers say. Pure.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/inspect.h"
#include "tools/reeve/doctor/check.h"

namespace reeve::doctor {

constexpr std::int64_t max_skew_ms = 2'000;  // as far as a hybrid clock is pulled forward

/// How the share hangs in the tree of this machine.
struct ShareMount {
    std::string path;
    std::optional<runtime::Mount> mount;       // that holds it
    std::optional<std::uint64_t> device;       // of the directory; nullopt: not there
    std::optional<std::uint64_t> root_device;  // of "/"
    bool in_fstab = false;
};
/// When the identity is missing: is it the mount that is missing?
Check judge_missing_share(const ShareMount& place, const std::string& error);
Check judge_share_mount(const ShareMount& place, bool other_nodes);
/// The options of a network mount against what the log and the claims need.
Check judge_mount_options(const runtime::Mount& mount);

/// What a probe in the share did, step by step, until one failed.
struct Step {
    std::string what;
    std::int64_t us = 0;
};
struct ShareProbe {
    std::vector<Step> steps;
    std::string failed_step;  // empty: all were done
    std::string error;
    runtime::FileFacts made;     // of the first file, by a fresh open
    std::int64_t before_ms = 0;  // wall clock around its writing
    std::int64_t after_ms = 0;
    std::uint64_t links = 0;  // of the linked file
    bool second_link_refused = false;
    bool first_holds_the_name = false;
    bool rename_seen = false;  // the new name in a fresh listing, the old one gone, content whole
    bool names_fold = false;   // "a" and "A" are one file
};
Check judge_writable(const ShareProbe& probe, const std::string& share);
Check judge_link(const ShareProbe& probe);
Check judge_rename(const ShareProbe& probe);
Check judge_case(const ShareProbe& probe);
/// A HEAD needs two syncs a heartbeat: `heartbeat_ms` is the least one of this node.
Check judge_latency(const ShareProbe& probe, std::int64_t heartbeat_ms);
Check judge_share_clock(const ShareProbe& probe);

/// Whose file is whose: of this program and of every writer that has files in the share.
struct WriterFile {
    std::string writer;
    std::string path;
    runtime::FileFacts facts;
};
Check judge_owner(const runtime::UserFacts& self, const ShareProbe& probe,
                  const std::vector<WriterFile>& others);
/// Files of others that could not be read, directories of all that could not be changed.
Check judge_permissions(const std::vector<std::string>& unreadable,
                        const std::vector<std::string>& unchangeable, std::size_t looked_at);

/// The sign of life of one writer, aged by the clock of the share.
struct Heartbeat {
    std::string writer;
    std::optional<std::int64_t> age_ms;  // nullopt: it has no HEAD
    std::int64_t heartbeat_ms = 0;       // that a writer of its role has by this configuration
    bool ours = false;                   // of this node
    bool answers = false;                // its daemon, when it is ours
    std::string state;                   // as a daemon of this node sees it; "" unknown
};
Check judge_heartbeat(const Heartbeat& one);

/// The clock of another writer: what it wrote into its files against the times the share gave them.
struct WriterClock {
    std::string writer;
    std::optional<std::int64_t> status_at_ms;     // wall clock in status/<writer>.json
    std::optional<std::int64_t> status_mtime_ms;  // of that file
    std::optional<std::int64_t> hlc_ms;           // of its last event
    std::optional<std::int64_t> head_mtime_ms;
};
Check judge_writer_clock(const WriterClock& one);

}  // namespace reeve::doctor
