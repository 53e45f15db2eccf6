#pragma once

// What is examined: this node as its configuration has it, and what its daemons say of themselves.

#include <map>
#include <string>
#include <vector>

#include "daemon/config_file.h"
#include "runtime/inspect.h"
#include "tools/reeve/doctor/judge_files.h"
#include "tools/reeve/doctor/judge_machine.h"

namespace reeve::doctor {

struct Subject {
    daemon::FileConfig config;
    Users users;
    std::vector<DaemonFacts> daemons;  // filled by examine_machine: what its daemons answer

    /// What a daemon of this node knows of a writer.
    struct Seen {
        std::string state;  // "live", "silent", "dead", "stopped"
        std::string error;  // of its mirror
    };
    std::map<std::string, std::map<std::string, Seen>> seen;  // by own writer, by writer

    bool answers(const std::string& writer) const {
        for (const auto& one : daemons) {
            if (one.writer == writer) {
                return one.answers;
            }
        }
        return false;
    }
    /// As the first own daemon that says anything of it has it; empty when none does.
    std::string state_of(const std::string& writer) const {
        for (const auto& [own, others] : seen) {
            if (const auto at = others.find(writer); at != others.end()) {
                return at->second.state;
            }
        }
        return "";
    }
    bool is_ours(const std::string& writer) const {
        return writer == config.writer(node::Role::worker).v ||
               writer == config.writer(node::Role::coordinator).v;
    }
};

/// The files beside reeve.toml: before root is given up, which may alone be allowed to list them.
void examine_configuration(const std::string& config_path, std::uint32_t daemon_uid,
                           Findings& findings);
/// State, run, daemons, doorbells, limits, units: nothing of the share.
void examine_machine(Subject& subject, Findings& findings);
/// The share and the logs. Every step may hang with the share. Writes only below a private
/// directory of the share's status/, which it removes again.
void examine_share(const Subject& subject, Findings& findings);

}  // namespace reeve::doctor
