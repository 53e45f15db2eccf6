// The whole store read once: what no single read can notice.
//
// A changed key in a branch page hides rows from a search but not from a walk: every row is
// searched for. A row that is missing, or a page of an older commit, shows in the tally of its
// table. A number in LMDB's list of free pages that became another one would let the next write go
// over a page in use: no page that a row stands on may be free, and free pages and used ones must
// make up the file.

#include <lmdb.h>

#include "projection/kv/lmdb_rows.h"

namespace reeve::kv {
namespace {

constexpr MDB_dbi free_pages = 0;  // LMDB's own two tables
constexpr MDB_dbi table_names = 1;
constexpr std::uint64_t header_pages = 2;
constexpr std::size_t page_header_bytes = 16;

Error damaged(const std::string& what) { return {Code::corrupt, "the store's pages: " + what}; }

}  // namespace

/// Where LMDB keeps its rows. A page begins with its own number, and so does the first of the pages
/// that one large value fills.
class PagesInUse {
public:
    explicit PagesInUse(MDB_txn* transaction) : transaction_(transaction) {
        MDB_stat stat{};
        if (mdb_env_info(mdb_txn_env(transaction), &info_) == 0 &&
            mdb_env_stat(mdb_txn_env(transaction), &stat) == 0) {
            page_bytes_ = stat.ms_psize;
            used_.resize(info_.me_last_pgno + 1);
        }
    }
    Status note(ByteView key, const Rows::Found& row) {
        TRY(note_page(key.data(), 1));
        if (page_of(row.value.data()) == page_of(key.data())) {
            return ok();
        }
        // A value that became shorter keeps the pages that it had: their number stands in the
        // first.
        constexpr std::size_t pages_at = 12;
        const auto bytes = page_header_bytes + row.value.size() + checksum_bytes;
        const auto count = load_le<std::uint32_t>(page_of(row.value.data()) + pages_at);
        if (count < (bytes + page_bytes_ - 1) / page_bytes_) {
            return damaged("a large value has fewer than it fills");
        }
        return note_page(row.value.data(), count);
    }
    Status compare_with_free_pages(const OpenTables& tables);

private:
    const std::uint8_t* page_of(const std::uint8_t* at) const {
        return at - reinterpret_cast<std::uintptr_t>(at) % page_bytes_;
    }
    Status note_page(const std::uint8_t* at, std::uint64_t count) {
        const auto number = load_le<std::uint64_t>(page_of(at));
        if (number < header_pages || number + count > used_.size()) {
            return damaged("one has the impossible number " + std::to_string(number));
        }
        for (auto page = number; page < number + count; ++page) {
            used_[page] = true;
        }
        first_page_ = page_of(at) - number * page_bytes_;
        return ok();
    }
    Result<std::uint64_t> free_of(const MDB_val& record);
    std::uint64_t branches_among_others() const;

    MDB_txn* transaction_;
    MDB_envinfo info_{};
    std::size_t page_bytes_ = 1;
    std::vector<bool> used_;  // by a row, or free
    const std::uint8_t* first_page_ = nullptr;
};

/// One record of the list: a number of pages, and their numbers from the greatest down.
Result<std::uint64_t> PagesInUse::free_of(const MDB_val& record) {
    constexpr std::size_t word = sizeof(std::uint64_t);
    const auto* at = static_cast<const std::uint8_t*>(record.mv_data);
    const auto count = record.mv_size < word ? 0 : load_le<std::uint64_t>(at);
    if (record.mv_size < word || count > record.mv_size / word - 1) {
        return damaged("the list of free ones has an impossible length");
    }
    for (std::uint64_t i = 1; i <= count; ++i) {
        const auto page = load_le<std::uint64_t>(at + i * word);
        if (page < header_pages || page >= used_.size() || used_[page]) {
            return damaged("page " + std::to_string(page) + " is in use and listed as free");
        }
        used_[page] = true;
    }
    return count;
}

/// Of the pages that are neither free nor hold a row: those that only lead to others.
std::uint64_t PagesInUse::branches_among_others() const {
    constexpr std::size_t flags_at = 10;
    constexpr std::uint16_t branch = 1;
    std::uint64_t out = 0;
    for (auto page = header_pages; page < used_.size(); ++page) {
        const bool other = !used_[page];
        const auto* flags = first_page_ + page * page_bytes_ + flags_at;
        out += other && (load_le<std::uint16_t>(flags) & branch) != 0 ? 1U : 0U;
    }
    return out;
}

Status PagesInUse::compare_with_free_pages(const OpenTables& tables) {
    MDB_cursor* opened = nullptr;
    TRY(lmdb_status(mdb_cursor_open(transaction_, free_pages, &opened), "read free pages"));
    const std::unique_ptr<MDB_cursor, decltype(&mdb_cursor_close)> cursor(opened,
                                                                          &mdb_cursor_close);
    std::uint64_t sum = header_pages;
    MDB_val key{};
    MDB_val record{};
    int found = mdb_cursor_get(opened, &key, &record, MDB_FIRST);
    for (; found == 0; found = mdb_cursor_get(opened, &key, &record, MDB_NEXT)) {
        TRY_ASSIGN(const auto free, free_of(record));
        sum += free;
    }
    TRY(lmdb_status(found == MDB_NOTFOUND ? 0 : found, "read free pages"));
    std::vector<MDB_dbi> all{free_pages, table_names, tables.house};
    for (const auto& table : tables.rows) {
        all.push_back(table.id);
    }
    std::uint64_t branches = 0;
    for (const auto table : all) {
        MDB_stat stat{};
        TRY(lmdb_status(mdb_stat(transaction_, table, &stat), "count pages"));
        sum += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
        branches += stat.ms_branch_pages;
    }
    if (info_.me_last_txnid != mdb_txn_id(transaction_)) {
        return ok();  // beside a writer the end of the file may be that of a later commit
    }
    if (sum != used_.size()) {
        return damaged(std::to_string(sum) + " are accounted for, " + std::to_string(used_.size()) +
                       " are there");
    }
    if (first_page_ != nullptr && branches_among_others() != branches) {
        return damaged("one that leads to others is listed as free");
    }
    return ok();
}

Status Rows::scrub_table(Table table, const std::vector<Tally>& tallies, PagesInUse& pages) {
    Tally found;
    Status noted;
    walk(table, {}, false, [&](ByteView key, const Found& row) {
        ++found.rows;
        found.sum += row.checksum;
        noted = pages.note(key, row);
        const auto searched = find(table, key);
        if (!failure_ && (!searched || searched->value.data() != row.value.data())) {
            fail_row(table, key, "the row is there and cannot be found");
        }
        return !failure_ && noted;
    });
    TRY(status());
    TRY(noted);
    const auto at = static_cast<std::size_t>(table);
    const auto expected = at < tallies.size() ? tallies[at] : Tally{};
    static_cast<void>(count(table, tallies));
    TRY(status());
    if (found != expected) {
        return Error{Code::corrupt, "table " + tables_.rows[at].name + ": " +
                                        std::to_string(found.rows) + " rows, " +
                                        std::to_string(expected.rows) +
                                        " written; rows are missing or older ones came back"};
    }
    return ok();
}

Status Rows::scrub() {
    TRY_ASSIGN(const auto tallies, read_tallies(transaction_, tables_.house));
    PagesInUse pages(transaction_);
    for (std::size_t i = 0; i < tables_.rows.size(); ++i) {
        TRY(scrub_table(Table{static_cast<std::uint8_t>(i)}, tallies, pages));
    }
    return pages.compare_with_free_pages(tables_);
}

}  // namespace reeve::kv
