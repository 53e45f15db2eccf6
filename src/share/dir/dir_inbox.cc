// Inbox: dropped job files.
//
//   queue/incoming/<name>.json  --take-->  queue/ingest/<writer>/<job>-<name>  --settle--> removed
//                                                                              --reject-->
//                                                                              queue/rejected/
//
// Taking is a rename: of two takers one wins. A rename that won may still report "no such file", so
// a failed one is followed by a look into the own ingest directory.

#include <algorithm>

#include "share/dir/dir_parts.h"
#include "share/dir/names.h"

namespace reeve::share {
namespace {

const std::string incoming = "queue/incoming";
const std::string rejected = "queue/rejected";
constexpr std::size_t ulid_chars = 26;

std::string ingest_dir(const WriterId& writer) { return "queue/ingest/" + writer.v; }

std::string taken_name(const Inbox::Taken& taken) { return taken.job.text() + "-" + taken.name; }

Status expect_writer(const WriterId& writer) {
    return valid_writer_name(writer.v)
               ? ok()
               : Status(Error{Code::invalid, "'" + writer.v + "' is not a writer"});
}

Status expect_taken(const WriterId& writer, const Inbox::Taken& taken) {
    TRY(expect_writer(writer));
    return valid_dropped_name(taken.name)
               ? ok()
               : Status(Error{Code::invalid, "'" + taken.name + "' is not the name of a job file"});
}

}  // namespace

Result<std::vector<Inbox::Dropped>> DirInbox::list() {
    const auto entries = tree_.files().list(tree_.path(incoming));
    if (!entries) {
        return tree_.explain(entries.error()).with("list " + incoming);
    }
    std::vector<Dropped> out;
    for (const auto& entry : *entries) {
        if (entry.kind != env::FileKind::regular || !valid_dropped_name(entry.name)) {
            continue;
        }
        const auto info = tree_.files().info(tree_.path(incoming + "/" + entry.name));
        if (!info) {
            if (info.error().code != Code::not_found) {
                return tree_.explain(info.error()).with("look at " + entry.name);
            }
            continue;  // taken by another since the listing
        }
        if (info->kind == env::FileKind::regular) {
            out.push_back({entry.name, info->size, info->mtime_ms});
        }
    }
    return out;
}

Result<bool> DirInbox::listed(const std::string& dir, const std::string& name) {
    const auto entries = tree_.files().list(tree_.path(dir));
    if (!entries) {
        return tree_.explain(entries.error());
    }
    return std::any_of(entries->begin(), entries->end(),
                       [&](const auto& entry) { return entry.name == name; });
}

Status DirInbox::take(const std::string& name, const WriterId& writer, const JobId& job) {
    const Taken taken{job, name};
    TRY(expect_taken(writer, taken));
    const auto dir = ingest_dir(writer);
    const auto from = tree_.path(incoming + "/" + name);
    const auto to = tree_.path(dir + "/" + taken_name(taken));
    const auto renamed = tree_.in_dir(dir, [&] { return tree_.files().rename(from, to); });
    if (renamed || renamed.error().code == Code::unavailable) {
        return renamed;
    }
    TRY_ASSIGN(const bool won, listed(dir, taken_name(taken)));
    return won ? ok() : Status(renamed.error().with("take " + name));
}

Result<std::vector<Inbox::Taken>> DirInbox::taken(const WriterId& writer) {
    TRY(expect_writer(writer));
    const auto entries = tree_.files().list(tree_.path(ingest_dir(writer)));
    std::vector<Taken> out;
    if (!entries) {
        if (entries.error().code != Code::not_found) {
            return tree_.explain(entries.error());
        }
        TRY(tree_.check());
        return out;
    }
    for (const auto& entry : *entries) {
        const auto job = JobId::parse(std::string_view(entry.name).substr(0, ulid_chars));
        if (entry.kind != env::FileKind::regular || !job || entry.name.size() <= ulid_chars + 1 ||
            entry.name[ulid_chars] != '-') {
            continue;
        }
        const auto name = entry.name.substr(ulid_chars + 1);
        if (valid_dropped_name(name)) {
            out.push_back({*job, name});
        }
    }
    return out;
}

Result<Bytes> DirInbox::read_taken(const WriterId& writer, const Taken& taken,
                                   std::uint64_t limit) {
    TRY(expect_taken(writer, taken));
    auto bytes =
        tree_.files().read_file(tree_.path(ingest_dir(writer) + "/" + taken_name(taken)), limit);
    if (!bytes && bytes.error().code != Code::full) {
        return tree_.explain(bytes.error()).with("read " + taken.name);
    }
    return bytes;
}

Status DirInbox::settle(const WriterId& writer, const Taken& taken) {
    TRY(expect_taken(writer, taken));
    TRY(tree_.guard());
    const auto removed =
        tree_.files().remove(tree_.path(ingest_dir(writer) + "/" + taken_name(taken)));
    if (removed) {
        return ok();
    }
    const auto error = tree_.explain(removed.error());
    return error.code == Code::not_found ? ok() : Status(error.with("settle " + taken.name));
}

Status DirInbox::reject(const WriterId& writer, const Taken& taken, const std::string& reason) {
    TRY(expect_taken(writer, taken));
    TRY(tree_.guard());
    TRY(tree_.need_dir(rejected));
    const auto source = taken_name(taken);
    TRY_ASSIGN(const bool still_there, listed(ingest_dir(writer), source));
    if (!still_there) {
        return ok();  // rejected before a crash, or by a call whose reply was lost
    }
    // An earlier refused file of the same name is somebody's too: it is kept.
    TRY_ASSIGN(const bool name_used, listed(rejected, taken.name));
    const auto name = name_used ? source : taken.name;
    const auto text = as_bytes(reason);
    // The reason first: a refused file never stands there without one.
    TRY(tree_.in_dir(rejected, [&] {
        return tree_.files().replace_file(tree_.path(rejected + "/" + name + ".reason.txt"), text,
                                          true);
    }));
    const auto from = tree_.path(ingest_dir(writer) + "/" + source);
    const auto to = tree_.path(rejected + "/" + name);
    return tree_.in_dir(rejected, [&] { return tree_.files().rename(from, to); })
        .with("reject " + taken.name);
}

}  // namespace reeve::share
