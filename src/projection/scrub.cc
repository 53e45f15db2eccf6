#include "projection/scrub.h"

#include <algorithm>

#include "projection/contribution.h"

namespace reeve::projection {
namespace {

using RowMap = std::map<Bytes, Bytes>;

Bytes copy_of(ByteView bytes) { return {bytes.begin(), bytes.end()}; }

template <typename Row>
bool canonical(ByteView bytes, Row (*decode)(ByteView)) {
    return std::ranges::equal(encode(decode(bytes)), bytes);
}

bool canonical_job(ByteView bytes) {
    const auto row = decode_job_row(bytes);
    return row && std::ranges::equal(encode(*row), bytes);
}

bool canonical_row(kv::Table view, ByteView bytes) {
    static_assert(table::digested.size() == 12, "one case a view");
    switch (static_cast<std::uint8_t>(view)) {
        case static_cast<std::uint8_t>(table::jobs): return canonical_job(bytes);
        case static_cast<std::uint8_t>(table::outputs): return canonical(bytes, &decode_output);
        case static_cast<std::uint8_t>(table::nodes): return canonical(bytes, &decode_node);
        case static_cast<std::uint8_t>(table::switches): return canonical(bytes, &decode_switch);
        case static_cast<std::uint8_t>(table::health): return canonical(bytes, &decode_health);
        case static_cast<std::uint8_t>(table::routing): return canonical(bytes, &decode_routing);
        case static_cast<std::uint8_t>(table::requests): return canonical(bytes, &decode_request);
        case static_cast<std::uint8_t>(table::retired): return canonical(bytes, &decode_retired);
        case static_cast<std::uint8_t>(table::policy): return canonical(bytes, &decode_policy);
        case static_cast<std::uint8_t>(table::cluster): return canonical(bytes, &decode_level);
        case static_cast<std::uint8_t>(table::forks): return canonical(bytes, &decode_stamp);
        case static_cast<std::uint8_t>(table::resolved): return canonical(bytes, &decode_resolved);
        default: return false;
    }
}

std::optional<JobId> job_of_key(ByteView key, std::size_t at) {
    JobId out;
    if (key.size() < at + out.bytes.size()) {
        return std::nullopt;
    }
    std::copy_n(key.begin() + static_cast<std::ptrdiff_t>(at), out.bytes.size(), out.bytes.begin());
    return out;
}

class Scrub {
public:
    explicit Scrub(kv::ReadTransaction& transaction) : transaction_(transaction) {}

    Result<std::optional<Difference>> run() {
        TRY(expect_fold_version());
        for (const auto step :
             {&Scrub::compare_digests, &Scrub::count_jobs, &Scrub::compare_sums,
              &Scrub::compare_index, &Scrub::compare_dependents, &Scrub::compare_outputs,
              &Scrub::compare_requests, &Scrub::look_at_meta, &Scrub::look_at_observations}) {
            (this->*step)();
            TRY(transaction_.status());
            if (found_) {
                break;
            }
        }
        return std::move(found_);
    }

private:
    bool differs(kv::Table where, ByteView key, std::string what) {
        if (!found_) {
            found_ = Difference{std::string(table_name(where)), copy_of(key), std::move(what)};
        }
        return false;  // what ends a scan
    }

    Status expect_fold_version() {
        const auto found = transaction_.get(table::meta, as_bytes("fold_version"));
        TRY(transaction_.status());
        return found == fold_version_row()
                   ? ok()
                   : Status(Error{Code::unsupported, "the rows are of another fold version"});
    }

    void compare_digests() {
        for (const auto view : table::digested) {
            Sum sum = 0;
            transaction_.scan(view, {}, [&](ByteView key, ByteView value) {
                sum += row_hash(view, key, value);
                return canonical_row(view, value) || differs(view, key, "it does not decode");
            });
            const auto stored = transaction_.get(table::meta, digest_key(view));
            const auto counted = digest_of(sum);
            const bool equal = stored ? std::ranges::equal(*stored, counted) : sum == 0;
            if (!found_ && !equal) {
                differs(view, {}, "its rows do not give its digest");
            }
        }
    }

    /// What the rows of jobs say now, and that each of them has what follows from it.
    void count_jobs() {
        transaction_.scan(table::jobs, {}, [&](ByteView key, ByteView value) {
            const auto job = job_of_key(key, 0);
            const auto row = decode_job_row(value);
            if (!row || !job || key.size() != job->bytes.size()) {
                return differs(table::jobs, key, "it does not decode");
            }
            const auto given = contribution_of(*job, *row);
            add_sums(given);
            expect_places(*job, given);
            expect_outputs(*job, *row);
            expect_requests(*job, *row);
            return !found_;
        });
    }

    void add_sums(const Contribution& given) {
        if (!given.state.empty()) {
            ++totals_[given.state];
        }
        for (const auto& [key, row] : given.routing) {
            auto& sum = routing_[key];
            sum.runs += row.runs;
            sum.succeeded += row.succeeded;
            sum.failed += row.failed;
            sum.timeout += row.timeout;
            sum.lost += row.lost;
            for (std::size_t i = 0; i < row.durations.size(); ++i) {
                sum.durations[i] += row.durations[i];
            }
        }
    }

    void expect_there(kv::Table where, const Bytes& key) {
        const auto row = transaction_.get(where, key);
        if (!row || !row->empty()) {
            differs(where, key, row ? "it is not empty" : "it is missing");
        }
    }
    void expect_places(const JobId& job, const Contribution& given) {
        if (given.index) {
            ++index_rows_;
            expect_there(table::index, index_key(*given.index));
        }
        for (const auto& other : std::set(given.after.begin(), given.after.end())) {
            ++dependent_rows_;
            expect_there(table::dependents, dependent_key(other, job));
        }
    }
    void expect_outputs(const JobId& job, const JobRow& row) {
        for (const auto& [k, attempt] : row.attempts) {
            if (!attempt.finished) {
                continue;
            }
            ++output_rows_;
            const auto key = attempt_key({job, k});
            const auto output = transaction_.get(table::outputs, key);
            if (!output || decode_output(*output).stamp != attempt.finished->stamp) {
                differs(table::outputs, key, output ? "it is of another end" : "it is missing");
            }
        }
    }
    // A row of requests may stem from an event that lost against an equal document: only the least
    // one of each document is in the row of its job.
    void expect_requests(const JobId& job, const JobRow& row) {
        for (const auto& [hash, submission] : row.submissions) {
            const auto& id = submission.request_id;
            if (id.empty() || id.size() > kv::max_key_bytes) {
                continue;
            }
            const auto bytes = transaction_.get(table::requests, as_bytes(id));
            const auto request = bytes ? decode_request(*bytes) : RequestRow{};
            if (!bytes || submission.stamp < request.stamp ||
                (submission.stamp == request.stamp && request.job != job)) {
                differs(table::requests, as_bytes(id), bytes ? "it is late" : "it is missing");
            }
        }
    }

    void compare_rows(kv::Table where, const RowMap& expected) {
        auto at = expected.begin();
        transaction_.scan(where, {}, [&](ByteView key, ByteView value) {
            const bool known = at != expected.end() && std::ranges::equal(at->first, key);
            if (known && std::ranges::equal(at->second, value)) {
                ++at;
                return true;
            }
            if (!known && at != expected.end() && at->first < copy_of(key)) {
                return differs(where, at->first, "it is missing");
            }
            return differs(where, key, "it is not what the rows of jobs give");
        });
        if (!found_ && at != expected.end()) {
            differs(where, at->first, "it is missing");
        }
    }
    void compare_sums() {
        RowMap totals;
        for (const auto& [state, count] : totals_) {
            totals[copy_of(as_bytes(state))] = be64(count);
        }
        compare_rows(table::totals, totals);
        RowMap routing;
        for (const auto& [key, row] : routing_) {
            routing[routing_key(key)] = encode(row);
        }
        compare_rows(table::routing, routing);
    }

    /// Every row that jobs give is there; where there are more, the first one too many is sought.
    void expect_no_more(kv::Table where, std::uint64_t rows,
                        const std::function<bool(ByteView key)>& given) {
        if (transaction_.count(where) == rows) {
            return;
        }
        transaction_.scan(where, {}, [&](ByteView key, ByteView) {
            return given(key) || differs(where, key, "no job gives it");
        });
    }
    std::optional<JobRow> job_row(const std::optional<JobId>& job) {
        const auto bytes = job ? transaction_.get(table::jobs, job_key(*job)) : std::nullopt;
        auto row = bytes ? decode_job_row(*bytes) : Result<JobRow>(JobRow{});
        return bytes && row ? std::optional(std::move(*row)) : std::nullopt;
    }
    void compare_index() {
        expect_no_more(table::index, index_rows_, [&](ByteView key) {
            const auto entry = parse_index_key(key);
            const auto row = entry ? job_row(entry->job) : std::nullopt;
            const auto given = row ? contribution_of(entry->job, *row).index : std::nullopt;
            return given && std::ranges::equal(index_key(*given), key);
        });
    }
    void compare_dependents() {
        expect_no_more(table::dependents, dependent_rows_, [&](ByteView key) {
            const auto other = job_of_key(key, 0);
            const auto job = job_of_key(key, 16);
            const auto row = key.size() == 32 ? job_row(job) : std::nullopt;
            const auto after = row ? contribution_of(*job, *row).after : std::vector<JobId>{};
            return std::find(after.begin(), after.end(), other) != after.end();
        });
    }
    void compare_outputs() {
        expect_no_more(table::outputs, output_rows_, [&](ByteView key) {
            const auto job = job_of_key(key, 0);
            const auto row = key.size() == 24 ? job_row(job) : std::nullopt;
            return row &&
                   std::any_of(
                       row->attempts.begin(), row->attempts.end(), [&](const auto& attempt) {
                           return attempt.second.finished &&
                                  std::ranges::equal(attempt_key({*job, attempt.first}), key);
                       });
        });
    }
    void compare_requests() {
        transaction_.scan(table::requests, {}, [&](ByteView key, ByteView value) {
            return transaction_.get(table::jobs, job_key(decode_request(value).job)) ||
                   differs(table::requests, key, "its job is missing");
        });
    }

    void look_at_meta() {
        transaction_.scan(table::meta, {}, [&](ByteView key, ByteView value) {
            const auto name = as_text(key);
            const bool cursor = name.starts_with("c/") && canonical(value, &decode_cursor);
            const bool digest =
                name.starts_with("d/") && value.size() == Digest{}.size() &&
                std::any_of(table::digested.begin(), table::digested.end(),
                            [&](kv::Table view) { return table_name(view) == name.substr(2); });
            return cursor || digest || name == "fold_version" ||
                   differs(table::meta, key, "it says nothing that is known");
        });
    }

    void look_at_observations() {
        transaction_.scan(table::observations, {}, [&](ByteView key, ByteView value) {
            ByteReader r(value);
            const auto stamp = get_stamp(r);
            static_cast<void>(r.boolean());
            for (int text = 0; text < 3; ++text) {
                static_cast<void>(r.text());
            }
            auto expected = be64(stamp.hlc.v);
            const auto writer = as_bytes(stamp.writer.v);
            expected.insert(expected.end(), writer.begin(), writer.end());
            return (r.at_end() && std::ranges::equal(expected, key)) ||
                   differs(table::observations, key, "it does not decode");
        });
        if (transaction_.count(table::observations) > kept_observations) {
            differs(table::observations, {}, "more rows than are kept");
        }
    }

    kv::ReadTransaction& transaction_;
    std::optional<Difference> found_;
    std::map<std::string, std::uint64_t> totals_;
    std::map<RoutingKey, RoutingRow> routing_;
    std::uint64_t index_rows_ = 0;
    std::uint64_t dependent_rows_ = 0;
    std::uint64_t output_rows_ = 0;
};

}  // namespace

std::string Difference::text() const {
    return "table " + table + (key.empty() ? "" : ", key " + to_hex(key)) + ": " + what;
}

Result<std::optional<Difference>> scrub(kv::ReadTransaction& transaction) {
    return Scrub(transaction).run();
}

}  // namespace reeve::projection
