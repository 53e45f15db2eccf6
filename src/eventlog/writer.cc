#include "eventlog/writer.h"

#include <algorithm>

#include "events/codec.h"

namespace reeve::eventlog {
namespace {

constexpr std::uint64_t presize_step = 1024 * 1024;
constexpr std::int64_t day_ms = 86'400'000;

/// A process that was killed between a write and its sync left a batch that is read and not durable
/// yet. The next header is to continue behind it, so it must not go with the power.
Status make_durable(env::FileSystem& files, const std::string& directory, const LogPosition& end) {
    if (end.incarnation == Incarnation(0)) {
        return ok();
    }
    auto file = files.open(directory + "/" + segment_name({end.incarnation, end.segment}),
                           env::OpenMode::write);
    if (!file) {
        return file.error().code == Code::not_found ? ok() : Status(file.error());
    }
    TRY((*file)->sync().with("make what was recovered durable"));
    return files.sync_dir(directory);  // its name, too: before there is one that continues it
}

}  // namespace

LogWriter::LogWriter(env::Env env, Options options)
    : env_(env),
      options_(std::move(options)),
      position_(options_.previous),
      last_hlc_(options_.last_hlc) {}

LogWriter::~LogWriter() = default;

Result<std::unique_ptr<LogWriter>> LogWriter::open(env::Env env, Options options) {
    std::unique_ptr<LogWriter> writer(new LogWriter(env, std::move(options)));
    TRY(make_durable(env.files, writer->options_.directory, writer->position_));
    TRY(writer->open_segment(SegmentNo(1)));
    return writer;
}

Hlc LogWriter::tick() {
    const auto wall =
        static_cast<std::uint64_t>(std::max<std::int64_t>(env_.clock.wall_now().ms, 0)) << 16;
    last_hlc_ = Hlc(std::max(wall, last_hlc_.v + 1));
    return last_hlc_;
}

void LogWriter::observe(Hlc seen) {
    const auto most = static_cast<std::uint64_t>(
                          std::max<std::int64_t>(env_.clock.wall_now().ms + max_skew_ms, 0))
                      << 16;
    last_hlc_ = std::max(last_hlc_, Hlc(std::min(seen.v, most)));
}

Status LogWriter::open_segment(SegmentNo number) {
    broken_ = true;  // until the new segment stands
    SegmentHeader header;
    header.cluster = options_.cluster;
    header.writer = options_.writer;
    header.id = {options_.incarnation, number};
    header.nonce = options_.nonce;
    header.level = options_.level;
    header.previous = position_;
    header.first_hlc = tick();
    last_made_ = number;
    const std::string path = options_.directory + "/" + segment_name(header.id);
    TRY_ASSIGN(file_, env_.files.open(path, env::OpenMode::create_new));
    const auto begin = [&]() -> Status {
        TRY(file_->write_at(Offset(0), encode_header(header, options_.identity)));
        TRY(file_->sync());
        return env_.files.sync_dir(options_.directory);
    };
    if (auto begun = begin(); !begun) {
        // Nothing was declared in it: a full disk is not filled further with files that hold
        // nothing.
        static_cast<void>(env_.files.remove(path).has_value());
        file_.reset();  // a seal has no place there: its name may come back with the power
        return begun;
    }
    file_bytes_ = header_page_bytes;
    position_ = first_position(header);
    uid_ = segment_uid(options_.cluster, options_.writer, header.id);
    day_ = env_.clock.wall_now().ms / day_ms;
    broken_ = false;
    return ok();
}

Status LogWriter::make_room(std::size_t batch_bytes) {
    const bool full = position_.end.v + batch_bytes + seal_bytes > options_.segment_bytes;
    const bool new_day = env_.clock.wall_now().ms / day_ms > day_;
    const bool has_batches = position_.end.v > header_page_bytes;
    if (broken_) {
        return open_segment(last_made_.next()).with("begin a new segment after an error");
    }
    if ((full || new_day) && has_batches) {
        broken_ = true;
        TRY(close());
        return open_segment(last_made_.next());
    }
    return ok();
}

Status LogWriter::reserve(std::uint64_t end) {
    if (end <= file_bytes_) {
        return ok();
    }
    const std::uint64_t wanted =
        std::max(end, std::min(file_bytes_ + presize_step, options_.segment_bytes));
    TRY(file_->resize(wanted));
    file_bytes_ = wanted;
    return ok();
}

Status LogWriter::write_batch(std::span<const EncodedEvent> events, Hlc first, Hlc last) {
    std::size_t length = batch_header_bytes;
    for (const auto& event : events) {
        length += event.framed();
    }
    TRY(make_room(length));
    BatchHeader header;
    header.uid = uid_;
    header.first_seq = position_.seq.next();
    header.first_hlc = first;
    header.last_hlc = last;
    header.synced_through = position_.end;
    header.previous = position_.hash;
    const Bytes bytes = encode_batch(header, events);
    const auto write = [&]() -> Status {
        TRY(reserve(position_.end.v + bytes.size()));
        TRY(file_->write_at(position_.end, bytes));
        return file_->sync();
    };
    if (auto done = write(); !done) {
        // Part of it may stand there: the next segment's header excludes it.
        broken_ = true;
        return done.error();
    }
    position_.end = Offset(position_.end.v + bytes.size());
    position_.seq = Seq(position_.seq.v + events.size());
    position_.hash = sha256(bytes);
    return ok();
}

Result<LogPosition> LogWriter::append(std::span<const events::Payload> payloads,
                                      std::vector<events::Event>* out) {
    std::size_t accepted = 0;
    std::vector<EncodedEvent> group;
    std::vector<Hlc> clocks;
    std::size_t group_bytes = batch_header_bytes;
    const auto flush = [&]() -> Status {
        if (group.empty()) {
            return ok();
        }
        auto done = write_batch(group, clocks.front(), clocks.back());
        if (!done) {
            return std::move(done).error().with(std::to_string(accepted) + " of " +
                                                std::to_string(payloads.size()) +
                                                " events accepted");
        }
        const std::uint64_t first = position_.seq.v - group.size() + 1;
        for (std::size_t i = 0; i < group.size(); ++i) {
            out->push_back({clocks[i], options_.writer, Seq(first + i), payloads[accepted + i]});
        }
        accepted += group.size();
        group.clear();
        clocks.clear();
        group_bytes = batch_header_bytes;
        return ok();
    };
    std::vector<std::pair<Hlc, EncodedEvent>> encoded;
    for (const auto& payload : payloads) {
        const Hlc hlc = tick();
        TRY_ASSIGN(auto bytes, events::encode(hlc, payload));
        encoded.emplace_back(hlc, EncodedEvent{events::type_id(payload), std::move(bytes)});
    }
    for (auto& [hlc, event] : encoded) {
        if (group_bytes + event.framed() > max_batch_bytes) {
            TRY(flush());
        }
        group_bytes += event.framed();
        group.push_back(std::move(event));
        clocks.push_back(hlc);
    }
    TRY(flush());
    return position_;
}

Status LogWriter::close() {
    if (!file_) {
        return Error{Code::io, "no segment is open that could be sealed"};
    }
    TRY(file_->resize(position_.end.v));
    file_bytes_ = position_.end.v;
    const Seal seal{uid_, position_.end, position_.seq, position_.hash, {}};
    TRY(file_->write_at(position_.end, encode_seal(seal, options_.identity.key)));
    return file_->sync();
}

}  // namespace reeve::eventlog
