#include <sys/stat.h>

#include <thread>

#include "tests/share/share_world.h"

namespace reeve::testing {
namespace {

const WriterId alpha("alpha.worker");
const WriterId beta("beta.worker");

class Inbox : public ShareWorld {
protected:
    void drop(const std::string& name, std::string_view text = "{}") {
        write_text(at("queue/incoming/" + name), text);
    }
};

TEST_F(Inbox, ListsJobFilesOnly) {
    drop("good.json", "{\"a\":1}");
    drop("mit Leerzeichen und \xC3\xBC.json");
    drop("notes.txt");
    drop(".hidden.json");
    drop("bell\a.json");
    drop("bad\xFF.json");
    drop(std::string(196, 'x') + ".json");
    drop(std::string(195, 'y') + ".json");
    std::filesystem::create_directory(at("queue/incoming/dir.json"));
    std::filesystem::create_symlink("/etc/passwd", at("queue/incoming/link.json"));
    ASSERT_EQ(::mkfifo(at("queue/incoming/pipe.json").c_str(), 0600), 0);
    const auto dropped = make_share()->inbox().list().value();
    ASSERT_EQ(dropped.size(), 3U);
    EXPECT_EQ(dropped[0].name, "good.json");
    EXPECT_EQ(dropped[0].size, 7U);
    EXPECT_GT(dropped[0].mtime_ms, 0);
}

TEST_F(Inbox, TakenReadSettled) {
    auto a = make_share();
    drop("job.json", "{\"type\":\"command\"}");
    ASSERT_TRUE(a->inbox().take("job.json", alpha, job_id(1)));
    EXPECT_TRUE(a->inbox().list().value().empty());
    EXPECT_TRUE(
        std::filesystem::exists(at("queue/ingest/alpha.worker/" + job_id(1).text() + "-job.json")));
    const auto taken = make_share()->inbox().taken(alpha).value();
    ASSERT_EQ(taken.size(), 1U);
    EXPECT_EQ(taken[0].job, job_id(1));
    EXPECT_EQ(taken[0].name, "job.json");
    EXPECT_TRUE(a->inbox().taken(beta).value().empty());
    EXPECT_EQ(as_text(a->inbox().read_taken(alpha, taken[0], 65536).value()),
              "{\"type\":\"command\"}");
    EXPECT_EQ(a->inbox().read_taken(alpha, taken[0], 4).error().code, Code::full);
    ASSERT_TRUE(a->inbox().settle(alpha, taken[0]));
    ASSERT_TRUE(a->inbox().settle(alpha, taken[0]));  // again after a crash
    EXPECT_TRUE(a->inbox().taken(alpha).value().empty());
}

TEST_F(Inbox, OfTwoTakersOneWins) {
    constexpr std::uint64_t files_dropped = 300;
    for (std::uint64_t i = 0; i < files_dropped; ++i) {
        drop("j" + std::to_string(i) + ".json");
    }
    auto a = make_share();
    auto b = make_share();
    std::vector<int> won_a(files_dropped);
    std::vector<int> won_b(files_dropped);
    const auto race = [](share::Share& one, const WriterId& writer, std::vector<int>& won,
                         std::uint64_t salt) {
        for (std::uint64_t i = 0; i < files_dropped; ++i) {
            const auto taken =
                one.inbox().take("j" + std::to_string(i) + ".json", writer, job_id(i * 2 + salt));
            ASSERT_TRUE(taken || taken.error().code == Code::not_found) << taken.error().message;
            won[i] = taken ? 1 : 0;
        }
    };
    std::thread first([&] { race(*a, alpha, won_a, 0); });
    std::thread second([&] { race(*b, beta, won_b, 1); });
    first.join();
    second.join();
    for (std::uint64_t i = 0; i < files_dropped; ++i) {
        EXPECT_EQ(won_a[i] + won_b[i], 1) << i;
    }
    EXPECT_EQ(a->inbox().taken(alpha).value().size() + a->inbox().taken(beta).value().size(),
              files_dropped);
}

TEST_F(Inbox, ALostReplyOfTheRenameIsStillATake) {
    auto a = make_share();
    drop("job.json");
    files.rename_lies = true;
    EXPECT_TRUE(a->inbox().take("job.json", alpha, job_id(1)));
    EXPECT_EQ(a->inbox().take("other.json", alpha, job_id(2)).error().code, Code::not_found);
}

TEST_F(Inbox, RejectedWithItsReasonAndNothingIsOverwritten) {
    auto a = make_share();
    for (std::uint64_t i = 1; i <= 2; ++i) {
        drop("job.json", "{" + std::to_string(i));
        ASSERT_TRUE(a->inbox().take("job.json", alpha, job_id(i)));
        const share::Inbox::Taken taken{job_id(i), "job.json"};
        ASSERT_TRUE(a->inbox().reject(alpha, taken, "reason " + std::to_string(i)));
        ASSERT_TRUE(a->inbox().reject(alpha, taken, "again after a crash"));
    }
    const auto second = at("queue/rejected/" + job_id(2).text() + "-job.json");
    EXPECT_EQ(read_text(at("queue/rejected/job.json")), "{1");
    EXPECT_EQ(read_text(at("queue/rejected/job.json.reason.txt")), "reason 1");
    EXPECT_EQ(read_text(second), "{2");
    EXPECT_EQ(read_text(second + ".reason.txt"), "reason 2");
    EXPECT_TRUE(a->inbox().taken(alpha).value().empty());
}

TEST_F(Inbox, HostileNamesAreRefusedAndLinksNotFollowed) {
    auto a = make_share();
    for (const std::string name : {"../x.json", "a/b.json", ".a.json", "plain", "", ".json"}) {
        EXPECT_EQ(a->inbox().take(name, alpha, job_id(1)).error().code, Code::invalid) << name;
    }
    EXPECT_EQ(a->inbox().take("a.json", WriterId("../../etc"), job_id(1)).error().code,
              Code::invalid);
    std::filesystem::create_directories(at("queue/ingest/alpha.worker"));
    std::filesystem::create_symlink(
        "/etc/passwd", at("queue/ingest/alpha.worker/" + job_id(1).text() + "-a.json"));
    EXPECT_TRUE(a->inbox().taken(alpha).value().empty());
    EXPECT_FALSE(a->inbox().read_taken(alpha, {job_id(1), "a.json"}, 65536));
}

}  // namespace
}  // namespace reeve::testing
