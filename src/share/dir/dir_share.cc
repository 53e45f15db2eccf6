#include "share/dir/dir_share.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "share/dir/dir_parts.h"
#include "share/dir/dir_tree.h"

namespace reeve::share {
namespace {

Status make_tree(env::FileSystem& files, const std::string& root) {
    for (const char* dir : tree_directories) {
        TRY(files.make_dirs(root + "/" + dir));
    }
    for (int i = 0; i < 256; ++i) {
        const std::array<std::uint8_t, 1> bucket{static_cast<std::uint8_t>(i)};
        TRY(files.make_dirs(root + "/queue/claims/" + to_hex(bucket)));
    }
    TRY(files.sync_dir(root + "/queue/claims"));
    TRY(files.sync_dir(root + "/queue"));
    return files.sync_dir(root);
}

/// By link from a name that only this cluster uses: of two creators of different clusters one wins.
Status write_identity(env::FileSystem& files, const std::string& root, ClusterId cluster,
                      const std::string& cluster_name, const std::vector<PublicKey>& operators) {
    nlohmann::json keys = nlohmann::json::array();
    for (const auto& key : operators) {
        keys.push_back(key_text(key));
    }
    const nlohmann::json json = {{"schema", "reeve.cluster/v1"},
                                 {"cluster", to_hex(cluster)},
                                 {"name", cluster_name},
                                 {"operators", keys}};
    const auto text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    const auto temporary = root + "/.reeve-cluster-" + to_hex(cluster) + ".tmp";
    TRY(files.replace_file(temporary, as_bytes(text), true));
    const auto linked = files.link(temporary, root + "/" + std::string(identity_file));
    if (!linked && linked.error().code != Code::conflict &&
        linked.error().code != Code::not_found) {
        return linked;
    }
    TRY(files.sync_dir(root));
    if (auto removed = files.remove(temporary);
        !removed && removed.error().code != Code::not_found) {
        return removed;
    }
    return ok();
}

Status expect_cluster(const Result<ClusterId>& found, const std::string& root, ClusterId cluster) {
    if (!found) {
        return found.error();
    }
    if (*found != cluster) {
        return Error{Code::conflict, root + " already belongs to cluster " + to_hex(*found)};
    }
    return ok();
}

}  // namespace

struct DirShare::Parts {
    DirTree tree;
    DirIdentity identity{tree};
    DirLog log{tree};
    DirClaims claims{tree};
    DirInbox inbox{tree};
    DirObjects objects{tree};
    DirBoard board{tree};
    DirAttic attic{tree};
};

DirShare::DirShare(env::FileSystem& files, std::string root, eventlog::Trust trust,
                   env::Entropy& entropy, env::Clock& clock)
    : parts_(new Parts{.tree = DirTree(files, std::move(root), std::move(trust), entropy, clock)}) {
}

DirShare::~DirShare() = default;

Status DirShare::create(env::FileSystem& files, const std::string& root, ClusterId cluster,
                        const std::string& cluster_name, const std::vector<PublicKey>& operators) {
    TRY(files.make_dirs(root).with("make " + root));
    TRY_ASSIGN(const auto entries, files.list(root));
    const auto is_identity = [](const env::DirEntry& e) { return e.name == identity_file; };
    if (std::any_of(entries.begin(), entries.end(), is_identity)) {
        TRY(expect_cluster(read_identity(files, root), root, cluster));
    }
    TRY(make_tree(files, root).with("make the tree of " + root));
    TRY(write_identity(files, root, cluster, cluster_name, operators)
            .with("write the identity of " + root));
    return expect_cluster(read_identity(files, root), root, cluster);
}

Identity& DirShare::identity() { return parts_->identity; }
LogShare& DirShare::log() { return parts_->log; }
LogArchive* DirShare::archive() { return &parts_->log; }
Claims& DirShare::claims() { return parts_->claims; }
Inbox& DirShare::inbox() { return parts_->inbox; }
Objects& DirShare::objects() { return parts_->objects; }
Board& DirShare::board() { return parts_->board; }
Attic& DirShare::attic() { return parts_->attic; }

}  // namespace reeve::share
