// Part of Loop: a share that was put back to an older state (I2). Who has noticed waits with claims
// until every writer has shared again; so does who reads of it.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "node/loop.h"

namespace reeve::node {
namespace {

constexpr std::uint64_t small_file = 64 * 1024;

}  // namespace

// Kept on the own disk: a restart must not forget that starts may be hidden.
void Loop::remember_rollback() {
    rolled_back_at_ = now_;
    auto kept = env_.files.replace_file(config_.rollback_file(), as_bytes("claims wait\n"), true);
    if (!kept) {
        env_.telemetry.log(env::Level::error, "share", kept.error().message);
    }
}

/// Up to which event of each log words of rollbacks were heeded. A view that is built again reads
/// all of them again.
void Loop::read_heeded_rollbacks() {
    const auto bytes = env_.files.read_file(config_.heeded_file(), small_file);
    const auto json =
        nlohmann::json::parse(bytes ? as_text(*bytes) : std::string_view(), nullptr, false);
    if (!json.is_object()) {
        return;  // none, or damaged: they are heeded once more
    }
    for (const auto& [name, seq] : json.items()) {
        if (valid_writer_name(name) && seq.is_number_unsigned()) {
            heeded_rollbacks_[WriterId(name)] = Seq(seq.get<std::uint64_t>());
        }
    }
}

// A node that had written nothing since the snapshot sees nothing missing. Of one writer a second
// word moves nothing while the first is waited out: a client that shows its own past now and then
// must not hold everybody for ever.
void Loop::heed_rollback(const WriterId& writer, Seq seq) {
    if (retired_.contains(writer) || seq <= heeded_rollbacks_[writer]) {
        return;
    }
    heeded_rollbacks_[writer] = seq;
    const bool waited_out = rolled_back_at_ && rollback_tellers_.contains(writer);
    rollback_tellers_.insert(writer);
    if (!waited_out) {
        env_.telemetry.log(env::Level::warning, "share",
                           writer.v +
                               " says that the share was rolled back: claims wait until "
                               "every writer has shared again");
        remember_rollback();
    }
    nlohmann::json all = nlohmann::json::object();
    for (const auto& [name, last] : heeded_rollbacks_) {
        all[name.v] = last.v;
    }
    // Behind the mark: without this file the words are heeded once more.
    auto kept = env_.files.replace_file(config_.heeded_file(), as_bytes(all.dump() + "\n"), true);
    if (!kept) {
        env_.telemetry.log(env::Level::error, "share", kept.error().message);
    }
}

bool Loop::any_behind() const {
    return std::any_of(remote_.begin(), remote_.end(), [this](const auto& one) {
        return one.second.share_behind && !one.second.retired && !one.second.cut &&
               !hides_nothing(one.first);
    });
}

/// It said goodbye and is read to that word.
bool Loop::hides_nothing(const WriterId& writer) const {
    const auto node = nodes_.find(writer);
    return node != nodes_.end() && node->second.stopped && remote_.at(writer).caught_up;
}

bool Loop::all_heard_since(MonoTime moment) const {
    const auto orphan = config_.timing.orphan(config_.timing.worker_heartbeat);
    return std::all_of(remote_.begin(), remote_.end(), [&](const auto& one) {
        const bool gone = silent_for(one.first) > orphan && now_ - moment > orphan;
        return hides_nothing(one.first) || one.second.retired || one.second.cut ||
               !one.second.head ||
               ((one.second.head_moved > moment || gone) && !one.second.share_behind);
    });
}

void Loop::forget_rollback() {
    if (rolled_back_at_ && pull_ok_ && all_heard_since(*rolled_back_at_)) {
        rolled_back_at_.reset();
        rollback_tellers_.clear();
        static_cast<void>(env_.files.remove(config_.rollback_file()).has_value());
        env_.telemetry.log(env::Level::info, "share", "every writer has shared again");
    }
}

}  // namespace reeve::node
