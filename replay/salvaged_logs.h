#pragma once

// Several damaged logs in the order of (hlc, writer, seq), with what could not be read marked where
// it was. For people only: nothing that is read here may be folded (eventlog/salvage.h).

#include <deque>
#include <optional>
#include <variant>
#include <vector>

#include "eventlog/salvage.h"
#include "replay/logs.h"

namespace reeve::replay {

struct LogGap {
    WriterId writer;
    eventlog::Gap gap;
};

using Salvaged = std::variant<events::Event, LogGap>;

/// One log, as far as its declared end. A HEAD that cannot be looked for declares nothing.
Result<eventlog::Salvage> open_salvage(env::FileSystem& files, const eventlog::Trust& trust,
                                       const LogDirectory& log);

/// Owned by one task.
class SalvagedReader {
public:
    static SalvagedReader open(env::FileSystem& files, const LogSet& set);
    /// The next event or gap, or nothing when every log is read to its end. A gap comes before the
    /// first event behind it, and at once where none is.
    std::optional<Salvaged> next();
    /// Logs that could not be opened at all.
    const std::vector<Error>& damage() const { return damage_; }

private:
    struct Stream {
        WriterId writer;
        eventlog::Salvage salvage;
        std::deque<Salvaged> ready;
    };
    static bool fill(Stream& stream);

    std::vector<Stream> streams_;
    std::vector<Error> damage_;
};

}  // namespace reeve::replay
