// Pusher: the own log, from the local disk to the share.
//
//   look at the own HEAD     foreign tag, later incarnation: replaced; older than written: rolled
//   back own segments             from the accepted end back along `previous` of each header
//   compare (when doubted)   shorter: share again from there; different: quarantine, share whole
//   anew put                      same bytes, same offsets, synced HEAD                     its tag
//   is durable locally before it is written
//
// Everything is repeated from what stands on the disk and on the share; a step that fails makes the
// next one doubt what it knew.

#include <algorithm>
#include <set>

#include "base/text.h"
#include "eventlog/archive.h"
#include "mirror/mirror.h"
#include "mirror/repair.h"
#include "mirror/segments.h"
#include "mirror/tag_book.h"

namespace reeve::mirror {
namespace {

constexpr std::size_t chunk_bytes = 4 << 20;

/// Bytes [0, limit) of a file in the own log directory are to be shared.
struct OwnSegment {
    std::string name;
    std::uint64_t limit = 0;
};

std::string where(const eventlog::HeadSlot& slot) {
    return slot.host.empty() ? "an unnamed machine" : valid_utf8(slot.host);
}

/// What is known of the share's copy before anything is put.
enum class Doubt : std::uint8_t {
    none,
    lengths,  // a call failed: what it did is not known
    bytes,    // the first step of a run, or the share was rolled back
};

}  // namespace

struct Pusher::State {
    State(env::Env environment, share::LogShare& log_share, MirrorOptions with)
        : env(environment),
          share(log_share),
          options(std::move(with)),
          directory(options.log_root + "/" + options.self.v),
          tags(env.files, env.entropy, directory + "/head.tags", options.incarnation) {}

    Result<eventlog::HeadSlot> push(const eventlog::LogPosition& accepted, Hlc hlc, bool heartbeat);
    Status begin();
    Status look_at_head(bool thorough);
    Status adopt(const std::optional<eventlog::HeadSlot>& slot);
    void notice_rollback(const std::optional<eventlog::HeadSlot>& slot);
    Error replaced(const std::string& why) const;
    Result<std::vector<OwnSegment>> own_segments(const eventlog::LogPosition& accepted);
    Status compare(const OwnSegment& segment);
    Result<bool> same_bytes(const OwnSegment& segment, std::uint64_t length);
    Result<bool> is_fork(const OwnSegment& segment);
    Status set_aside(const OwnSegment& segment, const std::string& why);
    Status put_rest(const OwnSegment& segment);
    Status declare(const eventlog::LogPosition& accepted, Hlc hlc);
    bool declares(const eventlog::LogPosition& accepted) const;
    const eventlog::Cuts& cuts() const { return options.forks.of(options.self); }
    bool goes_on_behind(const OwnSegment& segment) const;
    Status claim();
    Status expect_in_history(const eventlog::HeadSlot& slot);
    Status compare_batch(const eventlog::Batch& batch);
    void scrub_step();
    bool mend_own(const eventlog::LogPosition& accepted);
    Result<Bytes> read_own(const std::string& name, std::uint64_t at, std::uint64_t n);
    void note(std::string kind, std::string detail) {
        notices.push_back({std::move(kind), options.self.v, std::move(detail)});
    }

    env::Env env;
    share::LogShare& share;
    MirrorOptions options;
    std::string directory;
    TagBook tags;
    bool begun = false;
    Doubt doubt = Doubt::bytes;
    std::map<std::string, std::uint64_t> shared;  // segment file -> bytes that stand on the share
    std::set<std::string> complete;               // segments whose predecessors are all shared
    std::uint64_t counter = 0;                    // the greatest that this run used
    std::optional<eventlog::HeadSlot> declared;   // the last that certainly stands there
    std::optional<eventlog::HeadSlot> pending;    // written, outcome not known
    bool claimed = false;  // the incarnation is ours on the share, as far as it shows now
    bool rollback_noticed = false;
    std::optional<LogScrub> scrub;
    MonoTime next_scrub;
    std::vector<Notice> notices;
};

Status Pusher::State::begin() {
    if (begun) {
        return ok();
    }
    if (auto loaded = tags.load(); !loaded) {
        if (loaded.error().code != Code::corrupt && loaded.error().code != Code::full) {
            return loaded;
        }
        // Only tags of the own incarnation matter, and a damaged book means that it is just
        // beginning.
        note("log.head_tags_lost", loaded.error().message);
    }
    counter = tags.greatest_reserved();
    begun = true;
    return ok();
}

/// An earlier run's HEAD that is no part of this log is another process's, which went on from an
/// earlier end than ours.
Status Pusher::State::expect_in_history(const eventlog::HeadSlot& slot) {
    TRY_ASSIGN(auto reader,
               eventlog::LogReader::open(env.files, directory, options.trust, options.self));
    const auto found = reader.seek(eventlog::position_of(slot));
    if (!found && (found.error().code == Code::conflict || found.error().code == Code::not_found)) {
        return replaced("incarnation " + std::to_string(slot.incarnation.v) + " on " + where(slot) +
                        " went on without events that only this disk has");
    }
    return found;
}

/// A run that began without the share took a number unasked: now it asks. After a rollback the
/// claim is gone and is made again.
Status Pusher::State::claim() {
    if (claimed) {
        return ok();
    }
    TRY_ASSIGN(const auto slot, share.head(options.self));
    const bool cut = slot && !cuts().admits(slot->incarnation, slot->last_seq);
    if (slot && slot->incarnation < options.incarnation && !cut) {
        TRY(expect_in_history(*slot));
    }
    TRY_ASSIGN(const auto holder,
               share.claim_incarnation(options.self, options.incarnation, options.nonce));
    if (holder != options.nonce) {
        return replaced("another process holds this incarnation");
    }
    claimed = true;
    return ok();
}

Error Pusher::State::replaced(const std::string& why) const {
    return Error{Code::replaced, options.self.v + " of incarnation " +
                                     std::to_string(options.incarnation.v) +
                                     " was replaced: " + why};
}

Status Pusher::State::look_at_head(bool thorough) {
    TRY_ASSIGN(const auto slot, share.head(options.self));
    const bool of_an_old_key =
        slot && slot->certificate.serial < options.identity.certificate.serial;
    if (slot && !of_an_old_key && slot->incarnation > options.incarnation) {
        return replaced("incarnation " + std::to_string(slot->incarnation.v) + " shares, on " +
                        where(*slot));
    }
    if (thorough) {
        TRY_ASSIGN(const auto greatest, share.greatest_incarnation(options.self));
        if (greatest > options.incarnation) {
            return replaced("incarnation " + std::to_string(greatest.v) +
                            " is claimed on the share");
        }
    }
    const bool of_this_run = slot && slot->incarnation == options.incarnation;
    if (of_this_run && slot->nonce != options.nonce) {
        return replaced("another process shares this incarnation, on " + where(*slot));
    }
    // An unknown tag below the own counter is older than the book reaches: a rollback, not a clone.
    const bool old = slot && declared && slot->counter < declared->counter;
    if (of_this_run && !old && !tags.knows(slot->tag)) {
        return replaced("a copy of this process shares, on " + where(*slot));
    }
    return adopt(of_this_run ? slot : std::nullopt);
}

/// `slot`: the own HEAD of this incarnation as it stands there.
Status Pusher::State::adopt(const std::optional<eventlog::HeadSlot>& slot) {
    if (!slot && !declared) {
        return ok();
    }
    if (declared && (!slot || slot->counter < declared->counter)) {
        notice_rollback(slot);
        return ok();
    }
    if (pending && slot->tag == pending->tag) {
        pending.reset();
    }
    if (!declared) {
        // A task that was restarted within the run. The next slot must not fall on this one.
        counter = std::max(counter, slot->counter);
        counter += (counter + 1) % 2 == slot->counter % 2 ? 1U : 0U;
    }
    declared = slot;
    return ok();
}

void Pusher::State::notice_rollback(const std::optional<eventlog::HeadSlot>& slot) {
    doubt = Doubt::bytes;
    claimed = false;
    pending.reset();
    if (rollback_noticed) {
        return;
    }
    rollback_noticed = true;
    note(rolled_back, "HEAD was written up to counter " + std::to_string(declared->counter) +
                          ", the share shows " +
                          (slot ? std::to_string(slot->counter) : std::string("none")) +
                          "; the own log is shared again");
}

Result<Bytes> Pusher::State::read_own(const std::string& name, std::uint64_t at, std::uint64_t n) {
    TRY_ASSIGN(auto out, read_segment(env.files, directory, *parse_file_name(name), Offset(at), n));
    if (out.size() != n) {
        return Error{Code::corrupt, directory + "/" + name + " at offset " + std::to_string(at) +
                                        ": only " + std::to_string(out.size()) + " of " +
                                        std::to_string(n) + " bytes are there"};
    }
    return out;
}

/// Newest first, back to the first one whose predecessors are known to be shared whole.
Result<std::vector<OwnSegment>> Pusher::State::own_segments(const eventlog::LogPosition& accepted) {
    std::vector<OwnSegment> out;
    SegmentId id{accepted.incarnation, accepted.segment};
    OwnSegment segment{file_name(id), accepted.end.v};
    for (;;) {
        out.push_back(segment);
        if (complete.contains(segment.name)) {
            return out;
        }
        TRY_ASSIGN(const auto page, read_own(segment.name, 0, header_bytes));
        TRY_ASSIGN(const auto header, parse_header(page, options.trust, options.self, id));
        if (!header.previous) {
            return out;
        }
        id = header.previous->id;
        segment = OwnSegment{file_name(id), header.previous->end.v};
        const auto info = eventlog::segment_path(env.files, directory, id);
        if (!info && info.error().code == Code::not_found) {
            return out;  // older than the local retention: what was shared of it stays as it is
        }
        if (!info) {
            return info.error();
        }
        TRY_ASSIGN(segment.limit, end_with_seal(env.files, directory, *header.previous));
    }
}

/// What the share holds behind it is a side of a fork, which an operator has cut off.
bool Pusher::State::goes_on_behind(const OwnSegment& segment) const {
    const auto& decisions = cuts().decisions();
    return std::any_of(decisions.begin(), decisions.end(), [&](const auto& one) {
        const auto& at = one.second.at;
        return file_name(segment_of(at)) == segment.name && at.end.v == segment.limit;
    });
}

Status Pusher::State::compare(const OwnSegment& segment) {
    const auto stands = share.length(options.self, segment.name);
    if (!stands && stands.error().code == Code::corrupt) {
        return set_aside(segment, "is a damaged archive");
    }
    TRY_ASSIGN(auto length, stands);
    if (length && goes_on_behind(segment)) {
        length = std::min(*length, segment.limit);
    }
    const auto known = shared.find(segment.name);
    if (!length) {
        shared[segment.name] = 0;
        return ok();
    }
    if (*length > segment.limit) {
        TRY_ASSIGN(const bool forked, is_fork(segment));
        if (forked) {
            return replaced("the share holds more events signed with our key, in " + segment.name);
        }
        return set_aside(segment, "is longer than the own log");
    }
    if (doubt == Doubt::bytes) {
        TRY_ASSIGN(const bool same, same_bytes(segment, *length));
        if (!same) {
            TRY_ASSIGN(const bool forked, is_fork(segment));
            if (forked) {
                return replaced("the share holds other events signed with our key, in " +
                                segment.name);
            }
            return set_aside(segment, "differs from the own log");
        }
        shared[segment.name] = *length;
        return ok();
    }
    // Bytes that a failed call wrote may be there or not: they are put again.
    shared[segment.name] = known == shared.end() ? 0 : std::min(known->second, *length);
    return ok();
}

Result<bool> Pusher::State::same_bytes(const OwnSegment& segment, std::uint64_t length) {
    for (std::uint64_t at = 0; at < length; at += chunk_bytes) {
        const auto n = std::min<std::uint64_t>(chunk_bytes, length - at);
        TRY_ASSIGN(const auto ours, read_own(segment.name, at, n));
        const auto stands = share.get(options.self, segment.name, Offset(at), n);
        if (!stands && stands.error().code == Code::corrupt) {
            return false;  // an archive that is damaged there
        }
        TRY_ASSIGN(const auto theirs, stands);
        if (theirs.size() < n) {
            return Error{Code::io, segment.name + " became shorter while it was compared"};
        }
        if (ours != theirs) {
            return false;
        }
    }
    return true;
}

/// Whether what differs is whole, and signed by us: then a copy of this writer wrote it, and
/// nothing of it may be put away silently.
Result<bool> Pusher::State::is_fork(const OwnSegment& segment) {
    const auto id = *parse_file_name(segment.name);
    const auto stands = share.get(options.self, segment.name, Offset(0), header_bytes);
    if (!stands && stands.error().code == Code::corrupt) {
        return false;
    }
    TRY_ASSIGN(const auto page, stands);
    const auto header = parse_header(page, options.trust, options.self, id);
    if (!header) {
        return false;
    }
    TRY_ASSIGN(const auto own_page, read_own(segment.name, 0, header_bytes));
    if (page != own_page) {
        return true;
    }
    auto at = first_position(id, *header);
    for (;;) {
        const auto batches = share.get(options.self, segment.name, at.end, chunk_bytes);
        if (!batches && batches.error().code == Code::corrupt) {
            return false;
        }
        TRY_ASSIGN(const auto theirs, batches);
        const auto walk = walk_batches(theirs, at, options.trust.cluster(), options.self);
        if (walk.taken == 0) {
            return false;
        }
        const auto common = std::min<std::uint64_t>(walk.taken, segment.limit - at.end.v);
        TRY_ASSIGN(const auto ours, read_own(segment.name, at.end.v, common));
        const auto own = walk_batches(ours, at, options.trust.cluster(), options.self);
        const bool differs = !std::equal(ours.begin(), ours.end(), theirs.begin());
        if (differs && own.taken < common) {
            return Error{Code::corrupt, directory + "/" + segment.name + " at offset " +
                                            std::to_string(own.end.end.v) +
                                            ": the own log does not verify: " + own.bad};
        }
        if (differs || common < walk.taken) {
            return true;
        }
        at = walk.end;
    }
}

Status Pusher::State::set_aside(const OwnSegment& segment, const std::string& why) {
    TRY_ASSIGN(const auto where, share.quarantine(options.self, segment.name));
    note("log.quarantined", "the shared " + segment.name + " " + why + "; it was moved to " +
                                where + " and is shared anew");
    shared[segment.name] = 0;
    return ok();
}

Status Pusher::State::put_rest(const OwnSegment& segment) {
    auto& done = shared[segment.name];
    while (done < segment.limit) {
        const auto n = std::min<std::uint64_t>(chunk_bytes, segment.limit - done);
        TRY_ASSIGN(const auto bytes, read_own(segment.name, done, n));
        TRY(share.put(options.self, segment.name, Offset(done), bytes));
        done += n;
    }
    return ok();
}

bool Pusher::State::declares(const eventlog::LogPosition& accepted) const {
    return declared && declared->segment == accepted.segment &&
           declared->durable_end == accepted.end && declared->last_hash == accepted.hash;
}

Status Pusher::State::declare(const eventlog::LogPosition& accepted, Hlc hlc) {
    if (pending) {
        // The same slot again, not the next one: the other slot may be the only one that is whole.
        TRY(share.declare(*pending));
        declared = *std::exchange(pending, std::nullopt);
    }
    eventlog::HeadSlot slot;
    slot.counter = counter + 1;
    const auto tag = tags.tag_of(slot.counter);
    if (!tag) {
        if (tag.error().code == Code::full) {
            note(own_disk_full, tag.error().message);
        }
        return tag.error();
    }
    slot.tag = *tag;
    slot.writer = options.self;
    slot.incarnation = options.incarnation;
    slot.nonce = options.nonce;
    slot.segment = accepted.segment;
    slot.durable_end = accepted.end;
    slot.last_seq = accepted.seq;
    slot.last_hash = accepted.hash;
    slot.hlc = hlc;
    slot.host = options.host;
    eventlog::sign(slot, options.identity);
    counter = slot.counter;
    pending = slot;
    TRY(share.declare(slot));
    declared = slot;
    pending.reset();
    rollback_noticed = false;
    return ok();
}

Result<eventlog::HeadSlot> Pusher::State::push(const eventlog::LogPosition& accepted, Hlc hlc,
                                               bool heartbeat) {
    if (accepted.incarnation != options.incarnation) {
        return Error{Code::invalid, "the accepted end is not of this incarnation"};
    }
    TRY(begin());
    TRY(look_at_head(heartbeat || !declared));
    TRY(claim());
    if (doubt == Doubt::none && !pending && !heartbeat && declares(accepted)) {
        return *declared;
    }
    if (doubt != Doubt::none) {
        complete.clear();
    }
    TRY_ASSIGN(auto segments, own_segments(accepted));
    std::reverse(segments.begin(), segments.end());
    if (doubt != Doubt::none) {
        for (const auto& segment : segments) {
            TRY(compare(segment));
        }
    }
    for (const auto& segment : segments) {
        TRY(put_rest(segment));
        complete.insert(segment.name);
    }
    doubt = Doubt::none;
    TRY(declare(accepted, hlc));
    return *declared;
}

Status Pusher::State::compare_batch(const eventlog::Batch& batch) {
    const auto name = file_name(segment_of(batch.position_after));
    const auto theirs = share.get(options.self, name, batch.at, batch.raw.size());
    if (!theirs && theirs.error().code != Code::not_found && theirs.error().code != Code::corrupt) {
        return theirs.error();
    }
    if ((!theirs || *theirs != batch.raw) && doubt != Doubt::bytes) {
        note("log.corrupt", "the shared " + name + " at offset " + std::to_string(batch.at.v) +
                                " is not what was written there; all of it is compared");
        doubt = Doubt::bytes;
    }
    return ok();
}

/// The own log was found damaged: read whole, and what another copy can mend is mended.
bool Pusher::State::mend_own(const eventlog::LogPosition& accepted) {
    const auto source = [this](const std::string& name, Offset at, std::size_t most) {
        return share.get(options.self, name, at, most);
    };
    LogScrub whole(env,
                   LocalLog{directory, options.self, options.trust, segment_of(accepted), {}, true},
                   source);
    for (;;) {
        const auto ended = whole.step(accepted, chunk_bytes, notices);
        if (!ended) {
            env.telemetry.log(env::Level::error, "mirror", ended.error().message);
            return false;
        }
        if (*ended) {
            return true;
        }
    }
}

/// The own log, read again from the local disk, and what the share has of it.
void Pusher::State::scrub_step() {
    const auto now = env.clock.mono_now();
    if (now < next_scrub || !declared || doubt != Doubt::none) {
        return;
    }
    next_scrub = now + options.scrub_interval;
    const auto limit = eventlog::position_of(*declared);
    if (!scrub) {
        const auto source = [this](const std::string& name, Offset at, std::size_t most) {
            return share.get(options.self, name, at, most);
        };
        const auto look = [this](const eventlog::Batch& batch) { return compare_batch(batch); };
        scrub.emplace(
            env, LocalLog{directory, options.self, options.trust, segment_of(limit), look, true},
            source);
    }
    scrub->set_live(segment_of(limit));
    const auto done = scrub->step(limit, options.scrub_bytes, notices);
    if (!done && done.error().code == Code::corrupt) {
        env.telemetry.log(env::Level::error, "mirror", done.error().message);
    }
}

Pusher::Pusher(env::Env env, share::LogShare& share, MirrorOptions options)
    : state_(std::make_shared<State>(env, share, std::move(options))) {}

Result<eventlog::HeadSlot> Pusher::push(const eventlog::LogPosition& accepted, Hlc hlc,
                                        bool heartbeat) {
    auto slot = state_->push(accepted, hlc, heartbeat);
    if (!slot && slot.error().code == Code::corrupt && state_->mend_own(accepted)) {
        slot = state_->push(accepted, hlc, heartbeat);
    }
    if (!slot && state_->doubt == Doubt::none) {
        state_->doubt = Doubt::lengths;
    }
    return slot;
}

Result<bool> Pusher::head_is_ours() {
    TRY_ASSIGN(const auto slot, state_->share.head(state_->options.self));
    return slot && state_->declared && slot->incarnation == state_->options.incarnation &&
           slot->tag == state_->declared->tag;
}

void Pusher::doubt_shared() { state_->doubt = Doubt::bytes; }

void Pusher::scrub() { state_->scrub_step(); }

std::vector<Notice> Pusher::take_notices() { return std::exchange(state_->notices, {}); }

}  // namespace reeve::mirror
