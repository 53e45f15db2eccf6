// policy show, apply: the rules of the cluster, in its log, signed by an operator.

#include <fmt/format.h>

#include <algorithm>

#include "control/retention.h"
#include "runtime/posix_file_system.h"
#include "tools/cli/operators.h"
#include "verbs.h"

namespace reeve::cli {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_policy_bytes = 128 * 1024;  // of one file

/// The policy in force, as this machine sees it: of operators that it has pinned.
std::optional<events::PolicyLoaded> in_force(const daemon::FileConfig& config,
                                             const projection::Snapshot& view) {
    const auto trust = config.trust();
    std::optional<events::PolicyLoaded> best;
    for (auto& one : view.policies()) {
        if (trust.is_operator(one.operator_key) && one.cluster == config.cluster &&
            (!best || std::pair(one.version, policy_hash(one)) >
                          std::pair(best->version, policy_hash(*best)))) {
            best = std::move(one);
        }
    }
    return best;
}

/// Every *.toml in `directory`, whole; which names there may be is the daemon's to say.
Result<std::vector<events::PolicyFile>> read_policy(const std::string& directory) {
    runtime::PosixFileSystem files;
    TRY_ASSIGN(const auto entries, files.list(directory));
    std::vector<events::PolicyFile> out;
    for (const auto& entry : entries) {
        if (entry.kind == env::FileKind::regular && entry.name.ends_with(".toml")) {
            TRY_ASSIGN(const auto bytes,
                       files.read_file(directory + "/" + entry.name, max_policy_bytes));
            out.push_back({entry.name, std::string(as_text(bytes))});
        }
    }
    if (out.empty()) {
        return Error{Code::not_found, directory + " holds no *.toml"};
    }
    return out;
}

/// What this build can read of the files; a policy is applied whole or not at all.
Status check(const std::vector<events::PolicyFile>& files) {
    for (const auto& file : files) {
        if (file.name != "retention.toml") {
            return Error{Code::invalid,
                         file.name + " is no policy file of this version: retention.toml"};
        }
        if (auto read = control::parse_retention(file.text, file.name); !read) {
            return read.error();
        }
    }
    return ok();
}

int show(Context& context) {
    auto file = context.config();
    auto view = context.view();
    if (!file || !view) {
        return context.fail(!file ? file.error() : view.error(), "reeve doctor");
    }
    const auto policy = in_force(**file, *view);
    json files = json::object();
    for (const auto& one : policy ? policy->files : std::vector<events::PolicyFile>{}) {
        files[one.name] = one.text;
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.policy/v1"},
                       {"version", policy ? policy->version : 0},
                       {"hash", policy ? to_hex(policy_hash(*policy)) : ""},
                       {"files", files}});
        return exit_done;
    }
    if (!policy) {
        fmt::print("no policy has been applied; the defaults are in force\n");
        return exit_done;
    }
    fmt::print("policy {}, {}\n", policy->version, to_hex(policy_hash(*policy)).substr(0, 16));
    for (const auto& one : policy->files) {
        fmt::print("\n# ---- {}\n{}", one.name, one.text);
    }
    return exit_done;
}

int apply(Context& context, const std::string& directory, const std::string& key_path) {
    auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "reeve config check");
    }
    auto files = read_policy(directory);
    if (!files) {
        return context.fail(files.error(), "reeve policy apply DIR");
    }
    if (auto good = check(*files); !good) {
        return context.fail(good.error(), "mend the named place; nothing was applied");
    }
    const auto key = take_operator_key(context, **file, key_path);
    if (!key) {
        return context.fail(key.error(), where_the_key_is("policy apply DIR"));
    }
    auto view = context.view();
    if (!view) {
        return context.fail(view.error(), "start a daemon on this node");
    }
    const auto before = in_force(**file, *view);
    events::PolicyLoaded policy;
    policy.version = before ? before->version + 1 : 1;
    policy.files = std::move(*files);
    policy.operator_key = key->public_key();
    policy.cluster = (*file)->cluster;
    policy.signature = key->sign(signed_part(policy));
    if (before && policy_hash(*before) == policy_hash(policy)) {
        fmt::print("policy {} says that already\n", before->version);
        return exit_done;
    }
    if (context.options.dry_run) {
        fmt::print("policy {}, {}: not applied\n", policy.version, to_hex(policy_hash(policy)));
        return exit_done;
    }
    if (const int status = send_signed(context, policy); status != exit_done) {
        return status;
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.policy_applied/v1"},
                       {"version", policy.version},
                       {"hash", to_hex(policy_hash(policy))}});
    } else {
        fmt::print("policy {} is in the log\n", policy.version);
    }
    return exit_done;
}

}  // namespace

void register_policy(Program& program) {
    auto& context = program.context;
    auto* policy = program.app.add_subcommand("policy", "the rules of the cluster: show, apply");
    policy->require_subcommand(1);
    policy->fallthrough();
    verb(program, *policy, "show", "the policy in force", "reeve policy show",
         [&context] { return show(context); });
    auto directory = std::make_shared<std::string>();
    auto key = std::make_shared<std::string>();
    auto* sub =
        verb(program, *policy, "apply", "sign the files of a directory and put them in force",
             "reeve policy apply ./policy",
             [&context, directory, key] { return apply(context, *directory, *key); });
    sub->add_option("directory", *directory, "holds *.toml")->required();
    sub->add_option("--operator-key", *key, "where the operator's key is");
}

}  // namespace reeve::cli
