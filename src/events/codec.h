#pragma once

// Between event values and their stored bytes. The only module that includes generated code.

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "events/events.h"

namespace reeve::events {

constexpr std::size_t max_event_bytes = 256 * 1024;

/// Stable numbers of the types, as stored in the event frame; 0 is invalid. Never renumbered.
std::uint16_t type_id(const Payload& payload);
/// In which level a type appeared: a writer uses it when the cluster has reached that level. An
/// unknown type is of no level that there is.
std::uint32_t level_of(std::uint16_t type);
/// "JobSubmitted", or "Unknown(<n>)".
std::string type_name(std::uint16_t type);

/// The FlatBuffer alone (identifier RVE1). Code::invalid beyond max_event_bytes.
Result<Bytes> encode(Hlc hlc, const Payload& payload);

/// Runs the FlatBuffers verifier (bounded depth and table count), then copies every field out.
/// An unknown type is a value (Unknown, with its bytes); bytes that do not verify are
/// Code::corrupt.
Result<Event> decode(std::uint16_t type, ByteView flatbuffer, const WriterId& writer, Seq seq);
/// The same, in place; after an error `out` is any event.
Status decode_into(Event& out, std::uint16_t type, ByteView flatbuffer, const WriterId& writer,
                   Seq seq);

/// One JSON object of the event, for people and tools: {"type","hlc_ms","writer","seq", fields...}.
std::string to_json(const Event& event);

}  // namespace reeve::events
