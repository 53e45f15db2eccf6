#include "mirror/orphan.h"

#include <algorithm>
#include <map>

#include "eventlog/archive.h"
#include "mirror/segments.h"

namespace reeve::mirror {
namespace {

constexpr std::size_t chunk_bytes = 4 << 20;

struct Piece {
    env::FileSystem& files;
    share::LogShare& share;
    const std::string& directory;
    const WriterId& writer;
    std::string name;
};

Status put_missing(const Piece& piece, std::uint64_t limit) {
    TRY_ASSIGN(const auto shared, piece.share.length(piece.writer, piece.name));
    const auto begin = std::min(shared.value_or(0), limit);
    TRY_ASSIGN(auto file, eventlog::open_segment(piece.files, piece.directory,
                                                 *parse_file_name(piece.name)));
    for (std::uint64_t at = 0; at < limit;) {
        Bytes bytes(std::min<std::uint64_t>(chunk_bytes, limit - at));
        TRY_ASSIGN(const auto n, file->read_at(Offset(at), bytes));
        if (n != bytes.size()) {
            return Error{Code::corrupt, piece.directory + "/" + piece.name + " at offset " +
                                            std::to_string(at + n) + ": the mirror is too short"};
        }
        const auto there = std::min<std::uint64_t>(begin > at ? begin - at : 0, n);
        if (there > 0) {
            TRY_ASSIGN(const auto theirs,
                       piece.share.get(piece.writer, piece.name, Offset(at), there));
            if (!std::equal(theirs.begin(), theirs.end(), bytes.begin()) ||
                theirs.size() != there) {
                return Error{Code::conflict, "the shared " + piece.name + " of " + piece.writer.v +
                                                 " differs from the mirror"};
            }
        }
        if (there < n) {
            TRY(piece.share.put(piece.writer, piece.name, Offset(at + there),
                                ByteView(bytes).subspan(there)));
        }
        at += n;
    }
    return ok();
}

/// How much of each segment is the log, up to `slot`: what the next header, or the slot, says; with
/// the seal where there is one. What nothing continues is not shared.
Result<std::map<std::string, std::uint64_t>> limits_up_to(env::FileSystem& files,
                                                          const std::string& directory,
                                                          const eventlog::HeadSlot& slot) {
    std::map<std::string, std::uint64_t> out;
    SegmentId id{slot.incarnation, slot.segment};
    std::uint64_t limit = slot.durable_end.v;
    for (;;) {
        const auto page = read_segment(files, directory, id, Offset(0), header_bytes);
        if (!page && page.error().code == Code::not_found && !out.empty()) {
            return out;  // older than what is kept here
        }
        if (!page) {
            return page.error();
        }
        out[file_name(id)] = limit;
        const auto header = eventlog::decode_header(*page);
        if (!header) {
            return Error(header.error()).with(directory + "/" + file_name(id) + " at offset 0");
        }
        if (header->previous.incarnation.v == 0) {
            return out;
        }
        id = segment_of(header->previous);
        const Continuation end{id, header->previous.end, header->previous.seq,
                               header->previous.hash};
        const auto with_seal = end_with_seal(files, directory, end);
        limit = with_seal ? *with_seal : end.end.v;
    }
}

}  // namespace

Status share_for(env::Env env, share::LogShare& share, const std::string& directory,
                 const eventlog::HeadSlot& slot, const WriterId& pusher) {
    TRY_ASSIGN(const auto limits, limits_up_to(env.files, directory, slot));
    for (const auto& [name, limit] : limits) {
        TRY(put_missing({env.files, share, directory, slot.writer, name}, limit));
    }
    return share.declare_for(slot, pusher);
}

}  // namespace reeve::mirror
