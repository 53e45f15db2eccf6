#include "share/dir/records.h"

#include <algorithm>

#include "base/hash.h"

namespace reeve::share {
namespace {

// magic u32 | version u16 | kind u8 | 0 | incarnation u64 | nonce 16 | writer 48, zero padded | 0 x
// 12 | crc u32
constexpr std::uint32_t magic = 0x4E565652;  // "RVVN"
constexpr std::uint16_t version = 1;
constexpr std::uint8_t kind_incarnation = 16;
constexpr std::size_t writer_at = 32;
constexpr std::size_t writer_bytes = 48;
constexpr std::size_t crc_at = name_record_bytes - 4;

struct Record {
    std::uint8_t kind = 0;
    WriterId writer;
    Incarnation incarnation;
    Nonce nonce{};
};

Bytes encode(const Record& record) {
    CHECK(record.writer.v.size() <= writer_bytes);
    Bytes out(name_record_bytes, 0);
    store_le(out.data(), magic);
    store_le(out.data() + 4, version);
    out[6] = record.kind;
    store_le(out.data() + 8, record.incarnation.v);
    std::copy(record.nonce.begin(), record.nonce.end(), out.begin() + 16);
    std::copy(record.writer.v.begin(), record.writer.v.end(), out.begin() + writer_at);
    store_le(out.data() + crc_at, crc32c(ByteView(out).first(crc_at)));
    return out;
}

std::optional<Record> decode(ByteView bytes) {
    if (bytes.size() != name_record_bytes || load_le<std::uint32_t>(bytes.data()) != magic ||
        load_le<std::uint16_t>(bytes.data() + 4) != version ||
        load_le<std::uint32_t>(bytes.data() + crc_at) != crc32c(bytes.first(crc_at))) {
        return std::nullopt;
    }
    Record record;
    record.kind = bytes[6];
    record.incarnation = Incarnation(load_le<std::uint64_t>(bytes.data() + 8));
    std::copy_n(bytes.begin() + 16, record.nonce.size(), record.nonce.begin());
    const auto field = as_text(bytes.subspan(writer_at, writer_bytes));
    record.writer = WriterId(std::string(field.substr(0, field.find('\0'))));
    if (!valid_writer_name(record.writer.v)) {
        return std::nullopt;
    }
    // Reserved bytes are zero; the cheapest full check is that the record has one encoding.
    const auto again = encode(record);
    return std::equal(again.begin(), again.end(), bytes.begin()) ? std::optional(record)
                                                                 : std::nullopt;
}

}  // namespace

Bytes encode_ticket(const Ticket& ticket) {
    return encode(
        {static_cast<std::uint8_t>(ticket.kind), ticket.writer, ticket.incarnation, ticket.nonce});
}

std::optional<Ticket> decode_ticket(ByteView bytes) {
    const auto record = decode(bytes);
    if (!record || record->kind < 1 || record->kind > 3) {
        return std::nullopt;
    }
    return Ticket{record->writer, record->incarnation, record->nonce,
                  static_cast<TicketKind>(record->kind)};
}

Bytes encode_incarnation(const IncarnationClaim& claim) {
    return encode({kind_incarnation, claim.writer, claim.incarnation, claim.nonce});
}

std::optional<IncarnationClaim> decode_incarnation(ByteView bytes) {
    const auto record = decode(bytes);
    if (!record || record->kind != kind_incarnation) {
        return std::nullopt;
    }
    return IncarnationClaim{record->writer, record->incarnation, record->nonce};
}

}  // namespace reeve::share
