#pragma once

// HEAD: what one incarnation of a writer declares shared, and its heartbeat. Two alternating slots
// of 4 KiB, written in place after the segment has been synced: one of them is always whole.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

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
    std::string host;  // where that process runs, for people; at most 63 bytes
    Certificate certificate;
    Signature signature{};
    auto operator<=>(const HeadSlot&) const = default;
};

/// The slot as it stands in a file, with the signature that it bears.
Bytes encode(const HeadSlot& slot);
/// Fills in certificate and signature.
void sign(HeadSlot& slot, const Identity& identity);
/// The same; verify_head with this trust then costs no verification.
void sign(HeadSlot& slot, const Identity& identity, const Trust& trust);
/// Says nothing about who wrote it: that is verify_head.
Result<HeadSlot> decode_head(ByteView slot);
/// Code::denied: its certificate lets nobody write this log, or its key did not sign this slot.
Status verify_head(const HeadSlot& slot, const Trust& trust);

/// The greatest valid, signed slot by a fresh open; nullopt when there is none. Code::not_found
/// when the file is absent.
Result<std::optional<HeadSlot>> read_head(env::FileSystem& files, const std::string& path,
                                          const Trust& trust);
/// Writes slot counter % 2 in place and syncs.
Status write_head(env::File& file, const HeadSlot& slot);

/// Of two slots the greater one counts. A key that was replaced declares nothing any more, whatever
/// numbers it signs.
inline auto order_of(const HeadSlot& slot) {
    return std::tuple(slot.certificate.serial, slot.incarnation, slot.counter);
}

inline LogPosition position_of(const HeadSlot& slot) {
    return {slot.incarnation, slot.segment, slot.durable_end, slot.last_seq, slot.last_hash};
}

}  // namespace reeve::eventlog
