// Documents that are read without a JSON value: what is read is what the checker reads, and
// everything else is left to it.

#include "queue/door/plain_document.h"

#include <random>

#include "tests/door/door_world.h"

namespace reeve::queue {
namespace {

std::optional<JobSpec> plain(std::string_view text) { return read_plain(text, 4, 8); }

TEST(PlainDocument, ReadsACommandAndItsName) {
    const auto spec =
        plain(R"({"argv":["/bin/cp","-a","two words",""],"name":"nightly","type":"command"})");
    ASSERT_TRUE(spec);
    EXPECT_EQ(spec->argv, (std::vector<std::string>{"/bin/cp", "-a", "two words", ""}));
    EXPECT_EQ(spec->name, "nightly");
    ASSERT_TRUE(plain(R"({"argv":["x"],"type":"command"})"));
}

TEST(PlainDocument, LeavesEverythingElse) {
    for (const auto* text : {
             "",
             "{}",
             R"({"argv":[],"type":"command"})",
             R"({"argv":[""],"type":"command"})",
             R"({"argv":["x"]})",
             R"({"argv":["x"],"type":"inference"})",
             R"({"argv":["x"],"type":"command"} )",
             R"({"argv":["x"],"type":"command"}})",
             R"( {"argv":["x"],"type":"command"})",
             R"({"argv": ["x"],"type":"command"})",
             R"({"type":"command","argv":["x"]})",
             R"({"argv":["x",],"type":"command"})",
             R"({"argv":["x","type":"command"})",
             R"({"argv":["x"],"name":"","type":"command"})",
             R"({"argv":["x"],"name":"123456789","type":"command"})",
             R"({"argv":["a","b","c","d","e"],"type":"command"})",
             R"({"argv":["a\"b"],"type":"command"})",
             R"({"argv":["a\u0000"],"type":"command"})",
             "{\"argv\":[\"\xc3\xa4\"],\"type\":\"command\"}",
             "{\"argv\":[\"a\tb\"],\"type\":\"command\"}",
             "{\"argv\":[\"a\x7f\"],\"type\":\"command\"}",
             R"({"after":[],"argv":["x"],"type":"command"})",
             R"({"argv":["x"],"type":"command","type":"command"})",
             R"({"argv":["x"],"name":"a","priority":"high","type":"command"})",
         }) {
        EXPECT_FALSE(plain(text)) << text;
    }
}

// Random short texts over what documents are made of: what is taken is accepted by the checker, is
// its own canonical form, and says the same.
TEST(PlainDocument, TakesOnlyWhatTheCheckerReadsLikewise) {
    const std::uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const std::vector<std::string> pieces = {"\"", "\\",   ",",        "]",     "a",   " ",
                                             "~",  "\x7f", "\xc3\xa4", "\",\"", "\\n", "/"};
    int taken = 0;
    for (int round = 0; round < 20'000; ++round) {
        const auto text = [&] {
            std::string out;
            for (auto n = random() % 4; n > 0; --n) {
                out += pieces[random() % pieces.size()];
            }
            return out;
        };
        const auto document = R"({"argv":[")" + text() + R"(",")" + text() + R"("])" +
                              (random() % 2 == 0 ? "" : R"(,"name":")" + text() + "\"") +
                              R"(,"type":"command"})";
        const auto spec = read_plain(document, 1024, 128);
        if (!spec) {
            continue;
        }
        ++taken;
        const auto checked = accepted(document);
        ASSERT_EQ(checked.canonical, document);
        ASSERT_EQ(checked.spec.argv, spec->argv);
        ASSERT_EQ(checked.spec.name, spec->name);
        ASSERT_EQ(checked.spec.task_type(), spec->task_type());
    }
    EXPECT_GT(taken, 1000);
}

}  // namespace
}  // namespace reeve::queue
