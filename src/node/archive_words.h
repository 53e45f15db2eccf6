#pragma once

// What writers tell each other of their mirrors, so that what all of them hold may be archived: an
// Observation `log.mirrored`, of each writer the newest.

#include <map>
#include <string>

#include "eventlog/format.h"
#include "projection/projection.h"

namespace reeve::node {

inline constexpr const char* mirrored_kind = "log.mirrored";

/// By log, the segment in which its mirror stands: {"nova.worker": "0000000003-0000000001"}. Empty
/// when it is none, or too much for an event.
std::string mirrored_detail(const std::map<WriterId, eventlog::SegmentId>& mirrors);
/// By who told it, then by log.
std::map<WriterId, std::map<WriterId, eventlog::SegmentId>> told_mirrored(
    const projection::Snapshot& view);

}  // namespace reeve::node
