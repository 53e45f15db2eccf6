#include "projection/kv/lmdb_store.h"

#include <lmdb.h>

#include <filesystem>

#include "base/check.h"

namespace reeve::kv {
namespace {

constexpr unsigned reader_slots = 512;
constexpr mdb_mode_t file_mode = 0660;

Error error_of(int code, const std::string& doing) {
    const std::string text = doing + ": " + mdb_strerror(code);
    if (code == MDB_MAP_FULL || code == ENOSPC || code == EDQUOT) {
        return {Code::full, text};
    }
    if (code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND || code == MDB_INVALID || code == MDB_VERSION_MISMATCH) {
        return {Code::corrupt, text};
    }
    return {code == ENOENT ? Code::not_found : Code::io, text};
}

MDB_val value_of(ByteView bytes) {
    return {bytes.size(), const_cast<std::uint8_t*>(bytes.data())};  // LMDB does not write through keys
}

ByteView view_of(const MDB_val& value) {
    return {static_cast<const std::uint8_t*>(value.mv_data), value.mv_size};
}

/// What reading and writing transactions share.
class Rows {
public:
    Rows(MDB_txn* transaction, const std::vector<unsigned>& tables) : transaction_(transaction), tables_(tables) {}
    std::optional<Bytes> get(Table table, ByteView key) {
        MDB_val k = value_of(key);
        MDB_val v{};
        if (key.empty() || mdb_get(transaction_, table_of(table), &k, &v) != 0) {
            return std::nullopt;
        }
        const auto bytes = view_of(v);
        return Bytes(bytes.begin(), bytes.end());
    }
    void scan(Table table, ByteView from, const Visit& visit) {
        walk(table, from, from.empty() ? MDB_FIRST : MDB_SET_RANGE, MDB_NEXT, visit);
    }
    void scan_back(Table table, const Visit& visit) { walk(table, {}, MDB_LAST, MDB_PREV, visit); }
    std::uint64_t count(Table table) {
        MDB_stat stat{};
        return mdb_stat(transaction_, table_of(table), &stat) == 0 ? stat.ms_entries : 0;
    }
    MDB_dbi table_of(Table table) const { return tables_[static_cast<std::size_t>(table)]; }
    MDB_txn* transaction() const { return transaction_; }
    void finished() { transaction_ = nullptr; }

private:
    void walk(Table table, ByteView from, MDB_cursor_op first, MDB_cursor_op step, const Visit& visit) {
        MDB_cursor* cursor = nullptr;
        if (mdb_cursor_open(transaction_, table_of(table), &cursor) != 0) {
            return;
        }
        MDB_val k = value_of(from);
        MDB_val v{};
        for (int found = mdb_cursor_get(cursor, &k, &v, first); found == 0;
             found = mdb_cursor_get(cursor, &k, &v, step)) {
            if (!visit(view_of(k), view_of(v))) {
                break;
            }
        }
        mdb_cursor_close(cursor);
    }
    MDB_txn* transaction_;
    const std::vector<unsigned>& tables_;
};

class LmdbRead final : public ReadTransaction {
public:
    LmdbRead(MDB_txn* transaction, const std::vector<unsigned>& tables) : rows_(transaction, tables) {}
    LmdbRead(const LmdbRead&) = delete;
    LmdbRead& operator=(const LmdbRead&) = delete;
    ~LmdbRead() override { mdb_txn_abort(rows_.transaction()); }
    std::optional<Bytes> get(Table table, ByteView key) override { return rows_.get(table, key); }
    void scan(Table table, ByteView from, const Visit& visit) override { rows_.scan(table, from, visit); }
    void scan_back(Table table, const Visit& visit) override { rows_.scan_back(table, visit); }
    std::uint64_t count(Table table) override { return rows_.count(table); }

private:
    Rows rows_;
};

class LmdbWrite final : public WriteTransaction {
public:
    LmdbWrite(MDB_txn* transaction, const std::vector<unsigned>& tables) : rows_(transaction, tables) {}
    LmdbWrite(const LmdbWrite&) = delete;
    LmdbWrite& operator=(const LmdbWrite&) = delete;
    ~LmdbWrite() override {
        if (rows_.transaction() != nullptr) {
            mdb_txn_abort(rows_.transaction());
        }
    }
    std::optional<Bytes> get(Table table, ByteView key) override { return rows_.get(table, key); }
    void scan(Table table, ByteView from, const Visit& visit) override { rows_.scan(table, from, visit); }
    void scan_back(Table table, const Visit& visit) override { rows_.scan_back(table, visit); }
    std::uint64_t count(Table table) override { return rows_.count(table); }
    Status put(Table table, ByteView key, ByteView value) override {
        if (key.size() > max_key_bytes || key.empty()) {
            return Error{Code::invalid, "a key of " + std::to_string(key.size()) + " bytes"};
        }
        MDB_val k = value_of(key);
        MDB_val v = value_of(value);
        const int done = mdb_put(rows_.transaction(), rows_.table_of(table), &k, &v, 0);
        return done == 0 ? ok() : Status(error_of(done, "put"));
    }
    Status erase(Table table, ByteView key) override {
        MDB_val k = value_of(key);
        const int done = mdb_del(rows_.transaction(), rows_.table_of(table), &k, nullptr);
        return done == 0 || done == MDB_NOTFOUND ? ok() : Status(error_of(done, "erase"));
    }
    Status commit() override {
        CHECK(rows_.transaction() != nullptr);
        const int done = mdb_txn_commit(rows_.transaction());
        rows_.finished();
        return done == 0 ? ok() : Status(error_of(done, "commit"));
    }

private:
    Rows rows_;
};

}  // namespace

Result<std::unique_ptr<LmdbStore>> LmdbStore::open(const std::string& directory,
                                                   std::span<const std::string_view> tables, Options options) {
    std::error_code ignored;
    if (!options.read_only) {
        std::filesystem::create_directories(directory, ignored);
    } else if (!std::filesystem::exists(directory + "/data.mdb", ignored)) {
        return Error{Code::not_found, directory + " holds no projection"};
    }
    MDB_env* environment = nullptr;
    if (const int made = mdb_env_create(&environment); made != 0) {
        return error_of(made, "create environment");
    }
    std::unique_ptr<LmdbStore> store(new LmdbStore(environment, options));
    mdb_env_set_maxdbs(environment, static_cast<MDB_dbi>(tables.size()));
    mdb_env_set_maxreaders(environment, reader_slots);
    // A map smaller than the file is raised to it by LMDB; zero takes the size that the file has.
    mdb_env_set_mapsize(environment, options.read_only ? 0 : options.map_bytes);
    const unsigned flags = options.read_only ? MDB_RDONLY | MDB_NOTLS : MDB_NOSYNC | MDB_NOTLS;
    if (const int opened = mdb_env_open(environment, directory.c_str(), flags, file_mode); opened != 0) {
        return error_of(opened, "open " + directory);
    }
    int dead_readers = 0;
    mdb_reader_check(environment, &dead_readers);
    TRY(store->open_tables(tables));
    return store;
}

LmdbStore::~LmdbStore() { mdb_env_close(environment_); }

Status LmdbStore::open_tables(std::span<const std::string_view> tables) {
    MDB_txn* transaction = nullptr;
    if (const int begun = mdb_txn_begin(environment_, nullptr, options_.read_only ? MDB_RDONLY : 0, &transaction);
        begun != 0) {
        return error_of(begun, "open tables");
    }
    for (const auto name : tables) {
        MDB_dbi table = 0;
        const int opened =
            mdb_dbi_open(transaction, std::string(name).c_str(), options_.read_only ? 0 : MDB_CREATE, &table);
        if (opened != 0) {
            mdb_txn_abort(transaction);
            return opened == MDB_NOTFOUND ? Error{Code::not_found, "the projection is not complete yet"}
                                          : error_of(opened, "open table " + std::string(name));
        }
        tables_.push_back(table);
    }
    const int done = mdb_txn_commit(transaction);
    return done == 0 ? ok() : Status(error_of(done, "open tables"));
}

Result<std::unique_ptr<ReadTransaction>> LmdbStore::read() {
    MDB_txn* transaction = nullptr;
    int begun = mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &transaction);
    if (begun == MDB_MAP_RESIZED) {
        mdb_env_set_mapsize(environment_, 0);  // another process has grown it
        begun = mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &transaction);
    }
    if (begun != 0) {
        return error_of(begun, "read");
    }
    return std::unique_ptr<ReadTransaction>(std::make_unique<LmdbRead>(transaction, tables_));
}

// LMDB may change the map only while this process has no transaction open, which other tasks of this
// process may have at any time; so the map is set once, at open, as large as it may become.
Status LmdbStore::check_room() const {
    MDB_envinfo info{};
    MDB_stat stat{};
    mdb_env_info(environment_, &info);
    mdb_env_stat(environment_, &stat);
    const std::uint64_t used = (info.me_last_pgno + 1) * stat.ms_psize;
    if (used > info.me_mapsize / 10 * 9) {
        return Error{Code::full, "the projection fills its map of " + std::to_string(info.me_mapsize) + " bytes"};
    }
    return ok();
}

Result<std::unique_ptr<WriteTransaction>> LmdbStore::write() {
    CHECK(!options_.read_only);
    TRY(check_room());
    MDB_txn* transaction = nullptr;
    if (const int begun = mdb_txn_begin(environment_, nullptr, 0, &transaction); begun != 0) {
        return error_of(begun, "write");
    }
    return std::unique_ptr<WriteTransaction>(std::make_unique<LmdbWrite>(transaction, tables_));
}

Status LmdbStore::clear() {
    MDB_txn* transaction = nullptr;
    if (const int begun = mdb_txn_begin(environment_, nullptr, 0, &transaction); begun != 0) {
        return error_of(begun, "clear");
    }
    for (const auto table : tables_) {
        if (const int dropped = mdb_drop(transaction, table, 0); dropped != 0) {
            mdb_txn_abort(transaction);
            return error_of(dropped, "clear");
        }
    }
    const int done = mdb_txn_commit(transaction);
    return done == 0 ? ok() : Status(error_of(done, "clear"));
}

}  // namespace reeve::kv
