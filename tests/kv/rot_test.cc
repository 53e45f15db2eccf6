// Rot in the file of the store: whatever bit of it changes, no row is read that was not written.
// LMDB may end the process that meets it, so each file is read in a process of its own, as the
// daemon does.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <random>

#include "tests/kv/kv_world.h"

namespace reeve::kv {
namespace {

using Model = std::array<std::map<std::string, std::string>, names.size()>;

constexpr int read_as_written = 0;
// Not 1, with which a sanitizer ends a process at a fault.
constexpr int read_otherwise = 21;
constexpr int written_over = 22;  // a write went where rows stand, and the next read did not see it
constexpr int told = 10;

const auto roomy = small_map(1 << 21, 1 << 21);

std::string bytes_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// Rows of one page and of many, of two tables, some put again and some erased.
void write_some(Store& store, Model& model, std::mt19937& random, int count) {
    auto t = std::move(*store.write());
    for (int i = 0; i < count; ++i) {
        const Table table{static_cast<std::uint8_t>(random() % names.size())};
        auto& rows = model[static_cast<std::size_t>(table)];
        const std::string key = "key " + std::to_string(random() % 400);
        if (random() % 4 == 0) {
            ASSERT_TRUE(t->erase(table, as_bytes(key)));
            rows.erase(key);
            continue;
        }
        const auto length = random() % 16 == 0 ? random() % 9000 : random() % 200;
        std::string value(length, static_cast<char>('a' + random() % 26));
        ASSERT_TRUE(put(*t, table, key, value));
        rows[key] = std::move(value);
    }
    ASSERT_TRUE(t->commit());
}

/// Every way to read; false when one of them gives another row than the model has, or fails.
bool holds(Store& store, const Model& model) {
    auto t = store.read();
    if (!t) {
        return false;
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
        const Table table{static_cast<std::uint8_t>(i)};
        const RowList wanted(model[i].begin(), model[i].end());
        if (rows_from(**t, table, "") != wanted || (*t)->count(table) != wanted.size() ||
            rows_back(**t, table) != RowList(wanted.rbegin(), wanted.rend())) {
            return false;
        }
        for (int n = 0; n < 420; ++n) {
            const std::string key = "key " + std::to_string(n);
            const auto at = model[i].find(key);
            if (get(**t, table, key) !=
                (at == model[i].end() ? std::nullopt : std::optional(at->second))) {
                return false;
            }
        }
    }
    return (*t)->status().has_value();
}

/// Reads without trusting: an answer is wrong only when the transaction says that all is well.
bool lies(Store& store, const Model& model) {
    auto t = store.read();
    if (!t) {
        return false;
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
        const Table table{static_cast<std::uint8_t>(i)};
        const auto rows = rows_from(**t, table, "");
        if ((*t)->status() && rows != RowList(model[i].begin(), model[i].end())) {
            return true;
        }
    }
    return false;
}

/// Runs in a child: the scrub, then every read, then writes on the same file.
int read_whole(const std::string& directory, const Model& newest, const Model& before) {
    ::alarm(20);
    Model model;
    {
        auto store = LmdbStore::open(directory, names, {1 << 21, 1 << 21, true});
        if (!store || !(*store)->scrub()) {
            return told;
        }
        // The commit before is whole as well: its owner goes on from there, and reads again.
        if (!holds(**store, newest) && !holds(**store, before)) {
            return read_otherwise;
        }
        model = holds(**store, newest) ? newest : before;
    }
    auto store = LmdbStore::open(directory, names, roomy);
    if (!store) {
        return told;
    }
    for (int i = 0; i < 8; ++i) {
        auto t = (*store)->write();
        if (!t) {
            return told;
        }
        const std::string key = "later " + std::to_string(i);
        const std::string value(static_cast<std::size_t>(i) * 700, 'z');
        if (!put(**t, one, key, value) || !(*t)->commit()) {
            return told;
        }
        model[0][key] = value;
    }
    return lies(**store, model) ? written_over : read_as_written;
}

int in_child(const std::function<int()>& body) {
    const auto pid = ::fork();
    if (pid == 0) {
        ::close(2);  // LMDB's last words
        ::_exit(body());
    }
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST(Rot, NoChangedBitMakesAnotherRow) {
    TempDir dir;
    const char* given = std::getenv("REEVE_ROT_SEED");
    const auto seed =
        given != nullptr ? static_cast<unsigned>(std::stoul(given)) : std::random_device()();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Model newest;
    Model before;
    {
        auto store = open_lmdb(dir / "store", roomy);
        for (int i = 0; i < 12; ++i) {
            before = newest;
            write_some(*store, newest, random, 60);
        }
        const auto scrubbed = store->scrub();
        ASSERT_TRUE(scrubbed) << scrubbed.error().message;
        ASSERT_TRUE(holds(*store, newest));
    }
    const auto whole = bytes_of(dir / "store/data.mdb");
    std::filesystem::create_directories(dir / "rotten");
    std::map<int, int> seen;
    for (int round = 0; round < 3000; ++round) {
        const auto at = random() % whole.size();
        const auto bit = random() % 8;
        auto bytes = whole;
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
        std::ofstream(dir / "rotten/data.mdb", std::ios::binary | std::ios::trunc) << bytes;
        const int end = in_child([&] { return read_whole(dir / "rotten", newest, before); });
        ++seen[end];
        EXPECT_NE(end, read_otherwise) << "byte " << at << " bit " << bit;
        EXPECT_NE(end, written_over) << "byte " << at << " bit " << bit;
        ASSERT_NE(end, 1000 + SIGALRM) << "byte " << at << " bit " << bit;
    }
    std::string all;
    for (const auto& [end, count] : seen) {
        all += " " + std::to_string(end) + ":" + std::to_string(count);
    }
    RecordProperty("outcomes", all);
    EXPECT_GT(seen[told], 500) << all;
    EXPECT_GT(seen[read_as_written], 100) << all;
}

}  // namespace
}  // namespace reeve::kv
