#include "eventlog/head.h"

#include <algorithm>
#include <cstring>

namespace reeve::eventlog {
namespace {

constexpr std::string_view magic = "RVHEAD01";
constexpr std::size_t writer_field_bytes = 48;
constexpr std::size_t used_bytes = 176;
constexpr std::size_t crc_at = 8;
constexpr std::size_t signature_at = 4032;

std::uint32_t crc_of(ByteView slot) {
    return crc32c(slot.subspan(crc_at + 4, signature_at - crc_at - 4));
}

}  // namespace

Bytes encode(const HeadSlot& slot) {
    Bytes out(head_slot_bytes, 0);
    auto* p = out.data();
    CHECK(slot.writer.v.size() < writer_field_bytes);
    std::memcpy(p, magic.data(), magic.size());
    store_le(p + 12, slot.mode);
    store_le(p + 16, slot.counter);
    std::memcpy(p + 24, slot.tag.data(), slot.tag.size());
    std::memcpy(p + 40, slot.writer.v.data(), slot.writer.v.size());
    store_le(p + 88, slot.incarnation.v);
    std::memcpy(p + 96, slot.nonce.data(), slot.nonce.size());
    store_le(p + 112, slot.segment.v);
    store_le(p + 120, slot.durable_end.v);
    store_le(p + 128, slot.last_seq.v);
    std::memcpy(p + 136, slot.last_hash.data(), slot.last_hash.size());
    store_le(p + 168, slot.hlc.v);
    store_le(p + crc_at, crc_of(out));
    return out;
}

Result<HeadSlot> decode_head(ByteView bytes) {
    if (bytes.size() < head_slot_bytes ||
        std::memcmp(bytes.data(), magic.data(), magic.size()) != 0) {
        return Error{Code::corrupt, "no HEAD slot"};
    }
    const auto* p = bytes.data();
    const auto reserved = bytes.subspan(used_bytes, head_slot_bytes - used_bytes);
    if (load_le<std::uint32_t>(p + crc_at) != crc_of(bytes) ||
        !std::all_of(reserved.begin(), reserved.end(), [](std::uint8_t b) { return b == 0; })) {
        return Error{Code::corrupt, "the HEAD slot does not verify"};
    }
    HeadSlot slot;
    slot.mode = load_le<std::uint32_t>(p + 12);
    slot.counter = load_le<std::uint64_t>(p + 16);
    std::memcpy(slot.tag.data(), p + 24, slot.tag.size());
    const std::string_view name(reinterpret_cast<const char*>(p + 40), writer_field_bytes);
    slot.writer = WriterId(std::string(name.substr(0, name.find('\0'))));
    slot.incarnation = Incarnation(load_le<std::uint64_t>(p + 88));
    std::memcpy(slot.nonce.data(), p + 96, slot.nonce.size());
    slot.segment = SegmentNo(load_le<std::uint64_t>(p + 112));
    slot.durable_end = Offset(load_le<std::uint64_t>(p + 120));
    slot.last_seq = Seq(load_le<std::uint64_t>(p + 128));
    std::memcpy(slot.last_hash.data(), p + 136, slot.last_hash.size());
    slot.hlc = Hlc(load_le<std::uint64_t>(p + 168));
    return slot;
}

Result<std::optional<HeadSlot>> read_head(env::FileSystem& files, const std::string& path) {
    TRY_ASSIGN(const auto bytes, files.read_file(path, 2 * head_slot_bytes));
    std::optional<HeadSlot> best;
    for (std::size_t at = 0; at + head_slot_bytes <= bytes.size(); at += head_slot_bytes) {
        auto slot = decode_head(ByteView(bytes).subspan(at, head_slot_bytes));
        if (slot && slot->counter > 0 && (!best || slot->counter > best->counter)) {
            best = std::move(*slot);
        }
    }
    return best;
}

Status write_head(env::File& file, const HeadSlot& slot) {
    TRY(file.write_at(Offset(slot.counter % 2 * head_slot_bytes), encode(slot)));
    return file.sync();
}

}  // namespace reeve::eventlog
