#pragma once

// Small pieces of canonical rows; private to the projection.

#include <algorithm>

#include "base/bytes.h"
#include "projection/job_row.h"

namespace reeve::projection {

inline void put_stamp(ByteWriter& w, const EventStamp& s) {
    w.u64(s.hlc.v);
    w.text(s.writer.v);
    w.u64(s.seq.v);
}
inline EventStamp get_stamp(ByteReader& r) {
    EventStamp s;
    s.hlc = Hlc(r.u64());
    s.writer = WriterId(r.text());
    s.seq = Seq(r.u64());
    return s;
}
template <std::size_t N>
void get_array(ByteReader& r, std::array<std::uint8_t, N>& to) {
    const auto bytes = r.raw(N);
    if (r.ok()) {
        std::copy(bytes.begin(), bytes.end(), to.begin());
    }
}
/// The derived fields of a start mark.
void settle_mark(StartMark& mark);

}  // namespace reeve::projection
