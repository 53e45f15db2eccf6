// Puller: every other log, from the share to the local disk, one round over all writers at a time.
// What one writer's log shows does not stop another's. When HEADs last changed is the observer's
// own monotonic time: nothing that another machine's clock says is compared with ours.

#include <set>

#include "mirror/fork.h"
#include "mirror/mirror.h"
#include "mirror/orphan.h"
#include "mirror/remote_mirror.h"
#include "mirror/repair.h"

namespace reeve::mirror {
namespace {

/// So much of one log a round at most: the HEADs of the others are to be seen meanwhile.
constexpr std::uint64_t round_bytes = 64 << 20;
constexpr std::uint64_t mend_bytes = 1 << 20;
constexpr std::size_t most_unreadable = 64;  // logs that are not known here

/// Of two that share under one incarnation: a counter is used once.
bool is_of_another_process(const eventlog::HeadSlot& a, const eventlog::HeadSlot& b) {
    return a.incarnation == b.incarnation &&
           (a.nonce != b.nonce || (a.counter == b.counter && a.tag != b.tag));
}

bool newer(const eventlog::HeadSlot& a, const std::optional<eventlog::HeadSlot>& b) {
    return !b || order_of(a) > order_of(*b);
}

}  // namespace

struct Puller::State {
    struct Remote {
        RemoteMirror mirror;
        RemoteLog log;
        std::string noticed;  // the error that was last told
        bool seen = false;    // a HEAD of it was read from the share
        std::optional<LogScrub> scrub;
        bool doubted = false;                        // to be scrubbed whole, now
        std::string shared_for;                      // why sharing for it failed; told once
        std::optional<eventlog::Nonce> shared_slot;  // the tag of what was put for it
        std::unique_ptr<OtherSide> other;            // while two histories are compared
    };

    State(env::Env environment, share::LogShare& log_share, MirrorOptions with)
        : env(environment), share(log_share), options(std::move(with)) {}

    Result<std::map<WriterId, RemoteLog>> round(Look look);
    Status find_writers();
    Result<std::optional<eventlog::HeadSlot>> head_of(const WriterId& writer, const Remote& remote);
    Status find_known(const std::vector<WriterId>& shared, std::set<WriterId>& found);
    Remote& remote(const WriterId& writer);
    void visit(const WriterId& writer, Remote& remote);
    Status read(const WriterId& writer, Remote& remote);
    void tell(const WriterId& writer, Remote& remote, const Status& result);
    bool is_retired(const WriterId& writer, const Remote& remote) const;
    bool is_cut(const WriterId& writer, const Remote& remote) const;
    bool shows_another_past(const WriterId& writer, const Remote& remote) const;
    Status look_for_fork(const WriterId& writer, Remote& remote, const eventlog::HeadSlot& slot,
                         const Error& conflict);
    eventlog::HeadSlot target(const WriterId& writer, const Remote& remote) const;
    LogScrub& scrub_of(const WriterId& writer, Remote& remote);
    Status mend(const WriterId& writer, Remote& remote);
    void share_for_orphan(const WriterId& writer, Remote& remote);
    void scrub_one();

    env::Env env;
    share::LogShare& share;
    MirrorOptions options;
    bool local_known = false;
    Look look = Look::names;  // of this round
    MonoTime next_listing{INT64_MIN};
    MonoTime next_scrub;
    WriterId scrubbed;  // whose mirror was read last
    std::map<WriterId, Remote> remotes;
    std::map<WriterId, Retired> retired;
    std::vector<Notice> notices;
    std::vector<events::ForkSeen> forks;  // that were seen and not taken yet
};

Puller::State::Remote& Puller::State::remote(const WriterId& writer) {
    const auto found = remotes.find(writer);
    if (found != remotes.end()) {
        return found->second;
    }
    return remotes
        .emplace(
            writer,
            Remote{RemoteMirror(env, share, options, writer), {}, {}, false, {}, false, {}, {}, {}})
        .first->second;
}

/// Whoever can write to the share can make directories there: only one whose HEAD an operator's
/// certificate vouches for is a writer. What is none leaves nothing behind here. One that cannot be
/// read counts, for it may be one.
Status Puller::State::find_known(const std::vector<WriterId>& shared, std::set<WriterId>& found) {
    std::size_t unreadable = 0;
    for (const auto& writer : shared) {
        if (writer == options.self || remotes.contains(writer)) {
            continue;
        }
        const auto slot = share.head(writer);
        if (!slot && ++unreadable > most_unreadable) {
            return Error{Code::unavailable, "the share: more than " +
                                                std::to_string(most_unreadable) +
                                                " logs cannot be read: " + slot.error().message};
        }
        if (!slot || *slot) {
            found.insert(writer);
        }
    }
    return ok();
}

/// Those on the share, and those whose mirrors lie here although the share has lost them.
Status Puller::State::find_writers() {
    auto shared = share.writers();
    if (!shared) {
        return Error{Code::unavailable, "the share is away: " + shared.error().message};
    }
    if (!local_known) {
        const auto entries = env.files.list(options.log_root);
        if (!entries && entries.error().code != Code::not_found) {
            return entries.error();
        }
        for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
            if (entry.kind == env::FileKind::directory && valid_writer_name(entry.name)) {
                static_cast<void>(remote(WriterId(entry.name)));
            }
        }
        remotes.erase(options.self);
        local_known = true;
    }
    std::set<WriterId> found;
    TRY(find_known(*shared, found));
    for (const auto& writer : found) {
        remote(writer);
    }
    return ok();
}

/// The greatest slot. The HEAD file of the incarnation that was seen last is all that changes, as
/// a rule; where it is not as new as what was seen, all are looked at.
Result<std::optional<eventlog::HeadSlot>> Puller::State::head_of(const WriterId& writer,
                                                                 const Remote& one) {
    const auto& known = one.log.head;
    if (look == Look::heads && known) {
        auto slot = share.own_head(writer, known->incarnation);
        if (slot && *slot && order_of(**slot) >= order_of(*known)) {
            return slot;
        }
    }
    return share.head(writer, known ? known->certificate.serial : 0);
}

Status Puller::State::read(const WriterId& writer, Remote& one) {
    if (!one.mirror.loaded()) {
        const auto removed = retired.find(writer);
        const auto removed_at = removed == retired.end() ? std::optional<eventlog::LogPosition>()
                                                         : std::optional(removed->second.end);
        auto loaded = one.mirror.load(removed_at);
        if (!loaded && loaded.error().code == Code::corrupt) {
            TRY(mend(writer, one));
            loaded = one.mirror.load(removed_at);
        }
        TRY(std::move(loaded));
        one.log.head = one.mirror.stored_slot();
        one.log.head_changed = env.clock.mono_now();
    }
    const auto asked = env.clock.mono_now();  // an answer that comes late is of then
    TRY_ASSIGN(const auto slot, head_of(writer, one));
    one.log.head_read = asked;
    one.log.share_behind = one.log.head && (!slot || newer(*one.log.head, slot));
    if (!one.log.share_behind) {
        one.shared_slot.reset();
    }
    if (slot && newer(*slot, one.log.head)) {
        one.log.head = slot;
        one.log.head_changed = asked;
        // The first one may be as old as the share: heartbeats are not stored beside the mirror.
        one.log.head_moved = one.seen ? asked : one.log.head_moved;
    }
    one.seen = one.seen || slot.has_value();
    const bool enough =
        (is_retired(writer, one) && one.mirror.declared().seq >= retired.at(writer).end.seq) ||
        is_cut(writer, one);
    if (slot && !enough && is_of_another_process(*slot, *one.log.head)) {
        return look_for_fork(
            writer, one, *slot,
            {Code::conflict, "log/" + writer.v + ": HEAD is of another process with this name"});
    }
    if (!one.log.head || enough || one.mirror.reached(*one.log.head)) {
        return ok();
    }
    auto pulled = one.mirror.pull(target(writer, one), round_bytes);
    const bool contradicted =
        !pulled && (pulled.error().code == Code::conflict ||
                    (pulled.error().code == Code::corrupt && shows_another_past(writer, one)));
    return contradicted && slot ? look_for_fork(writer, one, *slot, pulled.error())
                                : std::move(pulled);
}

/// Whether the share shows other bytes just before the end of the mirror than it once did.
bool Puller::State::shows_another_past(const WriterId& writer, const Remote& one) const {
    constexpr std::uint64_t looked_at = 4096;
    const auto& end = one.mirror.declared();
    const auto id = segment_of(end);
    const Offset from(end.end.v - std::min(end.end.v, looked_at));
    const auto size = static_cast<std::size_t>(end.end.v - from.v);
    const auto theirs = share.get(writer, file_name(id), from, size);
    const auto ours = read_segment(env.files, one.mirror.directory(), id, from, size);
    return theirs && ours && ours->size() == size && *theirs != *ours;
}

/// Whether the mirror has reached a cut, behind which HEAD is.
bool Puller::State::is_cut(const WriterId& writer, const Remote& one) const {
    const auto& cuts = options.forks.of(writer);
    return one.log.head && one.mirror.loaded() &&
           !cuts.admits(one.log.head->incarnation, one.log.head->last_seq) &&
           !cuts.admits(std::max(one.log.head->incarnation, one.mirror.declared().incarnation),
                        one.mirror.declared().seq.next());
}

/// What the share shows is another history than the mirror. Where they part is known when that has
/// been pulled as well, beside the mirror.
Status Puller::State::look_for_fork(const WriterId& writer, Remote& one,
                                    const eventlog::HeadSlot& slot, const Error& conflict) {
    if (!one.other) {
        one.other = std::make_unique<OtherSide>(env, share, options, writer);
    }
    const auto place =
        one.other->compare(slot, one.mirror.directory(), one.mirror.declared(), round_bytes);
    if (!place) {
        return place.error().code == Code::unavailable ? place.error() : conflict;
    }
    if (*place) {
        forks.push_back(**place);
    }
    return one.other->verdict(conflict);
}

bool Puller::State::is_retired(const WriterId& writer, const Remote& one) const {
    const auto found = retired.find(writer);
    return found != retired.end() && one.log.head &&
           one.log.head->certificate.serial <= found->second.serial;
}

/// HEAD, or where an operator has said that a log ends. The latter is no slot: it is not stored.
eventlog::HeadSlot Puller::State::target(const WriterId& writer, const Remote& one) const {
    auto slot = *one.log.head;
    if (!is_retired(writer, one)) {
        return slot;
    }
    const auto& end = retired.at(writer).end;
    slot.incarnation = end.incarnation;
    slot.segment = end.segment;
    slot.durable_end = end.end;
    slot.last_seq = end.seq;
    slot.last_hash = end.hash;
    return slot;
}

void Puller::State::visit(const WriterId& writer, Remote& one) {
    auto result = read(writer, one);
    if (result && one.doubted) {
        result = mend(writer, one);
    }
    one.log.cut = is_cut(writer, one);
    if (result && one.log.share_behind && !one.log.cut) {
        share_for_orphan(writer, one);
    }
    one.log.retired = is_retired(writer, one);
    one.log.mirrored = one.mirror.declared();
    one.log.caught_up = result && one.log.head && one.mirror.reached(*one.log.head);
    one.log.error = result ? std::string() : result.error().message;
    tell(writer, one, result);
}

LogScrub& Puller::State::scrub_of(const WriterId& writer, Remote& one) {
    if (!one.scrub) {
        const auto source = [this, writer](const std::string& name, Offset at, std::size_t limit) {
            return share.get(writer, name, at, limit);
        };
        one.scrub.emplace(env,
                          LocalLog{one.mirror.directory(),
                                   writer,
                                   options.trust,
                                   {},
                                   {},
                                   false,
                                   options.forks.of(writer)},
                          source);
    }
    return *one.scrub;
}

/// Reads the mirror whole, up to what it had reached, and repairs what does not verify.
Status Puller::State::mend(const WriterId& writer, Remote& one) {
    auto limit = one.mirror.declared();
    if (one.mirror.loaded()) {
        TRY(one.mirror.drop_undeclared());
    } else {
        const auto known = one.mirror.stored_slot();
        TRY_ASSIGN(const auto slot,
                   known ? Result<std::optional<eventlog::HeadSlot>>(known) : share.head(writer));
        limit = slot ? eventlog::position_of(*slot) : limit;
    }
    auto& scrub = scrub_of(writer, one);
    if (!one.doubted) {
        scrub.restart();
        one.doubted = true;
    }
    for (std::uint64_t read = 0; read < round_bytes; read += mend_bytes) {
        TRY_ASSIGN(const bool ended, scrub.step(limit, mend_bytes, notices));
        if (ended) {
            one.doubted = false;
            return ok();
        }
    }
    return Error{Code::unavailable, "the mirror of " + writer.v + " is being read again"};
}

void Puller::State::share_for_orphan(const WriterId& writer, Remote& one) {
    const auto silent = one.log.head_read - one.log.head_changed;
    // The newest slot that was seen, when the mirror has reached it: heartbeats are not stored.
    const auto& slot =
        one.log.head && one.mirror.reached(*one.log.head) ? one.log.head : one.mirror.stored_slot();
    if (silent < options.orphan || !slot || !one.mirror.reached(*slot) ||
        one.shared_slot == slot->tag) {
        return;
    }
    const auto done = share_for(env, share, one.mirror.directory(), *slot, options.self);
    const auto why = done ? std::string() : done.error().message;
    if (done) {
        one.shared_slot = slot->tag;
        notices.push_back({"log.shared_for", writer.v,
                           "the share had lost a part of this log; it was put there again"});
    } else if (why != one.shared_for && done.error().code != Code::unavailable) {
        notices.push_back({"log.not_shared_for", writer.v, why});
    }
    one.shared_for = why;
}

/// A little of one mirror after the other, for ever.
void Puller::State::scrub_one() {
    const auto now = env.clock.mono_now();
    if (now < next_scrub || remotes.empty()) {
        return;
    }
    next_scrub = now + options.scrub_interval;
    auto found = remotes.lower_bound(scrubbed);
    if (found == remotes.end()) {
        found = remotes.begin();
    }
    auto& [writer, one] = *found;
    scrubbed = writer;
    // Not while more is on its way: a repair replaces the file.
    const bool whole = one.mirror.loaded() && !one.doubted && one.mirror.at_rest();
    const auto ended =
        whole ? scrub_of(writer, one).step(one.mirror.declared(), options.scrub_bytes, notices)
              : Result<bool>(true);
    if (!ended) {
        env.telemetry.log(env::Level::warning, "mirror", ended.error().message);
    }
    if (!ended || *ended) {
        const auto next = std::next(found);
        scrubbed = next == remotes.end() ? WriterId() : next->first;
    }
}

void Puller::State::tell(const WriterId& writer, Remote& one, const Status& result) {
    if (result) {
        one.noticed.clear();
        return;
    }
    const auto& error = result.error();
    if (error.code == Code::unavailable || error.message == one.noticed) {
        return;
    }
    one.noticed = error.message;
    const auto* kind = error.code == Code::corrupt       ? "log.corrupt"
                       : error.code == Code::conflict    ? "log.fork"
                       : error.code == Code::unsupported ? "log.unsupported"
                                                         : "log.not_pulled";
    notices.push_back({kind, writer.v, error.message});
}

Puller::Puller(env::Env env, share::LogShare& share, MirrorOptions options,
               std::map<WriterId, Retired> retired)
    : state_(std::make_shared<State>(env, share, std::move(options))) {
    state_->retired = std::move(retired);
}

Result<std::map<WriterId, RemoteLog>> Puller::State::round(Look wanted) {
    const auto now = env.clock.mono_now();
    look = now >= next_listing ? Look::names : wanted;
    if (look == Look::names) {
        TRY(find_writers());
        next_listing = now + options.relist;
    }
    std::map<WriterId, RemoteLog> out;
    for (auto& [writer, one] : remotes) {
        visit(writer, one);
        out.emplace(writer, one.log);
    }
    scrub_one();
    return out;
}

Result<std::map<WriterId, RemoteLog>> Puller::round(Look look) { return state_->round(look); }

std::optional<Look> Puller::news(const Ring& ring) const {
    const auto found = state_->remotes.find(ring.writer);
    const auto known = found == state_->remotes.end() ? std::nullopt : found->second.log.head;
    if (!known || ring.segment != known->segment || ring.end < known->durable_end) {
        return Look::names;  // of another incarnation, perhaps: each begins with segment 1
    }
    return ring.end == known->durable_end ? std::nullopt : std::optional(Look::heads);
}

void Puller::set_retired(std::map<WriterId, Retired> retired) {
    state_->retired = std::move(retired);
}

void Puller::set_forks(eventlog::ForkBook forks) {
    for (auto& [writer, one] : state_->remotes) {
        if (state_->options.forks.of(writer) != forks.of(writer)) {
            one.mirror.set_cuts(forks.of(writer));
            one.scrub.reset();
            one.doubted = false;
            one.other.reset();
        }
    }
    state_->options.forks = std::move(forks);
}

std::vector<events::ForkSeen> Puller::take_forks() { return std::exchange(state_->forks, {}); }

void Puller::doubt(const WriterId& writer) {
    const auto found = state_->remotes.find(writer);
    if (found != state_->remotes.end() && !found->second.doubted) {
        found->second.doubted = true;
        state_->scrub_of(writer, found->second).restart();
    }
}

std::vector<Notice> Puller::take_notices() { return std::exchange(state_->notices, {}); }

}  // namespace reeve::mirror
