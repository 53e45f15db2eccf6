#include "projection/kv/lmdb_store.h"

// The store; its rows and their checksums are in lmdb_rows.cc, and no other file knows LMDB.
//
//   LmdbStore      the environment, its tables, the size of the map
//   LmdbUse        counts a transaction of this process: while one is open the map must not move
//   LmdbRead, LmdbWrite

#include <lmdb.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/check.h"
#include "projection/kv/lmdb_rows.h"

namespace reeve::kv {
namespace {

constexpr unsigned reader_slots = 512;
constexpr mdb_mode_t file_mode = 0660;
constexpr int resize_tries = 8;

using OwnTransaction = std::unique_ptr<MDB_txn, decltype(&mdb_txn_abort)>;

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
    void committed(std::uint64_t transaction) {
        const std::lock_guard lock(store_.mutex_);
        store_.newest_ = std::max(store_.newest_, transaction);
    }

private:
    LmdbStore& store_;
    bool writing_;
};

namespace {

/// LMDB frees the transaction, whatever this returns.
Status commit_transaction(MDB_txn* transaction, const char* doing) {
    auto* environment = mdb_txn_env(transaction);
    const int code = mdb_txn_commit(transaction);
    return code == 0 ? ok() : Status(commit_error(environment, code, doing));
}

std::optional<Bytes> copy_of(const std::optional<Rows::Found>& row) {
    return row ? std::optional(Bytes(row->value.begin(), row->value.end())) : std::nullopt;
}

class LmdbRead final : public ReadTransaction {
public:
    LmdbRead(LmdbStore& store, MDB_txn* transaction, const OpenTables& tables)
        : use_(store, false), rows_(transaction, tables) {}
    LmdbRead(const LmdbRead&) = delete;
    LmdbRead& operator=(const LmdbRead&) = delete;
    ~LmdbRead() override { mdb_txn_abort(rows_.transaction()); }
    std::optional<Bytes> get(Table table, ByteView key) override {
        return copy_of(rows_.find(table, key));
    }
    void scan(Table table, ByteView from, const Visit& visit) override {
        rows_.scan(table, from, visit);
    }
    void scan_back(Table table, const Visit& visit) override { rows_.scan_back(table, visit); }
    std::uint64_t count(Table table) override { return rows_.count(table); }
    Status status() const override { return rows_.status(); }
    Status scrub() { return rows_.scrub(); }

private:
    LmdbUse use_;  // before rows_: given back after the transaction has ended
    Rows rows_;
};

class LmdbWrite final : public WriteTransaction {
public:
    LmdbWrite(LmdbStore& store, MDB_txn* transaction, const OpenTables& tables,
              std::vector<Tally> tallies)
        : use_(store, true),
          rows_(transaction, tables),
          house_(tables.house),
          tallies_(std::move(tallies)) {}
    LmdbWrite(const LmdbWrite&) = delete;
    LmdbWrite& operator=(const LmdbWrite&) = delete;
    ~LmdbWrite() override {
        if (rows_.transaction() != nullptr) {
            mdb_txn_abort(rows_.transaction());
        }
    }
    std::optional<Bytes> get(Table table, ByteView key) override {
        return copy_of(rows_.find(table, key));
    }
    void scan(Table table, ByteView from, const Visit& visit) override {
        rows_.scan(table, from, visit);
    }
    void scan_back(Table table, const Visit& visit) override { rows_.scan_back(table, visit); }
    std::uint64_t count(Table table) override { return rows_.count(table, tallies_); }
    Status status() const override { return rows_.status(); }
    Status put(Table table, ByteView key, ByteView value) override {
        check_open();
        if (!valid_key(key)) {
            return Error{Code::invalid, "a key of " + std::to_string(key.size()) +
                                            " bytes; 1 to 511 are possible"};
        }
        const auto old = rows_.find(table, key);
        TRY(rows_.status());
        const auto before = old ? old->checksum : 0;  // read before the put moves it
        TRY_ASSIGN(const auto checksum, store(table, key, value, 0));
        tally(table, old ? 0 : 1, checksum - before);
        return ok();
    }
    Status append(Table table, ByteView key, ByteView value) override {
        check_open();
        if (!valid_key(key)) {
            return Error{Code::invalid, "a key of " + std::to_string(key.size()) +
                                            " bytes; 1 to 511 are possible"};
        }
        TRY_ASSIGN(const auto checksum, store(table, key, value, MDB_APPEND));
        tally(table, 1, checksum);
        return ok();
    }
    Status erase(Table table, ByteView key) override {
        check_open();
        const auto old = rows_.find(table, key);  // of an impossible key there is none
        TRY(rows_.status());
        if (!old) {
            return ok();
        }
        const auto before = old->checksum;
        MDB_val k = value_of(key);
        TRY(done(mdb_del(rows_.transaction(), rows_.table_of(table), &k, nullptr), "erase"));
        tally(table, ~std::uint64_t{0}, 0 - before);
        return ok();
    }
    Status commit() override {
        check_open();
        TRY(rows_.status());
        if (changed_) {
            const auto written = write_tallies(rows_.transaction(), house_, tallies_);
            use_.note(written || written.error().code != Code::full ? 0 : MDB_MAP_FULL);
            TRY(written);
        }
        auto* transaction = rows_.transaction();
        const auto id = mdb_txn_id(transaction);
        rows_.finished();  // LMDB frees it, whatever the commit returns
        TRY(commit_transaction(transaction, "commit"));
        if (changed_) {
            use_.committed(id);
        }
        return ok();
    }

private:
    void check_open() const {
        CHECK(rows_.transaction() != nullptr);
        CHECK(!rows_.scanning());
    }
    Result<std::uint64_t> store(Table table, ByteView key, ByteView value, unsigned how) {
        const auto checksum = row_checksum(static_cast<std::uint64_t>(table), key, value);
        MDB_val k = value_of(key);
        MDB_val v{value.size() + checksum_bytes, nullptr};
        const int code =
            mdb_put(rows_.transaction(), rows_.table_of(table), &k, &v, MDB_RESERVE | how);
        if (code == MDB_KEYEXIST) {
            return Error{Code::invalid, "a row was appended out of order"};
        }
        TRY(done(code, "put"));
        auto* room = static_cast<std::uint8_t*>(v.mv_data);
        std::copy(value.begin(), value.end(), room);
        store_le(room + value.size(), checksum);
        return checksum;
    }
    Status done(int code, const char* doing) {
        use_.note(code);
        return lmdb_status(code, doing);
    }
    void tally(Table table, std::uint64_t rows, std::uint64_t sum) {
        auto& one = tallies_[static_cast<std::size_t>(table)];
        one.rows += rows;
        one.sum += sum;
        changed_ = true;
    }
    LmdbUse use_;  // before rows_: given back after the transaction has ended
    Rows rows_;
    MDB_dbi house_;
    std::vector<Tally> tallies_;
    bool changed_ = false;
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
    TRY(lmdb_status(mdb_env_create(&environment), "create environment"));
    std::unique_ptr<LmdbStore> store(new LmdbStore(environment, options));
    TRY(lmdb_status(mdb_env_set_maxdbs(environment, static_cast<MDB_dbi>(tables.size() + 1)),
                    "set tables"));
    TRY(lmdb_status(mdb_env_set_maxreaders(environment, reader_slots), "set readers"));
    // A map smaller than the file is raised to it by LMDB; a reader takes the size that the file
    // names.
    if (!options.read_only) {
        TRY(lmdb_status(mdb_env_set_mapsize(environment, options.map_bytes), "set map"));
    }
    const unsigned flags = options.read_only ? MDB_RDONLY | MDB_NOTLS : MDB_NOSYNC | MDB_NOTLS;
    TRY(lmdb_status(mdb_env_open(environment, directory.c_str(), flags, file_mode),
                    "open " + directory));
    int dead_readers = 0;
    TRY(lmdb_status(mdb_reader_check(environment, &dead_readers),
                    "look for dead readers of " + directory));
    TRY(options.read_only ? store->expect_whole(data_file) : store->fill_up(data_file));
    TRY(store->open_tables(tables));
    return store;
}

LmdbStore::LmdbStore(MDB_env* environment, Options options)
    : environment_(environment), options_(options), tables_(std::make_unique<OpenTables>()) {}

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

namespace {

// A table that was written and has lost its name is damage; one of a later list is new.
Status open_table(MDB_txn* transaction, const std::string& name, bool known, bool read_only,
                  MDB_dbi& out) {
    const unsigned flags = known || read_only ? 0 : MDB_CREATE;
    const int opened = mdb_dbi_open(transaction, name.c_str(), flags, &out);
    if (opened == MDB_NOTFOUND) {
        return known ? Error{Code::corrupt, "table " + name + " is gone"}
                     : Error{Code::not_found, "the projection has no table " + name + " yet"};
    }
    TRY(lmdb_status(opened, "open table " + name));
    unsigned order = 0;
    TRY(lmdb_status(mdb_dbi_flags(transaction, out, &order), "open table " + name));
    return order == 0 ? ok()
                      : Status(Error{Code::corrupt, "table " + name + " has an order of its own"});
}

Status drop_rows(MDB_txn* transaction, const OpenTables& tables) {
    for (const auto& table : tables.rows) {
        TRY(lmdb_status(mdb_drop(transaction, table.id, 0), "clear table " + table.name));
    }
    return write_tallies(transaction, tables.house, std::vector<Tally>(tables.rows.size()));
}

/// A store before it had a table of its own had the others only: one name more is that table's,
/// changed.
Error why_not_ours(MDB_txn* transaction, std::size_t tables) {
    constexpr MDB_dbi table_names = 1;
    MDB_stat stat{};
    if (const int failed = mdb_stat(transaction, table_names, &stat); failed != 0) {
        return lmdb_error(failed, "look for tables");
    }
    if (stat.ms_entries == 0) {
        return {Code::not_found, "the projection has no tables yet"};
    }
    return stat.ms_entries > tables
               ? Error{Code::corrupt, "the store's own table is gone"}
               : Error{Code::unsupported, "the store is of another version of this program"};
}

/// Whether the rows are of this layout. A store without a word about it is new, or older than the
/// word.
Result<bool> has_layout(MDB_txn* transaction, MDB_dbi house) {
    const auto found = read_house(transaction, house, layout_key);
    if (!found && found.error().code != Code::not_found) {
        return found.error();
    }
    return found && as_text(*found) == layout;
}

}  // namespace

Status LmdbStore::open_tables(std::span<const std::string_view> tables) {
    const bool read_only = options_.read_only;
    MDB_txn* begun = nullptr;
    TRY(lmdb_status(mdb_txn_begin(environment_, nullptr, read_only ? MDB_RDONLY : 0, &begun),
                    "open tables"));
    OwnTransaction transaction(begun, &mdb_txn_abort);
    const auto house = open_table(begun, std::string(house_name), false, read_only, tables_->house);
    if (!house && house.error().code != Code::not_found) {
        return house;
    }
    TRY_ASSIGN(const bool ours, house ? has_layout(begun, tables_->house) : Result<bool>(false));
    if (read_only && !ours) {
        return why_not_ours(begun, tables.size());
    }
    std::vector<Tally> tallies;
    if (ours) {
        TRY_ASSIGN(tallies, read_tallies(begun, tables_->house));
    }
    for (const auto name : tables) {
        OpenTable table{0, std::string(name)};
        const bool known = tables_->rows.size() < tallies.size();
        TRY(open_table(begun, table.name, known, read_only, table.id));
        tables_->rows.push_back(std::move(table));
    }
    if (!read_only && !ours) {
        TRY(drop_rows(begun, *tables_));
        TRY(write_house(begun, tables_->house, layout_key, as_bytes(layout)));
    } else if (!read_only && tallies.size() < tables.size()) {
        tallies.resize(tables.size());
        TRY(write_tallies(begun, tables_->house, tallies));
    }
    return commit_transaction(transaction.release(), "open tables");
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
        TRY(lmdb_status(mdb_env_set_mapsize(environment_, 0), "take the new size of the map"));
        begun = mdb_txn_begin(environment_, nullptr, flags, &transaction);
    }
    TRY(lmdb_status(begun, writing ? "begin to write" : "begin to read"));
    // A writer has the number after the newest commit, a reader that of the commit itself.
    if (mdb_txn_id(transaction) < newest_ + (writing ? 1 : 0)) {
        mdb_txn_abort(transaction);
        return Error{Code::corrupt, "the newest commit of the store is gone"};
    }
    ++open_;
    return ok();
}

Result<std::unique_ptr<ReadTransaction>> LmdbStore::read() {
    const std::lock_guard lock(mutex_);
    MDB_txn* transaction = nullptr;
    TRY(begin(false, transaction));
    return std::unique_ptr<ReadTransaction>(
        std::make_unique<LmdbRead>(*this, transaction, *tables_));
}

Status LmdbStore::scrub() {
    TRY_ASSIGN(const auto reading, read());
    return static_cast<LmdbRead&>(*reading).scrub();
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
    TRY(lmdb_status(mdb_env_set_mapsize(environment_, std::min(now * 2, options_.max_map_bytes)),
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
    auto tallies = read_tallies(transaction, tables_->house);
    if (!tallies || tallies->size() < tables_->rows.size()) {
        mdb_txn_abort(transaction);
        --open_;
        return tallies ? Error{Code::corrupt, "the store's tallies are cut short"}
                       : tallies.error();
    }
    writing_ = true;
    return std::unique_ptr<WriteTransaction>(
        std::make_unique<LmdbWrite>(*this, transaction, *tables_, std::move(*tallies)));
}

Status LmdbStore::clear() {
    const std::lock_guard lock(mutex_);
    CHECK(!options_.read_only);
    CHECK(!writing_);
    MDB_txn* begun = nullptr;
    TRY(lmdb_status(mdb_txn_begin(environment_, nullptr, 0, &begun), "clear"));
    OwnTransaction transaction(begun, &mdb_txn_abort);
    TRY(drop_rows(begun, *tables_));
    return commit_transaction(transaction.release(), "clear");
}

}  // namespace reeve::kv
