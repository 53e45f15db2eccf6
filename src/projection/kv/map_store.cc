#include "projection/kv/map_store.h"

// Only commit() changes a map, under the store's mutex and only when no snapshot shares it; a
// snapshot therefore reads without a lock, and so does the writer, whose own commit is the only
// change there is.

#include <algorithm>

#include "base/check.h"

namespace reeve::kv {
namespace {

std::size_t index_of(Table table) { return static_cast<std::size_t>(table); }

Bytes owned(ByteView bytes) { return Bytes(bytes.begin(), bytes.end()); }

bool valid_key(ByteView key) { return !key.empty() && key.size() <= max_key_bytes; }

std::optional<Bytes> get_row(const MapStore::Rows& rows, ByteView key) {
    const auto found = rows.find(key);
    return found == rows.end() ? std::nullopt : std::optional(found->second);
}

template <typename Iterator>
void visit_rows(Iterator at, Iterator end, const Visit& visit) {
    while (at != end && visit(at->first, at->second)) {
        ++at;
    }
}

/// Rows and changes to them, merged; `before(a, b)` is the direction of the walk.
template <typename Row, typename Change, typename Before>
void visit_merged(Row row, Row row_end, Change change, Change change_end, const Before& before,
                  const Visit& visit) {
    while (row != row_end || change != change_end) {
        if (change == change_end || (row != row_end && before(row->first, change->first))) {
            if (!visit(row->first, row->second)) {
                return;
            }
            ++row;
            continue;
        }
        if (row != row_end && row->first == change->first) {
            ++row;  // hidden by the change
        }
        if (change->second && !visit(change->first, *change->second)) {
            return;
        }
        ++change;
    }
}

}  // namespace

class MapRead final : public ReadTransaction {
public:
    explicit MapRead(MapStore& store) : store_(store), tables_(store.tables_) {}
    MapRead(const MapRead&) = delete;
    MapRead& operator=(const MapRead&) = delete;
    ~MapRead() override {
        const std::lock_guard lock(store_.mutex_);
        tables_.clear();
    }
    std::optional<Bytes> get(Table table, ByteView key) override {
        return get_row(rows(table), key);
    }
    void scan(Table table, ByteView from, const Visit& visit) override {
        visit_rows(rows(table).lower_bound(from), rows(table).cend(), visit);
    }
    void scan_back(Table table, const Visit& visit) override {
        visit_rows(rows(table).crbegin(), rows(table).crend(), visit);
    }
    std::uint64_t count(Table table) override { return rows(table).size(); }
    Status status() const override { return ok(); }

private:
    const MapStore::Rows& rows(Table table) const {
        CHECK(index_of(table) < tables_.size());
        return *tables_[index_of(table)];
    }
    MapStore& store_;
    MapStore::Tables tables_;
};

class MapWrite final : public WriteTransaction {
public:
    // Looks at the store's own maps: a pointer of its own would make every commit copy them.
    explicit MapWrite(MapStore& store) : store_(store), changes_(store.tables_.size()) {
        for (const auto& rows : store.tables_) {
            rows_.push_back(rows.get());
        }
    }
    MapWrite(const MapWrite&) = delete;
    MapWrite& operator=(const MapWrite&) = delete;
    ~MapWrite() override {
        const std::lock_guard lock(store_.mutex_);
        store_.writing_ = false;
    }
    std::optional<Bytes> get(Table table, ByteView key) override {
        const auto changed = changes(table).find(key);
        return changed != changes(table).end() ? changed->second : get_row(rows(table), key);
    }
    void scan(Table table, ByteView from, const Visit& visit) override {
        ++scanning_;
        visit_merged(rows(table).lower_bound(from), rows(table).cend(),
                     changes(table).lower_bound(from), changes(table).end(), KeyLess{}, visit);
        --scanning_;
    }
    void scan_back(Table table, const Visit& visit) override {
        ++scanning_;
        const auto greater = [](const Bytes& a, const Bytes& b) { return KeyLess{}(b, a); };
        visit_merged(rows(table).crbegin(), rows(table).crend(), changes(table).rbegin(),
                     changes(table).rend(), greater, visit);
        --scanning_;
    }
    std::uint64_t count(Table table) override {
        std::uint64_t n = rows(table).size();
        for (const auto& [key, value] : changes(table)) {
            const bool stands = rows(table).contains(key);
            n += value && !stands ? 1U : 0U;
            n -= !value && stands ? 1U : 0U;
        }
        return n;
    }
    Status status() const override { return ok(); }
    Status put(Table table, ByteView key, ByteView value) override {
        check_open();
        if (!valid_key(key)) {
            return Error{Code::invalid, "a key of " + std::to_string(key.size()) +
                                            " bytes; 1 to 511 are possible"};
        }
        changes(table).insert_or_assign(owned(key), owned(value));
        return ok();
    }
    Status append(Table table, ByteView key, ByteView value) override {
        const auto greater = [&](const auto& present) {
            return present.empty() || KeyLess{}(present.rbegin()->first, key);
        };
        if (!greater(rows(table)) || !greater(changes(table))) {
            return Error{Code::invalid, "a row was appended out of order"};
        }
        return put(table, key, value);
    }
    Status erase(Table table, ByteView key) override {
        check_open();
        if (valid_key(key)) {
            changes(table).insert_or_assign(owned(key), std::nullopt);
        }
        return ok();
    }
    Status commit() override {
        check_open();
        finished_ = true;
        store_.commit(changes_);
        return ok();
    }

private:
    const MapStore::Rows& rows(Table table) const {
        CHECK(index_of(table) < rows_.size());
        CHECK(!finished_);
        return *rows_[index_of(table)];
    }
    MapStore::Changes& changes(Table table) {
        CHECK(index_of(table) < changes_.size());
        return changes_[index_of(table)];
    }
    void check_open() const {
        CHECK(!finished_);
        CHECK(scanning_ == 0);
    }
    MapStore& store_;
    std::vector<const MapStore::Rows*> rows_;
    std::vector<MapStore::Changes> changes_;
    int scanning_ = 0;
    bool finished_ = false;
};

MapStore::MapStore(std::size_t tables) {
    for (std::size_t i = 0; i < tables; ++i) {
        tables_.push_back(std::make_shared<Rows>());
    }
}

Result<std::unique_ptr<ReadTransaction>> MapStore::read() {
    const std::lock_guard lock(mutex_);
    return std::unique_ptr<ReadTransaction>(std::make_unique<MapRead>(*this));
}

Result<std::unique_ptr<WriteTransaction>> MapStore::write() {
    const std::lock_guard lock(mutex_);
    CHECK(!writing_);
    writing_ = true;
    return std::unique_ptr<WriteTransaction>(std::make_unique<MapWrite>(*this));
}

void MapStore::commit(std::vector<Changes>& changes) {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < changes.size(); ++i) {
        if (changes[i].empty()) {
            continue;
        }
        if (tables_[i].use_count() > 1) {
            tables_[i] = std::make_shared<Rows>(*tables_[i]);
        }
        for (auto& [key, value] : changes[i]) {
            if (value) {
                tables_[i]->insert_or_assign(key, std::move(*value));
            } else {
                tables_[i]->erase(key);
            }
        }
    }
}

Status MapStore::clear() {
    const std::lock_guard lock(mutex_);
    CHECK(!writing_);
    for (auto& rows : tables_) {
        rows = std::make_shared<Rows>();
    }
    return ok();
}

}  // namespace reeve::kv
