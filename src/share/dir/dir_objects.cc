#include <algorithm>

#include "share/dir/dir_parts.h"
#include "share/dir/names.h"

namespace reeve::share {
namespace {

/// Folders that the rendering may touch: the others under queue/ carry rights and are not its own.
constexpr std::array<std::string_view, 7> board_folders = {
    "approval", "waiting", "pending", "running", "done", "failed", "cancelled"};

std::string_view first_part(std::string_view path) { return path.substr(0, path.find('/')); }

std::string parent(const std::string& path) { return path.substr(0, path.rfind('/')); }

Status expect_object(const std::string& name) {
    const auto first = first_part(name);
    if (valid_relative_path(name) && first.size() < name.size() &&
        (first == "results" || first == "status")) {
        return ok();
    }
    return Error{Code::invalid,
                 "'" + name + "' is not the name of an object under results/ or status/"};
}

Status expect_folder(const std::string& folder) {
    const auto first = first_part(folder);
    if (valid_relative_path(folder) &&
        std::find(board_folders.begin(), board_folders.end(), first) != board_folders.end()) {
        return ok();
    }
    return Error{Code::invalid, "'" + folder + "' is not a folder of the rendering"};
}

Status expect_board_name(const std::string& folder, const std::string& name) {
    TRY(expect_folder(folder));
    return valid_component(name)
               ? ok()
               : Status(Error{Code::invalid, "'" + name + "' is not a file name"});
}

}  // namespace

Status DirObjects::put(const std::string& name, ByteView bytes) {
    TRY(expect_object(name));
    const bool durable = first_part(name) == "results";
    return tree_
        .in_dir(parent(name),
                [&] { return tree_.files().replace_file(tree_.path(name), bytes, durable); })
        .with("put " + name);
}

Status DirObjects::put_at(const std::string& name, Offset at, ByteView bytes, bool durable) {
    TRY(expect_object(name));
    const auto dir = parent(name);
    return tree_
        .in_dir(dir,
                [&]() -> Status {
                    TRY_ASSIGN(auto file,
                               tree_.files().open(tree_.path(name), env::OpenMode::create));
                    TRY(file->write_at(at, bytes));
                    if (!durable) {
                        return ok();
                    }
                    TRY(file->sync());
                    return tree_.files().sync_dir(tree_.path(dir));
                })
        .with("write " + name);
}

Result<Bytes> DirObjects::get(const std::string& name, std::uint64_t limit) {
    TRY(expect_object(name));
    if (auto dirs = tree_.plain_dirs(parent(name)); !dirs) {
        return tree_.explain(std::move(dirs).error()).with("get " + name);
    }
    auto bytes = tree_.files().read_file(tree_.path(name), limit);
    if (!bytes && bytes.error().code != Code::full) {
        return tree_.explain(bytes.error()).with("get " + name);
    }
    return bytes;
}

Status DirObjects::remove(const std::string& name) {
    TRY(expect_object(name));
    TRY(tree_.guard());
    if (auto dirs = tree_.plain_dirs(parent(name)); !dirs) {
        return tree_.explain(std::move(dirs).error()).with("remove " + name);
    }
    auto removed = tree_.files().remove(tree_.path(name));
    return removed ? ok() : Status(tree_.explain(removed.error()).with("remove " + name));
}

Result<std::vector<std::string>> DirBoard::entries(const std::string& folder, env::FileKind kind) {
    TRY(expect_folder(folder));
    const auto listed = tree_.files().list(tree_.path("queue/" + folder));
    std::vector<std::string> out;
    if (!listed) {
        if (listed.error().code != Code::not_found) {
            return tree_.explain(listed.error()).with("list " + folder);
        }
        TRY(tree_.check());
        return out;
    }
    for (const auto& entry : *listed) {
        if (entry.kind == kind && valid_component(entry.name)) {
            out.push_back(entry.name);
        }
    }
    return out;
}

Result<std::vector<std::string>> DirBoard::list(const std::string& folder) {
    return entries(folder, env::FileKind::regular);
}

Result<std::vector<std::string>> DirBoard::folders(const std::string& folder) {
    return entries(folder, env::FileKind::directory);
}

Status DirBoard::put(const std::string& folder, const std::string& name, ByteView bytes) {
    TRY(expect_board_name(folder, name));
    const auto dir = "queue/" + folder;
    return tree_
        .in_dir(
            dir,
            [&] { return tree_.files().replace_file(tree_.path(dir + "/" + name), bytes, false); })
        .with("render " + folder + "/" + name);
}

Result<Bytes> DirBoard::get(const std::string& folder, const std::string& name,
                            std::uint64_t limit) {
    TRY(expect_board_name(folder, name));
    if (auto dirs = tree_.plain_dirs("queue/" + folder); !dirs) {
        return tree_.explain(std::move(dirs).error());
    }
    return tree_.files().read_file(tree_.path("queue/" + folder + "/" + name), limit);
}

Status DirBoard::remove(const std::string& folder, const std::string& name) {
    TRY(expect_board_name(folder, name));
    TRY(tree_.guard());
    auto removed =
        tree_.plain_dirs("queue/" + folder);  // a linked folder would lead out of the root
    if (removed) {
        removed = tree_.files().remove(tree_.path("queue/" + folder + "/" + name));
    }
    if (removed) {
        return ok();
    }
    const auto error = tree_.explain(removed.error());
    return error.code == Code::not_found ? ok()
                                         : Status(error.with("remove " + folder + "/" + name));
}

}  // namespace reeve::share
