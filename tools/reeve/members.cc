// node admit, key: who belongs to the cluster. These verbs need an operator's key, or the share,
// but no daemon.

#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "admitted.h"
#include "base/text.h"
#include "base/time_text.h"
#include "daemon/identity.h"
#include "mirror/kept.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/process.h"
#include "runtime/secret_file.h"
#include "share/dir/dir_share.h"
#include "share/dir/dir_tree.h"
#include "share/dir/members.h"
#include "tools/cli/operators.h"
#include "verbs.h"

namespace reeve::cli {
namespace {

using nlohmann::json;

constexpr const char* wait_for_share = "is the share mounted? reeve doctor";

std::string role_names(std::uint32_t roles) {
    return (roles & eventlog::coordinator_role) != 0 ? "worker, coordinator" : "worker";
}

/// The share, when it is that of our cluster.
Status expect_share(env::FileSystem& files, const daemon::FileConfig& config) {
    TRY_ASSIGN(const auto id, share::read_identity(files, config.nas));
    return id == config.cluster
               ? ok()
               : Status(Error{Code::conflict, config.nas + " belongs to another cluster"});
}

struct Admission {
    share::JoinRequest request;
    std::uint64_t serial = 1;  // of the new certificate
};

/// What this machine's own disk says of the serials of a node: a share that was rolled back forgets
/// them. Removals stand in the view, the rest in the mirrors of its logs; what was admitted here
/// and never began to write, in a file.
std::uint64_t remembered_serial(Context& context, env::FileSystem& files,
                                const daemon::FileConfig& config, const NodeId& node) {
    std::uint64_t out = admitted_serial(files, config, node);
    if (const auto view = context.view()) {
        for (const auto& word : view->retired()) {
            const bool ours = node_of(word.writer) == node && word.cluster == config.cluster &&
                              config.trust().is_operator(word.operator_key);
            out = ours ? std::max(out, word.serial) : out;
        }
    }
    for (const auto role : {node::Role::worker, node::Role::coordinator}) {
        const auto logs = config.writer_state(config.writer(role)) + "/log/";
        for (const auto* of : {".worker", ".coord"}) {
            const WriterId writer(node.v + of);
            out = std::max(out,
                           mirror::greatest_serial(files, logs + writer.v, config.trust(), writer));
        }
    }
    return out;
}

/// Of all certificates of a node that can be seen: here, the files on the share, and what its logs
/// there were signed with. 0: none.
Result<std::uint64_t> greatest_serial(Context& context, env::FileSystem& files,
                                      const daemon::FileConfig& config, const NodeId& node) {
    std::uint64_t out = remembered_serial(context, files, config, node);
    const auto trust = config.trust();
    TRY_ASSIGN(const auto filed, share::certificates(files, config.nas, node));
    for (const auto& one : filed) {
        if (trust.check(one, WriterId(node.v + ".worker"))) {
            out = std::max(out, one.serial);
        }
    }
    runtime::OsEntropy entropy;
    runtime::PosixClock clock;
    share::DirShare share(files, config.nas, trust, entropy, clock);
    for (const auto* role : {".worker", ".coord"}) {
        TRY_ASSIGN(const auto head, share.log().head(WriterId(node.v + role)));
        out = head ? std::max(out, head->certificate.serial) : out;
    }
    return out;
}

Result<Admission> admission_of(Context& context, env::FileSystem& files,
                               const daemon::FileConfig& config, const std::string& name) {
    TRY(expect_share(files, config));
    TRY_ASSIGN(const auto requests, share::join_requests(files, config.nas));
    const auto found = std::find_if(requests.begin(), requests.end(),
                                    [&](const auto& one) { return one.node.v == name; });
    if (found == requests.end()) {
        return Error{Code::not_found, "node '" + name + "' has not asked to join"};
    }
    if (found->cluster != config.cluster) {
        return Error{Code::conflict, "that request is for another cluster"};
    }
    Admission out{*found, 1};
    TRY_ASSIGN(const auto greatest, greatest_serial(context, files, config, found->node));
    out.serial = greatest + 1;
    return out;
}

/// A person compares the fingerprint with what the other machine shows, and types its name.
bool confirmed(const Context& context, const Admission& admission) {
    const auto& r = admission.request;
    fmt::print(stderr, "node {} ({}) asks to join, {}\n  host   {}\n  serial {}{}\n  key    {}\n",
               r.node.v, role_names(r.roles), relative_time(r.at_ms, wall_now_ms()), r.host,
               admission.serial, admission.serial > 1 ? ": its earlier key is good no more" : "",
               fingerprint(r.key));
    if (context.options.yes) {
        return true;
    }
    fmt::print(stderr, "is that the key it shows? type its name to admit it: ");
    std::string typed;
    return std::getline(std::cin, typed) && typed == r.node.v;
}

int admit(Context& context, const std::string& name, const std::string& key_path) {
    auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "reeve config check");
    }
    const auto key = take_operator_key(context, **file, key_path);
    if (!key) {
        return context.fail(key.error(), where_the_key_is("node admit " + name));
    }
    runtime::PosixFileSystem files;
    auto admission = admission_of(context, files, **file, name);
    if (!admission) {
        return context.fail(admission.error(),
                            "on that machine: reeve join --cluster " + (*file)->nas + " CODE");
    }
    if (!confirmed(context, *admission)) {
        return context.fail({"refused", exit_refused, "nothing was admitted",
                             "the name was not typed", "reeve node admit " + name});
    }
    const auto& r = admission->request;
    const auto certificate = eventlog::issue(
        {r.cluster, r.node, r.roles, admission->serial, wall_now_ms(), r.key, {}, {}}, *key);
    if (context.options.dry_run) {
        fmt::print("{}", eventlog::certificate_text(certificate));
        return exit_done;
    }
    if (auto kept = remember_admission(files, **file, certificate); !kept) {
        return context.fail(kept.error(), "make room where 'state' lies; run it as root");
    }
    if (auto put = share::put_certificate(files, (*file)->nas, certificate); !put) {
        return context.fail(put.error(), wait_for_share);
    }
    // A request that stays is only admitted again.
    static_cast<void>(share::remove_request(files, (*file)->nas, r.node).has_value());
    if (context.options.json) {
        context.print({{"schema", "reeve.admit/v1"},
                       {"node", name},
                       {"serial", admission->serial},
                       {"fingerprint", fingerprint(r.key)}});
    } else {
        fmt::print("node {} is admitted, serial {}\n", name, admission->serial);
    }
    return exit_done;
}

/// Where the log of one writer ends for good, as an operator says it.
Result<std::optional<events::WriterRetired>> retirement(Context& context,
                                                        const daemon::FileConfig& config,
                                                        const WriterId& writer,
                                                        const std::string& reason,
                                                        const PrivateKey& key) {
    runtime::PosixFileSystem files;
    runtime::OsEntropy entropy;
    runtime::PosixClock clock;
    share::DirShare share(files, config.nas, config.trust(), entropy, clock);
    TRY(share.identity().check());
    TRY_ASSIGN(const auto head, share.log().head(writer));
    TRY_ASSIGN(const auto serial, greatest_serial(context, files, config, node_of(writer)));
    if (serial == 0) {
        return std::optional<events::WriterRetired>();
    }
    events::WriterRetired out;  // without a log: nothing of it is ever read
    out.writer = writer;
    out.serial = serial;
    if (head) {
        out.incarnation = head->incarnation.v;
        out.segment = head->segment.v;
        out.end = head->durable_end.v;
        out.seq = head->last_seq.v;
        out.hash = head->last_hash;
    }
    out.reason = std::string(clip_utf8(reason, 200));
    out.operator_key = key.public_key();
    out.cluster = config.cluster;
    out.signature = key.sign(signed_part(out));
    return std::optional(out);
}

/// A node that is alive would go on writing what nobody reads: it has to be silent first.
bool is_silent(Context& context, const std::string& node, std::string& why) {
    const auto reply = context.call({{"schema", "reeve.request/v1"}, {"verb", "live"}});
    const auto live =
        reply && reply->value("ok", false) ? reply->value("live", json::object()) : json::object();
    const auto writers = live.value("writers", json::object());
    for (const auto& [writer, one] : writers.items()) {
        const auto state = one.value("state", "");
        if (node_of(WriterId(writer)).v == node && state != "dead" && state != "stopped") {
            why = writer + " is " + state;
            return false;
        }
    }
    return true;
}

/// What was read of a log must not be taken back by its end.
bool is_behind(const projection::Snapshot& view, const events::WriterRetired& word) {
    const auto cut = view.cut();
    const auto cursor = cut.find(word.writer);
    return cursor != cut.end() && cursor->second.position.seq.v > word.seq;
}

struct Removal {
    std::string node;
    std::string reason;
    std::string key_path;
    bool force = false;
};

int remove_node(Context& context, const Removal& what) {
    auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "reeve config check");
    }
    const auto key = take_operator_key(context, **file, what.key_path);
    if (!key) {
        return context.fail(key.error(), where_the_key_is("node remove " + what.node));
    }
    std::string why;
    if (!what.force && !is_silent(context, what.node, why)) {
        return context.fail(
            {"conflict", exit_conflict, "node " + what.node + " is not gone", why,
             "stop its daemons first; or --force, and what it writes from now on is "
             "read by nobody"});
    }
    json done = json::array();
    for (const auto* role : {".worker", ".coord"}) {
        const WriterId writer(what.node + role);
        auto word = valid_writer_name(writer.v)
                        ? retirement(context, **file, writer, what.reason, *key)
                        : Result<std::optional<events::WriterRetired>>(
                              Error{Code::invalid, "'" + what.node + "' is no node's name"});
        if (!word) {
            return context.fail(word.error(), wait_for_share);
        }
        if (!*word) {
            continue;
        }
        if (auto view = context.view(); view && is_behind(*view, **word)) {
            return context.fail({"conflict", exit_conflict,
                                 "the share shows less of " + writer.v + " than was read here",
                                 "it was rolled back; the others share for it after a while",
                                 "try again in some minutes: reeve doctor"});
        }
        if (const int status = send_signed(context, **word); status != exit_done) {
            return status;
        }
        done.push_back({{"writer", writer.v}, {"last_seq", (*word)->seq}});
    }
    if (done.empty()) {
        return context.fail({"not_found", exit_not_found, "no log of node '" + what.node + "'",
                             "the share holds none", "reeve nodes"});
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.remove/v1"}, {"node", what.node}, {"writers", done}});
    } else {
        fmt::print("node {} is removed: {} of its logs end where they end now\n", what.node,
                   done.size());
    }
    return exit_done;
}

int requests(Context& context) {
    auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "reeve config check");
    }
    runtime::PosixFileSystem files;
    auto there = expect_share(files, **file);
    auto list = there ? share::join_requests(files, (*file)->nas)
                      : Result<std::vector<share::JoinRequest>>(there.error());
    if (!list) {
        return context.fail(list.error(), wait_for_share);
    }
    json documents = json::array();
    Table table({"NODE", "ROLES", "HOST", "ASKED", "KEY"});
    for (const auto& one : *list) {
        documents.push_back({{"node", one.node.v},
                             {"host", valid_utf8(one.host)},
                             {"at", rfc3339(one.at_ms)},
                             {"fingerprint", fingerprint(one.key)}});
        table.row({one.node.v, role_names(one.roles), valid_utf8(one.host),
                   relative_time(one.at_ms, wall_now_ms()), fingerprint(one.key)});
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.join_requests/v1"}, {"requests", documents}});
    } else {
        table.print(context.options);
    }
    return exit_done;
}

int key_show(Context& context) {
    auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "reeve config check");
    }
    runtime::PosixFileSystem files;
    const auto key = daemon::read_key(files, (*file)->key_file);
    if (!key) {
        return context.fail(key.error(), "reeve join --help");
    }
    const auto stored = daemon::stored_identity(files, **file, (*file)->writer(node::Role::worker));
    const auto code = eventlog::join_code((*file)->cluster, (*file)->operators);
    const std::uint64_t serial = stored ? stored->certificate.serial : 0;
    json operators = json::array();
    for (const auto& one : (*file)->operators) {
        operators.push_back(fingerprint(one));
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.key/v1"},
                       {"node", (*file)->node.v},
                       {"fingerprint", fingerprint(key->public_key())},
                       {"serial", serial},
                       {"operators", operators},
                       {"join_code", code}});
        return exit_done;
    }
    fmt::print("node {}\n  key        {}\n  serial     {}\n", (*file)->node.v,
               fingerprint(key->public_key()),
               serial == 0 ? "none: not admitted yet" : std::to_string(serial));
    for (const auto& one : (*file)->operators) {
        fmt::print("  operator   {}\n", fingerprint(one));
    }
    fmt::print("  join code  {}\n", code);
    return exit_done;
}

/// A second key, and the request to certify it; the daemons change to it at their next start.
Status ask_for_next_key(env::FileSystem& files, const daemon::FileConfig& config, PublicKey& out) {
    TRY(expect_share(files, config));
    TRY_ASSIGN(const auto now,
               daemon::stored_identity(files, config, config.writer(node::Role::worker)));
    PrivateKey::Seed seed{};
    runtime::OsEntropy().fill(seed);
    auto next = PrivateKey::from_seed(seed);
    const auto path = daemon::next_key_file(config);
    auto written = runtime::write_secret(path, as_bytes(next.to_pem()));
    if (!written && written.error().code == Code::conflict) {
        TRY_ASSIGN(next, daemon::read_key(files, path));  // asked before: ask again
    } else if (!written) {
        return written;
    }
    out = next.public_key();
    return share::put_request(files, config.nas,
                              {config.cluster, config.node, now.certificate.roles, out,
                               runtime::host_name(), wall_now_ms()},
                              next);
}

int key_rotate(Context& context) {
    if (auto became = become_daemons_user(context); !became) {
        return context.fail(became.error(), "run it as the daemons' user");
    }
    auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "reeve config check");
    }
    runtime::PosixFileSystem files;
    PublicKey key{};
    if (auto asked = ask_for_next_key(files, **file, key); !asked) {
        return context.fail(asked.error(), wait_for_share);
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.key_rotate/v1"},
                       {"node", (*file)->node.v},
                       {"fingerprint", fingerprint(key)}});
    } else {
        fmt::print(
            "node {} asks for a certificate of its next key\n  {}\n\nnext, where the operator's "
            "key "
            "is:\n  reeve node admit {}\nand here: restart the daemons; they sign with it from "
            "then on\n",
            (*file)->node.v, fingerprint(key), (*file)->node.v);
    }
    return exit_done;
}

}  // namespace

void register_members(Program& program) {
    auto& context = program.context;
    auto* node = program.app.get_subcommand("node");
    auto name = std::make_shared<std::string>();
    auto key = std::make_shared<std::string>();
    auto* sub = verb(program, *node, "admit", "let a machine that has asked write its log",
                     "reeve node admit mira",
                     [&context, name, key] { return admit(context, *name, *key); });
    sub->add_option("node", *name, "name of the node")->required();
    sub->add_option("--operator-key", *key,
                    "where the operator's key is (default: beside the "
                    "configuration)");
    auto what = std::make_shared<Removal>();
    auto* gone = verb(program, *node, "remove",
                      "a machine is gone for good: its logs end, nobody waits for it",
                      "reeve node remove mira --reason 'its board died'",
                      [&context, what] { return remove_node(context, *what); });
    gone->add_option("node", what->node, "name of the node")->required();
    gone->add_option("--reason", what->reason, "why, for the others");
    gone->add_option("--operator-key", what->key_path, "where the operator's key is");
    gone->add_flag("--force", what->force, "although it may be alive");
    verb(program, *node, "requests", "machines that have asked to join", "reeve node requests",
         [&context] { return requests(context); });
    auto* keys = program.app.add_subcommand("key", "this node's key: show, rotate");
    keys->require_subcommand(1);
    keys->fallthrough();
    verb(program, *keys, "show", "fingerprints, serial and the code for joining", "reeve key show",
         [&context] { return key_show(context); });
    verb(program, *keys, "rotate", "ask for a certificate of a new key", "reeve key rotate",
         [&context] { return key_rotate(context); });
}

}  // namespace reeve::cli
