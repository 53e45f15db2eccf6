#pragma once

// An ordered key-value store with snapshots: what projections stand on. Derived data only, so
// durability is not promised: after an unclean boot the store is cleared and built again from the
// logs.
//
// Keys and values are bytes; keys are ordered as unsigned bytes, shorter first, at most 511 of
// them. A transaction is short-lived and never held across an env call. Readers may run on any
// thread, one writer at a time. A store outlives its transactions.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace reeve::kv {

/// Position in the list of table names that the store was opened with.
enum class Table : std::uint8_t {};

constexpr std::size_t max_key_bytes = 511;

using Visit = std::function<bool(ByteView key, ByteView value)>;

/// A consistent snapshot.
class ReadTransaction {
public:
    virtual ~ReadTransaction() = default;
    virtual std::optional<Bytes> get(Table table, ByteView key) = 0;
    /// Rows with key >= from in key order, until `visit` returns false. The views live for the
    /// call.
    virtual void scan(Table table, ByteView from, const Visit& visit) = 0;
    /// Rows in descending order from the last one, until `visit` returns false.
    virtual void scan_back(Table table, const Visit& visit) = 0;
    virtual std::uint64_t count(Table table) = 0;
    /// The first failure of a get, scan or count, which then answered as if nothing stood there.
    /// A write transaction with a failure cannot be committed: commit() returns it.
    virtual Status status() const = 0;
};

/// Sees its own writes. The destructor aborts what was not committed. No put or erase from inside a
/// scan (CHECKed): the views that the scan hands out would move.
class WriteTransaction : public ReadTransaction {
public:
    /// Code::invalid for a key that is empty or too long: nothing happened, the transaction goes
    /// on. Code::full: the transaction is dead; repeated as a whole it may find more room
    /// (LmdbStore).
    virtual Status put(Table table, ByteView key, ByteView value) = 0;
    /// put() of a row whose key is greater than every key of its table: for loads in order of keys.
    /// Code::invalid when it is not greater.
    virtual Status append(Table table, ByteView key, ByteView value) = 0;
    /// An absent row is fine.
    virtual Status erase(Table table, ByteView key) = 0;
    /// Once; whatever it returns, the transaction is over and only its destructor may follow.
    virtual Status commit() = 0;
};

class Store {
public:
    virtual ~Store() = default;
    virtual Result<std::unique_ptr<ReadTransaction>> read() = 0;
    /// One at a time (CHECKed).
    virtual Result<std::unique_ptr<WriteTransaction>> write() = 0;
    /// Removes every row of every table.
    virtual Status clear() = 0;
};

}  // namespace reeve::kv
