#include "mirror/archiver.h"

#include <algorithm>

#include "eventlog/archive.h"
#include "mirror/segments.h"

namespace reeve::mirror {
namespace {

constexpr std::size_t most_in_a_batch = 64;
constexpr std::size_t chunk_bytes = 4 << 20;
constexpr milliseconds patience{60'000};  // for the word that a batch stands in the log

}  // namespace

Archiver::Archiver(env::Env env, share::LogShare& share, share::LogArchive* shared_archive,
                   std::string log_root, eventlog::Trust trust, WriterId self)
    : env_(env),
      share_(share),
      shared_archive_(shared_archive),
      trust_(trust),
      self_(self),
      due_segments_(env.files, shared_archive, std::move(log_root), std::move(trust),
                    std::move(self)) {}

void Archiver::say(const Error& error) {
    if (error.message != said_) {
        said_ = error.message;
        env_.telemetry.log(env::Level::warning, "archive", error.message);
    }
}

void Archiver::begin(ArchiveLimits limits) {
    if (under_way_ || limits.over_before_ms <= 0) {
        return;
    }
    limits_ = std::move(limits);
    auto found = due_segments_.places(limits_);
    if (!found) {
        say(found.error());
        return;
    }
    places_ = std::move(*found);
    under_way_ = true;
}

std::optional<ArchiveBatch> Archiver::step() {
    if (waiting_) {
        if (env_.clock.mono_now() - told_at_ > patience) {
            waiting_ = false;  // what was made stands: the next round tells it again
            made_.clear();
        }
        return std::nullopt;
    }
    if (!going_.empty()) {
        const auto id = going_.back();
        going_.pop_back();
        if (auto dropped = drop(place_, id); !dropped) {
            say(dropped.error());
        }
        return std::nullopt;
    }
    if (!under_way_) {
        return std::nullopt;
    }
    if (!due_.empty() && made_.size() < most_in_a_batch) {
        make_one();
        return std::nullopt;
    }
    if (!made_.empty()) {
        batch_.number = ++told_;
        told_at_ = env_.clock.mono_now();
        waiting_ = true;
        return batch_;
    }
    enter_next();
    return std::nullopt;
}

void Archiver::go(std::uint64_t number) {
    if (waiting_ && number == told_) {
        waiting_ = false;
        going_ = std::exchange(made_, {});
        std::reverse(going_.begin(), going_.end());
    }
}

void Archiver::enter_next() {
    if (places_.empty()) {
        under_way_ = false;
        return;
    }
    place_ = places_.back();
    places_.pop_back();
    auto found = due_segments_.in(place_, limits_);
    if (!found || found->failed) {
        say(found ? *found->failed : found.error());
    }
    due_ = found ? std::move(found->due) : std::vector<DueSegment>{};
    std::reverse(due_.begin(), due_.end());
}

void Archiver::make_one() {
    const auto due = due_.back();
    due_.pop_back();
    const auto made = archive(place_, due);
    if (!made) {
        say(made.error());
        return;
    }
    if (made_.empty()) {
        batch_ = {0, place_.writer, place_.shared, file_name(due.id), "", 0, 0, 0};
    }
    batch_.last = file_name(due.id);
    ++batch_.segments;
    batch_.plain_bytes += made->plain_bytes;
    batch_.archive_bytes += made->archive_bytes;
    made_.push_back(due.id);
}

/// Every batch up to the end that the next segment names: damage is mended before it is archived.
Status Archiver::verify(const WriterId& writer, const eventlog::SegmentHeader& header,
                        const eventlog::LogPosition& end) {
    TRY_ASSIGN(auto reader,
               eventlog::LogReader::open(env_.files, directory(writer), trust_, writer));
    reader.set_tail(eventlog::Tail::mirrors);
    TRY(reader.seek(eventlog::first_position(header)));
    for (;;) {
        TRY_ASSIGN(const auto batch, reader.next(end));
        if (!batch) {
            break;
        }
    }
    return reader.position() == end
               ? ok()
               : Status(Error{Code::corrupt, directory(writer) + "/" + file_name(segment_of(end)) +
                                                 " does not lead to where its successor begins"});
}

Result<eventlog::Archived> Archiver::archive(const ArchivePlace& place, const DueSegment& due) {
    if (place.shared) {
        TRY(expect_shared(place.writer, due));
        return shared_archive_->archive(place.writer, file_name(due.id), due.bytes, self_);
    }
    TRY_ASSIGN(const auto header, eventlog::read_header(env_.files, directory(place.writer), due.id,
                                                        trust_, place.writer));
    TRY_ASSIGN(const auto all, eventlog::list_segments(env_.files, directory(place.writer)));
    TRY_ASSIGN(const auto after, eventlog::successor_of(env_.files, directory(place.writer), all,
                                                        due.id, trust_, place.writer));
    if (after) {
        TRY(verify(place.writer, header, after->previous));
        return eventlog::make_archive(env_.files, directory(place.writer), due.id, due.bytes);
    }
    return Error{Code::corrupt, "nothing continues " + file_name(due.id) + " any more"};
}

/// The shared copy is what the own disk holds, which was verified when it was archived there.
Status Archiver::expect_shared(const WriterId& writer, const DueSegment& due) {
    const auto name = file_name(due.id);
    for (std::uint64_t at = 0; at < due.bytes; at += chunk_bytes) {
        const auto n =
            static_cast<std::size_t>(std::min<std::uint64_t>(chunk_bytes, due.bytes - at));
        TRY_ASSIGN(const auto ours,
                   read_segment(env_.files, directory(writer), due.id, Offset(at), n));
        TRY_ASSIGN(const auto theirs, share_.get(writer, name, Offset(at), n));
        if (ours.size() != n || ours != theirs) {
            return Error{Code::conflict, "the shared " + name + " is not what this disk holds"};
        }
    }
    return ok();
}

Status Archiver::drop(const ArchivePlace& place, const eventlog::SegmentId& id) {
    return place.shared ? shared_archive_->drop_plain(place.writer, file_name(id))
                        : eventlog::drop_plain(env_.files, directory(place.writer), id);
}

}  // namespace reeve::mirror
