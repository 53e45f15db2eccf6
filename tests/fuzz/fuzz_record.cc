// Small files and names of the share: tickets, claims of incarnations, names.

#include "eventlog/format.h"
#include "share/dir/names.h"
#include "share/dir/records.h"
#include "tests/fuzz/fuzz.h"

using namespace reeve;

namespace {

constexpr std::size_t crc_bytes = 4;

void check_record(ByteView bytes) {
    if (const auto ticket = share::decode_ticket(bytes)) {
        const auto again = share::encode_ticket(*ticket);
        REQUIRE(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
        REQUIRE(valid_writer_name(ticket->writer.v));
    }
    if (const auto claim = share::decode_incarnation(bytes)) {
        const auto again = share::encode_incarnation(*claim);
        REQUIRE(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
        REQUIRE(valid_writer_name(claim->writer.v));
    }
}

void check_name(std::string_view text) {
    if (const auto segment = eventlog::parse_segment_name(text)) {
        REQUIRE(eventlog::segment_name(*segment) == text);
    }
    if (const auto number = share::parse_ten_digits(text)) {
        REQUIRE(share::ten_digits(*number) == text);
    }
    if (share::valid_relative_path(text)) {
        REQUIRE(text.find("..") == std::string_view::npos ||
                text.find("/..") == std::string_view::npos);
        REQUIRE(!text.starts_with('/') && !text.starts_with('.'));
        REQUIRE(text.find('\0') == std::string_view::npos);
    }
    if (share::valid_dropped_name(text)) {
        REQUIRE(text.ends_with(".json") && text.find('/') == std::string_view::npos);
    }
    if (const auto attempt = AttemptId::parse(text)) {
        REQUIRE(attempt->text() == text);
    }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned int seed) {
    size = LLVMFuzzerMutate(data, size, most);
    if (seed % 2 != 0 && size >= 1 + share::name_record_bytes) {
        size = 1 + share::name_record_bytes;
        store_le(data + size - crc_bytes,
                 crc32c(ByteView(data + 1, share::name_record_bytes - crc_bytes)));
    }
    return size;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Pieces in(data, size);
    if (in.byte() % 2 == 0) {
        check_record(in.rest());
    } else {
        check_name(as_text(in.rest()));
    }
    return 0;
}
