// Attic: what retention may look at and remove. Each room is a directory of the tree, except
// quarantine, which is one in each writer's log:
//
//   results     results/<day>/<job>/a<k>/...
//   rendering   queue/{done,failed,cancelled}/<day>/<job>.json
//   rejected    queue/rejected/<name>
//   quarantine  log/<writer>/quarantine/<file>, named <writer>/<file>

#include <algorithm>

#include "share/dir/dir_parts.h"
#include "share/dir/names.h"

namespace reeve::share {
namespace {

constexpr std::string_view reason_suffix = ".reason.txt";
constexpr std::array<std::string_view, 3> day_folders = {"cancelled", "done", "failed"};

bool valid_refused_name(std::string_view name) {
    if (name.ends_with(reason_suffix)) {
        name.remove_suffix(reason_suffix.size());
    }
    return valid_dropped_name(name);
}

/// Where `name` of the room lies below the root; nothing for a name that is not of the room.
std::optional<std::string> place(Attic::Room room, const std::string& name) {
    const auto slash = name.find('/');
    const auto first = name.substr(0, slash);
    switch (room) {
        case Attic::Room::results:
            return valid_relative_path(name) ? std::optional("results/" + name) : std::nullopt;
        case Attic::Room::rendering:
            return valid_relative_path(name) && std::find(day_folders.begin(), day_folders.end(),
                                                          first) != day_folders.end()
                       ? std::optional("queue/" + name)
                       : std::nullopt;
        case Attic::Room::rejected:
            return valid_refused_name(name) ? std::optional("queue/rejected/" + name)
                                            : std::nullopt;
        case Attic::Room::quarantine:
            if (!valid_relative_path(name) || !valid_writer_name(first)) {
                return std::nullopt;
            }
            return "log/" + first + "/quarantine" +
                   (slash == std::string::npos ? "" : name.substr(slash));
    }
    return std::nullopt;
}

std::string room_root(Attic::Room room) {
    switch (room) {
        case Attic::Room::results: return "results";
        case Attic::Room::rendering: return "queue";
        case Attic::Room::rejected: return "queue/rejected";
        case Attic::Room::quarantine: return "log";
    }
    return "";
}

Error no_such_name(const std::string& name) {
    return Error{Code::invalid, "'" + name + "' is nothing that retention may remove"};
}

}  // namespace

Result<std::vector<Attic::Entry>> DirAttic::list(Room room, const std::string& below) {
    const auto at = below.empty() ? room_root(room) : place(room, below);
    if (!at) {
        return no_such_name(below);
    }
    std::vector<Entry> out;
    const auto dirs = tree_.plain_dirs(*at);
    const auto listed = dirs ? tree_.files().list(tree_.path(*at))
                             : Result<std::vector<env::DirEntry>>(dirs.error());
    if (!listed) {
        const auto error = tree_.explain(listed.error());
        return error.code == Code::not_found ? Result<std::vector<Entry>>(std::move(out))
                                             : error.with("list " + *at);
    }
    for (const auto& entry : *listed) {
        const auto name = below.empty() ? entry.name : below + "/" + entry.name;
        const bool directory = entry.kind == env::FileKind::directory;
        if (!place(room, name) || (!directory && entry.kind != env::FileKind::regular)) {
            continue;
        }
        const auto info = tree_.files().info(tree_.path(*at + "/" + entry.name));
        if (info) {
            out.push_back({entry.name, directory, directory ? 0 : info->size, info->mtime_ms});
        }
    }
    return out;
}

Status DirAttic::remove(Room room, const std::string& name, bool directory) {
    const auto at = place(room, name);
    // A room, its folders and a writer's quarantine stay, whatever is in them.
    const bool deep_enough = name.find('/') != std::string::npos || room == Room::results ||
                             (room == Room::rejected && !directory);
    if (!at || !deep_enough) {
        return no_such_name(name);
    }
    TRY(tree_.guard());
    auto done = tree_.plain_dirs(at->substr(0, at->rfind('/')));
    if (done) {
        const auto path = tree_.path(*at);
        done = directory ? tree_.files().remove_dir(path) : tree_.files().remove(path);
    }
    if (done) {
        return ok();
    }
    const auto error = tree_.explain(done.error());
    return error.code == Code::not_found ? ok() : Status(error.with("remove " + name));
}

Result<std::int64_t> DirAttic::time_ms(const WriterId& writer) {
    const auto info = tree_.files().info(tree_.path("status/" + writer.v + ".json"));
    if (!info) {
        return tree_.explain(info.error());
    }
    return info->mtime_ms;
}

}  // namespace reeve::share
