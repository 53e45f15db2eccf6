#pragma once

// The one record of names that are won by link: tickets (and the claims that are links to them) and
// the claims of incarnations. Fixed size, checksummed (docs/formats/share.md, "Record of a name").

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "share/share.h"

namespace reeve::share {

constexpr std::size_t name_record_bytes = 96;

Bytes encode_ticket(const Ticket& ticket);
/// Nothing unless every byte is as encode_ticket writes it.
std::optional<Ticket> decode_ticket(ByteView bytes);

struct IncarnationClaim {
    WriterId writer;
    Incarnation incarnation;
    Nonce nonce{};
};
Bytes encode_incarnation(const IncarnationClaim& claim);
std::optional<IncarnationClaim> decode_incarnation(ByteView bytes);

}  // namespace reeve::share
