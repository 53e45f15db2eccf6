#pragma once

// incarnation.json: which incarnation this writer last asked for, and under which nonce, on the
// local disk before the claim on the share is made (docs/formats/share.md, "Claim of an
// incarnation").

#include <optional>
#include <string>

#include "env/file_system.h"
#include "share/share.h"

namespace reeve::node {

struct RememberedIncarnation {
    Incarnation incarnation;
    share::Nonce nonce{};
};

/// Nothing when absent. Code::corrupt when any byte differs from what remember_incarnation writes.
Result<std::optional<RememberedIncarnation>> remembered_incarnation(env::FileSystem& files,
                                                                    const std::string& path);
/// Replaces the file whole, durably.
Status remember_incarnation(env::FileSystem& files, const std::string& path,
                            const RememberedIncarnation& what);

}  // namespace reeve::node
