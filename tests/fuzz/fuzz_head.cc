// A HEAD file: two slots.

#include "eventlog/head.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_files.h"

using namespace reeve;

namespace {

constexpr std::size_t crc_at = 8;
constexpr std::size_t signature_at = 4032;

/// CRC and signature as the writer itself would have made them: what lies behind these two checks
/// is reached too.
void mend(std::uint8_t* slot) {
    const ByteView bytes(slot, eventlog::head_slot_bytes);
    store_le(slot + crc_at, crc32c(bytes.subspan(crc_at + 4, signature_at - crc_at - 4)));
    const auto signature = fuzz::identity().key.sign(bytes.first(signature_at));
    std::memcpy(slot + signature_at, signature.data(), signature.size());
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned int seed) {
    size = LLVMFuzzerMutate(data, size, most);
    for (std::size_t at = 0; seed % 4 != 0 && at + eventlog::head_slot_bytes <= size;
         at += eventlog::head_slot_bytes) {
        mend(data + at);
    }
    return size;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteView bytes(data, size);
    std::optional<eventlog::HeadSlot> greatest;
    for (std::size_t at = 0; at + eventlog::head_slot_bytes <= size && at < 8192;
         at += eventlog::head_slot_bytes) {
        const auto raw = bytes.subspan(at, eventlog::head_slot_bytes);
        const auto slot = eventlog::decode_head(raw);
        if (!slot) {
            continue;
        }
        const auto again = eventlog::encode(*slot);
        REQUIRE(std::equal(again.begin(), again.end(), raw.begin()));  // one slot, one encoding
        if (eventlog::verify_head(*slot, fuzz::trust())) {
            REQUIRE(node_of(slot->writer) == slot->certificate.node);
            const bool counts = slot->counter > 0;  // a writer begins with 1
            if (counts && (!greatest || order_of(*greatest) < order_of(*slot))) {
                greatest = *slot;
            }
        }
    }
    fuzz::MemoryFiles files;
    files.put("/log/0000000001.head", Bytes(bytes.begin(), bytes.end()));
    const auto best = eventlog::read_head(files, "/log/0000000001.head", fuzz::trust());
    REQUIRE(best.has_value());
    REQUIRE(best->has_value() == greatest.has_value());
    REQUIRE(!greatest || eventlog::order_of(**best) == eventlog::order_of(*greatest));
    return 0;
}
