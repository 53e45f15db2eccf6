#include "mirror/segments.h"

#include "eventlog/archive.h"
#include "eventlog/recovery.h"

namespace reeve::mirror {

Result<SegmentHeader> parse_header(ByteView page, const eventlog::Trust& trust,
                                   const WriterId& writer, const SegmentId& id) {
    TRY_ASSIGN(const auto header, eventlog::decode_header(page));
    if (header.cluster != trust.cluster() || header.writer != writer || header.id != id) {
        return Error{Code::corrupt, "the header is of another cluster, writer or segment"};
    }
    TRY(eventlog::verify_header(page, header, trust));
    SegmentHeader out;
    out.key = header.certificate.key;
    out.serial = header.certificate.serial;
    if (header.previous.incarnation.v != 0) {
        out.previous = Continuation{segment_of(header.previous), header.previous.end,
                                    header.previous.seq, header.previous.hash};
    }
    return out;
}

eventlog::LogPosition first_position(const SegmentId& id, const SegmentHeader& header) {
    eventlog::LogPosition out{id.incarnation, id.segment, Offset(header_bytes), Seq(0), {}};
    if (header.previous) {
        out.seq = header.previous->seq;
        out.hash = header.previous->hash;
    }
    return out;
}

Walk walk_batches(ByteView bytes, const eventlog::LogPosition& from,
                  const eventlog::ClusterId& cluster, const WriterId& writer) {
    Walk out{0, from, "", false};
    const auto uid = eventlog::segment_uid(cluster, writer, segment_of(from));
    for (;;) {
        const auto rest = bytes.subspan(out.taken);
        eventlog::BatchHeader header;
        if (eventlog::classify(rest, uid, &header, &out.bad) != eventlog::Found::batch) {
            if (rest.size() < eventlog::batch_header_bytes) {
                out.bad.clear();  // the read ends within a header: the rest is in the next read
            }
            return out;
        }
        if (header.length > rest.size()) {
            return out;
        }
        const auto verified = eventlog::verify_batch(rest, uid, out.end);
        const auto events = verified ? eventlog::decode_batch(rest, *verified, writer)
                                     : Result<std::vector<events::Event>>(verified.error());
        if (!events) {
            out.bad = events.error().message;
            out.unsupported = events.error().code == Code::unsupported;
            return out;
        }
        out.taken += verified->length;
        out.end.end = Offset(out.end.end.v + verified->length);
        out.end.seq = Seq(verified->first_seq.v + verified->count - 1);
        out.end.hash = sha256(rest.first(verified->length));
    }
}

Result<eventlog::LogPosition> recovered_end(env::FileSystem& files, const std::string& directory,
                                            const eventlog::Trust& trust, const WriterId& writer,
                                            const eventlog::Cuts& cuts) {
    TRY_ASSIGN(const auto log,
               eventlog::recover(files, directory, trust, writer, eventlog::Tail::mirrors, cuts));
    return log.end;
}

Result<Bytes> read_segment(env::FileSystem& files, const std::string& directory,
                           const SegmentId& id, Offset at, std::size_t n) {
    TRY_ASSIGN(auto file, eventlog::open_segment(files, directory, id));
    Bytes out(n);
    TRY_ASSIGN(const auto have, file->read_at(at, out));
    out.resize(have);
    return out;
}

Result<std::uint64_t> end_with_seal(env::FileSystem& files, const std::string& directory,
                                    const Continuation& end) {
    TRY_ASSIGN(const auto bytes,
               read_segment(files, directory, end.id, end.end, eventlog::seal_bytes));
    const bool sealed = eventlog::decode_seal(bytes).has_value();
    return end.end.v + (sealed ? eventlog::seal_bytes : 0);
}

}  // namespace reeve::mirror
