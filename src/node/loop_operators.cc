// What operators have signed, and what follows: removed writers are read to their last position and
// not waited for; the policy in force lies on the own disk as files.

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "events/codec.h"
#include "node/loop.h"
#include "node/replies.h"
#include "node/retired_file.h"

namespace reeve::node {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 5> policy_files = {
    "retention.toml", "routing.toml", "rules.toml", "schedules.toml", "tasks.toml"};
constexpr milliseconds policy_again_after{5'000};
constexpr std::size_t max_signed_bytes = events::max_event_bytes;

mirror::Retired retired_of(const events::WriterRetired& e) {
    return {e.serial,
            {Incarnation(e.incarnation), SegmentNo(e.segment), Offset(e.end), Seq(e.seq), e.hash}};
}

/// What a policy may hold: names become paths.
bool names_only_policy_files(const events::PolicyLoaded& policy) {
    return std::all_of(policy.files.begin(), policy.files.end(), [](const auto& file) {
        return std::find(policy_files.begin(), policy_files.end(), file.name) != policy_files.end();
    });
}

}  // namespace

// Known before any log is folded: a view that is built anew must not read past these ends first.
void Loop::load_retired() {
    retired_ = read_retired(env_.files, config_.retired_file());
    static_cast<void>(links_.pull.push(SetRetired{retired_}).has_value());
}

void Loop::heed_operators(const projection::Snapshot& view) {
    keep_policy(view);
    auto known = retired_;
    for (const auto& word : view.retired()) {
        if (!config_.trust.is_operator(word.operator_key) ||
            word.cluster != config_.trust.cluster()) {
            continue;
        }
        auto& mine = known[word.writer];
        const bool less =
            mine.serial == word.serial && mine.end.seq.v > 0 && mine.end.seq <= Seq(word.seq);
        if (mine.serial > word.serial || less) {
            continue;
        }
        mine = retired_of(word);
    }
    if (known.size() == retired_.size() &&
        std::equal(known.begin(), known.end(), retired_.begin(), [](const auto& a, const auto& b) {
            return a.first == b.first && a.second.serial == b.second.serial &&
                   a.second.end == b.second.end;
        })) {
        return;
    }
    retired_ = std::move(known);
    if (auto written = write_retired(env_.files, config_.retired_file(), retired_); !written) {
        env_.telemetry.log(env::Level::error, "loop", written.error().message);
    }
    static_cast<void>(links_.pull.push(SetRetired{retired_}).has_value());
    const auto own = retired_.find(config_.writer);
    if (own != retired_.end() && own->second.serial >= config_.identity.certificate.serial) {
        const std::string reason =
            config_.writer.v + " was removed from the cluster by an operator";
        env_.telemetry.log(env::Level::error, "loop", reason);
        remember_replaced(reason);
        exit_status_ = exit_replaced;
        stopping_ = true;
    }
    for (const auto& [writer, one] : retired_) {
        const auto cursor = projection_.cut().find(writer);
        const auto remote = remote_.find(writer);
        // Whether a later certificate has lifted it is known when its HEAD has been read.
        const bool counts = remote != remote_.end() && remote->second.head &&
                            remote->second.head->certificate.serial <= one.serial;
        if (writer != config_.writer && counts && cursor != projection_.cut().end() &&
            cursor->second.position.seq > one.end.seq) {
            view_failed({Code::conflict, "the log of " + writer.v +
                                             ", which was removed, had been read further than its "
                                             "end; the view is built anew"});
        }
    }
}

eventlog::LogPosition Loop::fold_limit(const WriterId& writer,
                                       const mirror::RemoteLog& remote) const {
    const auto found = retired_.find(writer);
    const bool lifted = remote.head && found != retired_.end() &&
                        remote.head->certificate.serial > found->second.serial;
    return found != retired_.end() && !lifted && found->second.end.seq <= remote.mirrored.seq
               ? found->second.end
               : remote.mirrored;
}

// What could not be written is no less in force.
void Loop::keep_policy_again() {
    if (policy_again_ && now_ >= *policy_again_) {
        policy_again_.reset();
        keep_policy(snapshot());
    }
}

void Loop::keep_policy(const projection::Snapshot& view) {
    std::optional<events::PolicyLoaded> force;
    for (auto& one : view.policies()) {
        const bool ours = names_only_policy_files(one) &&
                          config_.trust.is_operator(one.operator_key) &&
                          one.cluster == config_.trust.cluster();
        if (ours && (!force || std::pair(one.version, policy_hash(one)) >
                                   std::pair(force->version, policy_hash(*force)))) {
            force = std::move(one);
        }
    }
    if (!force || policy_hash(*force) == policy_kept_) {
        return;
    }
    auto kept = env_.files.make_dirs(config_.policy_root());
    for (const auto& file : force->files) {
        if (kept) {
            kept = env_.files.replace_file(config_.policy_root() + "/" + file.name,
                                           as_bytes(file.text), false);
        }
    }
    for (const auto name : policy_files) {
        const bool there = std::any_of(force->files.begin(), force->files.end(),
                                       [&](const auto& file) { return file.name == name; });
        if (kept && !there) {  // what this policy leaves out is not in force any more
            kept = env_.files.remove(config_.policy_root() + "/" + std::string(name));
            kept = kept || kept.error().code == Code::not_found ? ok() : kept;
        }
    }
    if (!kept) {
        env_.telemetry.log(env::Level::error, "loop", "policy: " + kept.error().message);
        policy_again_ = now_ + policy_again_after;
        return;
    }
    policy_kept_ = policy_hash(*force);
    env_.telemetry.log(env::Level::info, "loop",
                       "policy " + std::to_string(force->version) + " is in force");
}

/// {"verb":"append_signed","type":17,"event":"<hexadecimal FlatBuffer>"}: the word of an operator,
/// made where his key is. What it says is believed because of its signature, whoever brings it.
std::string Loop::append_signed(const env::ControlRequest& request, const json& parsed) {
    const auto bytes = from_hex(text_of(parsed, "event"));
    const auto named = parsed.find("type");
    const auto type = named != parsed.end() && named->is_number_unsigned()
                          ? named->get<std::uint64_t>()
                          : UINT64_MAX;
    if (!bytes || bytes->size() > max_signed_bytes || type > UINT16_MAX) {
        return refuse({"usage", 2, "no signed event", "type and event are wanted", ""});
    }
    const auto event =
        events::decode(static_cast<std::uint16_t>(type), *bytes, config_.writer, Seq(0));
    const auto believed = [&](const auto& word) {
        return word.cluster == config_.trust.cluster() &&
               config_.trust.is_operator(word.operator_key) &&
               verify(word.operator_key, signed_part(word), word.signature);
    };
    bool good = false;
    if (event) {
        if (const auto* retired = std::get_if<events::WriterRetired>(&event->payload)) {
            good = believed(*retired);
        } else if (const auto* policy = std::get_if<events::PolicyLoaded>(&event->payload)) {
            good = believed(*policy) && names_only_policy_files(*policy);
        } else if (const auto* decision = std::get_if<events::ForkResolved>(&event->payload)) {
            good = believed(*decision);
        }
    }
    if (!good) {
        return refuse({"denied", 4, "that is not signed by an operator of this cluster",
                       "or it is damaged, or names no policy file that there is",
                       "use the key that belongs to the operators in cluster.toml"});
    }
    if (events::level_of(events::type_id(event->payload)) > cluster_level_) {
        return refuse({"unavailable", 8, "not every writer knows such a word yet",
                       "the cluster is at level " + std::to_string(cluster_level_),
                       "upgrade reeve on every node, or remove those that are gone"});
    }
    append(event->payload);
    replies_.emplace_back(
        request.id, accept({{"appended", events::type_name(events::type_id(event->payload))}}));
    return "";
}

}  // namespace reeve::node
