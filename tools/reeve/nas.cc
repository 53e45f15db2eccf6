// nas adopt: a new or emptied directory becomes the share of a cluster that exists.

#include <fmt/format.h>

#include <filesystem>
#include <iostream>

#include "daemon/identity.h"
#include "runtime/posix_file_system.h"
#include "share/dir/dir_share.h"
#include "share/dir/dir_tree.h"
#include "share/dir/members.h"
#include "tools/cli/operators.h"
#include "verbs.h"

namespace reeve::cli {
namespace {

/// What a person must see before he says yes. Code::conflict: it is a cluster's already.
Result<std::string> look_at(env::FileSystem& files, const daemon::FileConfig& config,
                            const std::string& directory) {
    const auto identity = share::read_identity(files, directory);
    if (identity) {
        return Error{Code::conflict, *identity == config.cluster
                                         ? directory + " is this cluster's share already"
                                         : directory + " belongs to another cluster"};
    }
    if (identity.error().code != Code::unavailable) {
        return identity.error();
    }
    TRY_ASSIGN(const auto entries, files.list(directory));
    TRY_ASSIGN(const auto here, files.info(directory));
    const auto above = std::filesystem::path(directory).parent_path().string();
    const auto parent = files.info(above.empty() ? "/" : above);
    const bool mounted = parent && parent->device != here.device;
    return fmt::format(
        "{}\n  entries     {}\n  mount point {}", directory, entries.size(),
        mounted ? "yes" : "NO: the same file system as its parent. Is the NAS mounted?");
}

int adopt(Context& context, std::string directory) {
    auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "reeve config check");
    }
    if (auto became = become_daemons_user(context); !became) {
        return context.fail(became.error(), "run it as the daemons' user");
    }
    directory = std::filesystem::absolute(directory.empty() ? (*file)->nas : directory)
                    .lexically_normal()
                    .string();
    runtime::PosixFileSystem files;
    const auto seen = look_at(files, **file, directory);
    if (!seen) {
        return context.fail(seen.error(),
                            "name the directory that is to be the share: reeve nas "
                            "adopt --cluster DIR");
    }
    const auto& name = (*file)->cluster_name;
    fmt::print(stderr, "{}\n", *seen);
    if (!context.options.yes) {
        fmt::print(stderr,
                   "it becomes the share of cluster {}; all writers share their logs there again.\n"
                   "type the cluster's name to adopt it: ",
                   name);
        std::string typed;
        if (!std::getline(std::cin, typed) || typed != name) {
            return context.fail({"refused", exit_refused, "nothing was adopted",
                                 "the name was not typed", "reeve nas adopt --cluster DIR"});
        }
    }
    if (context.options.dry_run) {
        return exit_done;
    }
    auto made =
        share::DirShare::create(files, directory, (*file)->cluster, name, (*file)->operators);
    if (!made) {
        return context.fail(made.error(), "check the permissions of that directory");
    }
    const auto own = daemon::stored_identity(files, **file, (*file)->writer(node::Role::worker));
    if (own) {
        // For the record of members; the logs carry their certificates with them.
        static_cast<void>(share::put_certificate(files, directory, own->certificate).has_value());
    }
    if (directory != (*file)->nas) {
        fmt::print(stderr, "note: {} names another directory as the share: {}\n",
                   context.options.config, (*file)->nas);
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.nas_adopt/v1"}, {"nas", directory}});
    } else {
        fmt::print("{} is the share of cluster {}\n", directory, name);
    }
    return exit_done;
}

}  // namespace

void register_nas(Program& program) {
    auto& context = program.context;
    auto* nas = program.app.add_subcommand("nas", "the directory that all machines share: adopt");
    nas->require_subcommand(1);
    nas->fallthrough();
    auto directory = std::make_shared<std::string>();
    verb(program, *nas, "adopt", "the share was lost: take a new or emptied directory for it",
         "reeve nas adopt --cluster /mnt/nas/reeve",
         [&context, directory] { return adopt(context, *directory); })
        ->add_option("--cluster", *directory, "the directory (default: as configured)");
}

}  // namespace reeve::cli
