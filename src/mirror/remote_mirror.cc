// One writer's mirror: from the share's files to the local ones.
//
//   in the slot's segment      batches up to the slot's durable end
//   in an earlier segment      its end is what the next segment's header says in `previous`
//   at that end                the next segment's header page, then its batches
//
// Three different things look alike: bytes that the share does not show yet (wait), bytes that a
// network client shows stale (read again with a fresh open), and bytes that are wrong (stop, tell).

#include "mirror/remote_mirror.h"

#include <algorithm>

#include "mirror/kept.h"

namespace reeve::mirror {
namespace {

constexpr std::uint64_t step_bytes = 4 << 20;  // more than the greatest batch
constexpr int reads_before_corrupt = 3;
constexpr int pulls_before_corrupt = 2;    // of batches that do not lead to what is signed
constexpr milliseconds pull_again{5'000};  // then they are written here once more

bool nothing(const eventlog::LogPosition& position) { return position.incarnation.v == 0; }

eventlog::LogPosition position_before(const SegmentHeader& header) {
    if (!header.previous) {
        return {};
    }
    const auto& before = *header.previous;
    return {before.id.incarnation, before.id.segment, before.end, before.seq, before.hash};
}

std::string head_path(const std::string& directory, Incarnation incarnation) {
    const auto name = file_name(SegmentId{incarnation, SegmentNo(0)});
    return directory + "/" + name.substr(0, name.find('-')) + ".head";
}

}  // namespace

RemoteMirror::RemoteMirror(env::Env env, share::LogShare& share, const MirrorOptions& options,
                           WriterId writer, bool keeps_slot)
    : env_(env),
      share_(share),
      options_(options),
      writer_(std::move(writer)),
      directory_(options.log_root + "/" + writer_.v),
      keeps_slot_(keeps_slot),
      cuts_(options.forks.of(writer_)) {}

Error RemoteMirror::corrupt(const SegmentId& id, Offset at, const std::string& why) const {
    return Error{Code::corrupt, "log/" + writer_.v + "/" + file_name(id) + " at offset " +
                                    std::to_string(at.v) + ": " + why};
}

Error RemoteMirror::fork(const SegmentId& id, Offset at, const std::string& why) const {
    auto error = corrupt(id, at, why + ": a fork");
    error.code = Code::conflict;
    return error;
}

Error RemoteMirror::unsupported(const SegmentId& id, Offset at, const std::string& why) const {
    auto out = corrupt(id, at, why + "; upgrade reeve on this node");
    out.code = Code::unsupported;
    return out;
}

Status RemoteMirror::load(const std::optional<eventlog::LogPosition>& removed_at) {
    TRY(env_.files.make_dirs(directory_));
    Kept kept;
    if (keeps_slot_) {
        TRY_ASSIGN(stored_, mirror::stored_slot(env_.files, directory_, options_.trust, writer_));
        TRY_ASSIGN(kept, look_at_mirror(env_.files, directory_, options_.trust, writer_, removed_at,
                                        cuts_));
    } else {
        TRY_ASSIGN(kept.end, recovered_end(env_.files, directory_, options_.trust, writer_, cuts_));
        kept.declared = kept.end;
    }
    end_ = kept.end;
    declared_ = kept.declared;
    if (!nothing(end_)) {
        TRY_ASSIGN(const auto header, eventlog::read_header(env_.files, directory_, current(),
                                                            options_.trust, writer_));
        key_ = header.certificate.key;
        serial_ = header.certificate.serial;
    }
    // The slot was stored after the bytes were synced: what is missing below it was lost since. A
    // file that ends too early is pulled on; bytes that do not verify are damage.
    TRY_ASSIGN(const bool damaged, kept.shortened ? bytes_behind_end() : Result<bool>(false));
    if (damaged) {
        return Error{Code::corrupt, directory_ + "/" + file_name(current()) + " at offset " +
                                        std::to_string(end_.end.v) +
                                        ": the local mirror is damaged below the end of its last "
                                        "slot, offset " +
                                        std::to_string(stored_->durable_end.v)};
    }
    TRY(drop_undeclared());
    loaded_ = true;
    return ok();
}

Status RemoteMirror::drop_undeclared() {
    if (end_ == declared_) {
        return ok();
    }
    CHECK(segment_of(end_) == segment_of(declared_));
    env_.telemetry.log(env::Level::warning, "mirror",
                       directory_ + "/" + file_name(current()) + ": " +
                           std::to_string(end_.end.v - declared_.end.v) +
                           " bytes that nobody has signed for are dropped");
    TRY_ASSIGN(auto file,
               env_.files.open(directory_ + "/" + file_name(current()), env::OpenMode::write));
    TRY(file->resize(declared_.end.v));
    TRY(file->sync());
    end_ = declared_;
    return ok();
}

Result<bool> RemoteMirror::bytes_behind_end() const {
    TRY_ASSIGN(const auto bytes,
               read_segment(env_.files, directory_, current(), end_.end, header_bytes));
    const auto seal = eventlog::decode_seal(bytes);
    if (seal && seal->end == end_.end && seal->hash == end_.hash) {
        return false;
    }
    return std::any_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b != 0; });
}

/// What leads nowhere is not kept, for the true batches have the same place. Stale bytes of a
/// network client look like it, so it is read again at once; then now and then.
Status RemoteMirror::pull(const eventlog::HeadSlot& slot, std::uint64_t budget) {
    const auto now = env_.clock.mono_now();
    if (misled_ && now < read_again_) {
        return *misled_;
    }
    misled_.reset();
    pulled_ = 0;
    for (int pulls = 1;; ++pulls) {
        auto done = walk_to(slot, budget);
        const bool misled =
            !done && end_ != declared_ &&
            (done.error().code == Code::conflict || done.error().code == Code::corrupt);
        if (!misled) {
            return done;
        }
        TRY(drop_undeclared());
        if (pulls == pulls_before_corrupt) {
            misled_ = corrupt(current(), end_.end,
                              "what is shared from there on does not lead to what its writer has "
                              "signed (" +
                                  done.error().message + ")");
            read_again_ = now + pull_again;
            return *misled_;
        }
    }
}

Status RemoteMirror::walk_to(const eventlog::HeadSlot& slot, std::uint64_t budget) {
    const auto there = eventlog::position_of(slot);
    while (end_ != there && pulled_ < budget) {
        TRY_ASSIGN(const auto done, step(slot));
        if (done == Step::waiting) {
            return ok();
        }
    }
    if (end_ != there) {
        return ok();
    }
    if (eventlog::verify_head(slot, options_.trust)) {  // else an operator has signed for it
        TRY(store_slot(slot));
    }
    declared_ = end_;
    return ok();
}

/// Behind the sync of what it declares, and before anybody reads that.
Status RemoteMirror::store_slot(const eventlog::HeadSlot& slot) {
    const bool same_place =
        !keeps_slot_ ||
        (stored_ && eventlog::position_of(*stored_) == eventlog::position_of(slot) &&
         stored_->certificate.serial == slot.certificate.serial);
    if (same_place) {
        return ok();  // a heartbeat moves nothing: no write for it
    }
    const auto path = head_path(directory_, slot.incarnation);
    TRY_ASSIGN(auto file, env_.files.open(path, env::OpenMode::create));
    TRY_ASSIGN(const auto size, file->size());
    TRY(eventlog::write_head(*file, slot));
    TRY(file->sync());
    if (size == 0) {
        TRY(env_.files.sync_dir(directory_));
    }
    stored_ = slot;
    return ok();
}

Result<RemoteMirror::Step> RemoteMirror::step(const eventlog::HeadSlot& slot) {
    const SegmentId target{slot.incarnation, slot.segment};
    if (!nothing(end_) && target < current()) {
        return fork(current(), end_.end, "HEAD declares an earlier segment than the mirror holds");
    }
    return !nothing(end_) && current() == target ? finish_segment(slot) : next_segment(slot);
}

Result<RemoteMirror::Step> RemoteMirror::finish_segment(const eventlog::HeadSlot& slot) {
    if (end_.end > slot.durable_end) {
        return fork(
            current(), slot.durable_end,
            "HEAD declares less than the mirror holds (" + std::to_string(end_.end.v) + ")");
    }
    if (end_.end == slot.durable_end) {
        return fork(current(), end_.end, "the last batch is not the one that HEAD declares");
    }
    return read_up_to(slot.durable_end);
}

Result<RemoteMirror::Step> RemoteMirror::next_segment(const eventlog::HeadSlot& slot) {
    const SegmentId target{slot.incarnation, slot.segment};
    TRY_ASSIGN(const auto names, share_.segments(writer_));
    std::optional<SegmentId> next;
    for (const auto& name : names) {
        const auto id = parse_file_name(name);
        const bool later = id && id != passed_over_ && (nothing(end_) || *id > current());
        if (later && *id <= target && (!next || *id < *next) &&
            cuts_.admits(id->incarnation, end_.seq.next())) {
            next = id;
        }
    }
    if (!next) {
        return Step::waiting;
    }
    std::string bad;
    for (int read = 0; read < reads_before_corrupt; ++read) {
        TRY_ASSIGN(const auto page, share_.get(writer_, file_name(*next), Offset(0), header_bytes));
        if (page.size() < header_bytes) {
            return Step::waiting;
        }
        const auto header = parse_header(page, options_.trust, writer_, *next);
        if (header) {
            return adopt(*next, page, *header);
        }
        if (header.error().code == Code::unsupported) {
            return unsupported(*next, Offset(0), header.error().message);
        }
        bad = header.error().message;
    }
    return corrupt(*next, Offset(0), bad);
}

Result<RemoteMirror::Step> RemoteMirror::adopt(const SegmentId& id, ByteView page,
                                               const SegmentHeader& header) {
    if (!nothing(end_) && eventlog::passes_over_empty(end_, position_before(header))) {
        return enter(id, page, header);
    }
    if (header.previous && header.previous->id < current() && end_.end == Offset(header_bytes)) {
        TRY_ASSIGN(const bool back, go_back(*header.previous));
        if (back) {
            return Step::moved;
        }
    }
    if (header.previous.has_value() == nothing(end_)) {
        if (header.previous) {
            return Step::waiting;  // what it continues is not shown yet
        }
        return fork(id, Offset(0), "its header begins a log that has already begun");
    }
    if (header.previous) {
        const auto& before = *header.previous;
        if (before.id > current()) {
            return Step::waiting;  // a segment between is not shown yet
        }
        if (before.id < current() || before.end < end_.end) {
            return fork(id, Offset(0),
                        "its header continues the log before the mirror's end " +
                            file_name(current()) + " offset " + std::to_string(end_.end.v));
        }
        if (before.end > end_.end) {
            return read_up_to(before.end);
        }
        if (before.seq != end_.seq || before.hash != end_.hash) {
            return fork(id, Offset(0), "its header continues another log than the mirror's");
        }
        TRY(copy_seal(current()));
    }
    return enter(id, page, header);
}

/// Where the mirror ends in a segment without events and the log goes on from behind a later place
/// of the one before: back to there, and past the empty one.
Result<bool> RemoteMirror::go_back(const Continuation& before) {
    const auto empty = current();
    TRY_ASSIGN(const auto header,
               eventlog::read_header(env_.files, directory_, empty, options_.trust, writer_));
    const auto& begun = header.previous;
    if (segment_of(begun) != before.id || begun.end >= before.end) {
        return false;
    }
    TRY_ASSIGN(const auto earlier,
               eventlog::read_header(env_.files, directory_, before.id, options_.trust, writer_));
    end_ = begun;
    declared_ = end_;
    key_ = earlier.certificate.key;
    serial_ = earlier.certificate.serial;
    passed_over_ = empty;
    return true;
}

Result<RemoteMirror::Step> RemoteMirror::enter(const SegmentId& id, ByteView page,
                                               const SegmentHeader& header) {
    if (!nothing(end_) && header.serial < serial_) {
        return corrupt(id, Offset(0), "it is signed with a key that was replaced before");
    }
    TRY(store(id, Offset(0), page));
    end_ = first_position(id, header);
    declared_ = end_;  // its writer has signed this page, and with it all before
    key_ = header.key;
    serial_ = header.serial;
    return Step::moved;
}

Result<RemoteMirror::Step> RemoteMirror::read_up_to(Offset limit) {
    std::string bad;
    for (int read = 0; read < reads_before_corrupt; ++read) {
        TRY_ASSIGN(const auto done, read_batches(limit, bad));
        if (done == Step::moved || bad.empty()) {
            return done;
        }
    }
    return corrupt(current(), end_.end, bad);
}

/// One read by a fresh open. `bad` tells why the first batch does not verify, empty when it is not
/// there yet.
Result<RemoteMirror::Step> RemoteMirror::read_batches(Offset limit, std::string& bad) {
    bad.clear();
    const auto wanted = std::min(limit.v - end_.end.v, step_bytes);
    auto bytes = share_.get(writer_, file_name(current()), end_.end, wanted);
    if (!bytes) {
        if (bytes.error().code == Code::not_found) {
            return Step::waiting;
        }
        return bytes.error();
    }
    const auto walk = walk_batches(*bytes, end_, options_.trust.cluster(), writer_);
    if (walk.taken > 0) {
        TRY(store(current(), end_.end, ByteView(*bytes).first(walk.taken)));
        end_ = walk.end;
        return Step::moved;
    }
    if (walk.unsupported) {
        return unsupported(current(), end_.end, walk.bad);
    }
    bad = walk.bad;
    if (bad.empty() && bytes->size() == wanted) {
        bad = "a batch reaches beyond the declared end";
    }
    return Step::waiting;
}

Status RemoteMirror::store(const SegmentId& id, Offset at, ByteView bytes) {
    // A segment that was archived is whole: only its first page makes a file.
    const auto mode = at.v == 0 ? env::OpenMode::create : env::OpenMode::write;
    TRY_ASSIGN(auto file, env_.files.open(directory_ + "/" + file_name(id), mode));
    TRY(file->write_at(at, bytes));
    TRY(file->sync());
    if (at.v == 0) {
        TRY(env_.files.sync_dir(directory_));
    }
    pulled_ += bytes.size();
    return ok();
}

/// The seal of a finished segment, where the share shows one; a segment that ended with its process
/// has none.
Status RemoteMirror::copy_seal(const SegmentId& id) {
    if (!env_.files.info(directory_ + "/" + file_name(id))) {
        return ok();  // archived, and with it what it has of a seal
    }
    TRY_ASSIGN(const auto bytes,
               share_.get(writer_, file_name(id), end_.end, eventlog::seal_bytes));
    const auto seal = eventlog::decode_seal(bytes);
    if (seal && seal->end == end_.end && seal->hash == end_.hash &&
        eventlog::seal_is_signed(bytes, *seal, key_, options_.trust)) {
        TRY(store(id, end_.end, bytes));
    }
    return ok();
}

}  // namespace reeve::mirror
