// Puller: every other log, from the share to the local disk, one round over all writers at a time.
// What one writer's log shows does not stop another's. When HEADs last changed is the observer's
// own monotonic time: nothing that another machine's clock says is compared with ours.

#include <set>

#include "mirror/mirror.h"
#include "mirror/remote_mirror.h"

namespace reeve::mirror {
namespace {

/// So much of one log a round at most: the HEADs of the others are to be seen meanwhile.
constexpr std::uint64_t round_bytes = 64 << 20;

bool newer(const eventlog::HeadSlot& a, const std::optional<eventlog::HeadSlot>& b) {
    return !b || a.incarnation > b->incarnation ||
           (a.incarnation == b->incarnation && a.counter > b->counter);
}

}  // namespace

struct Puller::State {
    struct Remote {
        RemoteMirror mirror;
        RemoteLog log;
        std::string noticed;  // the error that was last told
    };

    State(env::Env environment, share::LogShare& log_share, MirrorOptions with)
        : env(environment), share(log_share), options(std::move(with)) {}

    Status find_writers();
    Remote& remote(const WriterId& writer);
    void visit(const WriterId& writer, Remote& remote);
    Status read(const WriterId& writer, Remote& remote);
    void tell(const WriterId& writer, Remote& remote, const Status& result);

    env::Env env;
    share::LogShare& share;
    MirrorOptions options;
    bool local_known = false;
    std::map<WriterId, Remote> remotes;
    std::vector<Notice> notices;
};

Puller::State::Remote& Puller::State::remote(const WriterId& writer) {
    const auto found = remotes.find(writer);
    if (found != remotes.end()) {
        return found->second;
    }
    return remotes.emplace(writer, Remote{RemoteMirror(env, share, options, writer), {}, {}})
        .first->second;
}

/// Those on the share, and those whose mirrors lie here although the share has lost them.
Status Puller::State::find_writers() {
    auto shared = share.writers();
    if (!shared) {
        return Error{Code::unavailable, "the share is away: " + shared.error().message};
    }
    std::set<WriterId> found(shared->begin(), shared->end());
    if (!local_known) {
        const auto entries = env.files.list(options.log_root);
        if (!entries && entries.error().code != Code::not_found) {
            return entries.error();
        }
        for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
            if (entry.kind == env::FileKind::directory && valid_writer_name(entry.name)) {
                found.insert(WriterId(entry.name));
            }
        }
        local_known = true;
    }
    found.erase(options.self);
    for (const auto& writer : found) {
        remote(writer);
    }
    return ok();
}

Status Puller::State::read(const WriterId& writer, Remote& one) {
    if (!one.mirror.loaded()) {
        TRY(one.mirror.load());
        one.log.head = one.mirror.stored_slot();
        one.log.head_changed = env.clock.mono_now();
    }
    TRY_ASSIGN(const auto slot, share.head(writer));
    one.log.head_read = env.clock.mono_now();
    one.log.share_behind = one.log.head && (!slot || newer(*one.log.head, slot));
    if (slot && newer(*slot, one.log.head)) {
        one.log.head = slot;
        one.log.head_changed = env.clock.mono_now();
        one.log.head_moved = one.log.head_changed;
    }
    if (!one.log.head || one.mirror.reached(*one.log.head)) {
        return ok();
    }
    return one.mirror.pull(*one.log.head, round_bytes);
}

void Puller::State::visit(const WriterId& writer, Remote& one) {
    const auto result = read(writer, one);
    one.log.mirrored = one.mirror.end();
    one.log.caught_up = result && one.log.head && one.mirror.reached(*one.log.head);
    one.log.error = result ? std::string() : result.error().message;
    tell(writer, one, result);
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
    notices.push_back({error.code == Code::corrupt       ? "log.corrupt"
                       : error.code == Code::unsupported ? "log.unsupported"
                                                         : "log.not_pulled",
                       writer.v, error.message});
}

Puller::Puller(env::Env env, share::LogShare& share, MirrorOptions options)
    : state_(std::make_shared<State>(env, share, std::move(options))) {}

Result<std::map<WriterId, RemoteLog>> Puller::round() {
    TRY(state_->find_writers());
    std::map<WriterId, RemoteLog> out;
    for (auto& [writer, one] : state_->remotes) {
        state_->visit(writer, one);
        out.emplace(writer, one.log);
    }
    return out;
}

std::vector<Notice> Puller::take_notices() { return std::exchange(state_->notices, {}); }

}  // namespace reeve::mirror
