#pragma once

// Replay: the fold of the daemons, over logs at rest. No clock, no daemon, no share needed.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "projection/projection.h"
#include "replay/logs.h"

namespace reeve::replay {

/// How far to read. Neither: to the end of every log.
struct Bound {
    /// Exactly to these positions, and no other writer.
    std::optional<projection::Cut> cut;
    /// Only events whose time is at or before this moment (milliseconds since 1970-01-01 UTC).
    std::optional<std::int64_t> until_ms;
};

struct Folded {
    std::uint64_t events = 0;
    std::uint64_t bytes = 0;  // of whole batches
};

struct Replayed {
    std::unique_ptr<projection::Projection> projection;
    Folded folded;
};
/// Folds the logs into an empty store. What they say of where logs end (forks, decisions about
/// them, removed writers) holds for all that is folded, wherever it stands: when it shows that
/// something was read that is no part of a log, the store is cleared and all is folded again.
/// Code::corrupt with file, offset and reason where a log does not verify, or ends before the
/// bound's cut.
Result<Replayed> fold(env::FileSystem& files, const LogSet& set, const Bound& bound,
                      kv::Store& store);

/// What a store says of itself at one moment.
struct Claim {
    projection::Cut cut;
    projection::Digest digest{};
    std::map<std::string, projection::Digest> views;
};
/// Reads the projection of a writer in one transaction, also while its daemon runs.
Result<Claim> read_claim(const std::string& projection_directory);

struct Verification {
    Claim claimed;
    Claim replayed;
    Folded folded;
    bool equal() const;
};
/// Replays to exactly the cut of `claimed` in memory and compares (I5).
Result<Verification> verify(env::FileSystem& files, const LogSet& set, Claim claimed);

}  // namespace reeve::replay
