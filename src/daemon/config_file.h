#pragma once

// reeve.toml (this node) and cluster.toml (what is pinned), read and checked. Every error names
// file, line, column, the key, the value, and what would be accepted. Shared by the daemons and the
// command.

#include <string>
#include <vector>

#include "base/result.h"
#include "node/config.h"

namespace reeve::daemon {

struct FileConfig {
    std::string path;  // of reeve.toml
    std::string cluster_name;
    share::ClusterId cluster{};
    std::vector<PublicKey> operators;  // pinned
    std::string key_file;              // of this node, PEM, mode 0600
    std::string certificate_file;      // an operator's word for that key
    NodeId node;
    std::string nas;            // the shared directory
    std::string state;          // local; one directory a writer below it
    std::string run;            // sockets
    std::string log_directory;  // diagnostics of what is started detached
    bool coordinator = false;   // this node may run a coordinator
    std::vector<std::string> roles;
    std::vector<std::string> labels;
    std::uint32_t slots = 0;  // 0 stands for the number of processors
    std::uint32_t cpus = 0;   // 0: ask the machine
    std::uint64_t memory_mb = 0;
    std::string worker_bell;  // "host:port" for the doorbell, empty: none
    std::string coordinator_bell;
    std::vector<std::string> bell_peers;
    node::IncomingCommand incoming_command = node::IncomingCommand::reject;
    control::Timing timing;
    control::RouterPolicy router;
    control::SpacePolicy space;
    std::uint64_t spool_bytes = 4ULL << 30;
    milliseconds retention_interval{3'600'000};
    std::vector<std::string> environment;

    WriterId writer(node::Role role) const;
    eventlog::Trust trust() const { return {cluster, operators}; }
    std::string writer_state(const WriterId& writer) const { return state + "/" + writer.v; }
    std::string projection_directory(const WriterId& writer) const {
        return writer_state(writer) + "/projection";
    }
    std::string control_socket(const WriterId& writer) const {
        return run + "/" + writer.v + ".sock";
    }
    std::string exec_socket() const { return run + "/" + node.v + ".exec.sock"; }
    std::string exec_state() const { return writer_state(writer(node::Role::worker)) + "/exec"; }
};

/// Reads `path` and the cluster file that it names. Code::not_found, Code::invalid.
Result<FileConfig> load_config(const std::string& path);
/// The doorbells that a daemon of this role rings: the peers, and the other daemon of this machine,
/// which its peers ring too; never its own.
std::vector<std::string> bells_to_ring(const FileConfig& file, node::Role role);
/// What a daemon of this role runs with.
node::NodeConfig node_config(const FileConfig& file, node::Role role, std::uint32_t host_cpus,
                             std::uint64_t host_memory_mb);
/// All effective values as aligned "key = value   # where from" lines.
std::string describe(const FileConfig& config);

}  // namespace reeve::daemon
