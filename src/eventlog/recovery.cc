#include "eventlog/recovery.h"

#include <algorithm>

#include "eventlog/archive.h"
#include "eventlog/reader.h"

namespace reeve::eventlog {
namespace {

/// Non-zero bytes beyond the end, when there are any.
Result<std::string> leftover(env::FileSystem& files, const std::string& directory,
                             const SegmentId& id, Offset end) {
    TRY_ASSIGN(auto file, open_segment(files, directory, id));
    Bytes bytes(seal_bytes);
    TRY_ASSIGN(const auto n, file->read_at(end, bytes));
    bytes.resize(n);
    const bool zeros =
        std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b == 0; });
    if (zeros || decode_seal(bytes)) {
        return std::string();
    }
    return directory + "/" + segment_name(id) + " at offset " + std::to_string(end.v) +
           ": bytes of a batch that was never whole; they are ignored";
}

Result<RecoveredLog> recover_cut(env::FileSystem& files, const std::string& directory,
                                 const Trust& trust, const WriterId& writer, Tail tail,
                                 const Cuts& cuts) {
    RecoveredLog out;
    TRY_ASSIGN(auto reader, LogReader::open(files, directory, trust, writer));
    reader.set_tail(tail);
    reader.set_cuts(cuts);
    for (;;) {
        TRY_ASSIGN(const auto batch, reader.next(std::nullopt));
        if (!batch) {
            break;
        }
        out.last_hlc = std::max(out.last_hlc, batch->events.back().hlc);
    }
    out.end = reader.position();
    if (out.end.incarnation.v == 0) {
        return out;
    }
    TRY_ASSIGN(const auto header,
               read_header(files, directory, segment_of(out.end), trust, writer));
    out.serial = header.certificate.serial;
    out.last_hlc = std::max(out.last_hlc, header.first_hlc);
    return out;
}

}  // namespace

Result<RecoveredLog> recover(env::FileSystem& files, const std::string& directory,
                             const Trust& trust, const WriterId& writer, Tail tail,
                             const Cuts& cuts) {
    if (!cuts.empty()) {
        return recover_cut(files, directory, trust, writer, tail, cuts);
    }
    RecoveredLog out;
    TRY_ASSIGN(auto segments, list_segments(files, directory));
    while (!segments.empty()) {
        const SegmentId id = segments.back();
        segments.pop_back();
        const auto header = read_header(files, directory, id, trust, writer);
        if (!header) {
            const auto used = holds_batches(files, directory + "/" + segment_name(id));
            if (header.error().code == Code::corrupt && !used &&
                used.error().code != Code::corrupt) {
                return used.error();  // not read is not damaged
            }
            if (header.error().code != Code::corrupt || !used || *used) {
                return header.error();
            }
            out.warnings.push_back(header.error().message + "; the segment is passed over");
            continue;
        }
        TRY_ASSIGN(auto reader, LogReader::open(files, directory, trust, writer));
        reader.set_tail(tail);
        TRY(reader.seek(first_position(*header)));
        out.last_hlc = header->first_hlc;
        out.serial = header->certificate.serial;
        for (;;) {
            auto batch = reader.next(std::nullopt);
            if (!batch) {
                return batch.error();
            }
            if (!*batch) {
                break;  // what follows was never declared by us
            }
            out.last_hlc = std::max(out.last_hlc, (*batch)->events.back().hlc);
        }
        out.end = reader.position();
        TRY_ASSIGN(const auto rest, leftover(files, directory, segment_of(out.end), out.end.end));
        if (!rest.empty()) {
            out.warnings.push_back(rest);
        }
        return out;
    }
    return out;
}

}  // namespace reeve::eventlog
