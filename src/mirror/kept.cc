#include "mirror/kept.h"

#include <algorithm>
#include <tuple>

#include "eventlog/reader.h"
#include "mirror/segments.h"

namespace reeve::mirror {
namespace {

bool at_most(const eventlog::LogPosition& a, const eventlog::LogPosition& b) {
    return std::tuple(segment_of(a), a.end) <= std::tuple(segment_of(b), b.end);
}

/// Whether the mirror, which holds whole batches up to `end`, holds this position.
Result<bool> holds(env::FileSystem& files, const std::string& directory,
                   const eventlog::Trust& trust, const WriterId& writer,
                   const eventlog::LogPosition& end, const eventlog::LogPosition& position) {
    if (position.end == end.end) {
        return position == end;
    }
    TRY_ASSIGN(auto reader, eventlog::LogReader::open(files, directory, trust, writer));
    const auto found = reader.seek(position);
    if (!found && found.error().code != Code::conflict && found.error().code != Code::corrupt) {
        return found.error();
    }
    return found.has_value();
}

}  // namespace

/// The greatest of the slots here: a mirror that goes on in a new incarnation begins a new file.
Result<std::optional<eventlog::HeadSlot>> stored_slot(env::FileSystem& files,
                                                      const std::string& directory,
                                                      const eventlog::Trust& trust,
                                                      const WriterId& writer) {
    std::optional<eventlog::HeadSlot> out;
    const auto entries = files.list(directory);
    if (!entries) {
        return entries.error().code == Code::not_found
                   ? Result<std::optional<eventlog::HeadSlot>>(out)
                   : entries.error();
    }
    for (const auto& entry : *entries) {
        if (entry.kind != env::FileKind::regular || !entry.name.ends_with(".head")) {
            continue;
        }
        const auto slot = eventlog::read_head(files, directory + "/" + entry.name, trust);
        const bool newer = slot && *slot && (*slot)->writer == writer &&
                           (!out || order_of(**slot) > order_of(*out));
        out = newer ? *slot : out;
    }
    return out;
}

std::uint64_t greatest_serial(env::FileSystem& files, const std::string& directory,
                              const eventlog::Trust& trust, const WriterId& writer) {
    const auto slot = stored_slot(files, directory, trust, writer);
    std::uint64_t out = slot && *slot ? (*slot)->certificate.serial : 0;
    const auto entries = files.list(directory);
    for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
        const auto id = parse_file_name(entry.name);
        const auto header = id ? eventlog::read_header(files, directory, *id, trust, writer)
                               : Result<eventlog::SegmentHeader>(Error{Code::not_found, ""});
        out = header ? std::max(out, header->certificate.serial) : out;
    }
    return out;
}

Result<Kept> look_at_mirror(env::FileSystem& files, const std::string& directory,
                            const eventlog::Trust& trust, const WriterId& writer,
                            const std::optional<eventlog::LogPosition>& removed_at,
                            const eventlog::Cuts& cuts) {
    Kept out;
    TRY_ASSIGN(const auto slot, stored_slot(files, directory, trust, writer));
    TRY_ASSIGN(out.end, recovered_end(files, directory, trust, writer, cuts));
    if (out.end.incarnation.v == 0) {
        return out;
    }
    const auto id = segment_of(out.end);
    TRY_ASSIGN(const auto header, eventlog::read_header(files, directory, id, trust, writer));
    out.declared = eventlog::first_position(header);
    if (slot && !cuts.admits(slot->incarnation, slot->last_seq) &&
        !cuts.admits(slot->incarnation, out.end.seq.next())) {
        out.declared = out.end;  // below a slot that was reached, and nothing behind it is read
        return out;
    }
    const auto here = [&](const eventlog::LogPosition& position) {
        return segment_of(position) == id && at_most(position, out.end);
    };
    if (slot && !at_most(eventlog::position_of(*slot), out.end)) {
        // What lies below a slot that was reached was verified then.
        out.shortened = true;
        out.declared = out.end;
        return out;
    }
    if (slot && here(eventlog::position_of(*slot))) {
        const auto position = eventlog::position_of(*slot);
        TRY_ASSIGN(const bool held, holds(files, directory, trust, writer, out.end, position));
        if (!held) {
            return Error{Code::corrupt,
                         directory + "/" + file_name(id) + " at offset " +
                             std::to_string(position.end.v) +
                             ": the local mirror is not what its writer declared up to there"};
        }
        out.declared = position;
    }
    if (removed_at && here(*removed_at) && at_most(out.declared, *removed_at)) {
        TRY_ASSIGN(const bool held, holds(files, directory, trust, writer, out.end, *removed_at));
        out.declared = held ? *removed_at : out.declared;
    }
    return out;
}

}  // namespace reeve::mirror
