#include "eventlog/head.h"

#include <algorithm>
#include <cstring>

#include "eventlog/head_reader.h"

namespace reeve::eventlog {
namespace {

constexpr std::string_view magic = "RVHEAD01";
constexpr std::size_t writer_field_bytes = 48;
constexpr std::size_t host_at = 176;
constexpr std::size_t host_field_bytes = 64;
constexpr std::size_t used_bytes = host_at + host_field_bytes;
constexpr std::size_t certificate_at = 256;
constexpr std::size_t crc_at = 8;
constexpr std::size_t signature_at = 4032;

bool all_zero(ByteView bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b == 0; });
}

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
    CHECK(slot.host.size() < host_field_bytes);
    std::memcpy(p + host_at, slot.host.data(), slot.host.size());
    const auto certificate = encode(slot.certificate);
    std::memcpy(p + certificate_at, certificate.data(), certificate.size());
    store_le(p + crc_at, crc_of(out));
    std::memcpy(p + signature_at, slot.signature.data(), slot.signature.size());
    return out;
}

void sign(HeadSlot& slot, const Identity& identity) {
    slot.certificate = identity.certificate;
    slot.signature = identity.key.sign(ByteView(encode(slot)).first(signature_at));
}

void sign(HeadSlot& slot, const Identity& identity, const Trust& trust) {
    sign(slot, identity);
    trust.remember_signed(identity.certificate.key, ByteView(encode(slot)).first(signature_at),
                          slot.signature);
}

Status verify_head(const HeadSlot& slot, const Trust& trust) {
    TRY(trust.check(slot.certificate, slot.writer));
    const auto bytes = encode(slot);
    if (!trust.verified(slot.certificate.key, ByteView(bytes).first(signature_at),
                        slot.signature)) {
        return Error{Code::denied, "the HEAD slot does not bear its writer's signature"};
    }
    return ok();
}

Result<HeadSlot> decode_head(ByteView bytes) {
    if (bytes.size() < head_slot_bytes ||
        std::memcmp(bytes.data(), magic.data(), magic.size()) != 0) {
        return Error{Code::corrupt, "no HEAD slot"};
    }
    const auto* p = bytes.data();
    if (load_le<std::uint32_t>(p + crc_at) != crc_of(bytes) ||
        !all_zero(bytes.subspan(used_bytes, certificate_at - used_bytes)) ||
        !all_zero(bytes.subspan(certificate_at + certificate_bytes,
                                signature_at - certificate_at - certificate_bytes))) {
        return Error{Code::corrupt, "the HEAD slot does not verify"};
    }
    const auto ends = [&](std::size_t at, std::size_t size) {
        return std::memchr(bytes.data() + at, 0, size) != nullptr;
    };
    if (!ends(40, writer_field_bytes) || !ends(host_at, host_field_bytes)) {
        return Error{Code::corrupt, "a name in the HEAD slot has no end"};
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
    const std::string_view host(reinterpret_cast<const char*>(p + host_at), host_field_bytes);
    slot.host = std::string(host.substr(0, host.find('\0')));
    TRY_ASSIGN(slot.certificate,
               decode_certificate(bytes.subspan(certificate_at, certificate_bytes)));
    std::memcpy(slot.signature.data(), p + signature_at, slot.signature.size());
    // One slot has one encoding, which is what the signature is over.
    const auto again = encode(slot);
    if (!std::equal(again.begin(), again.end(), bytes.begin())) {
        return Error{Code::corrupt, "the HEAD slot has bytes behind the end of a name"};
    }
    return slot;
}

Result<std::optional<HeadSlot>> read_head(env::FileSystem& files, const std::string& path,
                                          const Trust& trust) {
    TRY_ASSIGN(const auto bytes, read_head_bytes(files, path));
    return best_slot(bytes, trust);
}

Status write_head(env::File& file, const HeadSlot& slot) {
    TRY(file.write_at(Offset(slot.counter % 2 * head_slot_bytes), encode(slot)));
    return file.sync();
}

}  // namespace reeve::eventlog
