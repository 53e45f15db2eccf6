// A datagram at the doorbell.

#include "mirror/mirror.h"
#include "tests/fuzz/fuzz.h"

using namespace reeve;

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned int seed) {
    size = LLVMFuzzerMutate(data, size, most);
    if (seed % 4 != 0 && size >= 4) {
        store_le(data + size - 4, crc32c(ByteView(data, size - 4)));
    }
    return size;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteView bytes(data, size);
    const auto ring = mirror::decode_ring(bytes);
    if (ring) {
        REQUIRE(valid_writer_name(ring->writer.v));
        const auto again = mirror::encode(*ring);
        REQUIRE(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
    }
    return 0;
}
