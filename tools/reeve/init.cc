// init: makes a cluster's directory and a node's configuration, or a node of a cluster that exists.

#include <fmt/format.h>

#include <filesystem>

#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/process.h"
#include "share/dir/dir_share.h"
#include "share/dir/dir_tree.h"
#include "verbs.h"

namespace reeve::cli {
namespace {

struct InitOptions {
    bool single = false;
    std::string cluster;  // the shared directory
    std::string name = "home";
    std::string node;
    std::string directory;
    bool coordinator = false;
    std::uint32_t slots = 0;
    std::vector<std::string> roles;
    std::vector<std::string> labels;
    std::string worker_bell;
    std::string coordinator_bell;
    std::vector<std::string> bell_peers;
    std::string incoming = "reject";
    std::int64_t heartbeat_ms = 5000;
    std::int64_t coordinator_heartbeat_ms = 1000;
};

struct Places {
    std::string config;  // directory of reeve.toml and cluster.toml
    std::string state;
    std::string run;
    std::string nas;
};

/// The machine's own name as a node name: lower case, up to the first dot, odd characters dropped.
std::string default_node() {
    std::string out;
    for (const char c : runtime::host_name()) {
        if (c == '.') {
            break;
        }
        const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        if ((lower >= 'a' && lower <= 'z') ||
            (!out.empty() && ((lower >= '0' && lower <= '9') || lower == '-'))) {
            out.push_back(lower);
        }
    }
    return out.empty() ? "node" : out.substr(0, 32);
}

Places places_of(const InitOptions& o) {
    Places out;
    const bool system = o.directory.empty();
    const std::string base =
        system ? "" : std::filesystem::absolute(o.directory).lexically_normal().string();
    out.config = system ? "/etc/reeve" : base;
    out.state = system ? "/var/lib/reeve" : base + "/state";
    out.run = system ? "/run/reeve" : base + "/run";
    out.nas = !o.cluster.empty() ? std::filesystem::absolute(o.cluster).lexically_normal().string()
              : system           ? "/var/lib/reeve/share"
                                 : base + "/share";
    return out;
}

std::string quoted_list(const std::vector<std::string>& list) {
    nlohmann::json out = list;
    return out.dump();
}

std::string configuration(const InitOptions& o, const Places& places) {
    return fmt::format(
        "# This node. No secret stands here. Every key is explained by: reeve config show\n"
        "node        = \"{}\"\n"
        "nas         = \"{}\"      # the directory that all machines share\n"
        "state       = \"{}\"      # on this machine's own disk: logs and everything computed from "
        "them\n"
        "run         = \"{}\"      # sockets\n"
        "coordinator = {}      # may this node run reeve-coordinator?\n\n"
        "[worker]\n"
        "slots  = {}      # attempts at once; 0: as many as processors\n"
        "roles  = {}\n"
        "labels = {}\n\n"
        "[incoming]\n"
        "command = \"{}\"      # free commands dropped into queue/incoming: allow or reject\n\n"
        "[timing]\n"
        "heartbeat_ms             = {}\n"
        "coordinator_heartbeat_ms = {}\n\n"
        "[doorbell]      # without it the mirrors poll\n"
        "worker      = \"{}\"\n"
        "coordinator = \"{}\"\n"
        "peers       = {}\n",
        o.node, places.nas, places.state, places.run, o.coordinator, o.slots, quoted_list(o.roles),
        quoted_list(o.labels), o.incoming, o.heartbeat_ms, o.coordinator_heartbeat_ms,
        o.worker_bell, o.coordinator_bell, quoted_list(o.bell_peers));
}

/// The identity of the shared directory; made when the directory has none.
Result<share::ClusterId> cluster_identity(env::FileSystem& files, const Places& places,
                                          const InitOptions& o, bool& created) {
    auto known = share::read_identity(files, places.nas);
    if (known || known.error().code != Code::unavailable) {
        return known;
    }
    share::ClusterId id{};
    runtime::OsEntropy().fill(id);
    TRY(files.make_dirs(places.nas));
    TRY(share::DirShare::create(files, places.nas, id, o.name));
    created = true;
    return id;
}

Status write_new(env::FileSystem& files, const std::string& path, const std::string& text) {
    if (files.info(path)) {
        return Error{Code::conflict, path + " exists already; nothing was changed"};
    }
    return files.replace_file(path, as_bytes(text), true);
}

Status make_node(const InitOptions& o, const Places& places, bool& created) {
    runtime::PosixFileSystem files;
    const std::string config = places.config + "/reeve.toml";
    if (files.info(config)) {
        return Error{Code::conflict, config + " exists already; nothing was changed"};
    }
    TRY_ASSIGN(const auto id, cluster_identity(files, places, o, created));
    for (const auto& directory : {places.config, places.state, places.run}) {
        TRY(files.make_dirs(directory));
    }
    if (o.directory.empty()) {
        runtime::set_file_creation_mask(0027);  // and reads, but does not write, what is configured
    }
    const std::string pinned = fmt::format(
        "# Which cluster this machine belongs to. What lies on the share is checked against it.\n"
        "id   = \"{}\"\nname = \"{}\"\n",
        to_hex(id), o.name);
    TRY(write_new(files, places.config + "/cluster.toml", pinned));
    return write_new(files, config, configuration(o, places));
}

int init(Context& context, InitOptions o) {
    if (o.single == !o.cluster.empty()) {
        return context.fail(
            {"usage", exit_usage,
             "say which: --single (one machine) or --cluster DIR (a shared directory)", "",
             "reeve init --single"});
    }
    o.coordinator = o.coordinator || o.single;
    if (o.node.empty()) {
        o.node = default_node();
    }
    if (!valid_node_name(o.node)) {
        return context.fail({"usage", exit_usage, "'" + o.node + "' cannot name a node",
                             "a letter, then letters, digits and '-', at most 32, lower case", ""});
    }
    const auto places = places_of(o);
    if (context.options.dry_run) {
        fmt::print("{}", configuration(o, places));
        return exit_done;
    }
    if (o.directory.empty()) {  // an installed system, whose daemons run as this user
        if (auto left = runtime::leave_root_for("reeve"); !left) {
            return context.fail(left.error(), "as root: runuser -u reeve -- reeve init ...");
        }
        runtime::set_file_creation_mask(0007);  // the group shares what the cluster has
    }
    bool created = false;
    if (auto made = make_node(o, places, created); !made) {
        return context.fail(made.error(), "choose another place: reeve init --dir DIR ...");
    }
    const std::string config = places.config + "/reeve.toml";
    if (context.options.json) {
        context.print({{"schema", "reeve.init/v1"},
                       {"node", o.node},
                       {"config", config},
                       {"nas", places.nas},
                       {"created_cluster", created}});
        return exit_done;
    }
    // Units start an installed worker; without systemd, and for a directory of one's own: a shell.
    const bool installed = o.directory.empty();
    const std::string option = installed ? "" : " --config " + config;
    fmt::print(
        "{} {} at {}\nnode {} is configured in {}\n\nnext:\n  {}\n  reeve{} submit "
        "--wait -- /bin/echo hello\n"
        "  reeve{} status\n",
        created ? "made cluster" : "joined cluster", o.name, places.nas, o.node, config,
        installed
            ? "systemctl enable --now reeve-worker      (or: runuser -u reeve -- reeve-worker &)"
            : "reeve-worker" + option + " &",
        option, option);
    return exit_done;
}

}  // namespace

void register_init(Program& program) {
    auto o = std::make_shared<InitOptions>();
    auto& context = program.context;
    auto* sub =
        verb(program, program.app, "init",
             "make a cluster or a node of one: configuration, directories, identity",
             "reeve init --single\n  reeve init --cluster /mnt/nas/reeve --node nova --coordinator",
             [&context, o] { return init(context, *o); });
    sub->add_flag("--single", o->single, "one machine; its own disk stands for the share");
    sub->add_option("--cluster", o->cluster,
                    "the shared directory; made into a cluster when it is none yet");
    sub->add_option("--name", o->name, "name of a new cluster")->capture_default_str();
    sub->add_option("--node", o->node, "name of this node (default: the machine's)");
    sub->add_option(
        "--dir", o->directory,
        "keep configuration, state and sockets below DIR instead of /etc, /var/lib, /run");
    sub->add_flag("--coordinator", o->coordinator, "this node may run reeve-coordinator");
    sub->add_option("--slots", o->slots, "attempts at once (default: as many as processors)");
    sub->add_option("--role", o->roles, "a role of this node (may be given again)");
    sub->add_option("--label", o->labels, "key=value (may be given again)");
    sub->add_option("--worker-bell", o->worker_bell,
                    "HOST:PORT on which the worker's doorbell listens");
    sub->add_option("--coordinator-bell", o->coordinator_bell, "HOST:PORT for the coordinator's");
    sub->add_option("--bell-peer", o->bell_peers,
                    "HOST:PORT of another doorbell (may be given again)");
    sub->add_option("--incoming", o->incoming, "free commands from incoming/: allow or reject")
        ->check(CLI::IsMember({"allow", "reject"}));
    sub->add_option("--heartbeat-ms", o->heartbeat_ms, "of the worker")->capture_default_str();
    sub->add_option("--coordinator-heartbeat-ms", o->coordinator_heartbeat_ms, "of the coordinator")
        ->capture_default_str();
}

}  // namespace reeve::cli
