// The example at the end of docs/formats/eventlog.md is what this code writes, byte by byte.

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "eventlog/format.h"
#include "events/codec.h"
#include "tests/lib/test_identity.h"

namespace reeve::eventlog {
namespace {

constexpr std::size_t line_bytes = 16;
const ClusterId cluster{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                        0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
const WriterId writer("nova.worker");

std::vector<std::pair<Hlc, events::Payload>> story() {
    const std::int64_t ms = 1'795'557'679'999;
    const auto at = [](std::int64_t time, std::uint64_t counter) {
        return Hlc(static_cast<std::uint64_t>(time) << 16 | counter);
    };
    const JobId job = JobId::make(ms, {0x58, 0x3a, 0x7c, 0xb3, 0x4d, 0x96, 0x43, 0x89, 0x6a, 0x9b});
    return {
        {at(ms, 2),
         events::JobStarted{
             {job, AttemptNo(1)}, NodeId("nova"), Incarnation(1), sha256(as_bytes("{}")), false}},
        {at(ms + 7, 0), events::JobEnded{{job, AttemptNo(2)}, events::Ending::failed, "exit 1"}}};
}

/// The segment of the page: one batch, and a seal. Keys: seeds of 32 bytes 01, of 32 bytes C8.
Bytes segment() {
    const auto identity = testing_support::test_identity(cluster, NodeId("nova"));
    SegmentHeader header;
    header.cluster = cluster;
    header.writer = writer;
    header.id = {Incarnation(1), SegmentNo(1)};
    for (std::size_t i = 0; i < header.nonce.size(); ++i) {
        header.nonce[i] = static_cast<std::uint8_t>(0xa0 + i);
    }
    header.first_hlc = Hlc(story().front().first.v - 1);
    Bytes out = encode_header(header, identity);
    std::vector<EncodedEvent> events;
    for (const auto& [hlc, payload] : story()) {
        events.push_back({events::type_id(payload), *events::encode(hlc, payload)});
    }
    BatchHeader batch;
    batch.uid = segment_uid(cluster, writer, header.id);
    batch.first_seq = Seq(1);
    batch.first_hlc = story().front().first;
    batch.last_hlc = story().back().first;
    batch.synced_through = Offset(header_page_bytes);
    const auto bytes = encode_batch(batch, events);
    out.insert(out.end(), bytes.begin(), bytes.end());
    const Seal seal{batch.uid, Offset(out.size()), Seq(2), sha256(bytes), {}};
    const auto sealed = encode_seal(seal, identity.key);
    out.insert(out.end(), sealed.begin(), sealed.end());
    return out;
}

/// As `xxd` prints it, runs of zero lines but the first left out.
std::string dump(ByteView bytes) {
    std::string out;
    bool in_zeros = false;
    bool told = false;
    for (std::size_t at = 0; at < bytes.size(); at += line_bytes) {
        const auto line = bytes.subspan(at, std::min(line_bytes, bytes.size() - at));
        const bool zeros = line.size() == line_bytes &&
                           std::all_of(line.begin(), line.end(), [](auto b) { return b == 0; });
        if (zeros && in_zeros) {
            out += told ? "" : "*\n";
            told = true;
            continue;
        }
        in_zeros = zeros;
        told = false;
        char offset[32];
        static_cast<void>(std::snprintf(offset, sizeof offset, "%04zx:", at));
        std::string hex;
        std::string text;
        for (std::size_t i = 0; i < line_bytes; ++i) {
            hex += i % 2 == 0 ? " " : "";
            hex += i < line.size() ? to_hex(line.subspan(i, 1)) : "  ";
            if (i < line.size()) {
                text += line[i] >= 0x20 && line[i] < 0x7f ? static_cast<char>(line[i]) : '.';
            }
        }
        out += offset + hex + " " + text + "\n";
    }
    return out;
}

/// The bytes of the hexadecimal lines of the page; zeros where it leaves lines out.
Bytes bytes_of_page(const std::string& page) {
    Bytes out;
    std::istringstream lines(page.substr(page.find("\n## Example\n")));
    for (std::string line; std::getline(lines, line);) {
        std::size_t at = 0;
        if (line.size() < 45 || line[4] != ':' || std::sscanf(line.c_str(), "%4zx:", &at) != 1 ||
            at % line_bytes != 0) {
            continue;
        }
        out.resize(at, 0);
        for (std::size_t column = 6; column < 45; column += column % 5 == 1 ? 2 : 3) {
            unsigned byte = 0;
            if (line[column] == ' ' || std::sscanf(line.c_str() + column, "%2x", &byte) != 1) {
                break;
            }
            out.push_back(static_cast<std::uint8_t>(byte));
        }
    }
    return out;
}

TEST(Example, ThePageShowsWhatThisCodeWrites) {
    std::ifstream file(REEVE_SOURCE_DIR "/docs/formats/eventlog.md");
    const std::string page((std::istreambuf_iterator<char>(file)), {});
    ASSERT_NE(page.find("\n## Example\n"), std::string::npos);
    const auto bytes = segment();
    const std::string told = "to be written there:\n" + to_hex(sha256(bytes)) + "\n" + dump(bytes);
    EXPECT_NE(page.find("`" + to_hex(sha256(bytes)) + "`"), std::string::npos) << told;
    EXPECT_EQ(to_hex(bytes_of_page(page)), to_hex(bytes)) << told;
    EXPECT_NE(page.find(dump(bytes)), std::string::npos) << told;
}

TEST(Example, TheSegmentVerifies) {
    const auto bytes = segment();
    const auto header = decode_header(ByteView(bytes).first(header_page_bytes));
    ASSERT_TRUE(header);
    const auto trust = testing_support::test_trust(cluster);
    EXPECT_TRUE(verify_header(ByteView(bytes).first(header_page_bytes), *header, trust));
    const auto uid = segment_uid(cluster, writer, header->id);
    const auto body = ByteView(bytes).subspan(header_page_bytes);
    const auto batch = verify_batch(body, uid, first_position(*header));
    ASSERT_TRUE(batch) << batch.error().message;
    const auto events = decode_batch(body, *batch, writer);
    ASSERT_TRUE(events);
    EXPECT_EQ(events->size(), 2u);
    const auto seal = decode_seal(body.subspan(batch->length));
    ASSERT_TRUE(seal);
    EXPECT_TRUE(seal_is_signed(body.subspan(batch->length), *seal, header->certificate.key, trust));
}

}  // namespace
}  // namespace reeve::eventlog
