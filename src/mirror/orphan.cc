#include "mirror/orphan.h"

#include <algorithm>

#include "eventlog/format.h"
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
    TRY_ASSIGN(auto file,
               piece.files.open(piece.directory + "/" + piece.name, env::OpenMode::read));
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

}  // namespace

Status share_for(env::Env env, share::LogShare& share, const std::string& directory,
                 const eventlog::HeadSlot& slot, const WriterId& pusher) {
    const SegmentId last{slot.incarnation, slot.segment};
    TRY_ASSIGN(const auto entries, env.files.list(directory));
    for (const auto& entry : entries) {
        const auto id = parse_file_name(entry.name);
        if (!id || *id > last || entry.kind != env::FileKind::regular) {
            continue;
        }
        // A mirror's earlier segment is as long as what was pulled of it, with its seal.
        TRY_ASSIGN(const auto info, env.files.info(directory + "/" + entry.name));
        const auto limit = *id == last ? slot.durable_end.v : info.size;
        TRY(put_missing({env.files, share, directory, slot.writer, entry.name}, limit));
    }
    return share.declare_for(slot, pusher);
}

}  // namespace reeve::mirror
