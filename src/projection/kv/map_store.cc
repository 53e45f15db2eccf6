#include "projection/kv/map_store.h"

#include "base/check.h"

namespace reeve::kv {
namespace {

std::size_t index_of(Table table) { return static_cast<std::size_t>(table); }

Bytes owned(ByteView bytes) { return Bytes(bytes.begin(), bytes.end()); }

std::optional<Bytes> get_row(const MapStore::Tables& tables, Table table, ByteView key) {
    const auto& rows = *tables[index_of(table)];
    const auto found = rows.find(owned(key));
    return found == rows.end() ? std::nullopt : std::optional(found->second);
}

void scan_rows(const MapStore::Tables& tables, Table table, ByteView from, const Visit& visit) {
    const auto& rows = *tables[index_of(table)];
    for (auto at = rows.lower_bound(owned(from)); at != rows.end(); ++at) {
        if (!visit(at->first, at->second)) {
            return;
        }
    }
}

void scan_rows_back(const MapStore::Tables& tables, Table table, const Visit& visit) {
    const auto& rows = *tables[index_of(table)];
    for (auto at = rows.rbegin(); at != rows.rend(); ++at) {
        if (!visit(at->first, at->second)) {
            return;
        }
    }
}

class MapRead final : public ReadTransaction {
public:
    explicit MapRead(MapStore::Tables tables) : tables_(std::move(tables)) {}
    std::optional<Bytes> get(Table table, ByteView key) override { return get_row(tables_, table, key); }
    void scan(Table table, ByteView from, const Visit& visit) override {
        scan_rows(tables_, table, from, visit);
    }
    void scan_back(Table table, const Visit& visit) override { scan_rows_back(tables_, table, visit); }
    std::uint64_t count(Table table) override { return tables_[index_of(table)]->size(); }

private:
    MapStore::Tables tables_;
};

}  // namespace

class MapWrite final : public WriteTransaction {
public:
    explicit MapWrite(MapStore& store)
        : store_(store), tables_(store.tables_), changed_(store.tables_.size(), false) {}
    MapWrite(const MapWrite&) = delete;
    MapWrite& operator=(const MapWrite&) = delete;
    ~MapWrite() override {
        const std::lock_guard lock(store_.mutex_);
        store_.writing_ = false;
    }
    std::optional<Bytes> get(Table table, ByteView key) override { return get_row(tables_, table, key); }
    void scan(Table table, ByteView from, const Visit& visit) override {
        scan_rows(tables_, table, from, visit);
    }
    void scan_back(Table table, const Visit& visit) override { scan_rows_back(tables_, table, visit); }
    std::uint64_t count(Table table) override { return tables_[index_of(table)]->size(); }
    Status put(Table table, ByteView key, ByteView value) override {
        if (key.size() > max_key_bytes || key.empty()) {
            return Error{Code::invalid, "a key of " + std::to_string(key.size()) + " bytes"};
        }
        mine(table)[owned(key)] = owned(value);
        return ok();
    }
    Status erase(Table table, ByteView key) override {
        mine(table).erase(owned(key));
        return ok();
    }
    Status commit() override {
        const std::lock_guard lock(store_.mutex_);
        store_.tables_ = tables_;
        return ok();
    }

private:
    MapStore::Rows& mine(Table table) {
        auto& rows = tables_[index_of(table)];
        if (!changed_[index_of(table)]) {
            changed_[index_of(table)] = true;
            rows = std::make_shared<MapStore::Rows>(*rows);
        }
        return *rows;
    }
    MapStore& store_;
    MapStore::Tables tables_;
    std::vector<bool> changed_;
};

MapStore::MapStore(std::size_t tables) {
    for (std::size_t i = 0; i < tables; ++i) {
        tables_.push_back(std::make_shared<Rows>());
    }
}

Result<std::unique_ptr<ReadTransaction>> MapStore::read() {
    const std::lock_guard lock(mutex_);
    return std::unique_ptr<ReadTransaction>(std::make_unique<MapRead>(tables_));
}

Result<std::unique_ptr<WriteTransaction>> MapStore::write() {
    const std::lock_guard lock(mutex_);
    CHECK(!writing_);
    writing_ = true;
    return std::unique_ptr<WriteTransaction>(std::make_unique<MapWrite>(*this));
}

Status MapStore::clear() {
    const std::lock_guard lock(mutex_);
    for (auto& rows : tables_) {
        rows = std::make_shared<Rows>();
    }
    return ok();
}

}  // namespace reeve::kv
