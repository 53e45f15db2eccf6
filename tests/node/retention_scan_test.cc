// What a share that holds, or claims to hold, more than anybody wants to remember costs a scan.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "node/retention.h"
#include "projection/kv/map_store.h"

namespace reeve::node {
namespace {

constexpr std::size_t most_items = 100'000;
constexpr std::size_t most_seen = 10'000;
constexpr int most_steps = 100'000;

/// As many entries of a room as it is told, made up as they are asked for.
class Hoard : public share::Attic {
public:
    std::size_t refused = 0;
    std::size_t set_aside = 0;  // in quarantine
    std::size_t days = 0;       // of results

    Result<std::vector<Entry>> list(Room room, const std::string& below) override {
        std::vector<Entry> out;
        const auto many = [&](std::size_t n, const std::string& prefix, bool directory) {
            for (std::size_t i = 0; i < n; ++i) {
                auto number = std::to_string(i);
                number.insert(0, 7 - number.size(), '0');
                out.push_back({prefix + number, directory, 1, 1});
            }
        };
        if (room == Room::rejected && below.empty()) {
            many(refused, "r", false);
        } else if (room == Room::quarantine) {
            many(below.empty() ? 1 : set_aside, below.empty() ? "writer" : "s", below.empty());
        } else if (room == Room::results && below.empty()) {
            for (std::size_t i = 0; i < days; ++i) {
                out.push_back({"2026-01-" + std::string(i < 9 ? "0" : "") + std::to_string(i + 1),
                               true, 1, 1});
            }
        } else if (room == Room::results && std::count(below.begin(), below.end(), '/') == 0) {
            for (std::size_t i = 0; i < 10'000; ++i) {
                std::array<std::uint8_t, 10> random{};
                random[0] = static_cast<std::uint8_t>(i);
                random[1] = static_cast<std::uint8_t>(i >> 8);
                out.push_back({JobId::make(1'700'000'000'000, random).text(), true, 1, 1});
            }
        }
        return out;
    }
    Status remove(Room, const std::string&, bool) override { return ok(); }
    Result<std::int64_t> time_ms(const WriterId&) override { return std::int64_t{0}; }
};

class Scan : public testing::Test {
protected:
    Scan() : store_(projection::Projection::table_names().size()) {
        projection_ = std::move(*projection::Projection::open(store_));
    }
    /// Until all is seen; what was planned is never more than the bound.
    RetentionScan scan(Hoard& hoard) {
        RetentionScan out(hoard, {}, 1);
        const auto view = *projection_->snapshot();
        for (int i = 0; i < most_steps; ++i) {
            const auto more = out.step(view, 1000);
            EXPECT_TRUE(more);
            EXPECT_LE(out.items().size(), most_items);
            if (!more || !*more) {
                return out;
            }
        }
        ADD_FAILURE() << "it does not end";
        return out;
    }
    kv::MapStore store_;
    std::unique_ptr<projection::Projection> projection_;
};

TEST_F(Scan, OfMoreThanCanBeHeldTheOldestAreSeenAndTheRestLater) {
    Hoard hoard;
    hoard.refused = 150'000;
    const auto seen = scan(hoard);
    EXPECT_EQ(seen.items().size(), most_items);
}

TEST_F(Scan, OfMoreInQuarantineThanIsRememberedTheRestComesLater) {
    Hoard hoard;
    hoard.set_aside = 25'000;
    const auto seen = scan(hoard);
    EXPECT_EQ(seen.items().size(), most_seen);
    EXPECT_EQ(seen.seen().size(), most_seen);
}

TEST_F(Scan, OfMoreResultsThanCanBeHeldTheOldestDaysAreSeen) {
    Hoard hoard;
    hoard.days = 31;  // of 10,000 jobs
    const auto seen = scan(hoard);
    ASSERT_EQ(seen.items().size(), most_items);
    EXPECT_TRUE(seen.items().front().name.starts_with("2026-01-01/"));
    EXPECT_TRUE(seen.items().back().name.starts_with("2026-01-10/"));
}

}  // namespace
}  // namespace reeve::node
