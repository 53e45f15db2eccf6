#pragma once

// HEAD: what one incarnation of a writer declares shared, and its heartbeat. Two alternating slots
// of 4 KiB, written in place after the segment has been synced: one of them is always whole.

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "env/file_system.h"
#include "eventlog/format.h"

namespace reeve::eventlog {

constexpr std::size_t head_slot_bytes = 4096;

struct HeadSlot {
    std::uint64_t counter = 0;  // greater is newer, within an incarnation; from 1
    Nonce tag{};  // random, new for each slot: recognises a slot that this writer never wrote
    WriterId writer;
    Incarnation incarnation;
    Nonce nonce{};
    SegmentNo segment;
    Offset durable_end;
    Seq last_seq;
    Sha256 last_hash{};
    Hlc hlc;
    std::uint32_t mode = 0;
    auto operator<=>(const HeadSlot&) const = default;
};

Bytes encode(const HeadSlot& slot);
Result<HeadSlot> decode_head(ByteView slot);

/// The greatest valid slot by a fresh open; nullopt when neither verifies. Code::not_found when
/// absent.
Result<std::optional<HeadSlot>> read_head(env::FileSystem& files, const std::string& path);
/// Writes slot counter % 2 in place and syncs.
Status write_head(env::File& file, const HeadSlot& slot);

inline LogPosition position_of(const HeadSlot& slot) {
    return {slot.incarnation, slot.segment, slot.durable_end, slot.last_seq, slot.last_hash};
}

}  // namespace reeve::eventlog
