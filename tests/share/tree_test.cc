#include <algorithm>

#include "share/dir/names.h"
#include "tests/share/share_world.h"

namespace reeve::testing {
namespace {

class Tree : public ShareWorld {};

std::size_t everything_below(const std::string& path) {
    std::size_t n = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
        static_cast<void>(entry);
        ++n;
    }
    return n;
}

/// Every call that may create something.
std::vector<Status> mutate_all(share::Share& one) {
    const WriterId alpha("alpha.worker");
    const auto text = as_bytes("x");
    std::vector<Status> out;
    out.push_back(one.log().put(alpha, "0000000001-0000000001.rlog", Offset(0), text));
    eventlog::HeadSlot slot;
    slot.writer = alpha;
    slot.incarnation = Incarnation(1);
    out.push_back(one.log().declare(slot));
    const auto claimed = one.log().claim_incarnation(alpha, Incarnation(1), share::Nonce{});
    out.push_back(claimed ? ok() : Status(claimed.error()));
    out.push_back(one.claims().prepare(ticket_of("alpha.worker")));
    out.push_back(one.claims().link(attempt_id(1), ticket_of("alpha.worker")));
    out.push_back(one.inbox().take("a.json", alpha, job_id(1)));
    out.push_back(one.inbox().reject(alpha, {job_id(1), "a.json"}, "why"));
    out.push_back(one.objects().put("status/alpha.json", text));
    out.push_back(one.objects().put_at("results/d/j/a1/stdout", Offset(0), text, true));
    out.push_back(one.board().put("pending", "x.json", text));
    const auto moved = one.log().quarantine(alpha, "0000000001-0000000001.rlog");
    out.push_back(moved ? ok() : Status(moved.error()));
    return out;
}

TEST_F(Tree, WithoutIdentityNothingIsCreated) {
    auto one = make_share();
    for (const auto& status : mutate_all(*one)) {
        static_cast<void>(status);  // warm: directories known, identity seen
    }
    ASSERT_TRUE(one->identity().check());
    std::filesystem::rename(root(), root() + ".away");
    // Not even the mount point.
    for (const auto& status : mutate_all(*one)) {
        ASSERT_FALSE(status);
        EXPECT_EQ(status.error().code, Code::unavailable) << status.error().message;
    }
    EXPECT_FALSE(std::filesystem::exists(root()));
    // An empty mount point, for a process that is running and for one that starts.
    std::filesystem::create_directory(root());
    auto fresh = make_share();
    for (auto* each : {one.get(), fresh.get()}) {
        for (const auto& status : mutate_all(*each)) {
            ASSERT_FALSE(status);
            EXPECT_EQ(status.error().code, Code::unavailable) << status.error().message;
        }
        EXPECT_EQ(each->identity().check().error().code, Code::unavailable);
        EXPECT_EQ(each->log().writers().error().code, Code::unavailable);
        EXPECT_EQ(each->log().head(WriterId("alpha.worker")).error().code, Code::unavailable);
        EXPECT_EQ(each->inbox().list().error().code, Code::unavailable);
        EXPECT_EQ(each->board().list("pending").error().code, Code::unavailable);
    }
    EXPECT_EQ(everything_below(root()), 0U);
    // Back again: everything goes on.
    std::filesystem::remove(root());
    std::filesystem::rename(root() + ".away", root());
    EXPECT_TRUE(one->objects().put("status/alpha.json", as_bytes("y")));
}

// I8: between the look and what it allows, any time may pass. Each of the first looks is once the
// last one that finds the share: one that guards a call, and those that directories are made
// behind.
TEST_F(Tree, AShareThatWentSinceItsIdentityWasReadIsNotMadeAnew) {
    for (int last = 1; last <= 3; ++last) {
        auto one = make_share();
        int looks = 0;
        files.after_read = [&](const std::string& path) {
            if (path.ends_with("reeve-cluster.json") && ++looks == last) {
                std::filesystem::rename(root(), root() + ".away");
            }
        };
        EXPECT_FALSE(mutate_all(*one).back());
        EXPECT_GE(looks, last);
        EXPECT_FALSE(std::filesystem::exists(root())) << "behind look " << last;
        files.after_read = {};
        std::filesystem::remove_all(root());
        std::filesystem::remove_all(root() + ".away");
        SetUp();
    }
}

TEST_F(Tree, AnotherClustersDirectoryIsNotTouched) {
    share::DirShare foreign(files, root(), test_trust(cluster_id(8)), entropy, clock);
    const auto before = everything_below(root());
    EXPECT_EQ(foreign.identity().check().error().code, Code::conflict);
    for (const auto& status : mutate_all(foreign)) {
        ASSERT_FALSE(status);
        EXPECT_EQ(status.error().code, Code::conflict) << status.error().message;
    }
    EXPECT_EQ(everything_below(root()), before);
}

TEST_F(Tree, TheIdentityIsLookedAtAgainAfterASecond) {
    auto one = make_share();
    ASSERT_TRUE(one->objects().put("status/a.json", as_bytes("x")));
    std::filesystem::remove(at("reeve-cluster.json"));
    clock.advance(seconds(2));
    EXPECT_EQ(one->objects().put("status/a.json", as_bytes("y")).error().code, Code::unavailable);
    EXPECT_EQ(read_text(at("status/a.json")), "x");
}

TEST_F(Tree, CreateIsRepeatableAndRefusesAnotherCluster) {
    EXPECT_TRUE(share::DirShare::create(files, root(), cluster_id(7), "again", {}));
    EXPECT_NE(read_text(at("reeve-cluster.json")).find("home \\\"lab\\\""), std::string::npos);
    EXPECT_EQ(share::DirShare::create(files, root(), cluster_id(8), "other", {}).error().code,
              Code::conflict);
    write_text(at("reeve-cluster.json"), "{}");
    EXPECT_EQ(share::DirShare::create(files, root(), cluster_id(7), "home", {}).error().code,
              Code::corrupt);
    EXPECT_EQ(make_share()->identity().check().error().code, Code::corrupt);
}

TEST_F(Tree, ObjectsAreReplacedWholeOrGrown) {
    auto one = make_share();
    ASSERT_TRUE(one->objects().put("results/2026-11-24/j/a1/result.json", as_bytes("one")));
    ASSERT_TRUE(one->objects().put("results/2026-11-24/j/a1/result.json", as_bytes("two")));
    EXPECT_EQ(as_text(one->objects().get("results/2026-11-24/j/a1/result.json", 100).value()),
              "two");
    ASSERT_TRUE(
        one->objects().put_at("results/2026-11-24/j/a1/stdout", Offset(0), as_bytes("abc"), false));
    ASSERT_TRUE(
        one->objects().put_at("results/2026-11-24/j/a1/stdout", Offset(3), as_bytes("def"), true));
    EXPECT_EQ(as_text(one->objects().get("results/2026-11-24/j/a1/stdout", 100).value()), "abcdef");
    EXPECT_EQ(one->objects().get("results/2026-11-24/j/a1/stdout", 5).error().code, Code::full);
    EXPECT_TRUE(one->objects().remove("results/2026-11-24/j/a1/stdout"));
    EXPECT_EQ(one->objects().get("results/2026-11-24/j/a1/stdout", 5).error().code,
              Code::not_found);
}

TEST_F(Tree, NothingEscapesTheRoot) {
    auto one = make_share();
    const auto text = as_bytes("x");
    for (const std::string name :
         {"../x", "results/../../x", "/etc/x", "results//x", "results/.x", "results", "",
          "log/alpha.worker/x", "queue/claims/00/x", "results/a b", "status/"}) {
        EXPECT_EQ(one->objects().put(name, text).error().code, Code::invalid) << name;
        EXPECT_EQ(one->objects().get(name, 10).error().code, Code::invalid) << name;
    }
    for (const std::string folder :
         {"claims", "incoming", "tickets/x", "ingest", "../log", "done/..", ""}) {
        EXPECT_EQ(one->board().put(folder, "x.json", text).error().code, Code::invalid) << folder;
        EXPECT_EQ(one->board().list(folder).error().code, Code::invalid) << folder;
    }
    EXPECT_EQ(one->board().put("done", "a/b", text).error().code, Code::invalid);
    // A directory that was swapped for a link leads nowhere.
    std::filesystem::create_directory(dir / "outside");
    std::filesystem::create_directory_symlink(dir / "outside", at("results/day"));
    EXPECT_EQ(one->objects().put("results/day/j/x", text).error().code, Code::invalid);
    EXPECT_TRUE(std::filesystem::is_empty(dir / "outside"));
}

TEST_F(Tree, BoardListsItsFolders) {
    auto one = make_share();
    EXPECT_TRUE(one->board().list("done/2026-11-24").value().empty());
    ASSERT_TRUE(one->board().put("done/2026-11-24", "b.json", as_bytes("b")));
    ASSERT_TRUE(one->board().put("done/2026-11-24", "a.json", as_bytes("a")));
    const auto names = one->board().list("done/2026-11-24").value();
    EXPECT_EQ(names, (std::vector<std::string>{"a.json", "b.json"}));
    EXPECT_EQ(one->board().folders("done").value(), std::vector<std::string>{"2026-11-24"});
    ASSERT_TRUE(one->board().remove("done/2026-11-24", "a.json"));
    ASSERT_TRUE(one->board().remove("done/2026-11-24", "a.json"));
    EXPECT_EQ(one->board().list("done/2026-11-24").value().size(), 1U);
}

TEST(Names, TenDigits) {
    EXPECT_EQ(share::ten_digits(7), "0000000007");
    EXPECT_EQ(share::parse_ten_digits("0000000007"), 7U);
    EXPECT_EQ(share::parse_ten_digits("0000000000"), 0U);
    EXPECT_FALSE(share::parse_ten_digits("000000007").has_value());
    EXPECT_FALSE(share::parse_ten_digits("00000000x7").has_value());
    EXPECT_FALSE(share::parse_decimal("01").has_value());
}

}  // namespace
}  // namespace reeve::testing
