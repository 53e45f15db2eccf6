#pragma once

// Rows in LMDB, which has no checksums of its own; private to the store.
//
// A stored value is the row's value and 8 bytes of XXH3 over table, key and value. Each table has a
// tally, the number of its rows and the sum of their checksums, written with every commit: a row
// that is gone, or a page of an older commit, matches every checksum but not the tally.

#include <lmdb.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "projection/kv/store.h"

namespace reeve::kv {

constexpr std::size_t checksum_bytes = 8;

Error lmdb_error(int code, const std::string& doing);
inline Status lmdb_status(int code, const std::string& doing) {
    return code == 0 ? ok() : Status(lmdb_error(code, doing));
}
/// Of a commit that failed. LMDB says EIO of a write that the disk took in part (me_fd, in
/// mdb_page_flush): beside a disk without room that is Code::full.
Error commit_error(MDB_env* environment, int code, const std::string& doing);
inline MDB_val value_of(ByteView bytes) {
    return {bytes.size(),
            const_cast<std::uint8_t*>(bytes.data())};  // LMDB does not write through it
}
inline ByteView view_of(const MDB_val& value) {
    return {static_cast<const std::uint8_t*>(value.mv_data), value.mv_size};
}
inline bool valid_key(ByteView key) { return !key.empty() && key.size() <= max_key_bytes; }

/// `table` is its position in the list of names; house_table for the store's own rows.
std::uint64_t row_checksum(std::uint64_t table, ByteView key, ByteView value);

struct Tally {
    std::uint64_t rows = 0;
    std::uint64_t sum = 0;  // of the checksums, modulo 2^64
    bool operator==(const Tally&) const = default;
};

struct OpenTable {
    MDB_dbi id = 0;
    std::string name;
};
struct OpenTables {
    std::vector<OpenTable> rows;  // in the order of names
    MDB_dbi house = 0;            // the store's own: layout and tallies
};

constexpr std::uint64_t house_table = 255;
constexpr std::string_view house_name = ".store";
constexpr std::string_view layout_key = "layout";
constexpr std::string_view tally_key = "tally";
/// Of everything above; a store of another layout is cleared, never read.
constexpr std::string_view layout = "rows with checksums and tallies, 1";

/// A row of the store's own table. Code::not_found, Code::corrupt.
Result<Bytes> read_house(MDB_txn* transaction, MDB_dbi house, std::string_view key);
Status write_house(MDB_txn* transaction, MDB_dbi house, std::string_view key, ByteView value);
Result<std::vector<Tally>> read_tallies(MDB_txn* transaction, MDB_dbi house);
Status write_tallies(MDB_txn* transaction, MDB_dbi house, const std::vector<Tally>& tallies);

class PagesInUse;

/// The reads of one transaction. Nothing is handed out that does not verify: the first failure is
/// kept (status()), and from it on every answer is worthless.
class Rows {
public:
    Rows(MDB_txn* transaction, const OpenTables& tables)
        : transaction_(transaction), tables_(tables) {}
    struct Found {
        ByteView value;
        std::uint64_t checksum = 0;
    };
    /// A row that is not there is believed only when its neighbours verify and have it between
    /// them: a changed key or separator sends the search to the wrong place.
    std::optional<Found> find(Table table, ByteView key);
    void scan(Table table, ByteView from, const Visit& visit);
    void scan_back(Table table, const Visit& visit);
    /// Code::corrupt when LMDB counts other than was written.
    std::uint64_t count(Table table);
    std::uint64_t count(Table table, const std::vector<Tally>& tallies);
    /// Reads every table whole, compares it with its tally, and the list of free pages with the
    /// pages that rows stand on (lmdb_scrub.cc).
    Status scrub();

    Status status() const { return failure_ ? Status(*failure_) : ok(); }
    MDB_dbi table_of(Table table) const;
    MDB_txn* transaction() const { return transaction_; }
    bool scanning() const { return scanning_ > 0; }
    void finished() { transaction_ = nullptr; }

private:
    class Cursor;
    using Step = std::function<bool(ByteView key, const Found& row)>;

    void fail(Error error);
    void fail_row(Table table, ByteView key, const std::string& why);
    bool got(int code, const char* doing);
    std::optional<Found> verified(Table table, ByteView key, const MDB_val& stored);
    void expect_absent(Table table, ByteView key);
    bool expect_before(Table table, ByteView from, Cursor& cursor);
    void walk(Table table, ByteView from, bool backwards, const Step& step);
    Status scrub_table(Table table, const std::vector<Tally>& tallies, PagesInUse& pages);

    MDB_txn* transaction_;
    const OpenTables& tables_;
    std::optional<Error> failure_;
    int scanning_ = 0;
};

}  // namespace reeve::kv
