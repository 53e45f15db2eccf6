#include "eventlog/reader.h"

#include <algorithm>

#include "eventlog/archive.h"

namespace reeve::eventlog {
namespace {

constexpr std::size_t chunk_bytes = 1024 * 1024;

}  // namespace

Result<SegmentHeader> read_header(env::FileSystem& files, const std::string& directory,
                                  const SegmentId& id, const Trust& trust, const WriterId& writer) {
    const std::string path = directory + "/" + segment_name(id);
    TRY_ASSIGN(auto file, open_segment(files, directory, id));
    Bytes page(header_page_bytes);
    TRY_ASSIGN(const auto n, file->read_at(Offset(0), page));
    auto header = decode_header(ByteView(page).first(n));
    if (!header) {
        return std::move(header).error().with(path + " at offset 0");
    }
    if (header->cluster != trust.cluster() || header->writer != writer || header->id != id) {
        return Error{Code::conflict,
                     path + " at offset 0: the header is of another cluster, writer or segment (" +
                         header->writer.v + " " + segment_name(header->id) + ")"};
    }
    if (auto signed_well = verify_header(page, *header, trust); !signed_well) {
        return std::move(signed_well).error().with(path + " at offset 0");
    }
    return header;
}

Result<bool> holds_batches(env::FileSystem& files, const std::string& path) {
    const auto slash = path.rfind('/');
    const auto id = parse_segment_name(std::string_view(path).substr(slash + 1));
    CHECK(slash != std::string::npos && id);
    TRY_ASSIGN(auto file, open_segment(files, path.substr(0, slash), *id));
    Bytes behind(header_page_bytes);
    TRY_ASSIGN(const auto n, file->read_at(Offset(header_page_bytes), behind));
    return std::any_of(behind.begin(), behind.begin() + static_cast<std::ptrdiff_t>(n),
                       [](std::uint8_t byte) { return byte != 0; });
}

Result<std::optional<SegmentHeader>> successor_of(env::FileSystem& files,
                                                  const std::string& directory,
                                                  std::span<const SegmentId> all,
                                                  const SegmentId& id, const Trust& trust,
                                                  const WriterId& writer) {
    std::optional<SegmentHeader> out;
    for (auto next = std::upper_bound(all.begin(), all.end(), id); next != all.end(); ++next) {
        const auto header = read_header(files, directory, *next, trust, writer);
        if (!header || segment_of(header->previous) != id) {
            continue;
        }
        out = *header;
        const auto used = holds_batches(files, directory + "/" + segment_name(*next));
        if (!used || *used) {
            break;
        }
    }
    return out;
}

LogReader::LogReader(env::FileSystem& files, std::string directory, Trust trust, WriterId writer)
    : files_(&files),
      directory_(std::move(directory)),
      trust_(std::move(trust)),
      writer_(std::move(writer)) {}
LogReader::LogReader(LogReader&&) noexcept = default;
LogReader& LogReader::operator=(LogReader&&) noexcept = default;
LogReader::~LogReader() = default;

void LogReader::set_tail(Tail tail) { tail_ = tail; }

Result<LogReader> LogReader::open(env::FileSystem& files, std::string directory, Trust trust,
                                  WriterId writer) {
    return LogReader(files, std::move(directory), std::move(trust), std::move(writer));
}

Error LogReader::corrupt(const SegmentId& id, Offset at, const std::string& why) {
    damaged_ = id;
    return {Code::corrupt, directory_ + "/" + segment_name(id) + " at offset " +
                               std::to_string(at.v) + ": " + why};
}

Result<std::vector<SegmentId>> LogReader::segments_after(const SegmentId& id) const {
    TRY_ASSIGN(auto out, list_segments(*files_, directory_));
    out.erase(out.begin(), std::upper_bound(out.begin(), out.end(), id));
    return out;
}

Status LogReader::enter(const SegmentId& id) {
    damaged_ = id;  // until it is entered
    TRY_ASSIGN(const auto header, read_header(*files_, directory_, id, trust_, writer_));
    damaged_.reset();
    TRY_ASSIGN(file_, open_segment(*files_, directory_, id));
    position_ = first_position(header);
    begun_behind_ = header.previous;
    uid_ = segment_uid(trust_.cluster(), writer_, id);
    key_ = header.certificate.key;
    serial_ = header.certificate.serial;
    buffered_ = 0;
    ahead_ = first_read_bytes;
    TRY_ASSIGN(stop_, end_by_successor(id));
    return ok();
}

// A batch whose sync failed may stand whole in the file; the next segment's header excludes it.
Result<std::uint64_t> LogReader::end_by_successor(const SegmentId& id) const {
    TRY_ASSIGN(const auto later, segments_after(id));
    TRY_ASSIGN(const auto next, successor_of(*files_, directory_, later, id, trust_, writer_));
    return next ? next->previous.end.v : UINT64_MAX;
}

/// A segment without events that another copy of this disk began, when it is known by now that the
/// log went on from elsewhere.
bool LogReader::is_left_behind(const SegmentHeader& header) const {
    const auto& previous = header.previous;
    const bool here = segment_of(previous) == segment_of(position_);
    const bool before =
        segment_of(previous) < segment_of(position_) || (here && previous.end < position_.end);
    const bool goes_on = here && stop_ != UINT64_MAX && previous.end.v < stop_;
    if (!before && !goes_on) {
        return false;
    }
    const auto used = holds_batches(*files_, directory_ + "/" + segment_name(header.id));
    return used && !*used;
}

/// We stand in such a segment, before its first batch, and the log goes on behind a later place.
bool LogReader::goes_back(const LogPosition& previous) const {
    return position_.end.v == header_page_bytes && begun_behind_.incarnation.v != 0 &&
           segment_of(previous) == segment_of(begun_behind_) && previous.end > begun_behind_.end;
}

// The segment that continues the log at exactly our position. A header that never became durable (a
// crash while the file was made) is passed over when a later segment continues at the same place.
Result<bool> LogReader::enter_next(const std::string& why_ended) {
    TRY_ASSIGN(const auto later, segments_after(segment_of(position_)));
    std::optional<Error> torn;
    for (const auto& id : later) {
        if (!cuts_.admits(id.incarnation, position_.seq.next())) {
            continue;
        }
        auto header = read_header(*files_, directory_, id, trust_, writer_);
        if (header && !cuts_.admits(header->previous.incarnation, header->previous.seq)) {
            continue;  // what goes on from behind a cut is cut
        }
        if (!header) {
            const auto used = holds_batches(*files_, directory_ + "/" + segment_name(id));
            if (header.error().code == Code::corrupt && !used &&
                used.error().code != Code::corrupt) {
                return used.error();  // not read is not damaged
            }
            if (header.error().code != Code::corrupt || !used || *used) {
                damaged_ = id;
                return header.error();
            }
            torn = header.error();
            continue;
        }
        const auto& previous = header->previous;
        const bool over_empty = why_ended.empty() && passes_over_empty(position_, previous);
        if (!over_empty && is_left_behind(*header)) {
            continue;
        }
        if (why_ended.empty() && !over_empty && goes_back(previous)) {
            TRY(seek(begun_behind_));
            return true;
        }
        if (segment_of(previous) > segment_of(position_)) {
            auto missing = corrupt(
                id, Offset(0),
                "it continues " + segment_name(segment_of(previous)) + ", which is missing");
            damaged_ = segment_of(previous);
            return torn ? *torn : missing;
        }
        if (!over_empty &&
            (segment_of(previous) != segment_of(position_) || previous.end < position_.end)) {
            return corrupt(id, Offset(0), "it continues the log before its end (a fork)");
        }
        if (!over_empty && previous.end > position_.end) {
            return corrupt(segment_of(position_), position_.end,
                           (why_ended.empty() ? std::string("the batches end") : why_ended) +
                               ", but the next segment continues at offset " +
                               std::to_string(previous.end.v));
        }
        if (previous.seq != position_.seq || previous.hash != position_.hash) {
            return corrupt(id, Offset(0), "it continues another log than this one (a fork)");
        }
        if (header->certificate.serial < serial_) {
            return corrupt(id, Offset(0), "it is signed with a key that was replaced before");
        }
        TRY(enter(id));
        return true;
    }
    return false;
}

// A batch is written only after those before it are synced, and says so: a header further on that
// does proves that what stands here was declared once, and is damaged.
Status LogReader::expect_end(const std::string& why_ended) {
    const auto proves = [&](ByteView bytes, std::uint64_t at) {
        BatchHeader header;
        std::string why;
        const auto found = classify(bytes, uid_, &header, &why);
        if (found == Found::seal) {
            const auto seal = decode_seal(bytes);
            return seal && seal->end.v == at;
        }
        return found == Found::batch && header.synced_through > position_.end &&
               header.synced_through.v <= at;
    };
    Bytes chunk(chunk_bytes);
    for (std::uint64_t from = position_.end.v + 8; from < stop_; from += chunk_bytes - seal_bytes) {
        TRY_ASSIGN(const auto n, file_->read_at(Offset(from), chunk));
        const auto bytes = ByteView(chunk).first(n);
        for (std::size_t at = 0; at + batch_header_bytes <= n; at += 8) {
            if (load_le<std::uint32_t>(bytes.data() + at) != 0 &&
                proves(bytes.subspan(at), from + at)) {
                return corrupt(segment_of(position_), position_.end,
                               (why_ended.empty() ? std::string("zeros") : why_ended) +
                                   ", but a later batch stands at offset " +
                                   std::to_string(from + at));
            }
        }
        if (n < chunk_bytes) {
            break;
        }
    }
    return ok();
}

/// At least `wanted` bytes from the position on, fewer only at the end of the file or at `stop`.
Result<ByteView> LogReader::window(std::size_t wanted, std::uint64_t stop) {
    const std::uint64_t at = position_.end.v;
    const std::uint64_t most = stop > at ? stop - at : 0;
    wanted = static_cast<std::size_t>(std::min<std::uint64_t>(wanted, most));
    if (at < buffer_at_ || at + wanted > buffer_at_ + buffered_) {
        const auto size =
            static_cast<std::size_t>(std::min<std::uint64_t>(std::max(wanted, ahead_), most));
        ahead_ = std::min(2 * ahead_, chunk_bytes);
        buffer_.resize(std::max(buffer_.size(), size));
        buffer_at_ = at;
        buffered_ = 0;
        const auto n = file_->read_at(position_.end, std::span(buffer_).first(size));
        if (!n) {
            damaged_ = n.error().code == Code::corrupt ? segment_of(position_) : damaged_;
            return n.error();
        }
        buffered_ = *n;
    }
    const std::size_t skip = static_cast<std::size_t>(at - buffer_at_);
    return ByteView(buffer_).subspan(skip, std::min(wanted, buffered_ - skip));
}

Result<std::optional<Batch>> LogReader::batch_here(const std::optional<LogPosition>& limit,
                                                   std::string* why_ended) {
    const bool here = limit && segment_of(*limit) == segment_of(position_);
    const std::uint64_t stop = std::min(stop_, here ? limit->end.v : UINT64_MAX);
    TRY_ASSIGN(auto bytes, window(std::max(batch_header_bytes, seal_bytes), stop));
    BatchHeader header;
    const auto found = classify(bytes, uid_, &header, why_ended);
    if (found == Found::seal) {
        TRY_ASSIGN(const auto seal, decode_seal(bytes));
        if (seal.end != position_.end || seal.seq != position_.seq || seal.hash != position_.hash) {
            return corrupt(segment_of(position_), position_.end, "the seal names another end");
        }
        if (!seal_is_signed(bytes, seal, key_, trust_)) {
            return corrupt(segment_of(position_), position_.end,
                           "the seal does not bear its writer's signature");
        }
        return std::optional<Batch>();
    }
    if (found == Found::nothing) {
        buffered_ = 0;  // what is not there yet may be there at the next call
        return std::optional<Batch>();
    }
    TRY_ASSIGN(bytes, window(header.length, stop));
    const auto verified = verify_batch(bytes, uid_, position_);
    if (!verified) {
        buffered_ = 0;
        *why_ended = verified.error().message;
        return std::optional<Batch>();
    }
    if (!cuts_.admits(position_.incarnation, Seq(verified->first_seq.v + verified->count - 1))) {
        buffered_ = 0;  // it may be another one when the log goes on here
        *why_ended = "the log is cut here";
        return std::optional<Batch>();
    }
    auto events = decode_batch(bytes, *verified, writer_);
    if (!events && events.error().code == Code::corrupt) {
        return corrupt(segment_of(position_), position_.end, events.error().message);
    }
    if (!events) {
        return std::move(events).error().with(directory_ + "/" +
                                              segment_name(segment_of(position_)) + " at offset " +
                                              std::to_string(position_.end.v));
    }
    Batch batch;
    batch.at = position_.end;
    batch.first_seq = verified->first_seq;
    batch.events = std::move(*events);
    batch.bytes = verified->length;
    if (keep_raw_) {
        batch.raw.assign(bytes.begin(), bytes.begin() + verified->length);
    }
    position_.end = Offset(position_.end.v + verified->length);
    position_.seq = Seq(verified->first_seq.v + verified->count - 1);
    position_.hash = sha256(bytes.first(verified->length));
    batch.position_after = position_;
    return std::optional(std::move(batch));
}

// A live log goes on while it is read: what was missing when the bytes were read may stand there
// when what proves it is found. It was synced before that, so one more look tells.
Result<std::optional<Batch>> LogReader::next(const std::optional<LogPosition>& limit) {
    auto found = look(limit);
    if (found || found.error().code != Code::corrupt) {
        return found;
    }
    buffered_ = 0;
    return look(limit);
}

Result<std::optional<Batch>> LogReader::look(const std::optional<LogPosition>& limit) {
    for (;;) {
        if (limit && position_.seq >= limit->seq && limit->seq.v > 0) {
            const bool counts = cuts_.admits(limit->incarnation, limit->seq);
            if (counts && position_.seq == limit->seq && position_.hash != limit->hash) {
                return corrupt(segment_of(position_), position_.end,
                               "the last batch is not the declared one (a fork)");
            }
            return std::optional<Batch>();
        }
        std::string why_ended;
        if (position_.incarnation.v != 0) {
            TRY_ASSIGN(auto batch, batch_here(limit, &why_ended));
            if (batch) {
                return batch;
            }
        }
        TRY_ASSIGN(const bool entered, enter_next(why_ended));
        if (!entered) {
            const bool cut = limit ? !cuts_.admits(limit->incarnation, limit->seq)
                                   : !cuts_.admits(position_.incarnation, position_.seq.next());
            if (cut) {
                return std::optional<Batch>();
            }
            if (limit && limit->seq > position_.seq) {
                const bool missing = why_ended.empty() || position_.incarnation.v == 0;
                auto error = corrupt(
                    position_.incarnation.v != 0 ? segment_of(position_) : segment_of(*limit),
                    position_.end,
                    why_ended.empty() ? "the log ends before its declared end" : why_ended);
                damaged_ = missing ? segment_of(*limit) : damaged_;
                return error;
            }
            if (!limit && tail_ == Tail::owners && position_.incarnation.v != 0) {
                TRY(expect_end(why_ended));
            }
            return std::optional<Batch>();
        }
    }
}

Status LogReader::seek(const LogPosition& cursor) {
    if (cursor.incarnation.v == 0) {
        return ok();
    }
    TRY(enter(segment_of(cursor)));
    if (cursor.end.v > stop_) {  // signed by its writer: nothing is missing here
        return Error{Code::conflict, directory_ + "/" + segment_name(segment_of(cursor)) +
                                         ": the log goes on from offset " + std::to_string(stop_) +
                                         ", before offset " + std::to_string(cursor.end.v)};
    }
    while (position_.end < cursor.end) {
        BatchHeader header;
        std::string why;
        TRY_ASSIGN(auto bytes, window(batch_header_bytes, UINT64_MAX));
        if (classify(bytes, uid_, &header, &why) != Found::batch) {
            return corrupt(segment_of(position_), position_.end,
                           why.empty() ? "nothing, where a batch was read before" : why);
        }
        TRY_ASSIGN(bytes, window(header.length, UINT64_MAX));
        const auto verified = verify_batch(bytes, uid_, position_);
        if (!verified) {
            return corrupt(segment_of(position_), position_.end, verified.error().message);
        }
        position_.end = Offset(position_.end.v + verified->length);
        position_.seq = Seq(verified->first_seq.v + verified->count - 1);
        position_.hash = sha256(bytes.first(verified->length));
    }
    if (position_ == cursor) {
        return ok();
    }
    return Error{Code::conflict, directory_ + "/" + segment_name(segment_of(cursor)) +
                                     ": the log is not the one that was read up to offset " +
                                     std::to_string(cursor.end.v)};
}

}  // namespace reeve::eventlog
