#pragma once

// What is wrong for a while: with the share, for one client or for all of them, or with one
// machine's own disk. Pure: who asks says what time it is.

#include <cstdint>
#include <optional>
#include <vector>

#include "base/time.h"

namespace reeve::sim {

/// A machine as a client of the share, from 1.
using ClientId = std::uint32_t;

enum class Storm : std::uint8_t {
    hang,       // calls on the share return afterwards
    io,         // calls on the share fail, and were carried out or not
    full,       // what needs room on the share fails
    read_only,  // what changes the share fails
    stale,      // every call on the share fails, and nothing was done
    unmounted,  // an empty directory of the machine's own disk stands in place of the share
    disk_full,  // what needs room on the machine's own disk fails
};

const char* storm_name(Storm storm);

class Weather {
public:
    struct Front {
        Storm storm = Storm::hang;
        std::optional<ClientId> client;  // nothing: all of them
        MonoTime from;
        MonoTime to;
    };
    /// Forgets those that are over before `now`.
    void add(const Front& front, MonoTime now);
    void clear() { fronts_.clear(); }

    /// Until when calls of this client hang; zero when they do not.
    Duration hang_left(ClientId client, MonoTime now) const;
    /// io, full, read_only or stale.
    std::optional<Storm> error(ClientId client, MonoTime now) const;
    bool is(Storm storm, ClientId client, MonoTime now) const;

private:
    std::vector<Front> fronts_;
};

}  // namespace reeve::sim
