// init: a cluster, its operator's key and its first node. join: one more machine, which asks an
// operator to be admitted.

#include <fmt/format.h>

#include <filesystem>

#include "base/text.h"
#include "daemon/identity.h"
#include "runtime/inspect.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/process.h"
#include "runtime/secret_file.h"
#include "share/dir/dir_share.h"
#include "share/dir/dir_tree.h"
#include "share/dir/members.h"
#include "verbs.h"

namespace reeve::cli {
namespace {

struct InitOptions {
    bool single = false;
    std::string code;     // join: what a person was told
    int wait_s = 0;       // join: for the certificate
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

struct Cluster {
    share::ClusterId id{};
    std::string name;
    std::vector<PublicKey> operators;
};

PrivateKey new_key() {
    PrivateKey::Seed seed{};
    runtime::OsEntropy().fill(seed);
    return PrivateKey::from_seed(seed);
}

Status write_new(env::FileSystem& files, const std::string& path, const std::string& text) {
    return files.replace_file(path, as_bytes(text), true);
}

/// Of an installed system the daemons' group reads, but does not write, what is configured.
void guard_configuration(const InitOptions& o) {
    if (o.directory.empty()) {
        runtime::set_file_creation_mask(0027);
    }
}

/// An installed system's daemons run as a user of their own, who is to own what is made here.
Status become_user(const InitOptions& o) {
    if (!o.directory.empty()) {
        return ok();
    }
    TRY(runtime::leave_root_for("reeve"));
    runtime::set_file_creation_mask(0007);  // the group shares what the cluster has
    return ok();
}

/// How a worker is started here.
std::string start_line(const InitOptions& o, const std::string& option) {
    return o.directory.empty()
               ? "systemctl enable --now reeve-worker      (or: runuser -u reeve -- reeve-worker &)"
               : "reeve-worker" + option + " &";
}

std::uint32_t roles_of(const InitOptions& o) {
    return eventlog::worker_role | (o.coordinator ? eventlog::coordinator_role : 0U);
}

/// The key in that file, made when there is none: what was begun and interrupted is gone on with.
Result<PrivateKey> own_key(const std::string& path) {
    auto key = new_key();
    auto made = runtime::write_secret(path, as_bytes(key.to_pem()));
    if (!made && made.error().code == Code::conflict) {
        runtime::PosixFileSystem files;
        return daemon::read_key(files, path);
    }
    TRY(std::move(made));
    return key;
}

/// A key of this node, in its file.
Result<PrivateKey> make_node_key(const Places& places) {
    return own_key(places.state + "/node.key");
}

/// What pins the cluster and configures the node; reeve.toml, last, says that all is there.
Status write_configuration(env::FileSystem& files, const InitOptions& o, const Places& places,
                           const Cluster& cluster) {
    std::vector<std::string> operators;
    for (const auto& key : cluster.operators) {
        operators.push_back(key_text(key));
    }
    const std::string pinned = fmt::format(
        "# Which cluster this machine belongs to, and whose word it takes. What lies on the share "
        "is checked against it.\n"
        "id        = \"{}\"\nname      = {}\noperators = {}\n",
        to_hex(cluster.id), nlohmann::json(cluster.name).dump(), quoted_list(operators));
    TRY(write_new(files, places.config + "/cluster.toml", pinned));
    return write_new(files, places.config + "/reeve.toml", configuration(o, places));
}

/// What an earlier run of the same command completed, if one did: reeve.toml is written last.
/// Code::conflict when another one did.
Result<std::optional<daemon::FileConfig>> completed(env::FileSystem& files, const InitOptions& o,
                                                    const Places& places) {
    const auto path = places.config + "/reeve.toml";
    const auto there = files.read_file(path, 1024 * 1024);
    if (!there && there.error().code == Code::not_found) {
        return std::optional<daemon::FileConfig>();
    }
    if (!there || as_text(*there) != configuration(o, places)) {
        return Error{Code::conflict,
                     path + " exists already and says something else; nothing was changed"};
    }
    TRY_ASSIGN(auto config, daemon::load_config(path));
    return std::optional(std::move(config));
}

Cluster pinned_cluster(const daemon::FileConfig& config) {
    return {config.cluster, config.cluster_name, config.operators};
}

Status make_directories(env::FileSystem& files, const Places& places) {
    for (const auto& directory : {places.config, places.state, places.run}) {
        TRY(files.make_dirs(directory));
        if (!runtime::may_change(directory)) {  // better now than after the cluster is made
            return Error{Code::denied, directory + " may not be written by " +
                                           runtime::user_name(runtime::current_user().uid) +
                                           ", who is to own it: chown it first"};
        }
    }
    return ok();
}

std::string operator_key_file(const Places& places) { return places.config + "/operator.key"; }

struct OperatorKey {
    std::string file;
    bool made = false;  // in this run: a key that was there shows that one was interrupted
    PrivateKey key;
};

/// It comes first: without it a cluster could never admit anybody. Made before root is left: what
/// belongs to the daemons' user any job could read, and sign as an operator.
Result<OperatorKey> make_operator_key(const Places& places) {
    runtime::PosixFileSystem files;
    TRY(files.make_dirs(places.config));
    const auto path = operator_key_file(places);
    const bool made = !files.info(path);
    TRY_ASSIGN(auto key, own_key(path));
    return OperatorKey{path, made, std::move(key)};
}

/// The cluster at the share that an interrupted run has made, or nothing when there is none yet.
Result<std::optional<share::ClusterFile>> begun_cluster(env::FileSystem& files,
                                                        const Places& places,
                                                        const OperatorKey& by) {
    const auto known = share::read_cluster_file(files, places.nas);
    if (known && !by.made) {
        return std::optional(*known);
    }
    if (known || known.error().code != Code::unavailable) {
        if (by.made) {  // no cluster knows it; one that stays is only taken by the next init
            static_cast<void>(files.remove(by.file).has_value());
        }
        return known ? Error{Code::conflict, places.nas + " is a cluster already"} : known.error();
    }
    return std::optional<share::ClusterFile>();
}

Result<Cluster> make_cluster(const InitOptions& o, const Places& places, const OperatorKey& by) {
    runtime::PosixFileSystem files;
    TRY_ASSIGN(const auto begun, begun_cluster(files, places, by));
    TRY(make_directories(files, places));
    Cluster cluster{{}, o.name, {by.key.public_key()}};
    if (begun && begun->operators == cluster.operators && begun->name == o.name) {
        cluster.id = begun->id;  // made by a run that was interrupted
    } else if (begun) {
        return Error{Code::conflict, fmt::format("{} is another cluster already, '{}'", places.nas,
                                                 valid_utf8(begun->name))};
    } else {
        runtime::OsEntropy().fill(cluster.id);
    }
    TRY_ASSIGN(const auto key, make_node_key(places));
    const auto certificate = eventlog::issue(
        {cluster.id, NodeId(o.node), roles_of(o), 1, wall_now_ms(), key.public_key(), {}, {}},
        by.key);
    TRY(files.make_dirs(places.nas));
    TRY(share::DirShare::create(files, places.nas, cluster.id, o.name, cluster.operators));
    TRY(share::put_certificate(files, places.nas, certificate));
    guard_configuration(o);
    TRY(files.replace_file(places.state + "/node.cert",
                           as_bytes(eventlog::certificate_text(certificate)), true));
    TRY(write_configuration(files, o, places, cluster));
    return cluster;
}

Result<Cluster> init_cluster(const InitOptions& o, const Places& places) {
    runtime::PosixFileSystem files;
    TRY_ASSIGN(const auto before, completed(files, o, places));
    if (before && before->cluster_name != o.name) {
        return Error{Code::conflict, before->path + " exists already, for the cluster '" +
                                         before->cluster_name + "'; nothing was changed"};
    }
    if (before) {
        return pinned_cluster(*before);
    }
    TRY_ASSIGN(const auto key, make_operator_key(places));
    TRY(become_user(o));
    return make_cluster(o, places, key);
}

Result<Cluster> believed_cluster(env::FileSystem& files, const InitOptions& o,
                                 const Places& places) {
    TRY_ASSIGN(const auto found, share::read_cluster_file(files, places.nas));
    const auto code = eventlog::join_code(found.id, found.operators);
    if (found.operators.empty() || !eventlog::same_join_code(o.code, code)) {
        return Error{Code::denied,
                     "the code is not that of the cluster at " + places.nas +
                         ": mistyped, another cluster's, or the share lies about its operators"};
    }
    return Cluster{found.id, found.name, found.operators};
}

/// The key of a node that has asked already.
Result<PublicKey> asked_key(env::FileSystem& files, const InitOptions& o,
                            const daemon::FileConfig& config) {
    if (!eventlog::same_join_code(o.code, eventlog::join_code(config.cluster, config.operators))) {
        return Error{Code::conflict, config.path +
                                         " exists already, for another cluster than the "
                                         "code's; nothing was changed"};
    }
    TRY_ASSIGN(const auto key, daemon::read_key(files, config.key_file));
    return key.public_key();
}

Status ask_to_join(env::FileSystem& files, const InitOptions& o, const Places& places,
                   const Cluster& cluster, const PrivateKey& key) {
    const share::JoinRequest request{cluster.id,       NodeId(o.node),       roles_of(o),
                                     key.public_key(), runtime::host_name(), wall_now_ms()};
    return share::put_request(files, places.nas, request, key);
}

/// A node that was configured and has lost its state, with its key, asks with another one. That is
/// kept last: a repetition of what was interrupted asks again.
Result<PublicKey> ask_anew(env::FileSystem& files, const InitOptions& o, const Places& places,
                           const daemon::FileConfig& config) {
    TRY_ASSIGN(const auto cluster, believed_cluster(files, o, places));
    if (cluster.id != config.cluster) {
        return Error{Code::conflict, places.nas + " is another cluster than " + config.path +
                                         " names; nothing was changed"};
    }
    TRY(make_directories(files, places));
    const auto key = new_key();
    TRY(ask_to_join(files, o, places, cluster, key));
    TRY(runtime::write_secret(config.key_file, as_bytes(key.to_pem())));
    return key.public_key();
}

Result<PublicKey> join_cluster(const InitOptions& o, const Places& places, Cluster& cluster) {
    runtime::PosixFileSystem files;
    TRY_ASSIGN(const auto before, completed(files, o, places));
    if (before) {
        cluster = pinned_cluster(*before);
        auto asked = asked_key(files, o, *before);
        const bool lost = !asked && asked.error().code == Code::not_found;
        return lost ? ask_anew(files, o, places, *before) : std::move(asked);
    }
    TRY_ASSIGN(cluster, believed_cluster(files, o, places));
    TRY(make_directories(files, places));
    TRY_ASSIGN(const auto key, make_node_key(places));
    TRY(ask_to_join(files, o, places, cluster, key));
    guard_configuration(o);
    TRY(write_configuration(files, o, places, cluster));
    return key.public_key();
}

bool complete(InitOptions& o) {
    if (o.node.empty()) {
        o.node = default_node();
    }
    bool text = valid_utf8(o.name) == o.name;
    for (const auto* list : {&o.roles, &o.labels, &o.bell_peers}) {
        for (const auto& one : *list) {
            text = text && valid_utf8(one) == one;
        }
    }
    return valid_node_name(o.node) && text;
}

const Failure bad_name{
    "usage", exit_usage, "that cannot name a node",
    "a letter, then letters, digits and '-', at most 32, lower case; all texts in UTF-8",
    "--node NAME"};

std::string config_option(const InitOptions& o, const Places& places) {
    return o.directory.empty() ? "" : " --config " + places.config + "/reeve.toml";
}

int init(Context& context, InitOptions o) {
    if (o.single == !o.cluster.empty()) {
        return context.fail(
            {"usage", exit_usage,
             "say which: --single (one machine) or --cluster DIR (a shared directory)", "",
             "reeve init --single"});
    }
    o.coordinator = o.coordinator || o.single;
    if (!complete(o)) {
        return context.fail(bad_name);
    }
    const auto places = places_of(o);
    if (context.options.dry_run) {
        fmt::print("{}", configuration(o, places));
        return exit_done;
    }
    const auto cluster = init_cluster(o, places);
    if (!cluster) {
        return context.fail(cluster.error(),
                            "another place: reeve init --dir DIR ...; a cluster that exists: reeve "
                            "join --cluster DIR CODE; as root: runuser -u reeve -- reeve ...");
    }
    const auto operator_key = operator_key_file(places);
    const auto code = eventlog::join_code(cluster->id, cluster->operators);
    const std::string config = places.config + "/reeve.toml";
    if (context.options.json) {
        context.print({{"schema", "reeve.init/v1"},
                       {"node", o.node},
                       {"config", config},
                       {"nas", places.nas},
                       {"operator_key", operator_key},
                       {"join_code", code}});
        return exit_done;
    }
    const std::string option = config_option(o, places);
    fmt::print(
        "made cluster {} at {}\nnode {} is configured in {}\nthe operator's key is {}: keep it on "
        "another machine; whoever has it admits machines, and no daemon needs it\n\nnext:\n  {}\n"
        "  reeve{} submit --wait -- /bin/echo hello\n  reeve{} status\n",
        o.name, places.nas, o.node, config, operator_key, start_line(o, option), option, option);
    if (!o.single) {
        fmt::print("on each other machine:\n  reeve join --cluster {} {}\n", places.nas, code);
    }
    return exit_done;
}

/// Until an operator has answered; the daemons wait for themselves, this is for scripts.
bool wait_for_certificate(const std::string& config, int seconds_to_wait) {
    const auto file = daemon::load_config(config);
    runtime::PosixFileSystem files;
    constexpr milliseconds again{200};
    const auto deadline = wall_now_ms() + seconds_to_wait * 1000LL;
    while (file && wall_now_ms() < deadline) {
        if (daemon::fetch_identity(files, *file, file->writer(node::Role::worker))) {
            return true;
        }
        pause(again);
    }
    return false;
}

int join(Context& context, InitOptions o) {
    if (!complete(o)) {
        return context.fail(bad_name);
    }
    const auto places = places_of(o);
    if (context.options.dry_run) {
        fmt::print("{}", configuration(o, places));
        return exit_done;
    }
    if (auto became = become_user(o); !became) {
        return context.fail(became.error(), "as root: runuser -u reeve -- reeve ...");
    }
    Cluster cluster;
    const auto key = join_cluster(o, places, cluster);
    if (!key) {
        return context.fail(key.error(), key.error().code == Code::conflict
                                             ? "with the options of the first time it is done "
                                               "again; for others move " +
                                                   places.config + "/reeve.toml away first"
                                             : "on a machine of the cluster: reeve key show");
    }
    const std::string config = places.config + "/reeve.toml";
    if (context.options.json) {
        context.print({{"schema", "reeve.join/v1"},
                       {"node", o.node},
                       {"config", config},
                       {"nas", places.nas},
                       {"fingerprint", fingerprint(*key)}});
    } else {
        fmt::print(
            "node {} asks to join cluster {}; its key is\n  {}\nit is configured in {}\n\nnext, "
            "where the operator's key is:\n  reeve node admit {}\nand here:\n  {}\n",
            o.node, cluster.name, fingerprint(*key), config, o.node,
            start_line(o, config_option(o, places)));
        std::fflush(stdout);
    }
    if (o.wait_s > 0 && !wait_for_certificate(config, o.wait_s)) {
        return context.fail({"timeout", exit_timed_out, "nobody has admitted " + o.node + " yet",
                             "the request stays on the share; a daemon started here waits for it",
                             "reeve node admit " + o.node});
    }
    return exit_done;
}

void add_node_options(CLI::App& sub, const std::shared_ptr<InitOptions>& o) {
    sub.add_option("--node", o->node, "name of this node (default: the machine's)");
    sub.add_option(
        "--dir", o->directory,
        "keep configuration, state and sockets below DIR instead of /etc, /var/lib, /run");
    sub.add_flag("--coordinator", o->coordinator, "this node may run reeve-coordinator");
    sub.add_option("--slots", o->slots, "attempts at once (default: as many as processors)");
    sub.add_option("--role", o->roles, "a role of this node (may be given again)");
    sub.add_option("--label", o->labels, "key=value (may be given again)");
    sub.add_option("--worker-bell", o->worker_bell,
                   "HOST:PORT on which the worker's doorbell listens");
    sub.add_option("--coordinator-bell", o->coordinator_bell, "HOST:PORT for the coordinator's");
    sub.add_option("--bell-peer", o->bell_peers,
                   "HOST:PORT of another doorbell (may be given again)");
    sub.add_option("--incoming", o->incoming, "free commands from incoming/: allow or reject")
        ->check(CLI::IsMember({"allow", "reject"}));
    sub.add_option("--heartbeat-ms", o->heartbeat_ms, "of the worker")->capture_default_str();
    sub.add_option("--coordinator-heartbeat-ms", o->coordinator_heartbeat_ms, "of the coordinator")
        ->capture_default_str();
}

}  // namespace

void register_init(Program& program) {
    auto& context = program.context;
    auto o = std::make_shared<InitOptions>();
    auto* sub =
        verb(program, program.app, "init",
             "make a cluster: its directory, its operator's key, its first node",
             "reeve init --single\n  reeve init --cluster /mnt/nas/reeve --node nova --coordinator",
             [&context, o] { return init(context, *o); });
    sub->add_flag("--single", o->single, "one machine; its own disk stands for the share");
    sub->add_option("--cluster", o->cluster, "the shared directory, which becomes a cluster");
    sub->add_option("--name", o->name, "name of the cluster")->capture_default_str();
    add_node_options(*sub, o);
    auto j = std::make_shared<InitOptions>();
    auto* other = verb(program, program.app, "join",
                       "make this machine a node of a cluster: a key, a configuration, a request",
                       "reeve join --cluster /mnt/nas/reeve 3V7K-9QXM-2A4C-XXXX --node mira",
                       [&context, j] { return join(context, *j); });
    other->add_option("--cluster", j->cluster, "the shared directory of the cluster")->required();
    other->add_option("code", j->code, "what `reeve init` or `reeve key show` printed")->required();
    other->add_option("--wait", j->wait_s, "seconds to wait until an operator has admitted it");
    add_node_options(*other, j);
}

}  // namespace reeve::cli
