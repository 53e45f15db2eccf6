#pragma once

// The bytes of the event log, as docs/formats/eventlog.md gives them: constants, and the codec of
// the segment header, the batch header, the event frame and the seal. No I/O.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/ids.h"
#include "eventlog/trust.h"
#include "events/events.h"

namespace reeve::eventlog {

constexpr std::size_t header_page_bytes = 4096;
constexpr std::size_t batch_header_bytes = 96;
constexpr std::size_t event_frame_bytes = 8;
constexpr std::size_t seal_bytes = 128;
constexpr std::size_t max_batch_bytes = 1024 * 1024;
constexpr std::size_t max_frame_bytes = 256 * 1024 + event_frame_bytes + 8;
constexpr std::uint64_t default_segment_bytes = 64ULL * 1024 * 1024;
constexpr std::uint32_t format_version = 1;
constexpr std::uint32_t hash_sha256 = 1;
constexpr std::uint16_t event_version = 1;

static_assert(max_frame_bytes + batch_header_bytes <= max_batch_bytes,
              "the greatest event fits in a batch");
static_assert(max_batch_bytes + header_page_bytes + seal_bytes <= default_segment_bytes,
              "and that in a segment");
static_assert(header_page_bytes % 8 == 0 && batch_header_bytes % 8 == 0 && seal_bytes % 8 == 0);

using Nonce = std::array<std::uint8_t, 16>;

/// A place between two batches. Nothing has been written where `incarnation` is 0.
struct LogPosition {
    Incarnation incarnation;
    SegmentNo segment;
    Offset end;     // of the last batch: where the next one begins
    Seq seq;        // of the last event
    Sha256 hash{};  // of the last batch
    auto operator<=>(const LogPosition&) const = default;
};

/// Which file of a writer's log; ordered as the log goes on.
struct SegmentId {
    Incarnation incarnation;
    SegmentNo segment;
    auto operator<=>(const SegmentId&) const = default;
};
inline SegmentId segment_of(const LogPosition& position) {
    return {position.incarnation, position.segment};
}

struct SegmentHeader {
    ClusterId cluster{};
    WriterId writer;
    SegmentId id;
    Nonce nonce{};
    std::uint32_t level = events::first_level;  // that the build which wrote it knows
    LogPosition previous;                       // incarnation 0: this segment begins the log
    Hlc first_hlc;
    Certificate certificate;  // of the key that signed this header
};

/// Where the batches of a segment begin.
LogPosition first_position(const SegmentHeader& header);
/// True where `position` stands before the first batch of its segment and a later segment's header
/// goes on from `previous`, an earlier place behind the same event. One copy of a disk has begun a
/// segment and had no event for it, the other has not seen that: nothing differs, and nothing is
/// passed over but a header.
bool passes_over_empty(const LogPosition& position, const LogPosition& previous);
/// Ties bytes to their file: the first 8 bytes of SHA-256(cluster, writer, incarnation, segment).
std::uint64_t segment_uid(const ClusterId& cluster, const WriterId& writer, const SegmentId& id);

/// One page, signed; `identity` gives the certificate.
Bytes encode_header(SegmentHeader header, const Identity& identity);
/// Code::corrupt with the reason; also when reserved bytes are not zero. Code::unsupported: a
/// format or hash algorithm that this build does not know.
/// Says nothing about who wrote it: that is verify_header.
Result<SegmentHeader> decode_header(ByteView page);
/// Code::denied: the certificate lets nobody write this log. Code::corrupt: its key did not sign
/// this page.
Status verify_header(ByteView page, const SegmentHeader& header, const Trust& trust);

struct BatchHeader {
    std::uint32_t length = 0;  // of the whole batch, header and padding included
    std::uint32_t count = 0;   // of events
    std::uint64_t uid = 0;
    Seq first_seq;
    Hlc first_hlc;
    Hlc last_hlc;
    Offset synced_through;  // of this segment, known durable when the batch was written
    Sha256 previous{};      // hash of the batch before, in this or an earlier segment
};

/// One event, encoded: its type and its FlatBuffer.
struct EncodedEvent {
    std::uint16_t type = 0;
    Bytes bytes;
    std::size_t framed() const { return event_frame_bytes + align8(bytes.size()); }
};
Bytes encode_batch(BatchHeader header, std::span<const EncodedEvent> events);

enum class Found : std::uint8_t { batch, seal, nothing };
/// What stands at the start of `bytes`: a batch header that verifies, a seal, or nothing (zeros,
/// too few bytes, or bytes that do not verify; `why` says which).
Found classify(ByteView bytes, std::uint64_t uid, BatchHeader* header, std::string* why);
/// Whole batch: CRCs, uid, chain, dense sequence, frames. `bytes` begins with the batch.
Result<BatchHeader> verify_batch(ByteView bytes, std::uint64_t uid, const LogPosition& before);
/// The events of a verified batch. Code::corrupt when a FlatBuffer does not verify.
Result<std::vector<events::Event>> decode_batch(ByteView batch, const BatchHeader& header,
                                                const WriterId& writer);

struct Seal {
    std::uint64_t uid = 0;
    Offset end;
    Seq seq;
    Sha256 hash{};
    Signature signature{};
};
Bytes encode_seal(const Seal& seal, const PrivateKey& key);
Result<Seal> decode_seal(ByteView bytes);
/// `bytes` of a decoded seal: signed by the key of its segment?
bool seal_is_signed(ByteView bytes, const Seal& seal, const PublicKey& key, const Trust& trust);

std::string segment_name(const SegmentId& id);  // "0000000003-0000000001.rlog"
std::optional<SegmentId> parse_segment_name(std::string_view name);
std::string head_name(Incarnation incarnation);  // "0000000003.head"

}  // namespace reeve::eventlog
