#include "projection/kv/lmdb_store.h"

// The only file that knows LMDB.
//
//   LmdbStore      the environment, its tables, the size of the map
//   LmdbUse        counts a transaction of this process: while one is open the map must not move
//   Rows           reads, shared by both kinds of transactions
//   LmdbRead, LmdbWrite
//
// A failure inside a read is kept (status()): an unreadable row must not be folded as an absent
// one.

#include <lmdb.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/check.h"

namespace reeve::kv {
namespace {

constexpr unsigned reader_slots = 512;
constexpr mdb_mode_t file_mode = 0660;
constexpr int resize_tries = 8;

Error error_of(int code, const std::string& doing) {
    const std::string text = doing + ": " + mdb_strerror(code);
    if (code == MDB_MAP_FULL || code == MDB_TXN_FULL || code == ENOSPC || code == EDQUOT) {
        return {Code::full, text};
    }
    if (code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND || code == MDB_INVALID ||
        code == MDB_VERSION_MISMATCH) {
        return {Code::corrupt, text};
    }
    return {code == ENOENT ? Code::not_found : Code::io, text};
}

Status status_of(int code, const std::string& doing) {
    return code == 0 ? ok() : Status(error_of(code, doing));
}

MDB_val value_of(ByteView bytes) {
    return {bytes.size(),
            const_cast<std::uint8_t*>(bytes.data())};  // LMDB does not write through it
}

ByteView view_of(const MDB_val& value) {
    return {static_cast<const std::uint8_t*>(value.mv_data), value.mv_size};
}

bool valid_key(ByteView key) { return !key.empty() && key.size() <= max_key_bytes; }

class Rows {
public:
    Rows(MDB_txn* transaction, const std::vector<unsigned>& tables)
        : transaction_(transaction), tables_(tables) {}
    std::optional<Bytes> get(Table table, ByteView key) {
        MDB_val k = value_of(key);
        MDB_val v{};
        if (!valid_key(key) || !found(mdb_get(transaction_, table_of(table), &k, &v), "get")) {
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
        return found(mdb_stat(transaction_, table_of(table), &stat), "count") ? stat.ms_entries : 0;
    }
    Status status() const { return failure_ ? Status(*failure_) : ok(); }
    MDB_dbi table_of(Table table) const {
        CHECK(static_cast<std::size_t>(table) < tables_.size());
        return tables_[static_cast<std::size_t>(table)];
    }
    MDB_txn* transaction() const { return transaction_; }
    bool scanning() const { return scanning_ > 0; }
    void finished() { transaction_ = nullptr; }

private:
    bool found(int code, const char* doing) {
        if (code != 0 && code != MDB_NOTFOUND && !failure_) {
            failure_ = error_of(code, doing);
        }
        return code == 0;
    }
    void walk(Table table, ByteView from, MDB_cursor_op first, MDB_cursor_op step,
              const Visit& visit) {
        MDB_cursor* cursor = nullptr;
        if (!found(mdb_cursor_open(transaction_, table_of(table), &cursor), "scan")) {
            return;
        }
        ++scanning_;
        MDB_val k = value_of(from);
        MDB_val v{};
        for (bool more = found(mdb_cursor_get(cursor, &k, &v, first), "scan");
             more && visit(view_of(k), view_of(v));) {
            more = found(mdb_cursor_get(cursor, &k, &v, step), "scan");
        }
        --scanning_;
        mdb_cursor_close(cursor);
    }
    MDB_txn* transaction_;
    const std::vector<unsigned>& tables_;
    std::optional<Error> failure_;
    int scanning_ = 0;
};

}  // namespace

/// Gives the place of one transaction back when it is over.
class LmdbUse {
public:
    LmdbUse(LmdbStore& store, bool writing) : store_(store), writing_(writing) {}
    LmdbUse(const LmdbUse&) = delete;
    LmdbUse& operator=(const LmdbUse&) = delete;
    ~LmdbUse() {
        const std::lock_guard lock(store_.mutex_);
        --store_.open_;
        store_.writing_ = store_.writing_ && !writing_;
    }
    void note(int code) {
        if (code == MDB_MAP_FULL) {
            store_.met_end_ = true;
        }
    }

private:
    LmdbStore& store_;
    bool writing_;
};

namespace {

class LmdbRead final : public ReadTransaction {
public:
    LmdbRead(LmdbStore& store, MDB_txn* transaction, const std::vector<unsigned>& tables)
        : use_(store, false), rows_(transaction, tables) {}
    LmdbRead(const LmdbRead&) = delete;
    LmdbRead& operator=(const LmdbRead&) = delete;
    ~LmdbRead() override { mdb_txn_abort(rows_.transaction()); }
    std::optional<Bytes> get(Table table, ByteView key) override { return rows_.get(table, key); }
    void scan(Table table, ByteView from, const Visit& visit) override {
        rows_.scan(table, from, visit);
    }
    void scan_back(Table table, const Visit& visit) override { rows_.scan_back(table, visit); }
    std::uint64_t count(Table table) override { return rows_.count(table); }
    Status status() const override { return rows_.status(); }

private:
    LmdbUse use_;  // before rows_: given back after the transaction has ended
    Rows rows_;
};

class LmdbWrite final : public WriteTransaction {
public:
    LmdbWrite(LmdbStore& store, MDB_txn* transaction, const std::vector<unsigned>& tables)
        : use_(store, true), rows_(transaction, tables) {}
    LmdbWrite(const LmdbWrite&) = delete;
    LmdbWrite& operator=(const LmdbWrite&) = delete;
    ~LmdbWrite() override {
        if (rows_.transaction() != nullptr) {
            mdb_txn_abort(rows_.transaction());
        }
    }
    std::optional<Bytes> get(Table table, ByteView key) override { return rows_.get(table, key); }
    void scan(Table table, ByteView from, const Visit& visit) override {
        rows_.scan(table, from, visit);
    }
    void scan_back(Table table, const Visit& visit) override { rows_.scan_back(table, visit); }
    std::uint64_t count(Table table) override { return rows_.count(table); }
    Status status() const override { return rows_.status(); }
    Status put(Table table, ByteView key, ByteView value) override {
        check_open();
        if (!valid_key(key)) {
            return Error{Code::invalid, "a key of " + std::to_string(key.size()) +
                                            " bytes; 1 to 511 are possible"};
        }
        MDB_val k = value_of(key);
        MDB_val v = value_of(value);
        return done(mdb_put(rows_.transaction(), rows_.table_of(table), &k, &v, 0), "put");
    }
    Status erase(Table table, ByteView key) override {
        check_open();
        if (!valid_key(key)) {
            return ok();  // no row can stand there
        }
        MDB_val k = value_of(key);
        const int code = mdb_del(rows_.transaction(), rows_.table_of(table), &k, nullptr);
        return done(code == MDB_NOTFOUND ? 0 : code, "erase");
    }
    Status commit() override {
        check_open();
        TRY(rows_.status());
        auto* transaction = rows_.transaction();
        rows_.finished();  // LMDB frees it, whatever the commit returns
        return done(mdb_txn_commit(transaction), "commit");
    }

private:
    void check_open() const {
        CHECK(rows_.transaction() != nullptr);
        CHECK(!rows_.scanning());
    }
    Status done(int code, const char* doing) {
        use_.note(code);
        return status_of(code, doing);
    }
    LmdbUse use_;  // before rows_: given back after the transaction has ended
    Rows rows_;
};

}  // namespace

Result<std::unique_ptr<LmdbStore>> LmdbStore::open(const std::string& directory,
                                                   std::span<const std::string_view> tables,
                                                   Options options) {
    const std::string data_file = directory + "/data.mdb";
    std::error_code failed;
    if (!options.read_only) {
        std::filesystem::create_directories(directory, failed);
        if (failed) {
            return Error{Code::io, "create " + directory + ": " + failed.message()};
        }
    } else if (!std::filesystem::exists(data_file, failed)) {
        return Error{Code::not_found, directory + " holds no projection"};
    }
    MDB_env* environment = nullptr;
    TRY(status_of(mdb_env_create(&environment), "create environment"));
    std::unique_ptr<LmdbStore> store(new LmdbStore(environment, options));
    TRY(status_of(mdb_env_set_maxdbs(environment, static_cast<MDB_dbi>(tables.size())),
                  "set tables"));
    TRY(status_of(mdb_env_set_maxreaders(environment, reader_slots), "set readers"));
    // A map smaller than the file is raised to it by LMDB; a reader takes the size that the file
    // names.
    if (!options.read_only) {
        TRY(status_of(mdb_env_set_mapsize(environment, options.map_bytes), "set map"));
    }
    const unsigned flags = options.read_only ? MDB_RDONLY | MDB_NOTLS : MDB_NOSYNC | MDB_NOTLS;
    TRY(status_of(mdb_env_open(environment, directory.c_str(), flags, file_mode),
                  "open " + directory));
    int dead_readers = 0;
    TRY(status_of(mdb_reader_check(environment, &dead_readers),
                  "look for dead readers of " + directory));
    TRY(options.read_only ? store->expect_whole(data_file) : store->fill_up(data_file));
    TRY(store->open_tables(tables));
    return store;
}

LmdbStore::~LmdbStore() { mdb_env_close(environment_); }

// After a power cut the file may be shorter than its own header says, and touching the map behind
// the end of the file is SIGBUS. Zeros read as a corrupt page instead.
Status LmdbStore::fill_up(const std::string& data_file) const {
    std::error_code failed;
    const auto size = std::filesystem::file_size(data_file, failed);
    if (!failed && size < used_bytes()) {
        std::filesystem::resize_file(data_file, used_bytes(), failed);
    }
    return failed ? Status(Error{Code::io, data_file + ": " + failed.message()}) : ok();
}

// A writer extends the file before the header that needs it, so the header is read first.
Status LmdbStore::expect_whole(const std::string& data_file) const {
    std::error_code failed;
    const auto used = used_bytes();
    const auto size = std::filesystem::file_size(data_file, failed);
    if (!failed && size < used) {
        return Error{Code::corrupt, data_file + " is cut short: " + std::to_string(size) + " of " +
                                        std::to_string(used) +
                                        " bytes; its daemon builds it again at its next start"};
    }
    return failed ? Status(Error{Code::io, data_file + ": " + failed.message()}) : ok();
}

Status LmdbStore::open_tables(std::span<const std::string_view> tables) {
    MDB_txn* transaction = nullptr;
    TRY(status_of(
        mdb_txn_begin(environment_, nullptr, options_.read_only ? MDB_RDONLY : 0, &transaction),
        "open tables"));
    for (const auto name : tables) {
        MDB_dbi table = 0;
        const std::string text(name);
        const int opened =
            mdb_dbi_open(transaction, text.c_str(), options_.read_only ? 0 : MDB_CREATE, &table);
        if (opened != 0) {
            mdb_txn_abort(transaction);
            return opened == MDB_NOTFOUND
                       ? Error{Code::not_found, "the projection has no table " + text + " yet"}
                       : error_of(opened, "open table " + text);
        }
        tables_.push_back(table);
    }
    return status_of(mdb_txn_commit(transaction), "open tables");
}

// The caller holds mutex_, which keeps the map where it is until the transaction is counted.
Status LmdbStore::begin(bool writing, MDB_txn*& transaction) {
    const unsigned flags = writing ? 0 : MDB_RDONLY;
    int begun = mdb_txn_begin(environment_, nullptr, flags, &transaction);
    for (int i = 0; i < resize_tries && begun == MDB_MAP_RESIZED; ++i) {
        if (open_ > 0) {
            return Error{Code::unavailable,
                         "another process has grown the map; close open reads and try again"};
        }
        TRY(status_of(mdb_env_set_mapsize(environment_, 0), "take the new size of the map"));
        begun = mdb_txn_begin(environment_, nullptr, flags, &transaction);
    }
    TRY(status_of(begun, writing ? "begin to write" : "begin to read"));
    ++open_;
    return ok();
}

Result<std::unique_ptr<ReadTransaction>> LmdbStore::read() {
    const std::lock_guard lock(mutex_);
    MDB_txn* transaction = nullptr;
    TRY(begin(false, transaction));
    return std::unique_ptr<ReadTransaction>(
        std::make_unique<LmdbRead>(*this, transaction, tables_));
}

std::uint64_t LmdbStore::used_bytes() const {
    MDB_envinfo info{};
    MDB_stat stat{};
    CHECK(mdb_env_info(environment_, &info) == 0 && mdb_env_stat(environment_, &stat) == 0);
    return (info.me_last_pgno + 1) * stat.ms_psize;
}

std::uint64_t LmdbStore::map_bytes() const {
    MDB_envinfo info{};
    CHECK(mdb_env_info(environment_, &info) == 0);
    return info.me_mapsize;
}

// The caller holds mutex_.
Status LmdbStore::grow_when_needed() {
    const auto now = map_bytes();
    if ((!met_end_ && used_bytes() <= now / 2) || now >= options_.max_map_bytes || open_ > 0) {
        return ok();
    }
    TRY(status_of(mdb_env_set_mapsize(environment_, std::min(now * 2, options_.max_map_bytes)),
                  "grow the map"));
    met_end_ = false;
    return ok();
}

Result<std::unique_ptr<WriteTransaction>> LmdbStore::write() {
    const std::lock_guard lock(mutex_);
    CHECK(!options_.read_only);
    CHECK(!writing_);
    TRY(grow_when_needed());
    MDB_txn* transaction = nullptr;
    TRY(begin(true, transaction));
    writing_ = true;
    return std::unique_ptr<WriteTransaction>(
        std::make_unique<LmdbWrite>(*this, transaction, tables_));
}

Status LmdbStore::clear() {
    const std::lock_guard lock(mutex_);
    CHECK(!options_.read_only);
    CHECK(!writing_);
    MDB_txn* transaction = nullptr;
    TRY(status_of(mdb_txn_begin(environment_, nullptr, 0, &transaction), "clear"));
    for (const auto table : tables_) {
        if (const int dropped = mdb_drop(transaction, table, 0); dropped != 0) {
            mdb_txn_abort(transaction);
            return error_of(dropped, "clear");
        }
    }
    return status_of(mdb_txn_commit(transaction), "clear");
}

}  // namespace reeve::kv
