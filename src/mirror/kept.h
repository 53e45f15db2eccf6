#pragma once

// A mirror as it lies on the local disk, and how much of it its writer has signed for. What lies
// behind that was on its way when the process died, or was never the writer's: no view is made of
// it.

#include <optional>
#include <string>

#include "env/file_system.h"
#include "eventlog/cuts.h"
#include "eventlog/head.h"

namespace reeve::mirror {

struct Kept {
    eventlog::LogPosition end;  // of its last whole batch
    /// The greatest position in it that is signed: by the stored slot, by the header of a later
    /// segment, or by the operator who removed its writer.
    eventlog::LogPosition declared;
    /// It ends before its stored slot, which was reached once.
    bool shortened = false;
};

/// The stored slot of a mirror; nothing when it has reached none.
Result<std::optional<eventlog::HeadSlot>> stored_slot(env::FileSystem& files,
                                                      const std::string& directory,
                                                      const eventlog::Trust& trust,
                                                      const WriterId& writer);

/// The greatest certificate serial that a log on this disk was signed with; 0: none is known.
std::uint64_t greatest_serial(env::FileSystem& files, const std::string& directory,
                              const eventlog::Trust& trust, const WriterId& writer);

/// Code::corrupt: it is damaged, or is not what its stored slot declares. `removed_at`: where an
/// operator has said that this log ends.
Result<Kept> look_at_mirror(env::FileSystem& files, const std::string& directory,
                            const eventlog::Trust& trust, const WriterId& writer,
                            const std::optional<eventlog::LogPosition>& removed_at,
                            const eventlog::Cuts& cuts = {});

}  // namespace reeve::mirror
