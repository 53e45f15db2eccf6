// The doorbell's payload. It carries no right and no secret: who rings falsely makes a peer look
// once.
//
//   magic u32 | cluster 16 | segment u64 | end u64 | length of writer u8 | writer | crc32c of all
//   before u32

#include <algorithm>

#include "base/hash.h"
#include "mirror/mirror.h"

namespace reeve::mirror {
namespace {

constexpr std::uint32_t ring_magic = 0x47525652;  // "RVRG"
constexpr std::size_t max_ring_bytes = 128;
constexpr std::size_t crc_bytes = 4;

}  // namespace

Bytes encode(const Ring& ring) {
    CHECK(valid_writer_name(ring.writer.v));
    ByteWriter out;
    out.u32(ring_magic);
    out.raw(ring.cluster);
    out.u64(ring.segment.v);
    out.u64(ring.end.v);
    out.u8(static_cast<std::uint8_t>(ring.writer.v.size()));
    out.raw(as_bytes(ring.writer.v));
    out.u32(crc32c(out.view()));
    return std::move(out).take();
}

std::optional<Ring> decode_ring(ByteView bytes) {
    if (bytes.size() > max_ring_bytes || bytes.size() < crc_bytes) {
        return std::nullopt;
    }
    ByteReader in(bytes);
    const auto magic = in.u32();
    Ring ring;
    const auto cluster = in.raw(ring.cluster.size());
    std::copy(cluster.begin(), cluster.end(), ring.cluster.begin());
    ring.segment = SegmentNo(in.u64());
    ring.end = Offset(in.u64());
    const auto writer = in.raw(in.u8());
    ring.writer = WriterId(std::string(as_text(writer)));
    const auto crc = in.u32();
    if (!in.at_end() || magic != ring_magic ||
        crc != crc32c(bytes.first(bytes.size() - crc_bytes)) || !valid_writer_name(ring.writer.v)) {
        return std::nullopt;
    }
    return ring;
}

}  // namespace reeve::mirror
