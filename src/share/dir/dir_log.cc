// The logs on the share: segment files, HEAD files and the claims of incarnations of each writer.
//
//   log/<writer>/<incarnation>-<segment>.rlog       same bytes, same offsets as the owner's file
//   log/<writer>/<incarnation>-<segment>.rlog.zst   the same, compressed: eventlog/archive.h
//   log/<writer>/<incarnation>.head[.<pusher>]      two alternating slots (eventlog/head.h)
//   log/<writer>/<incarnation>.claim                won by link from a private name
//   log/<writer>/quarantine/<segment>.<random>      what did not equal the owner's bytes
//
// Every call opens afresh: a held descriptor of a network file may lag by seconds and would outlive
// a rollback of the directory.

#include <algorithm>

#include "eventlog/archive.h"
#include "share/dir/dir_parts.h"
#include "share/dir/names.h"
#include "share/dir/records.h"

namespace reeve::share {
namespace {

constexpr std::string_view segment_suffix = ".rlog";
constexpr std::string_view archive_suffix = ".zst";
constexpr std::string_view head_suffix = ".head";
constexpr std::string_view claim_suffix = ".claim";
constexpr std::size_t number_chars = 10;

std::string log_dir(const WriterId& writer) { return "log/" + writer.v; }

/// "<10 digits>-<10 digits>.rlog"
bool valid_segment_name(std::string_view name) {
    return name.size() == 2 * number_chars + 1 + segment_suffix.size() &&
           name.ends_with(segment_suffix) && name[number_chars] == '-' &&
           parse_ten_digits(name.substr(0, number_chars)) && eventlog::parse_segment_name(name);
}

/// Of a segment that is archived, the name by which everybody knows it.
std::string plain_name(std::string name) {
    if (name.ends_with(archive_suffix)) {
        name.resize(name.size() - archive_suffix.size());
    }
    return name;
}

Status expect_writer(const WriterId& writer) {
    return valid_writer_name(writer.v)
               ? ok()
               : Status(Error{Code::invalid, "'" + writer.v + "' is not a writer"});
}

Status expect_segment(const WriterId& writer, const std::string& name) {
    TRY(expect_writer(writer));
    return valid_segment_name(name)
               ? ok()
               : Status(Error{Code::invalid, "'" + name + "' is not a segment file"});
}

/// The incarnation of "<n>.head" and "<n>.head.<pusher>".
std::optional<Incarnation> incarnation_of_head(std::string_view name) {
    const auto number = parse_ten_digits(name.substr(0, number_chars));
    if (!number) {
        return std::nullopt;
    }
    const auto rest = name.substr(number_chars);
    const bool own = rest == head_suffix;
    const bool shared_for = rest.starts_with(std::string(head_suffix) + ".") &&
                            valid_writer_name(rest.substr(head_suffix.size() + 1));
    return own || shared_for ? std::optional(Incarnation(*number)) : std::nullopt;
}

std::optional<Incarnation> incarnation_of_claim(std::string_view name) {
    const auto number = parse_ten_digits(name.substr(0, number_chars));
    return number && name.substr(number_chars) == claim_suffix ? std::optional(Incarnation(*number))
                                                               : std::nullopt;
}

}  // namespace

Status DirLog::put(const WriterId& writer, const std::string& segment_file, Offset at,
                   ByteView bytes) {
    TRY(expect_segment(writer, segment_file));
    const auto dir = log_dir(writer);
    const auto path = tree_.path(dir + "/" + segment_file);
    return tree_
        .in_dir(dir,
                [&]() -> Status {
                    // What goes on has a beginning: a call that hung, and comes when that was
                    // archived or set aside, must not leave a file with a hole in its place.
                    const auto mode = at.v == 0 ? env::OpenMode::create : env::OpenMode::write;
                    TRY_ASSIGN(auto file, tree_.files().open(path, mode));
                    TRY(file->write_at(at, bytes));
                    TRY(file->sync());
                    return at.v == 0 ? tree_.files().sync_dir(tree_.path(dir)) : ok();
                })
        .with("share " + segment_file);
}

Result<std::vector<std::string>> DirLog::names(const WriterId& writer) {
    TRY(expect_writer(writer));
    const auto entries = tree_.files().list(tree_.path(log_dir(writer)));
    std::vector<std::string> out;
    if (!entries) {
        if (entries.error().code != Code::not_found) {
            return tree_.explain(entries.error());
        }
        TRY(tree_.check());
        return out;
    }
    for (const auto& entry : *entries) {
        if (entry.kind == env::FileKind::regular) {
            out.push_back(entry.name);
        }
    }
    return out;
}

Result<std::vector<std::string>> DirLog::segments(const WriterId& writer) {
    TRY_ASSIGN(auto out, names(writer));
    for (auto& name : out) {
        name = plain_name(std::move(name));
    }
    std::erase_if(out, [](const std::string& name) { return !valid_segment_name(name); });
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

Result<std::vector<std::string>> DirLog::plain_segments(const WriterId& writer) {
    TRY_ASSIGN(auto out, names(writer));
    std::erase_if(out, [](const std::string& name) { return !valid_segment_name(name); });
    return out;
}

Result<eventlog::Archived> DirLog::archive(const WriterId& writer, const std::string& segment_file,
                                           std::uint64_t bytes, const WriterId& by) {
    TRY(expect_segment(writer, segment_file));
    TRY(expect_writer(by));
    TRY(tree_.check());
    auto made = eventlog::make_archive(tree_.files(), tree_.path(log_dir(writer)),
                                       *eventlog::parse_segment_name(segment_file), bytes, by.v);
    return made ? std::move(made) : tree_.explain(made.error()).with("archive " + segment_file);
}

Status DirLog::drop_plain(const WriterId& writer, const std::string& segment_file) {
    TRY(expect_segment(writer, segment_file));
    TRY(tree_.check());
    auto done = eventlog::drop_plain(tree_.files(), tree_.path(log_dir(writer)),
                                     *eventlog::parse_segment_name(segment_file));
    return done ? std::move(done) : tree_.explain(done.error()).with("archive " + segment_file);
}

Result<std::optional<std::uint64_t>> DirLog::length(const WriterId& writer,
                                                    const std::string& segment_file) {
    TRY(expect_segment(writer, segment_file));
    TRY_ASSIGN(const auto there, segments(writer));
    if (!std::binary_search(there.begin(), there.end(), segment_file)) {
        return std::optional<std::uint64_t>();
    }
    auto file = open(writer, segment_file);
    if (!file) {
        return tree_.explain(file.error());
    }
    TRY_ASSIGN(const auto size, (*file)->size());
    return std::optional(size);
}

Result<std::unique_ptr<env::File>> DirLog::open(const WriterId& writer,
                                                const std::string& segment_file) {
    return eventlog::open_segment(tree_.files(), tree_.path(log_dir(writer)),
                                  *eventlog::parse_segment_name(segment_file));
}

Result<Bytes> DirLog::get(const WriterId& writer, const std::string& segment_file, Offset at,
                          std::size_t limit) {
    TRY(expect_segment(writer, segment_file));
    auto file = open(writer, segment_file);
    if (!file) {
        return tree_.explain(file.error()).with("read " + segment_file);
    }
    Bytes out(limit);
    std::size_t have = 0;
    while (have < limit) {
        const auto n = (*file)->read_at(Offset(at.v + have), std::span(out).subspan(have));
        if (!n) {
            return tree_.explain(n.error()).with("read " + segment_file);
        }
        if (*n == 0) {
            break;
        }
        have += *n;
    }
    out.resize(have);
    return out;
}

Status DirLog::declare(const eventlog::HeadSlot& slot) {
    return write_slot(slot, ten_digits(slot.incarnation.v) + std::string(head_suffix));
}

Status DirLog::declare_for(const eventlog::HeadSlot& slot, const WriterId& pusher) {
    TRY(expect_writer(pusher));
    return write_slot(slot,
                      ten_digits(slot.incarnation.v) + std::string(head_suffix) + "." + pusher.v);
}

Status DirLog::write_slot(const eventlog::HeadSlot& slot, const std::string& name) {
    TRY(expect_writer(slot.writer));
    const auto dir = log_dir(slot.writer);
    return tree_
        .in_dir(dir,
                [&]() -> Status {
                    TRY_ASSIGN(auto file, tree_.files().open(tree_.path(dir + "/" + name),
                                                             env::OpenMode::create));
                    TRY_ASSIGN(const auto size, file->size());
                    TRY(eventlog::write_head(*file, slot));
                    TRY(file->sync());
                    return size == 0 ? tree_.files().sync_dir(tree_.path(dir)) : ok();
                })
        .with("declare " + name);
}

Result<std::optional<eventlog::HeadSlot>> DirLog::read_slot(const WriterId& writer,
                                                            const std::string& name,
                                                            Incarnation incarnation) {
    const auto slot = heads_.read(tree_.files(), tree_.path(log_dir(writer) + "/" + name));
    if (!slot) {
        const auto code = slot.error().code;
        if (code == Code::io || code == Code::timeout || code == Code::unavailable) {
            return tree_.explain(slot.error()).with("read " + name);
        }
        return std::optional<eventlog::HeadSlot>();  // vanished, or not a HEAD: declares nothing
    }
    const bool its_own = *slot && (*slot)->writer == writer && (*slot)->incarnation == incarnation;
    return its_own ? *slot : std::nullopt;
}

// A key that was replaced may go on to sign slots with greater numbers: they must not hide others.
Result<std::optional<eventlog::HeadSlot>> DirLog::head(const WriterId& writer,
                                                       std::uint64_t known_serial) {
    TRY_ASSIGN(auto there, names(writer));
    std::optional<eventlog::HeadSlot> best;
    for (auto name = there.rbegin(); name != there.rend(); ++name) {
        const auto incarnation = incarnation_of_head(*name);
        if (!incarnation) {
            continue;
        }
        const bool known = best && known_serial > 0 && best->certificate.serial >= known_serial;
        if (known && *incarnation < best->incarnation) {
            break;  // names sort by incarnation: what follows is older
        }
        TRY_ASSIGN(const auto slot, read_slot(writer, *name, *incarnation));
        if (slot && (!best || order_of(*slot) > order_of(*best))) {
            best = slot;
        }
    }
    return best;
}

Result<std::vector<WriterId>> DirLog::writers() {
    const auto entries = tree_.files().list(tree_.path("log"));
    if (!entries) {
        return tree_.explain(entries.error()).with("list writers");
    }
    TRY(tree_.guard());
    std::vector<WriterId> out;
    for (const auto& entry : *entries) {
        if (entry.kind == env::FileKind::directory && valid_writer_name(entry.name)) {
            out.emplace_back(entry.name);
        }
    }
    return out;
}

Result<std::string> DirLog::quarantine(const WriterId& writer, const std::string& segment_file) {
    TRY(expect_segment(writer, segment_file));
    const auto dir = log_dir(writer) + "/quarantine";
    const auto directory = tree_.path(log_dir(writer));
    const auto stands = eventlog::segment_path(tree_.files(), directory,
                                               *eventlog::parse_segment_name(segment_file));
    const auto from = stands ? *stands : directory + "/" + segment_file;
    const auto name = from.substr(directory.size() + 1) + "." + tree_.random_hex(8);
    const auto to = tree_.path(dir + "/" + name);
    TRY(tree_.in_dir(dir, [&] { return tree_.files().rename(from, to); })
            .with("quarantine " + segment_file));
    return "quarantine/" + name;
}

Result<Nonce> DirLog::claim_incarnation(const WriterId& writer, Incarnation n, const Nonce& mine) {
    TRY(expect_writer(writer));
    const auto dir = log_dir(writer);
    const auto name = ten_digits(n.v) + std::string(claim_suffix);
    const auto private_path = tree_.path(dir + "/.claim-" + tree_.random_hex(16));
    const auto bytes = encode_incarnation({writer, n, mine});
    TRY(tree_.in_dir(dir, [&] { return tree_.files().replace_file(private_path, bytes, true); })
            .with("prepare claim " + name));
    const auto linked = tree_.files().link(private_path, tree_.path(dir + "/" + name));
    // The private name has served; one that stays behind after an error is only clutter.
    static_cast<void>(tree_.files().remove(private_path));
    if (!linked && linked.error().code != Code::conflict) {
        const auto error = tree_.explain(linked.error());
        if (error.code == Code::unavailable) {
            return error.with("claim " + name);
        }
    }
    // Look, whatever link() returned.
    const auto stands = tree_.files().read_file(tree_.path(dir + "/" + name), name_record_bytes);
    if (!stands) {
        if (stands.error().code == Code::full || stands.error().code == Code::invalid) {
            return Error{Code::corrupt, name + " of " + writer.v + " is not a claim"};
        }
        return tree_.explain(stands.error()).with("look at " + name);
    }
    const auto holder = decode_incarnation(*stands);
    if (!holder || holder->writer != writer || holder->incarnation != n) {
        return Error{Code::corrupt, name + " of " + writer.v + " is not a claim"};
    }
    TRY(tree_.files().sync_dir(tree_.path(dir)));
    return holder->nonce;
}

Result<Incarnation> DirLog::greatest_incarnation(const WriterId& writer) {
    TRY_ASSIGN(const auto there, names(writer));
    for (auto name = there.rbegin(); name != there.rend(); ++name) {
        const auto number = incarnation_of_claim(*name);
        if (!number) {
            continue;
        }
        const auto bytes =
            tree_.files().read_file(tree_.path(log_dir(writer) + "/" + *name), name_record_bytes);
        const bool bad =
            !bytes && bytes.error().code != Code::full && bytes.error().code != Code::invalid;
        if (bad) {
            return tree_.explain(bytes.error()).with("read " + *name);
        }
        // A name alone claims nothing: anybody can make a file.
        const auto claim = bytes ? decode_incarnation(*bytes) : std::nullopt;
        if (claim && claim->writer == writer && claim->incarnation == *number) {
            return *number;
        }
    }
    return Incarnation();
}

Result<WallTime> DirLog::declared_at(const WriterId& writer, Incarnation incarnation) {
    TRY(expect_writer(writer));
    const auto name = ten_digits(incarnation.v) + std::string(head_suffix);
    const auto info = tree_.files().info(tree_.path(log_dir(writer) + "/" + name));
    if (!info) {
        return tree_.explain(info.error()).with("look at " + name);
    }
    return WallTime{info->mtime_ms};
}

}  // namespace reeve::share
