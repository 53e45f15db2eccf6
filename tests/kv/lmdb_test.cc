// What only the store on disk promises: it is there after a restart, its map grows, and another
// process may read beside the writer. Readers are child processes: one environment per path and
// process.

#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "tests/kv/kv_world.h"

// A few calls of LMDB itself, to write what an older version of the store has written.
struct MDB_env;
struct MDB_txn;
struct MDB_val {
    std::size_t mv_size;
    void* mv_data;
};
extern "C" {
int mdb_env_create(MDB_env** env);
int mdb_env_set_maxdbs(MDB_env* env, unsigned count);
int mdb_env_open(MDB_env* env, const char* path, unsigned flags, unsigned mode);
void mdb_env_close(MDB_env* env);
int mdb_txn_begin(MDB_env* env, MDB_txn* parent, unsigned flags, MDB_txn** txn);
int mdb_txn_commit(MDB_txn* txn);
int mdb_dbi_open(MDB_txn* txn, const char* name, unsigned flags, unsigned* table);
int mdb_put(MDB_txn* txn, unsigned table, MDB_val* key, MDB_val* value, unsigned flags);
}

namespace reeve::kv {
namespace {

void write_as_before(const std::string& directory, const char* table, std::string key,
                     std::string value) {
    constexpr unsigned create = 0x40000;
    MDB_env* env = nullptr;
    MDB_txn* txn = nullptr;
    unsigned id = 0;
    ASSERT_EQ(::mdb_env_create(&env), 0);
    ASSERT_EQ(::mdb_env_set_maxdbs(env, 2), 0);
    ASSERT_EQ(::mdb_env_open(env, directory.c_str(), 0, 0660), 0);
    ASSERT_EQ(::mdb_txn_begin(env, nullptr, 0, &txn), 0);
    ASSERT_EQ(::mdb_dbi_open(txn, table, create, &id), 0);
    MDB_val k{key.size(), key.data()};
    MDB_val v{value.size(), value.data()};
    ASSERT_EQ(::mdb_put(txn, id, &k, &v, 0), 0);
    ASSERT_EQ(::mdb_txn_commit(txn), 0);
    ::mdb_env_close(env);
}

constexpr std::uint64_t mebi = 1 << 20;

/// A child process that waits for go(), runs `body`, and whose exit status is what `body` returned.
class Child {
public:
    explicit Child(const std::function<int()>& body) {
        EXPECT_EQ(::pipe(pipe_), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            char go = 0;
            const bool told = ::read(pipe_[0], &go, 1) == 1;
            ::_exit(told ? body() : 100);
        }
        ::close(pipe_[0]);
    }
    int go() {
        EXPECT_EQ(::write(pipe_[1], "g", 1), 1);
        ::close(pipe_[1]);
        int status = -1;
        EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 200;
    }

private:
    int pipe_[2] = {-1, -1};
    pid_t pid_ = -1;
};

Result<std::unique_ptr<LmdbStore>> open_read_only(const std::string& directory) {
    return LmdbStore::open(directory, names, {mebi, mebi, true});
}

void write_megabytes(Store& store, int megabytes) {
    for (int i = 0; i < 10 * megabytes; ++i) {
        fill(store, one, {{"key " + std::to_string(i), std::string(100'000, 'v')}});
    }
}

TEST(Lmdb, RowsAreThereAfterAReopen) {
    TempDir dir;
    fill(*open_lmdb(dir / "store", {}), one, {{"a", "1"}, {"b", ""}});
    auto store = open_lmdb(dir / "store", {});
    EXPECT_EQ(all(*store, one), (RowList{{"a", "1"}, {"b", ""}}));
    EXPECT_EQ(all(*store, two), RowList{});
}

TEST(Lmdb, TheMapGrowsWithWhatIsWritten) {
    TempDir dir;
    auto store = open_lmdb(dir / "store", small_map(mebi, 64 * mebi));
    const auto before = store->map_bytes();
    write_megabytes(*store, 8);
    EXPECT_GT(store->map_bytes(), before);
    EXPECT_EQ((*store->read())->count(one), 80u);
    store.reset();
    store = open_lmdb(dir / "store", small_map(mebi, 64 * mebi));
    EXPECT_EQ(all(*store, one).size(), 80u) << "a file larger than the map that was asked for";
}

TEST(Lmdb, ATransactionThatFoundNoRoomFindsItWhenRepeated) {
    TempDir dir;
    auto store = open_lmdb(dir / "store", small_map(mebi, 64 * mebi));
    const std::string value(3 * mebi, 'v');
    int tries = 0;
    for (bool done = false; !done; ++tries) {
        ASSERT_LT(tries, 8);
        auto t = std::move(*store->write());
        const auto written = put(*t, one, "large", value);
        done = written && t->commit();
        EXPECT_TRUE(written || written.error().code == Code::full) << written.error().message;
    }
    EXPECT_GT(tries, 1);
    EXPECT_EQ(get(**store->read(), one, "large"), value);
}

TEST(Lmdb, AFullStoreSaysSoAndKeepsWhatItHas) {
    TempDir dir;
    auto store = open_lmdb(dir / "store", small_map(mebi, mebi));
    fill(*store, one, {{"a", "1"}});
    for (int i = 0; i < 3; ++i) {
        auto t = std::move(*store->write());
        const auto refused = put(*t, one, "large", std::string(2 * mebi, 'v'));
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Code::full);
    }
    EXPECT_EQ(all(*store, one), (RowList{{"a", "1"}}));
    fill(*store, one, {{"b", "2"}});
    EXPECT_EQ(all(*store, one), (RowList{{"a", "1"}, {"b", "2"}}));
}

TEST(Lmdb, AFullStoreCanBeCleared) {
    TempDir dir;
    auto store = open_lmdb(dir / "store", small_map(mebi, mebi));
    for (int i = 0; i < 10'000; ++i) {
        auto t = std::move(*store->write());
        const auto written = put(*t, one, "key " + std::to_string(i), std::string(3000, 'v'));
        if (!written || !t->commit()) {
            break;
        }
    }
    EXPECT_GT((*store->read())->count(one), 100u);
    const auto cleared = store->clear();
    ASSERT_TRUE(cleared) << cleared.error().message;
    EXPECT_EQ(all(*store, one), RowList{});
    fill(*store, one, {{"a", "1"}});
}

/// A tmpfs of `bytes`, unless this process may mount none.
class SmallDisk {
public:
    explicit SmallDisk(std::uint64_t bytes) : mounted_(mount(bytes)) {}
    SmallDisk(const SmallDisk&) = delete;
    SmallDisk& operator=(const SmallDisk&) = delete;
    ~SmallDisk() {
        if (mounted_) {
            ::umount2((directory_ / "").c_str(), MNT_DETACH);
        }
    }
    bool mounted() const { return mounted_; }
    std::string operator/(const std::string& below) const { return directory_ / below; }

private:
    bool mount(std::uint64_t bytes) {
        const auto size = "size=" + std::to_string(bytes);
        return ::mount("none", (directory_ / "").c_str(), "tmpfs", 0, size.c_str()) == 0;
    }
    TempDir directory_;
    bool mounted_;
};

TEST(Lmdb, AWriteThatTheDiskTookInPartIsAFullDisk) {
    const SmallDisk disk(mebi);
    if (!disk.mounted()) {  // only a disk that is full takes a part; tools/test runs as root
        GTEST_SKIP() << "needs the right to mount a tmpfs";
    }
    auto store = open_lmdb(disk / "view", small_map(64 * mebi, 64 * mebi));
    ASSERT_TRUE(store->write().value()->commit());
    auto writing = store->write().value();
    for (int i = 0; i < 400; ++i) {  // pages in a row: LMDB writes them at once
        ASSERT_TRUE(put(*writing, one, "row " + std::to_string(1000 + i), std::string(3000, 'x')));
    }
    const auto committed = writing->commit();
    writing.reset();
    ASSERT_FALSE(committed);
    EXPECT_EQ(committed.error().code, Code::full) << committed.error().message;
    EXPECT_THAT(committed.error().message, testing::HasSubstr("bytes free"));
    auto smaller = store->write().value();
    ASSERT_TRUE(put(*smaller, one, "a", "b"));
    ASSERT_TRUE(smaller->commit());  // the store is as it was before the failure, and goes on
    EXPECT_EQ(store->read().value()->count(one), 1U);
    EXPECT_TRUE(store->scrub());
}

TEST(Lmdb, AnotherProcessReadsBesideTheWriterAndFollowsIt) {
    TempDir dir;
    Child child([&] {
        const auto store = open_read_only(dir / "store");
        if (!store) {
            return 1;
        }
        auto t = (*store)->read();
        return t && get(**t, one, "a") == "1" && (*t)->count(one) == 81 ? 0 : 2;
    });
    auto store = open_lmdb(dir / "store", small_map(mebi, 64 * mebi));
    fill(*store, one, {{"a", "1"}});
    write_megabytes(*store, 8);
    EXPECT_EQ(child.go(), 0);
    fill(*store, one, {{"b", "2"}});
    EXPECT_EQ(get(**store->read(), one, "b"), "2");
}

TEST(Lmdb, AReaderTakesTheSizeToWhichAnotherProcessHasGrownTheMap) {
    TempDir dir;
    fill(*open_lmdb(dir / "store", small_map(mebi, 64 * mebi)), one, {{"a", "1"}});
    Child writer([&] {
        const auto store = LmdbStore::open(dir / "store", names, small_map(mebi, 64 * mebi));
        if (!store) {
            return 1;
        }
        write_megabytes(**store, 8);
        return ::testing::Test::HasFailure() ? 2 : 0;
    });
    auto reader = open_read_only(dir / "store");
    ASSERT_TRUE(reader) << reader.error().message;
    auto held = (*reader)->read();
    ASSERT_TRUE(held);
    ASSERT_EQ(writer.go(), 0);
    const auto beside = (*reader)->read();
    ASSERT_FALSE(beside) << "the map cannot move under an open read";
    EXPECT_EQ(beside.error().code, Code::unavailable);
    EXPECT_EQ((*held)->count(one), 1u);
    held->reset();
    EXPECT_EQ(all(**reader, one).size(), 81u);
}

TEST(Lmdb, AReaderOfWhatIsNotThereIsToldSoAndMakesNothing) {
    TempDir dir;
    const auto absent = open_read_only(dir / "absent");
    ASSERT_FALSE(absent);
    EXPECT_EQ(absent.error().code, Code::not_found);
    EXPECT_FALSE(std::filesystem::exists(dir / "absent"));
    ASSERT_TRUE(LmdbStore::open(dir / "older", std::span(names).first(1), {}));
    const auto incomplete = open_read_only(dir / "older");
    ASSERT_FALSE(incomplete);
    EXPECT_EQ(incomplete.error().code, Code::not_found) << incomplete.error().message;
}

TEST(Lmdb, AFileThatIsNoStoreIsCorrupt) {
    TempDir dir;
    std::filesystem::create_directories(dir / "store");
    std::ofstream(dir / "store/data.mdb") << std::string(100'000, 'x');
    for (const bool read_only : {false, true}) {
        const auto store = LmdbStore::open(dir / "store", names, {mebi, mebi, read_only});
        ASSERT_FALSE(store);
        EXPECT_EQ(store.error().code, Code::corrupt) << store.error().message;
    }
}

TEST(Lmdb, AStoreWithoutChecksumsIsClearedAndNotMisread) {
    TempDir dir;
    std::filesystem::create_directories(dir / "store");
    write_as_before(dir / "store", "one", "key", "a value without a checksum");
    const auto reader = open_read_only(dir / "store");
    ASSERT_FALSE(reader);
    EXPECT_EQ(reader.error().code, Code::unsupported) << reader.error().message;
    auto store = open_lmdb(dir / "store", {});
    EXPECT_EQ(all(*store, one), RowList{});
    fill(*store, one, {{"key", "1"}});
    ASSERT_TRUE(store->scrub());
    store = nullptr;
    store = open_lmdb(dir / "store", {});
    EXPECT_EQ(all(*store, one), (RowList{{"key", "1"}}));
}

TEST(Lmdb, ATableMoreIsNoDamage) {
    TempDir dir;
    {
        const auto store = LmdbStore::open(dir / "store", std::span(names).first(1), {});
        fill(**store, one, {{"a", "1"}});
    }
    auto store = open_lmdb(dir / "store", {});
    EXPECT_EQ(all(*store, one), (RowList{{"a", "1"}}));
    fill(*store, two, {{"b", "2"}});
    ASSERT_TRUE(store->scrub());
}

TEST(Lmdb, AScrubOfWhatIsWholeFindsNothing) {
    TempDir dir;
    auto store = open_lmdb(dir / "store", small_map(mebi, 64 * mebi));
    ASSERT_TRUE(store->scrub());
    write_megabytes(*store, 3);
    for (int i = 0; i < 30; i += 2) {
        auto t = std::move(*store->write());
        ASSERT_TRUE(t->erase(one, as_bytes("key " + std::to_string(i))));
        ASSERT_TRUE(t->commit());
        const auto whole = store->scrub();
        ASSERT_TRUE(whole) << whole.error().message;
    }
    ASSERT_TRUE(store->clear());
    ASSERT_TRUE(store->scrub());
}

TEST(Lmdb, AFileCutBehindItsHeaderDoesNotKillTheProcess) {  // I9
    TempDir dir;
    {
        auto store = open_lmdb(dir / "store", small_map(mebi, 64 * mebi));
        write_megabytes(*store, 2);
    }
    std::filesystem::resize_file(dir / "store/data.mdb", 3 * 4096);
    Child child([&] {
        const auto store = LmdbStore::open(dir / "store", names, small_map(mebi, 64 * mebi));
        if (!store) {
            return 0;
        }
        auto t = (*store)->read();
        return !t || rows_from(**t, one, "").size() == 20 || !(*t)->status() || (*store)->clear()
                   ? 0
                   : 1;
    });
    EXPECT_EQ(child.go(), 0);
}

}  // namespace
}  // namespace reeve::kv
