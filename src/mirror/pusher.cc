// Pusher: the own log, from the local disk to the share, in steps.
//
//   look at the own HEAD     foreign tag, later incarnation: replaced; older than written: rolled
//                            back
//   bring the share up       own_share.h: missing bytes are put, different ones set aside, a
//   bounded
//                            amount a step
//   declare                  when all of it stands there: HEAD, its tag durable locally before it
//   is
//                            written; meanwhile a heartbeat declares once more what was declared
//
// Everything is repeated from what stands on the disk and on the share; a step that fails makes the
// next one doubt what it knew.

#include <algorithm>

#include "base/text.h"
#include "mirror/mirror.h"
#include "mirror/own_share.h"
#include "mirror/repair.h"
#include "mirror/segments.h"
#include "mirror/tag_book.h"

namespace reeve::mirror {
namespace {

constexpr milliseconds compare_retry{1'000};

using Doubt = OwnShare::Doubt;

constexpr std::size_t window_bytes = 64 * 1024;

std::string where(const eventlog::HeadSlot& slot) {
    return slot.host.empty() ? "an unnamed machine" : valid_utf8(slot.host);
}

}  // namespace

struct Pusher::State {
    State(env::Env environment, share::LogShare& log_share, MirrorOptions with)
        : env(environment),
          share(log_share),
          options(std::move(with)),
          directory(options.log_root + "/" + options.self.v),
          tags(env.files, env.entropy, directory + "/head.tags", options.incarnation),
          own(env, share, options, notices) {}

    using Pushed = Result<std::optional<eventlog::HeadSlot>>;
    Pushed push(const eventlog::LogPosition& accepted, Hlc hlc, bool heartbeat);
    Pushed push_on(const eventlog::LogPosition& accepted, Hlc hlc, bool heartbeat);
    Status bring_up_to(const eventlog::LogPosition& accepted);
    Status begin();
    Status look_at_head(bool thorough);
    Status adopt(const std::optional<eventlog::HeadSlot>& slot);
    void notice_rollback(const std::optional<eventlog::HeadSlot>& slot);
    Error replaced(const std::string& why) const;
    bool counts(const eventlog::HeadSlot& slot) const;
    Status declare(const eventlog::LogPosition& accepted, Hlc hlc);
    bool declares(const eventlog::LogPosition& accepted) const;
    const eventlog::Cuts& cuts() const { return options.forks.of(options.self); }
    Status claim();
    Status expect_in_history(const eventlog::HeadSlot& slot);
    Status compare_batch(const eventlog::Batch& batch);
    Result<Bytes> shared(const std::string& name, Offset at, std::size_t bytes);
    void scrub_step();
    void compare_step();
    Result<bool> mend_own(const eventlog::LogPosition& accepted);
    void note(std::string kind, std::string detail) {
        notices.push_back({std::move(kind), options.self.v, std::move(detail)});
    }

    env::Env env;
    share::LogShare& share;
    MirrorOptions options;
    std::string directory;
    TagBook tags;
    bool begun = false;
    std::uint64_t counter = 0;                   // the greatest that this run used
    std::optional<eventlog::HeadSlot> declared;  // the last that certainly stands there
    std::optional<eventlog::HeadSlot> pending;   // written, outcome not known
    std::optional<eventlog::LogPosition> shown;  // what HEAD on the share declares, of our history
    bool claimed = false;  // the incarnation is ours on the share, as far as it shows now
    bool rollback_noticed = false;
    std::optional<std::uint64_t> rolled_back_to;  // the counter that the share showed then
    bool busy = false;                            // a step ended before its work did
    std::optional<Error> finding;                 // by a comparison
    MonoTime compare_again;
    std::optional<LogScrub> mending;  // of the own log, which was found damaged
    std::optional<LogScrub> scrub;
    MonoTime next_scrub;
    struct {
        std::string name;
        Offset at;
        Bytes bytes;
    } window;  // of the own log on the share, while it is compared
    std::vector<Notice> notices;
    OwnShare own;
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
    TRY_ASSIGN(const auto slot, share.head(options.self, options.identity.certificate.serial));
    const bool cut = slot && !cuts().admits(slot->incarnation, slot->last_seq);
    if (slot && counts(*slot) && slot->incarnation < options.incarnation && !cut) {
        TRY(expect_in_history(*slot));
        shown = eventlog::position_of(*slot);
    }
    TRY_ASSIGN(const auto holder,
               share.claim_incarnation(options.self, options.incarnation, options.nonce));
    if (holder != options.nonce) {
        return replaced("another process holds this incarnation");
    }
    claimed = true;
    return ok();
}

/// A HEAD of a key that had been replaced before this log went on declares nothing of it.
bool Pusher::State::counts(const eventlog::HeadSlot& slot) const {
    const auto least = declared ? options.identity.certificate.serial : options.serial_before;
    return slot.certificate.serial >= least;
}

Error Pusher::State::replaced(const std::string& why) const {
    return Error{Code::replaced, options.self.v + " of incarnation " +
                                     std::to_string(options.incarnation.v) +
                                     " was replaced: " + why};
}

Status Pusher::State::look_at_head(bool thorough) {
    TRY_ASSIGN(const auto slot, share.head(options.self, options.identity.certificate.serial));
    if (slot && counts(*slot) && slot->incarnation > options.incarnation) {
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
    const bool of_this_run = slot && counts(*slot) && slot->incarnation == options.incarnation;
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
    if (own.settled() || !shown) {
        shown = eventlog::position_of(*slot);
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
    const auto counter_there = slot ? slot->counter : 0;
    if (rolled_back_to == counter_there) {
        return;  // it is being shared again
    }
    rolled_back_to = counter_there;
    own.doubt(Doubt::bytes);
    shown = slot ? std::optional(eventlog::position_of(*slot)) : std::nullopt;
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
    eventlog::sign(slot, options.identity, options.trust);
    counter = slot.counter;
    pending = slot;
    TRY(share.declare(slot));
    declared = slot;
    pending.reset();
    rollback_noticed = false;
    rolled_back_to.reset();
    return ok();
}

Status Pusher::State::bring_up_to(const eventlog::LogPosition& accepted) {
    const auto whole = own.bring_up_to(accepted, shown, options.step_bytes);
    if (!whole) {
        return whole.error().code == Code::replaced ? replaced(whole.error().message)
                                                    : whole.error();
    }
    busy = !*whole;
    return ok();
}

Pusher::State::Pushed Pusher::State::push(const eventlog::LogPosition& accepted, Hlc hlc,
                                          bool heartbeat) {
    if (accepted.incarnation != options.incarnation) {
        return Error{Code::invalid, "the accepted end is not of this incarnation"};
    }
    busy = false;
    TRY(begin());
    TRY(look_at_head(heartbeat || !declared));
    TRY(claim());
    if (own.settled() && !pending && !heartbeat && declares(accepted)) {
        return declared;
    }
    TRY(bring_up_to(accepted));
    if (!busy) {
        TRY(declare(accepted, hlc));
        return declared;
    }
    if (!heartbeat || !declared) {
        return std::optional<eventlog::HeadSlot>();
    }
    // What was declared before, as a sign of life: who does not hold it yet waits for it.
    TRY(declare(eventlog::position_of(*declared), declared->hlc));
    return declared;
}

/// Damage of the own log is mended first, a step at a time.
Pusher::State::Pushed Pusher::State::push_on(const eventlog::LogPosition& accepted, Hlc hlc,
                                             bool heartbeat) {
    if (finding && finding->code == Code::replaced) {
        return replaced(finding->message);
    }
    auto slot = finding   ? Pushed(*std::exchange(finding, std::nullopt))
                : mending ? Pushed(std::nullopt)
                          : push(accepted, hlc, heartbeat);
    const bool damaged = !slot && slot.error().code == Code::corrupt;
    if (!mending && !damaged) {
        return slot;
    }
    TRY_ASSIGN(const bool whole, mend_own(accepted));
    busy = !whole;
    return whole ? push(accepted, hlc, heartbeat) : Pushed(std::nullopt);
}

/// Of the own log on the share, in pieces of more than a batch.
Result<Bytes> Pusher::State::shared(const std::string& name, Offset at, std::size_t bytes) {
    const bool have =
        window.name == name && at >= window.at && at.v + bytes <= window.at.v + window.bytes.size();
    if (!have) {
        window = {};
        TRY_ASSIGN(auto piece, share.get(options.self, name, at, std::max(bytes, window_bytes)));
        window = {name, at, std::move(piece)};
    }
    const auto rest = ByteView(window.bytes).subspan(at.v - window.at.v);
    const auto found = rest.first(std::min(bytes, rest.size()));
    return Bytes(found.begin(), found.end());
}

Status Pusher::State::compare_batch(const eventlog::Batch& batch) {
    const auto name = file_name(segment_of(batch.position_after));
    const auto theirs = shared(name, batch.at, batch.raw.size());
    if (!theirs && theirs.error().code != Code::not_found && theirs.error().code != Code::corrupt) {
        return theirs.error();
    }
    if ((!theirs || *theirs != batch.raw) && own.settled()) {
        note("log.corrupt", "the shared " + name + " at offset " + std::to_string(batch.at.v) +
                                " is not what was written there; all of it is compared");
        own.doubt(Doubt::bytes);
    }
    return ok();
}

/// The own log was found damaged: read whole, and what another copy can mend is mended.
Result<bool> Pusher::State::mend_own(const eventlog::LogPosition& accepted) {
    if (!mending) {
        const auto source = [this](const std::string& name, Offset at, std::size_t most) {
            return share.get(options.self, name, at, most);
        };
        mending.emplace(
            env, LocalLog{directory, options.self, options.trust, segment_of(accepted), {}, true},
            source);
    }
    const auto ended = mending->step(accepted, options.step_bytes, notices);
    if (!ended || *ended) {
        mending.reset();
    }
    if (!ended) {
        env.telemetry.log(env::Level::error, "mirror", ended.error().message);
    }
    return ended;
}

/// What a comparison finds is dealt with by the next push.
void Pusher::State::compare_step() {
    const auto now = env.clock.mono_now();
    if (now < compare_again) {
        return;
    }
    auto compared = own.compare_more(options.step_bytes);
    busy = busy || !own.settled();
    if (compared) {
        return;
    }
    compare_again = now + compare_retry;
    const auto code = compared.error().code;
    if (code == Code::replaced || code == Code::corrupt) {
        finding = compared.error();
        busy = true;
    }
}

/// The own log, read again from the local disk, and what the share has of it.
void Pusher::State::scrub_step() {
    const auto now = env.clock.mono_now();
    if (!declared || !own.settled()) {
        return;
    }
    if (own.comparing()) {
        compare_step();
        return;
    }
    if (now < next_scrub) {
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
    window = {};  // what is compared next is read then
    if (!done && done.error().code == Code::corrupt) {
        env.telemetry.log(env::Level::error, "mirror", done.error().message);
    }
}

Pusher::Pusher(env::Env env, share::LogShare& share, MirrorOptions options)
    : state_(std::make_shared<State>(env, share, std::move(options))) {}

Result<std::optional<eventlog::HeadSlot>> Pusher::push(const eventlog::LogPosition& accepted,
                                                       Hlc hlc, bool heartbeat) {
    auto slot = state_->push_on(accepted, hlc, heartbeat);
    if (!slot) {
        state_->busy = false;
        state_->own.doubt(Doubt::lengths);
    }
    return slot;
}

bool Pusher::busy() const { return state_->busy; }

// What is not settled waits for a push, which may wait for the share.
bool Pusher::comparing() const {
    return state_->declared && state_->own.comparing() && state_->own.settled() &&
           state_->env.clock.mono_now() >= state_->compare_again;
}

Result<bool> Pusher::head_is_ours() {
    TRY_ASSIGN(const auto slot, state_->share.head(state_->options.self,
                                                   state_->options.identity.certificate.serial));
    return slot && state_->declared && slot->incarnation == state_->options.incarnation &&
           slot->tag == state_->declared->tag;
}

void Pusher::doubt_shared() { state_->own.doubt(Doubt::bytes); }

void Pusher::scrub() { state_->scrub_step(); }

std::vector<Notice> Pusher::take_notices() { return std::exchange(state_->notices, {}); }

}  // namespace reeve::mirror
