// Room: what retention removes from the share, and the own disk: what is left out or refused as it
// becomes scarce, and the ballast that is released when it is gone. All local and quick: the file
// is made again by the bulk task.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "node/loop.h"
#include "node/replies.h"

namespace reeve::node {
namespace {

constexpr milliseconds look_interval{1'000};
constexpr milliseconds roomy_for{10'000};      // before the ballast is made (again)
constexpr milliseconds ballast_again{30'000};  // when it could not be made
constexpr std::uint64_t mib = 1024 * 1024;

}  // namespace

void Loop::watch_space() {
    tell_ballast_released();
    if (now_ < space_.next_look) {
        return;
    }
    space_.next_look = now_ + look_interval;
    const auto free = env_.files.free_bytes(config_.state_directory);
    if (!free) {
        env_.telemetry.log(env::Level::warning, "disk", free.error().message);
        return;
    }
    space_.free_bytes = *free;
    const auto before = space_.level;
    space_.level = control::space_level(*free, before, config_.space);
    if (space_.level != before) {
        env_.telemetry.log(env::Level::warning, "disk",
                           std::string(control::space_level_name(space_.level)) + ": " +
                               std::to_string(*free / mib) + " MiB free");
        // Dropped files that came while they were refused are handed over again.
        tell_duties_ = tell_duties_ || before == control::SpaceLevel::refusing;
    }
    const auto ballast = env_.files.info(config_.ballast_file());
    space_.ballast_bytes = ballast ? ballast->size : 0;
    keep_ballast();
}

// Made (again) when there has been room for it for a while.
void Loop::keep_ballast() {
    const bool wanted = space_.ballast_bytes != config_.space.ballast_bytes;
    const bool room = control::room_for_ballast(space_.free_bytes, config_.space);
    if (!wanted || !room) {
        space_.roomy_since.reset();
        return;
    }
    space_.roomy_since = space_.roomy_since.value_or(now_);
    if (now_ - *space_.roomy_since >= roomy_for && now_ >= space_.make_again &&
        links_.bulk.push(MakeBallast{config_.space})) {
        space_.make_again = now_ + ballast_again;
    }
}

/// A view may also be full by itself, with room around it: then the ballast would not help it.
bool Loop::disk_is_full() const {
    const auto free = env_.files.free_bytes(config_.state_directory);
    return !free || *free < std::max(config_.space.reserve_bytes, mib);
}

/// True when room was made by it. Removed whatever was last seen of it: a file that has come since
/// counts too.
bool Loop::release_ballast(const std::string& why) {
    if (!env_.files.remove(config_.ballast_file())) {
        return false;
    }
    ballast_released(why);
    return true;
}

void Loop::ballast_released(const std::string& why) {
    space_.ballast_bytes = 0;
    space_.roomy_since.reset();
    space_.make_again = now_ + ballast_again;
    space_.released_because = why;
    space_.next_look = now_;
    dirty_ = true;
    env_.telemetry.log(env::Level::warning, "disk", "the ballast is released: " + why);
    env_.telemetry.count("reeve_ballast_released_total", 1);
}

// Behind the outcomes for which it was released; told until it is in the log.
void Loop::tell_ballast_released() {
    if (space_.released_because.empty()) {
        return;
    }
    append(events::Observation{"disk.ballast_released", config_.writer.v,
                               space_.released_because.substr(0, 400)});
    then([this] { space_.released_because.clear(); });
}

// What automation removes is an event before it is an action. Not while the disk refuses work, nor
// for a writer that has left the duties: then the batch is given up.
void Loop::on_retention(const RetentionBatch& batch) {
    if (!duties_on_ || !takes_work()) {
        return;
    }
    const nlohmann::json detail{{"files", batch.files},
                                {"bytes", batch.bytes},
                                {"oldest_ms", batch.oldest_ms},
                                {"reason", batch.reason}};
    append(events::Observation{"retention.removed", control::retention_class_name(batch.what),
                               detail.dump()});
    then([this, number = batch.number] {
        static_cast<void>(links_.bulk.push(RetentionGo{number}).has_value());
    });
}

std::uint64_t Loop::output_cap() const {
    const auto running =
        std::count_if(own_.begin(), own_.end(), [](const auto& one) { return one.second.asked; });
    return compute::output_cap(config_.spool_bytes, spooled_bytes_,
                               static_cast<std::size_t>(running));
}

bool Loop::takes_work() const { return space_.level != control::SpaceLevel::refusing; }

std::string Loop::refuse_for_space() const {
    return refuse({"no_space", 8, "this node takes no new work: its disk is nearly full",
                   std::to_string(space_.free_bytes / mib) + " MiB are free under " +
                       config_.state_directory + ", less than half of log.reserve_mb = " +
                       std::to_string(config_.space.reserve_bytes / mib),
                   "make room there, or submit on another node; what runs here goes on"});
}

nlohmann::json Loop::space_document() const {
    const bool kept = config_.space.ballast_bytes > 0;
    const bool whole = space_.ballast_bytes == config_.space.ballast_bytes;
    return {{"level", in_trouble_ ? "full" : control::space_level_name(space_.level)},
            {"free_bytes", space_.free_bytes},
            {"spooled_bytes", spooled_bytes_},
            {"reserve_bytes", config_.space.reserve_bytes},
            {"ballast", !kept   ? "none"
                        : whole ? "held"
                                : "released"}};
}

}  // namespace reeve::node
