// Certificates and join codes: what is believed, and that hostile text is refused and nothing
// worse.

#include "eventlog/trust.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/lib/test_identity.h"

namespace reeve::eventlog {
namespace {

using testing_support::test_identity;
using testing_support::test_key;
using testing_support::test_trust;

const ClusterId home{1, 2, 3};
const WriterId nova("nova.worker");

TEST(Trust, ACertificateIsTheSameInBytesAndText) {
    const auto certificate = test_identity(home, NodeId("nova"), 7).certificate;
    EXPECT_EQ(decode_certificate(encode(certificate)).value(), certificate);
    EXPECT_EQ(parse_certificate(certificate_text(certificate)).value(), certificate);
    EXPECT_TRUE(test_trust(home).check(certificate, nova));
}

TEST(Trust, NoChangedFieldIsBelieved) {
    const auto good = test_identity(home, NodeId("nova"), 7).certificate;
    const auto refused = [&](auto change, const WriterId& writer = nova) {
        auto changed = good;
        change(changed);
        return test_trust(home).check(changed, writer).error().code == Code::denied;
    };
    EXPECT_TRUE(refused([](Certificate& c) { c.cluster[0] = 9; }));
    EXPECT_TRUE(refused([](Certificate& c) { c.node = NodeId("mira"); }));
    EXPECT_TRUE(refused([](Certificate& c) { c.node = NodeId("mira"); }, WriterId("mira.worker")));
    EXPECT_TRUE(refused([](Certificate& c) { c.roles = coordinator_role; }));
    EXPECT_TRUE(refused([](Certificate& c) { c.serial = 8; }));
    EXPECT_TRUE(refused([](Certificate& c) { c.issued_ms += 1; }));
    EXPECT_TRUE(refused([](Certificate& c) { c.key = test_key(3).public_key(); }));
    EXPECT_TRUE(refused([](Certificate& c) { c.operator_key = test_key(3).public_key(); }));
    EXPECT_TRUE(refused([](Certificate& c) { c.signature[10] ^= 1; }));
}

TEST(Trust, AnOperatorThatIsNotPinnedSpeaksForNobody) {
    auto certificate = test_identity(home, NodeId("nova")).certificate;
    certificate = issue(certificate, test_key(50));
    EXPECT_EQ(test_trust(home).check(certificate, nova).error().code, Code::denied);
    EXPECT_TRUE(Trust::unpinned(home).check(certificate, nova));
}

TEST(Trust, HostileTextIsRefused) {
    const auto whole =
        nlohmann::json::parse(certificate_text(test_identity(home, NodeId("nova")).certificate));
    const std::vector<nlohmann::json> values{
        nullptr, 7, -1, 1.5, "", "x", nlohmann::json::array(), nlohmann::json::object(), true};
    for (const auto& [key, value] : whole.items()) {
        for (const auto& other : values) {
            auto changed = whole;
            changed[key] = other;
            const auto read = parse_certificate(changed.dump());
            EXPECT_FALSE(read && test_trust(home).check(*read, nova))
                << key << " = " << other.dump();
        }
        auto without = whole;
        without.erase(key);
        const auto read = parse_certificate(without.dump());
        EXPECT_FALSE(read) << "without " << key;
    }
    for (const auto* text : {"", "{", "[]", "null", "\xff", "{\"schema\":1}"}) {
        EXPECT_FALSE(parse_certificate(text)) << text;
    }
}

TEST(Trust, AJoinCodeNamesTheClusterAndItsOperators) {
    const auto one = test_key(1).public_key();
    const auto two = test_key(2).public_key();
    const auto code = join_code(home, {one, two});
    EXPECT_EQ(code.size(), 19U);
    EXPECT_EQ(code, join_code(home, {two, one}));
    EXPECT_NE(code, join_code(home, {one}));
    EXPECT_NE(code, join_code({9}, {one, two}));
    std::string typed;
    for (const char c : code) {
        typed += c == '-' ? ' ' : static_cast<char>(std::tolower(c));
    }
    EXPECT_TRUE(same_join_code(typed, code));
    typed[0] = typed[0] == 'a' ? 'b' : 'a';
    EXPECT_FALSE(same_join_code(typed, code));
    EXPECT_FALSE(same_join_code("", code));
}

}  // namespace
}  // namespace reeve::eventlog
