#pragma once

// Every identifier of the system, each a type of its own: two integers of one type in a parameter
// list are a defect. All are values, ordered and hashable; text forms are canonical (one text per
// id).

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace reeve {

template <typename Tag, typename Rep = std::uint64_t>
struct StrongInt {
    Rep v = 0;
    constexpr StrongInt() = default;
    constexpr explicit StrongInt(Rep value) : v(value) {}
    auto operator<=>(const StrongInt&) const = default;
    StrongInt next() const { return StrongInt(static_cast<Rep>(v + 1)); }
};

using Incarnation = StrongInt<struct IncarnationTag>;  // one run of a writer; 1 is the first
using SegmentNo = StrongInt<struct SegmentNoTag>;      // within an incarnation; 1 is the first
using Seq = StrongInt<struct SeqTag>;  // of an event in a writer's log, dense from 1
using AttemptNo = StrongInt<struct AttemptNoTag, std::uint32_t>;  // 1 is the first
using Offset = StrongInt<struct OffsetTag>;                       // bytes from the start of a file

/// Hybrid logical clock: 48 bits of milliseconds since the epoch, 16 bits of counter.
using Hlc = StrongInt<struct HlcTag>;
constexpr std::int64_t hlc_ms(Hlc hlc) { return static_cast<std::int64_t>(hlc.v >> 16); }

template <typename Tag>
struct StrongText {
    std::string v;
    StrongText() = default;
    explicit StrongText(std::string value) : v(std::move(value)) {}
    auto operator<=>(const StrongText&) const = default;
    bool empty() const { return v.empty(); }
};

using NodeId = StrongText<struct NodeIdTag>;      // "nova": [a-z][a-z0-9-]{0,31}
using WriterId = StrongText<struct WriterIdTag>;  // "nova.worker", "nova.coord"

/// The node of a writer: what stands before the dot.
NodeId node_of(const WriterId& writer);
/// True for [a-z][a-z0-9-]{0,31}. Names are used in paths: nothing else may pass.
bool valid_node_name(std::string_view name);
/// True for NODE.worker and NODE.coord.
bool valid_writer_name(std::string_view name);

/// A job: a ULID (48 bits of milliseconds, 80 random bits), text form 26 characters of Crockford
/// base 32.
struct JobId {
    std::array<std::uint8_t, 16> bytes{};
    auto operator<=>(const JobId&) const = default;
    std::string text() const;
    std::int64_t ms() const;
    static Result<JobId> parse(std::string_view text);
    /// `random` are the 10 random bytes.
    static JobId make(std::int64_t ms, const std::array<std::uint8_t, 10>& random);
};

/// One try of a job; text form "<job>.a<k>".
struct AttemptId {
    JobId job;
    AttemptNo attempt;
    auto operator<=>(const AttemptId&) const = default;
    std::string text() const;
    static Result<AttemptId> parse(std::string_view text);
};

/// The greatest attempt that has a name.
constexpr AttemptNo greatest_attempt{999'999};

/// Which event, in which log: the total order that breaks ties, (hlc, writer, seq).
struct EventStamp {
    Hlc hlc;
    WriterId writer;
    Seq seq;
    auto operator<=>(const EventStamp&) const = default;
};

}  // namespace reeve

template <typename Tag, typename Rep>
struct std::hash<reeve::StrongInt<Tag, Rep>> {
    std::size_t operator()(const reeve::StrongInt<Tag, Rep>& id) const {
        return std::hash<Rep>{}(id.v);
    }
};
template <typename Tag>
struct std::hash<reeve::StrongText<Tag>> {
    std::size_t operator()(const reeve::StrongText<Tag>& id) const {
        return std::hash<std::string>{}(id.v);
    }
};
template <>
struct std::hash<reeve::JobId> {
    std::size_t operator()(const reeve::JobId& id) const {
        return std::hash<std::string_view>{}(
            std::string_view(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()));
    }
};
