// Retention can name what is of its rooms, and nothing else (I8).

#include <filesystem>

#include "tests/share/share_world.h"

namespace reeve::testing {
namespace {

using Room = share::Attic::Room;

class Attic : public ShareWorld {
protected:
    void put(const std::string& below) {
        std::filesystem::create_directories(std::filesystem::path(at(below)).parent_path());
        write_text(at(below), "12345");
    }
    std::vector<std::string> names(Room room, const std::string& below) {
        std::vector<std::string> out;
        const auto entries = make_share()->attic().list(room, below).value();
        for (const auto& entry : entries) {
            out.push_back(entry.name + (entry.directory ? "/" : ""));
        }
        return out;
    }
    bool there(const std::string& below) { return std::filesystem::exists(at(below)); }
};

using Names = std::vector<std::string>;

TEST_F(Attic, ListsItsRooms) {
    put("results/2026-01-01/J/a1/stdout");
    put("queue/done/2026-01-01/J.json");
    put("queue/rejected/bad name.json");
    put("queue/rejected/bad name.json.reason.txt");
    put("log/nova.worker/quarantine/0000000001-0000000001.rlog.0011223344556677");
    EXPECT_EQ(names(Room::results, ""), (Names{"2026-01-01/"}));
    EXPECT_EQ(names(Room::results, "2026-01-01/J/a1"), (Names{"stdout"}));
    EXPECT_EQ(names(Room::rendering, "done"), (Names{"2026-01-01/"}));
    EXPECT_EQ(names(Room::rejected, ""), (Names{"bad name.json", "bad name.json.reason.txt"}));
    EXPECT_EQ(names(Room::quarantine, ""), (Names{"nova.worker/"}));
    EXPECT_EQ(names(Room::quarantine, "nova.worker").size(), 1U);
    EXPECT_EQ(names(Room::quarantine, "mira.worker"), Names{});
    const auto file = make_share()->attic().list(Room::results, "2026-01-01/J/a1").value().at(0);
    EXPECT_EQ(file.bytes, 5U);
    EXPECT_GT(file.changed_ms, 0);
}

TEST_F(Attic, RemovesFilesAndEmptyDirectories) {
    put("results/2026-01-01/J/a1/stdout");
    auto share = make_share();
    EXPECT_FALSE(share->attic().remove(Room::results, "2026-01-01/J/a1", true));
    EXPECT_TRUE(share->attic().remove(Room::results, "2026-01-01/J/a1/stdout", false));
    EXPECT_TRUE(share->attic().remove(Room::results, "2026-01-01/J/a1/stdout", false));
    EXPECT_TRUE(share->attic().remove(Room::results, "2026-01-01/J/a1", true));
    EXPECT_FALSE(there("results/2026-01-01/J/a1"));
}

TEST_F(Attic, NamesNothingElse) {
    put("log/nova.worker/0000000001-0000000001.rlog");
    put("queue/pending/J.a1.json");
    put("queue/incoming/new.json");
    put("outside/file");
    std::filesystem::create_directories(at("queue/done/2026-01-01"));
    std::filesystem::create_directory_symlink(at("outside"), at("results/link"));
    auto share = make_share();
    auto& attic = share->attic();
    EXPECT_EQ(names(Room::results, ""), Names{}) << "a link is left alone";
    for (const auto& [room, name] :
         {std::pair(Room::results, "../reeve-cluster.json"), std::pair(Room::results, "link/file"),
          std::pair(Room::results, ""), std::pair(Room::results, "/etc/passwd"),
          std::pair(Room::rendering, "pending/J.a1.json"), std::pair(Room::rendering, "done"),
          std::pair(Room::rendering, "incoming/new.json"),
          std::pair(Room::rejected, "../incoming/new.json"),
          std::pair(Room::quarantine, "nova.worker"),
          std::pair(Room::quarantine, "../0000000001-0000000001.rlog"),
          std::pair(Room::quarantine, "nova.worker/../0000000001-0000000001.rlog")}) {
        EXPECT_FALSE(attic.remove(room, name, false)) << name;
        EXPECT_FALSE(attic.remove(room, name, true)) << name;
    }
    EXPECT_TRUE(there("outside/file"));
    EXPECT_TRUE(there("log/nova.worker/0000000001-0000000001.rlog"));
    EXPECT_TRUE(there("queue/pending/J.a1.json"));
    EXPECT_TRUE(there("queue/incoming/new.json"));
    EXPECT_TRUE(there("queue/done"));
    EXPECT_TRUE(there("reeve-cluster.json"));
}

}  // namespace
}  // namespace reeve::testing
