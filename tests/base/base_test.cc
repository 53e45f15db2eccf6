#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/ids.h"

namespace reeve {
namespace {

TEST(Ids, JobIdTextIsTheUlidOfItsBytes) {
    JobId id;
    id.bytes = {0x01, 0x56, 0x3D, 0xF3, 0x64, 0x81, 0xFF, 0xFF,
                0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    EXPECT_EQ(id.text().substr(0, 10),
              "01ARYZ6S41");  // the time part of the ULID specification's example
    EXPECT_EQ(id.ms(), 1469918176385);
    const auto again = JobId::parse(id.text());
    ASSERT_TRUE(again);
    EXPECT_EQ(*again, id);
}

TEST(Ids, RefusesEverythingThatIsNotCanonical) {
    for (const auto* bad :
         {"", "01ARYZ6S41", "81ARYZ6S410000000000000000", "01aryz6s410000000000000000",
          "01ARYZ6S41000000000000000U", "../../../../../../etc/passw"}) {
        EXPECT_FALSE(JobId::parse(bad)) << bad;
    }
    const std::string job(26, '0');
    EXPECT_TRUE(AttemptId::parse(job + ".a12"));
    for (const auto* end : {"", ".a", ".a0", ".a01", ".b1", ".a1x", ".a1234567"}) {
        EXPECT_FALSE(AttemptId::parse(job + end)) << end;
    }
}

TEST(Ids, NamesThatGoIntoPathsAreChecked) {
    EXPECT_TRUE(valid_writer_name("nova.worker"));
    EXPECT_TRUE(valid_writer_name("n-1.coord"));
    for (const auto* bad : {"nova", ".worker", "Nova.worker", "a/b.worker", "nova.worker.x",
                            "nova.root", "1a.coord"}) {
        EXPECT_FALSE(valid_writer_name(bad)) << bad;
    }
    EXPECT_EQ(node_of(WriterId("nova.worker")), NodeId("nova"));
}

TEST(Hash, Crc32cMatchesThePublishedVectors) {
    EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283u);
    const Bytes zeros(32, 0);  // RFC 3720, appendix B.4
    EXPECT_EQ(crc32c(zeros), 0x8A9136AAu);
    const Bytes text(1000, 'x');
    EXPECT_EQ(crc32c(ByteView(text).subspan(333), crc32c(ByteView(text).first(333))), crc32c(text));
}

TEST(Hash, Sha256OfAbc) {
    EXPECT_EQ(to_hex(sha256(as_bytes("abc"))),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Bytes, ReaderNeverReadsBeyondItsInput) {
    ByteWriter writer;
    writer.u32(7);
    writer.text("seven");
    const auto bytes = std::move(writer).take();
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        ByteReader reader(ByteView(bytes).first(n));
        reader.u32();
        reader.text();
        EXPECT_FALSE(reader.ok()) << n;
    }
    ByteReader reader(bytes);
    EXPECT_EQ(reader.u32(), 7u);
    EXPECT_EQ(reader.text(), "seven");
    EXPECT_TRUE(reader.at_end());
}

}  // namespace
}  // namespace reeve
