// The layout in docs/formats/eventlog.md, byte by byte; offsets there and here are the same
// numbers.

#include "eventlog/format.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "events/codec.h"

namespace reeve::eventlog {
namespace {

constexpr std::string_view segment_magic = "RVSEG001";
constexpr std::uint32_t batch_magic = 0x31425652;  // "RVB1"
constexpr std::uint32_t seal_magic = 0x314C5652;   // "RVL1"
constexpr std::size_t writer_field_bytes = 48;
constexpr std::size_t header_crc_at = 200;
constexpr std::size_t certificate_at = 256;
constexpr std::size_t signature_at = 4032;
constexpr std::size_t seal_signature_at = 64;
constexpr std::size_t least_framed_bytes = 40;  // a FlatBuffer with a clock and nothing else

void put_text(std::uint8_t* at, const std::string& text) {
    CHECK(text.size() < writer_field_bytes);
    std::memcpy(at, text.data(), text.size());
}

std::string get_text(const std::uint8_t* at) {
    const auto* end = static_cast<const std::uint8_t*>(std::memchr(at, 0, writer_field_bytes));
    return std::string(at, end == nullptr ? at + writer_field_bytes : end);
}

bool all_zero(ByteView bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b == 0; });
}

template <std::size_t N>
void copy_in(std::uint8_t* at, const std::array<std::uint8_t, N>& from) {
    std::memcpy(at, from.data(), N);
}
template <std::size_t N>
void copy_out(std::array<std::uint8_t, N>& to, const std::uint8_t* at) {
    std::memcpy(to.data(), at, N);
}

std::uint32_t header_crc(ByteView page) {
    const auto before = crc32c(page.first(header_crc_at));
    return crc32c(page.subspan(header_crc_at + 4, signature_at - header_crc_at - 4), before);
}

Error corrupt(const std::string& why) { return {Code::corrupt, why}; }

std::string ten_digits(std::uint64_t value) {
    std::string digits = std::to_string(value);
    return std::string(digits.size() < 10 ? 10 - digits.size() : 0, '0') + digits;
}

std::optional<std::uint64_t> parse_ten_digits(std::string_view text) {
    if (text.size() < 10 || text.size() > 19 || (text.size() > 10 && text[0] == '0')) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9') {
            return std::nullopt;
        }
        value = value * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return value;
}

}  // namespace

LogPosition first_position(const SegmentHeader& header) {
    return {header.id.incarnation, header.id.segment, Offset(header_page_bytes),
            header.previous.seq, header.previous.hash};
}

bool passes_over_empty(const LogPosition& position, const LogPosition& previous) {
    return position.end.v == header_page_bytes && segment_of(previous) < segment_of(position) &&
           previous.seq == position.seq && previous.hash == position.hash;
}

std::uint64_t segment_uid(const ClusterId& cluster, const WriterId& writer, const SegmentId& id) {
    std::array<std::uint8_t, 16 + writer_field_bytes + 16> bytes{};
    copy_in(bytes.data(), cluster);
    put_text(bytes.data() + 16, writer.v);
    store_le(bytes.data() + 64, id.incarnation.v);
    store_le(bytes.data() + 72, id.segment.v);
    return load_le<std::uint64_t>(sha256(bytes).data());
}

Bytes encode_header(SegmentHeader header, const Identity& identity) {
    header.certificate = identity.certificate;
    Bytes page(header_page_bytes, 0);
    auto* p = page.data();
    std::memcpy(p, segment_magic.data(), segment_magic.size());
    store_le(p + 8, format_version);
    store_le(p + 12, hash_sha256);
    copy_in(p + 16, header.cluster);
    put_text(p + 32, header.writer.v);
    store_le(p + 80, header.id.incarnation.v);
    store_le(p + 88, header.id.segment.v);
    copy_in(p + 96, header.nonce);
    store_le(p + 120, header.level);
    store_le(p + 128, header.previous.incarnation.v);
    store_le(p + 136, header.previous.segment.v);
    store_le(p + 144, header.previous.end.v);
    store_le(p + 152, header.previous.seq.v);
    copy_in(p + 160, header.previous.hash);
    store_le(p + 192, header.first_hlc.v);
    const auto certificate = encode(header.certificate);
    std::memcpy(p + certificate_at, certificate.data(), certificate.size());
    store_le(p + header_crc_at, header_crc(page));
    copy_in(p + signature_at, identity.key.sign(ByteView(page).first(signature_at)));
    return page;
}

Result<SegmentHeader> decode_header(ByteView page) {
    if (page.size() < header_page_bytes) {
        return corrupt("the header page is cut short");
    }
    const auto* p = page.data();
    if (std::memcmp(p, segment_magic.data(), segment_magic.size()) != 0) {
        return corrupt("not a segment: the magic is missing");
    }
    if (load_le<std::uint32_t>(p + header_crc_at) != header_crc(page)) {
        return corrupt("the header's CRC does not match");
    }
    if (load_le<std::uint32_t>(p + 8) != format_version ||
        load_le<std::uint32_t>(p + 12) != hash_sha256) {
        return Error{Code::unsupported, "a format or hash algorithm that this build does not know"};
    }
    if (!all_zero(page.subspan(112, 8)) || !all_zero(page.subspan(124, 4)) ||
        !all_zero(page.subspan(204, certificate_at - 204)) ||
        !all_zero(page.subspan(certificate_at + certificate_bytes,
                               signature_at - certificate_at - certificate_bytes))) {
        return corrupt("reserved bytes of the header are not zero");
    }
    SegmentHeader header;
    copy_out(header.cluster, p + 16);
    header.writer = WriterId(get_text(p + 32));
    if (header.writer.v.size() >= writer_field_bytes) {
        return corrupt("the name of the writer does not end");
    }
    header.id = {Incarnation(load_le<std::uint64_t>(p + 80)),
                 SegmentNo(load_le<std::uint64_t>(p + 88))};
    copy_out(header.nonce, p + 96);
    header.level = load_le<std::uint32_t>(p + 120);
    header.previous = {Incarnation(load_le<std::uint64_t>(p + 128)),
                       SegmentNo(load_le<std::uint64_t>(p + 136)),
                       Offset(load_le<std::uint64_t>(p + 144)),
                       Seq(load_le<std::uint64_t>(p + 152)),
                       {}};
    copy_out(header.previous.hash, p + 160);
    header.first_hlc = Hlc(load_le<std::uint64_t>(p + 192));
    TRY_ASSIGN(header.certificate,
               decode_certificate(page.subspan(certificate_at, certificate_bytes)));
    return header;
}

Status verify_header(ByteView page, const SegmentHeader& header, const Trust& trust) {
    TRY(trust.check(header.certificate, header.writer));
    Signature signature{};
    copy_out(signature, page.data() + signature_at);
    if (!trust.verified(header.certificate.key, page.first(signature_at), signature)) {
        return corrupt("the header does not bear its writer's signature");
    }
    return ok();
}

Bytes encode_batch(BatchHeader header, std::span<const EncodedEvent> events) {
    std::size_t length = batch_header_bytes;
    for (const auto& event : events) {
        length += event.framed();
    }
    CHECK(length <= max_batch_bytes && !events.empty());
    Bytes out(length, 0);
    auto* p = out.data();
    std::size_t at = batch_header_bytes;
    for (const auto& event : events) {
        store_le(p + at, static_cast<std::uint32_t>(event.bytes.size()));
        store_le(p + at + 4, event.type);
        store_le(p + at + 6, event_version);
        std::memcpy(p + at + event_frame_bytes, event.bytes.data(), event.bytes.size());
        at += event.framed();
    }
    store_le(p, batch_magic);
    store_le(p + 8, static_cast<std::uint32_t>(length));
    store_le(p + 12, static_cast<std::uint32_t>(events.size()));
    store_le(p + 16, header.uid);
    store_le(p + 24, header.first_seq.v);
    store_le(p + 32, header.first_hlc.v);
    store_le(p + 40, header.last_hlc.v);
    store_le(p + 48, header.synced_through.v);
    store_le(p + 56, crc32c(ByteView(out).subspan(batch_header_bytes)));
    copy_in(p + 64, header.previous);
    store_le(p + 4, crc32c(ByteView(out).subspan(8, batch_header_bytes - 8)));
    return out;
}

Found classify(ByteView bytes, std::uint64_t uid, BatchHeader* header, std::string* why) {
    if (bytes.size() < batch_header_bytes) {
        *why = all_zero(bytes) ? "" : "the bytes end within a batch header";
        return Found::nothing;
    }
    const auto* p = bytes.data();
    const auto magic = load_le<std::uint32_t>(p);
    if (magic == seal_magic && bytes.size() >= seal_bytes) {
        const auto seal = decode_seal(bytes);
        if (seal && seal->uid == uid) {
            return Found::seal;
        }
        *why = seal ? "a seal of another segment" : seal.error().message;
        return Found::nothing;
    }
    if (magic != batch_magic) {
        *why = all_zero(bytes.first(batch_header_bytes)) ? "" : "no batch begins here";
        return Found::nothing;
    }
    if (load_le<std::uint32_t>(p + 4) != crc32c(bytes.subspan(8, batch_header_bytes - 8))) {
        *why = "the CRC of the batch header does not match";
        return Found::nothing;
    }
    header->length = load_le<std::uint32_t>(p + 8);
    header->count = load_le<std::uint32_t>(p + 12);
    header->uid = load_le<std::uint64_t>(p + 16);
    header->first_seq = Seq(load_le<std::uint64_t>(p + 24));
    header->first_hlc = Hlc(load_le<std::uint64_t>(p + 32));
    header->last_hlc = Hlc(load_le<std::uint64_t>(p + 40));
    header->synced_through = Offset(load_le<std::uint64_t>(p + 48));
    copy_out(header->previous, p + 64);
    const bool sane = header->length > batch_header_bytes && header->length <= max_batch_bytes &&
                      header->length % 8 == 0 && header->count > 0 &&
                      load_le<std::uint32_t>(p + 60) == 0;
    if (!sane || header->uid != uid) {
        *why = sane ? "a batch of another segment" : "a length, count or flag that cannot be";
        return Found::nothing;
    }
    return Found::batch;
}

Result<BatchHeader> verify_batch(ByteView bytes, std::uint64_t uid, const LogPosition& before) {
    BatchHeader header;
    std::string why;
    if (classify(bytes, uid, &header, &why) != Found::batch) {
        return corrupt(why.empty() ? "no batch" : why);
    }
    if (header.length > bytes.size()) {
        return corrupt("the batch is cut short");
    }
    const auto body = bytes.subspan(batch_header_bytes, header.length - batch_header_bytes);
    if (load_le<std::uint32_t>(bytes.data() + 56) != crc32c(body)) {
        return corrupt("the CRC of the batch does not match");
    }
    if (header.previous != before.hash) {
        return corrupt("the chain is broken: it does not continue the batch before");
    }
    if (header.synced_through > before.end) {
        return corrupt("it says that bytes behind its own begin were synced");
    }
    if (header.first_seq != before.seq.next()) {
        return corrupt("event " + std::to_string(before.seq.v + 1) +
                       " is missing: the batch begins with " + std::to_string(header.first_seq.v));
    }
    return header;
}

Result<std::vector<events::Event>> decode_batch(ByteView batch, const BatchHeader& header,
                                                const WriterId& writer) {
    std::vector<events::Event> out;
    // A count is believed as far as that many events could stand there.
    out.reserve(std::min<std::size_t>(header.count, header.length / least_framed_bytes));
    std::size_t at = batch_header_bytes;
    Seq seq = header.first_seq;
    for (std::uint32_t i = 0; i < header.count; ++i, seq = seq.next()) {
        if (header.length - at < event_frame_bytes) {
            return corrupt("an event frame reaches beyond its batch");
        }
        const std::size_t size = load_le<std::uint32_t>(batch.data() + at);
        const auto type = load_le<std::uint16_t>(batch.data() + at + 4);
        if (load_le<std::uint16_t>(batch.data() + at + 6) != event_version) {
            return Error{Code::unsupported,
                         "an event frame of a version that this build does not know"};
        }
        if (size > events::max_event_bytes ||
            align8(size) > header.length - at - event_frame_bytes) {
            return corrupt("an event reaches beyond its batch");
        }
        TRY(events::decode_into(out.emplace_back(), type,
                                batch.subspan(at + event_frame_bytes, size), writer, seq));
        if (!all_zero(batch.subspan(at + event_frame_bytes + size, align8(size) - size))) {
            return corrupt("padding behind an event is not zero");
        }
        at += event_frame_bytes + align8(size);
    }
    if (at != header.length) {
        return corrupt("bytes follow the last event of a batch");
    }
    if (out.front().hlc != header.first_hlc || out.back().hlc != header.last_hlc) {
        return corrupt("the clocks of a batch's header are not those of its events");
    }
    return out;
}

Bytes encode_seal(const Seal& seal, const PrivateKey& key) {
    Bytes out(seal_bytes, 0);
    auto* p = out.data();
    store_le(p, seal_magic);
    store_le(p + 8, seal.uid);
    store_le(p + 16, seal.end.v);
    store_le(p + 24, seal.seq.v);
    copy_in(p + 32, seal.hash);
    copy_in(p + seal_signature_at, key.sign(ByteView(out).subspan(8, seal_signature_at - 8)));
    store_le(p + 4, crc32c(ByteView(out).subspan(8)));
    return out;
}

Result<Seal> decode_seal(ByteView bytes) {
    if (bytes.size() < seal_bytes || load_le<std::uint32_t>(bytes.data()) != seal_magic) {
        return corrupt("no seal");
    }
    if (load_le<std::uint32_t>(bytes.data() + 4) != crc32c(bytes.subspan(8, seal_bytes - 8))) {
        return corrupt("the seal does not verify");
    }
    Seal seal;
    seal.uid = load_le<std::uint64_t>(bytes.data() + 8);
    seal.end = Offset(load_le<std::uint64_t>(bytes.data() + 16));
    seal.seq = Seq(load_le<std::uint64_t>(bytes.data() + 24));
    copy_out(seal.hash, bytes.data() + 32);
    copy_out(seal.signature, bytes.data() + seal_signature_at);
    return seal;
}

bool seal_is_signed(ByteView bytes, const Seal& seal, const PublicKey& key, const Trust& trust) {
    return trust.verified(key, bytes.subspan(8, seal_signature_at - 8), seal.signature);
}

std::string segment_name(const SegmentId& id) {
    return ten_digits(id.incarnation.v) + "-" + ten_digits(id.segment.v) + ".rlog";
}

std::optional<SegmentId> parse_segment_name(std::string_view name) {
    constexpr std::string_view ending = ".rlog";
    const auto dash = name.find('-');
    if (!name.ends_with(ending) || dash == std::string_view::npos) {
        return std::nullopt;
    }
    const auto incarnation = parse_ten_digits(name.substr(0, dash));
    const auto segment =
        parse_ten_digits(name.substr(dash + 1, name.size() - dash - 1 - ending.size()));
    if (!incarnation || !segment || *incarnation == 0 || *segment == 0) {
        return std::nullopt;
    }
    return SegmentId{Incarnation(*incarnation), SegmentNo(*segment)};
}

std::string head_name(Incarnation incarnation) { return ten_digits(incarnation.v) + ".head"; }

}  // namespace reeve::eventlog
