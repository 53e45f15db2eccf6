#include "tests/sim/weather.h"

#include <algorithm>

namespace reeve::sim {
namespace {

bool here(const Weather::Front& front, ClientId client, MonoTime now) {
    return front.from <= now && now < front.to && (!front.client || *front.client == client);
}

}  // namespace

const char* storm_name(Storm storm) {
    switch (storm) {
        case Storm::hang: return "hang";
        case Storm::io: return "EIO";
        case Storm::full: return "ENOSPC";
        case Storm::read_only: return "EROFS";
        case Storm::stale: return "ESTALE";
        case Storm::unmounted: return "unmounted";
        case Storm::disk_full: return "local disk full";
    }
    return "?";
}

void Weather::add(const Front& front, MonoTime now) {
    std::erase_if(fronts_, [&](const Front& old) { return old.to <= now; });
    fronts_.push_back(front);
}

Duration Weather::hang_left(ClientId client, MonoTime now) const {
    Duration left(0);
    for (const auto& front : fronts_) {
        if (front.storm == Storm::hang && here(front, client, now)) {
            left = std::max(left, front.to - now);
        }
    }
    return left;
}

std::optional<Storm> Weather::error(ClientId client, MonoTime now) const {
    for (const auto& front : fronts_) {
        const bool error = front.storm == Storm::io || front.storm == Storm::full ||
                           front.storm == Storm::read_only || front.storm == Storm::stale;
        if (error && here(front, client, now)) {
            return front.storm;
        }
    }
    return std::nullopt;
}

bool Weather::is(Storm storm, ClientId client, MonoTime now) const {
    return std::any_of(fronts_.begin(), fronts_.end(), [&](const Front& front) {
        return front.storm == storm && here(front, client, now);
    });
}

}  // namespace reeve::sim
