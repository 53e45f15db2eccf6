#pragma once

// What the row of one job adds to the views that are sums or unions over jobs, and what a row of a
// digested view adds to its digest. The fold takes the old away and adds the new; the scrub adds
// all again. Private to the projection.

#include <optional>
#include <set>
#include <string>

#include "projection/tables.h"

namespace reeve::projection {

constexpr std::size_t kept_observations = 1000;

__extension__ using Sum = unsigned __int128;

/// The digest of a view is the sum of these.
Sum row_hash(kv::Table view, ByteView key, ByteView value);
Sum sum_of(const Digest& digest);
Digest digest_of(Sum sum);

struct Contribution {
    std::optional<IndexEntry> index;
    std::string state;  // empty: no submission has arrived
    std::map<RoutingKey, RoutingRow> routing;
    std::vector<JobId> after;
};
Contribution contribution_of(const JobId& job, const JobRow& row);

}  // namespace reeve::projection
