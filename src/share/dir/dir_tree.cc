#include "share/dir/dir_tree.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace reeve::share {
namespace {

constexpr std::uint64_t max_identity_bytes = 64 * 1024;
constexpr Duration guard_every = seconds(1);
constexpr std::string_view identity_schema = "reeve.cluster/v1";

}  // namespace

namespace {

std::string identity_path(const std::string& root) {
    return root + "/" + std::string(identity_file);
}

Result<ClusterFile> parse_cluster(const std::string& path, ByteView bytes) {
    const auto text = as_text(bytes);
    const auto json = nlohmann::json::parse(text, nullptr, false);
    const auto field = [&](const char* name) -> std::string {
        const auto it = json.is_object() ? json.find(name) : json.end();
        return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
    };
    const auto id = from_hex(field("cluster"));
    ClusterFile out;
    if (field("schema") != identity_schema || !id || id->size() != out.id.size()) {
        return Error{Code::corrupt,
                     path + " is not an identity file of schema " + std::string(identity_schema)};
    }
    std::copy(id->begin(), id->end(), out.id.begin());
    out.name = field("name");
    const auto operators = json.find("operators");
    for (const auto& one :
         operators != json.end() && operators->is_array() ? *operators : nlohmann::json()) {
        if (const auto key = parse_key(one.is_string() ? one.get<std::string>() : "")) {
            out.operators.push_back(*key);
        }
    }
    return out;
}

}  // namespace

Result<Bytes> read_cluster_bytes(env::FileSystem& files, const std::string& root) {
    const auto path = identity_path(root);
    auto bytes = files.read_file(path, max_identity_bytes);
    if (bytes) {
        return bytes;
    }
    const auto code = bytes.error().code;
    if (code == Code::full || code == Code::invalid) {
        return Error{Code::corrupt, path + " is not an identity file: " + bytes.error().message};
    }
    return Error{Code::unavailable, "no cluster directory at " + root +
                                        " (mount missing, NAS away?): " + bytes.error().message};
}

Result<ClusterFile> read_cluster_file(env::FileSystem& files, const std::string& root) {
    TRY_ASSIGN(const auto bytes, read_cluster_bytes(files, root));
    return parse_cluster(identity_path(root), bytes);
}

Result<ClusterId> read_identity(env::FileSystem& files, const std::string& root) {
    TRY_ASSIGN(const auto file, read_cluster_file(files, root));
    return file.id;
}

DirTree::DirTree(env::FileSystem& files, std::string root, eventlog::Trust trust,
                 env::Entropy& entropy, env::Clock& clock)
    : files_(files),
      root_(std::move(root)),
      trust_(std::move(trust)),
      entropy_(entropy),
      clock_(clock) {}

/// Whether the identity file, as it was read, is ours. Most looks find what the last one found.
Status DirTree::judge(const Result<Bytes>& bytes) {
    if (!bytes) {
        return bytes.error();
    }
    {
        const std::lock_guard lock(mutex_);
        if (!good_bytes_.empty() && *bytes == good_bytes_) {
            return ok();
        }
    }
    TRY_ASSIGN(const auto found, parse_cluster(identity_path(root_), *bytes));
    if (found.id != trust_.cluster()) {
        return Error{Code::conflict, root_ + " belongs to cluster " + to_hex(found.id) +
                                         ", ours is " + to_hex(trust_.cluster())};
    }
    const std::lock_guard lock(mutex_);
    good_bytes_ = *bytes;
    return ok();
}

Status DirTree::check() {
    auto result = judge(read_cluster_bytes(files_, root_));
    const auto until = result ? clock_.mono_now() + guard_every : MonoTime{INT64_MIN};
    const std::lock_guard lock(mutex_);
    good_until_ = until;
    if (!result) {
        known_dirs_.clear();
    }
    return result;
}

Status DirTree::guard() {
    const auto now = clock_.mono_now();
    {
        const std::lock_guard lock(mutex_);
        if (now < good_until_) {
            return ok();
        }
    }
    return check();
}

Error DirTree::explain(Error error) {
    if (error.code == Code::conflict || error.code == Code::invalid) {
        return error;
    }
    auto identity = check();
    return identity ? error : std::move(identity).error();
}

Status DirTree::plain_dirs(std::string_view below) { return each_part(below, false); }

Status DirTree::each_part(std::string_view below, bool make) {
    for (std::size_t end = 0; end != std::string_view::npos;) {
        end = below.find('/', end + 1);
        const auto part = path(below.substr(0, end));
        if (make) {
            // Made before it is asked for: a network client may remember an absence for a minute.
            // Never with parents: where the share went since its identity was read, and its root
            // with it, nothing is made (I8). A bare mount point is told by that look alone.
            auto made = files_.make_dir(part);
            if (!made && made.error().code != Code::conflict) {
                return std::move(made).with("make " + part);
            }
        }
        TRY_ASSIGN(const auto info, files_.info(part));
        if (info.kind != env::FileKind::directory) {
            return Error{Code::invalid, part + " is not a directory (links are not followed)"};
        }
    }
    return ok();
}

Status DirTree::need_dir(const std::string& below) {
    {
        const std::lock_guard lock(mutex_);
        if (known_dirs_.contains(below)) {
            return ok();
        }
    }
    TRY(check());
    TRY(each_part(below, true));
    const std::lock_guard lock(mutex_);
    if (known_dirs_.size() > 4096) {
        known_dirs_.clear();
    }
    known_dirs_.insert(below);
    return ok();
}

void DirTree::forget_dirs() {
    const std::lock_guard lock(mutex_);
    known_dirs_.clear();
}

std::string DirTree::random_hex(std::size_t n) {
    Bytes bytes(n);
    entropy_.fill(bytes);
    return to_hex(bytes);
}

}  // namespace reeve::share
