#include "projection/kv/lmdb_rows.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/check.h"

namespace reeve::kv {
namespace {

constexpr std::size_t tally_bytes = 16;

bool before(ByteView a, ByteView b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
}

}  // namespace

Error lmdb_error(int code, const std::string& doing) {
    const std::string text = doing + ": " + mdb_strerror(code);
    switch (code) {
        case MDB_MAP_FULL:
        case MDB_TXN_FULL:
        case ENOSPC:
        case EDQUOT: return {Code::full, text};
        case MDB_CORRUPTED:
        case MDB_PAGE_NOTFOUND:
        case MDB_INVALID:
        case MDB_VERSION_MISMATCH:
        case MDB_INCOMPATIBLE:
        case MDB_CURSOR_FULL:  // a tree deeper than any can be
        case MDB_PAGE_FULL: return {Code::corrupt, text};
        default: return {code == ENOENT ? Code::not_found : Code::io, text};
    }
}

Error commit_error(MDB_env* environment, int code, const std::string& doing) {
    constexpr std::uintmax_t scarce_bytes = 16 << 20;  // more than one write of LMDB takes
    auto error = lmdb_error(code, doing);
    const char* directory = nullptr;
    std::error_code failed;
    if (code != EIO || mdb_env_get_path(environment, &directory) != 0) {
        return error;
    }
    const auto space = std::filesystem::space(directory, failed);
    if (!failed && space.available < scarce_bytes) {
        return {Code::full, error.message + "; the disk has " + std::to_string(space.available) +
                                " bytes free"};
    }
    return error;
}

std::uint64_t row_checksum(std::uint64_t table, ByteView key, ByteView value) {
    return XXH3_64bits_withSeed(value.data(), value.size(),
                                XXH3_64bits_withSeed(key.data(), key.size(), table));
}

Result<Bytes> read_house(MDB_txn* transaction, MDB_dbi house, std::string_view key) {
    MDB_val k = value_of(as_bytes(key));
    MDB_val v{};
    const int found = mdb_get(transaction, house, &k, &v);
    if (found == MDB_NOTFOUND) {
        return Error{Code::not_found, "the store has no row " + std::string(key)};
    }
    TRY(lmdb_status(found, "read the store's row " + std::string(key)));
    const auto stored = view_of(v);
    if (stored.size() >= checksum_bytes) {
        const auto value = stored.first(stored.size() - checksum_bytes);
        if (load_le<std::uint64_t>(stored.data() + value.size()) ==
            row_checksum(house_table, as_bytes(key), value)) {
            return Bytes(value.begin(), value.end());
        }
    }
    return Error{Code::corrupt,
                 "the store's row " + std::string(key) + " does not match its checksum"};
}

Status write_house(MDB_txn* transaction, MDB_dbi house, std::string_view key, ByteView value) {
    Bytes stored(value.begin(), value.end());
    stored.resize(value.size() + checksum_bytes);
    store_le(stored.data() + value.size(), row_checksum(house_table, as_bytes(key), value));
    MDB_val k = value_of(as_bytes(key));
    MDB_val v = value_of(stored);
    return lmdb_status(mdb_put(transaction, house, &k, &v, 0),
                       "write the store's row " + std::string(key));
}

Result<std::vector<Tally>> read_tallies(MDB_txn* transaction, MDB_dbi house) {
    auto row = read_house(transaction, house, tally_key);
    if (!row || row->size() % tally_bytes != 0) {
        return Error{Code::corrupt,
                     row ? "the store's tallies have an impossible length" : row.error().message};
    }
    std::vector<Tally> out;
    for (std::size_t at = 0; at < row->size(); at += tally_bytes) {
        out.push_back({load_le<std::uint64_t>(row->data() + at),
                       load_le<std::uint64_t>(row->data() + at + 8)});
    }
    return out;
}

Status write_tallies(MDB_txn* transaction, MDB_dbi house, const std::vector<Tally>& tallies) {
    ByteWriter w;
    for (const auto& tally : tallies) {
        w.u64(tally.rows);
        w.u64(tally.sum);
    }
    return write_house(transaction, house, tally_key, w.view());
}

/// Closed whatever leaves the scope: a visitor may throw.
class Rows::Cursor {
public:
    Cursor(Rows& rows, Table table, const char* doing) : rows_(rows) {
        open_ = rows.got(mdb_cursor_open(rows.transaction_, rows.table_of(table), &cursor_), doing);
        ++rows_.scanning_;
    }
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;
    ~Cursor() {
        --rows_.scanning_;
        if (open_) {
            mdb_cursor_close(cursor_);
        }
    }
    explicit operator bool() const { return open_; }
    /// False when there is no such row, or after a failure.
    bool go(MDB_cursor_op where) {
        return rows_.got(mdb_cursor_get(cursor_, &key_, &value_, where), "scan");
    }
    bool go_to(ByteView key) {
        key_ = value_of(key);
        return go(MDB_SET_RANGE);
    }
    ByteView key() const { return view_of(key_); }
    const MDB_val& stored() const { return value_; }

private:
    Rows& rows_;
    MDB_cursor* cursor_ = nullptr;
    bool open_ = false;
    MDB_val key_{};
    MDB_val value_{};
};

MDB_dbi Rows::table_of(Table table) const {
    CHECK(static_cast<std::size_t>(table) < tables_.rows.size());
    return tables_.rows[static_cast<std::size_t>(table)].id;
}

void Rows::fail(Error error) {
    if (!failure_) {
        failure_ = std::move(error);
    }
}

void Rows::fail_row(Table table, ByteView key, const std::string& why) {
    fail({Code::corrupt, "table " + tables_.rows[static_cast<std::size_t>(table)].name + ", key " +
                             to_hex(key) + ": " + why});
}

bool Rows::got(int code, const char* doing) {
    if (code != 0 && code != MDB_NOTFOUND) {
        fail(lmdb_error(code, doing));
    }
    return code == 0;
}

std::optional<Rows::Found> Rows::verified(Table table, ByteView key, const MDB_val& stored) {
    const auto all = view_of(stored);
    if (all.size() >= checksum_bytes) {
        const auto value = all.first(all.size() - checksum_bytes);
        const auto checksum = load_le<std::uint64_t>(all.data() + value.size());
        if (checksum == row_checksum(static_cast<std::uint64_t>(table), key, value)) {
            return Found{value, checksum};
        }
    }
    fail_row(table, key, "the row does not match its checksum");
    return std::nullopt;
}

std::optional<Rows::Found> Rows::find(Table table, ByteView key) {
    if (failure_ || !valid_key(key)) {
        return std::nullopt;
    }
    MDB_val k = value_of(key);
    MDB_val v{};
    const int found = mdb_get(transaction_, table_of(table), &k, &v);
    if (found == MDB_NOTFOUND) {
        expect_absent(table, key);
        return std::nullopt;
    }
    return got(found, "get") ? verified(table, key, v) : std::nullopt;
}

void Rows::expect_absent(Table table, ByteView key) {
    Cursor cursor(*this, table, "get");
    if (!cursor) {
        return;
    }
    if (cursor.go_to(key)) {
        if (verified(table, cursor.key(), cursor.stored()) && !before(key, cursor.key())) {
            fail_row(table, key, "the row is there and cannot be found");
        }
    }
    if (!failure_) {
        expect_before(table, key, cursor);
    }
}

/// What stands before a place that a search gave is to be less than what was searched. The cursor
/// stands at the place, or nowhere behind the last row.
bool Rows::expect_before(Table table, ByteView from, Cursor& cursor) {
    const bool at_row = cursor.stored().mv_data != nullptr;
    if (!cursor.go(at_row ? MDB_PREV : MDB_LAST)) {
        return !failure_;
    }
    if (verified(table, cursor.key(), cursor.stored()) && !before(cursor.key(), from)) {
        fail_row(table, cursor.key(), "the row stands in the wrong place");
    }
    return !failure_;
}

void Rows::walk(Table table, ByteView from, bool backwards, const Step& step) {
    if (failure_) {
        return;
    }
    Cursor cursor(*this, table, "scan");
    if (!cursor) {
        return;
    }
    if (!from.empty()) {
        cursor.go_to(from);
        if (failure_ || !expect_before(table, from, cursor)) {
            return;
        }
    }
    std::optional<ByteView> last;  // stands in the map: nothing is written during a scan
    bool more = from.empty() ? cursor.go(backwards ? MDB_LAST : MDB_FIRST) : cursor.go_to(from);
    while (more && !failure_) {
        const auto key = cursor.key();
        const auto row = verified(table, key, cursor.stored());
        if (!row) {
            return;
        }
        if (last && !(backwards ? before(key, *last) : before(*last, key))) {
            return fail_row(table, key, "the row stands in the wrong place");
        }
        last = key;
        more = step(key, *row) && cursor.go(backwards ? MDB_PREV : MDB_NEXT);
    }
}

void Rows::scan(Table table, ByteView from, const Visit& visit) {
    walk(table, from, false, [&](ByteView key, const Found& row) { return visit(key, row.value); });
}

void Rows::scan_back(Table table, const Visit& visit) {
    walk(table, {}, true, [&](ByteView key, const Found& row) { return visit(key, row.value); });
}

std::uint64_t Rows::count(Table table, const std::vector<Tally>& tallies) {
    MDB_stat stat{};
    if (failure_ || !got(mdb_stat(transaction_, table_of(table), &stat), "count")) {
        return 0;
    }
    const auto at = static_cast<std::size_t>(table);
    const auto written = at < tallies.size() ? tallies[at].rows : 0;
    if (stat.ms_entries != written) {
        fail({Code::corrupt, "table " + tables_.rows[at].name + ": " +
                                 std::to_string(stat.ms_entries) + " rows, " +
                                 std::to_string(written) + " were written"});
        return 0;
    }
    return written;
}

std::uint64_t Rows::count(Table table) {
    auto tallies = read_tallies(transaction_, tables_.house);
    if (!tallies) {
        fail(tallies.error());
        return 0;
    }
    return count(table, *tallies);
}

}  // namespace reeve::kv
