#include "projection/bulk.h"

#include <algorithm>
#include <unordered_map>

#include "projection/contribution.h"
#include "projection/fold.h"
#include "projection/kv/map_store.h"
#include "projection/spill.h"

namespace reeve::projection {
namespace {

constexpr std::size_t others_at_once = 4096;

struct JobIdHash {
    std::size_t operator()(const JobId& job) const {
        return load_le<std::uint64_t>(job.bytes.data() + 8);  // the random end
    }
};

/// A row in the making, with the output of its attempts.
struct OpenJob {
    JobRow row;
    std::map<AttemptNo, Bytes> outputs;  // rows of `outputs`
};

/// Stores rows in the order of keys, in transactions of bounded size.
class Loader {
public:
    Loader(kv::Store& store, std::size_t commit_bytes)
        : store_(store), commit_bytes_(commit_bytes) {}

    Status append(kv::Table table, ByteView key, ByteView value) {
        TRY(begin());
        held_ += key.size() + value.size();
        return transaction_->append(table, key, value);
    }
    /// A row of a digested view.
    Status append_counted(kv::Table view, ByteView key, ByteView value) {
        digests_[view] += row_hash(view, key, value);
        return append(view, key, value);
    }
    void count(kv::Table view, Sum sum) { digests_[view] += sum; }
    /// Cursors, digests and the version: with them the store is a view.
    Status finish(const Cut& cut) {
        TRY(begin());
        for (const auto& [writer, cursor] : cut) {
            TRY(transaction_->put(table::meta, cursor_key(writer), encode(cursor)));
        }
        for (const auto& [view, sum] : digests_) {
            TRY(transaction_->put(table::meta, digest_key(view), digest_of(sum)));
        }
        TRY(transaction_->put(table::meta, as_bytes("fold_version"), fold_version_row()));
        return transaction_->commit();
    }

private:
    Status begin() {
        if (transaction_ && held_ < commit_bytes_) {
            return ok();
        }
        if (transaction_) {
            TRY(transaction_->commit());
            transaction_.reset();  // before the next one begins
        }
        held_ = 0;
        TRY_ASSIGN(transaction_, store_.write());
        return ok();
    }

    kv::Store& store_;
    std::size_t commit_bytes_;
    std::unique_ptr<kv::WriteTransaction> transaction_;
    std::size_t held_ = 0;
    std::map<kv::Table, Sum> digests_;
};

/// What rows of jobs add to sums.
class Sums {
public:
    void count(const Contribution& contribution, bool added) {
        const std::uint64_t one = added ? 1 : ~std::uint64_t{0};
        if (!contribution.state.empty()) {
            totals_[contribution.state] += one;
        }
        for (const auto& [key, row] : contribution.routing) {
            auto& sum = routing_[key];
            sum.runs += one * row.runs;
            sum.succeeded += one * row.succeeded;
            sum.failed += one * row.failed;
            sum.timeout += one * row.timeout;
            sum.lost += one * row.lost;
            for (std::size_t i = 0; i < sum.durations.size(); ++i) {
                sum.durations[i] += static_cast<std::uint32_t>(one) * row.durations[i];
            }
        }
    }
    Status store(Loader& loader) const {
        for (const auto& [state, count] : totals_) {
            if (count > 0) {
                TRY(loader.append(table::totals, as_bytes(state), be64(count)));
            }
        }
        std::map<Bytes, const RoutingRow*> rows;  // in the order of keys
        for (const auto& [key, row] : routing_) {
            if (row.runs > 0) {
                rows.emplace(routing_key(key), &row);
            }
        }
        for (const auto& [key, row] : rows) {
            TRY(loader.append_counted(table::routing, key, encode(*row)));
        }
        return ok();
    }

private:
    std::map<std::string, std::uint64_t, std::less<>> totals_;
    std::map<RoutingKey, RoutingRow> routing_;
};

class BulkFold {
public:
    BulkFold(kv::Store& store, SpillFile& spill, const BulkOptions& options)
        : spill_(spill),
          options_(options),
          loader_(store, options.commit_bytes),
          requests_(spill, options.sort_bytes),
          index_(spill, options.sort_bytes),
          dependents_(spill, options.sort_bytes),
          others_(table::names.size()) {}

    Status take(const LoggedEvents& logged) {
        auto& cursor = cut_[logged.writer];
        for (const auto& event : logged.events) {
            if (event.seq != cursor.position.seq.next()) {
                return Error{Code::conflict, logged.writer.v + ": event " +
                                                 std::to_string(cursor.position.seq.v + 1) +
                                                 " is missing"};
            }
            cursor.position.seq = event.seq;
            cursor.hlc = event.hlc;
            TRY(take(event));
        }
        cursor.position = logged.position;
        return ok();
    }

    Status finish() {
        TRY(fold_the_others());
        TRY(spill_all(young_));
        TRY(spill_all(old_));
        TRY(store_jobs());
        TRY(store_requests());
        const auto store_keys = [&](kv::Table table) {
            return [this, table](ByteView key, ByteView) { return loader_.append(table, key, {}); };
        };
        TRY(index_.each(store_keys(table::index)));
        TRY(dependents_.each(store_keys(table::dependents)));
        TRY(sums_.store(loader_));
        TRY(store_others());
        return loader_.finish(cut_);
    }

private:
    using OpenJobs = std::unordered_map<JobId, OpenJob, JobIdHash>;
    static constexpr std::uint32_t live_bit = 1U << 31;
    struct Spilled {
        std::uint64_t at = 0;
        std::uint32_t size = 0;  // with live_bit: what the row adds is not counted yet
    };

    Status take(const events::Event& event) {
        const auto job = job_of(event.payload);
        if (!job) {
            others_held_.push_back(event);
            return others_held_.size() >= others_at_once ? fold_the_others() : ok();
        }
        TRY_ASSIGN(auto* open, open_job(*job));
        fold(open->row, event);
        if (const auto* e = std::get_if<events::JobSubmitted>(&event.payload)) {
            return note_request(event, *e);
        }
        if (const auto* e = std::get_if<events::JobFinished>(&event.payload)) {
            const auto& end = open->row.attempts[e->attempt.attempt].finished;
            if (end && end->stamp == event.stamp()) {
                open->outputs[e->attempt.attempt] =
                    encode(OutputRow{event.stamp(), e->out, e->err});
            }
        }
        return ok();
    }

    Status note_request(const events::Event& event, const events::JobSubmitted& e) {
        if (e.request_id.empty() || e.request_id.size() > kv::max_key_bytes) {
            return ok();
        }
        return requests_.add(as_bytes(e.request_id), encode(RequestRow{event.stamp(), e.job}));
    }

    // Two generations: what is touched moves to the young one; when that is full, the old one is
    // spilled and takes its place.
    Result<OpenJob*> open_job(const JobId& job) {
        if (const auto found = young_.find(job); found != young_.end()) {
            return &found->second;
        }
        if (young_.size() >= options_.open_jobs / 2) {
            TRY(spill_all(old_));
            std::swap(young_, old_);
        }
        if (auto node = old_.extract(job)) {
            return &young_.insert(std::move(node)).position->second;
        }
        auto& out = young_[job];
        if (const auto found = spilled_.find(job); found != spilled_.end()) {
            TRY(fetch(job, found->second, out));
            spilled_.erase(found);
        }
        return &out;
    }

    /// live or not | row | count of outputs | attempt, row of `outputs`, ...
    Status spill_all(OpenJobs& jobs) {
        for (const auto& [job, open] : jobs) {
            const auto contribution = contribution_of(job, open.row);
            const bool live = contribution.index.has_value();
            if (!live) {
                sums_.count(contribution, true);
            }
            ByteWriter w;
            w.bytes(encode(open.row));
            w.u32(static_cast<std::uint32_t>(open.outputs.size()));
            for (const auto& [attempt, output] : open.outputs) {
                w.u32(attempt.v);
                w.bytes(output);
            }
            TRY_ASSIGN(const auto place, spill_.append(w.view()));
            spilled_[job] = {place.at, place.size | (live ? live_bit : 0)};
        }
        jobs.clear();
        return ok();
    }

    Result<ByteReader> record_of(const Spilled& spilled) {
        TRY_ASSIGN(const auto bytes, spill_.read({spilled.at, spilled.size & ~live_bit}));
        return ByteReader(bytes);
    }

    Status fetch(const JobId& job, const Spilled& spilled, OpenJob& out) {
        TRY_ASSIGN(auto record, record_of(spilled));
        TRY_ASSIGN(out.row, decode_job_row(record.raw(record.u32())));
        for (auto n = record.u32(); n > 0; --n) {
            const AttemptNo attempt(record.u32());
            out.outputs[attempt] = record.bytes();
        }
        if ((spilled.size & live_bit) == 0) {
            sums_.count(contribution_of(job, out.row), false);
        }
        return ok();
    }

    Status store_jobs() {
        std::vector<std::pair<JobId, Spilled>> jobs(spilled_.begin(), spilled_.end());
        spilled_ = {};
        std::sort(jobs.begin(), jobs.end(),
                  [](const auto& a, const auto& b) { return a.first < b.first; });
        for (const auto& [job, spilled] : jobs) {
            TRY_ASSIGN(auto record, record_of(spilled));
            const auto row = record.raw(record.u32());
            TRY(loader_.append_counted(table::jobs, job_key(job), row));
            for (auto n = record.u32(); n > 0; --n) {
                const AttemptId attempt{job, AttemptNo(record.u32())};
                TRY(loader_.append_counted(table::outputs, attempt_key(attempt),
                                           record.raw(record.u32())));
            }
            if ((spilled.size & live_bit) != 0) {
                TRY(count_live(job, row));
            }
        }
        return ok();
    }

    Status count_live(const JobId& job, ByteView bytes) {
        TRY_ASSIGN(const auto row, decode_job_row(bytes));
        const auto contribution = contribution_of(job, row);
        sums_.count(contribution, true);
        TRY(index_.add(index_key(*contribution.index), {}));
        for (const auto& other : contribution.after) {
            TRY(dependents_.add(dependent_key(other, job), {}));
        }
        return ok();
    }

    // Of the submissions under one request the one with the least stamp.
    Status store_requests() {
        Bytes key;
        Bytes least;
        const auto store = [&]() -> Status {
            return key.empty() ? ok() : loader_.append_counted(table::requests, key, least);
        };
        const auto take = [&](ByteView next, ByteView value) -> Status {
            if (std::equal(next.begin(), next.end(), key.begin(), key.end())) {
                if (decode_request(value).stamp < decode_request(least).stamp) {
                    least.assign(value.begin(), value.end());
                }
                return ok();
            }
            TRY(store());
            key.assign(next.begin(), next.end());
            least.assign(value.begin(), value.end());
            return ok();
        };
        TRY(requests_.each(take));
        return store();
    }

    Status fold_the_others() {
        TRY_ASSIGN(auto transaction, others_.write());
        TRY(fold_others(*transaction, others_held_));
        others_held_.clear();
        return transaction->commit();
    }

    Status store_others() {
        TRY_ASSIGN(const auto reading, others_.read());
        for (std::size_t i = 0; i < table::names.size(); ++i) {
            const kv::Table view{static_cast<std::uint8_t>(i)};
            if (view == table::meta) {
                continue;
            }
            Status stored;
            reading->scan(view, {}, [&](ByteView key, ByteView value) {
                stored = loader_.append(view, key, value);
                return stored.has_value();
            });
            TRY(stored);
            if (const auto digest = reading->get(table::meta, digest_key(view))) {
                Digest sum{};
                std::copy_n(digest->begin(), std::min(digest->size(), sum.size()), sum.begin());
                loader_.count(view, sum_of(sum));
            }
        }
        return ok();
    }

    SpillFile& spill_;
    const BulkOptions& options_;
    Loader loader_;
    Cut cut_;
    OpenJobs young_;
    OpenJobs old_;
    std::unordered_map<JobId, Spilled, JobIdHash> spilled_;
    Sums sums_;
    RowSorter requests_;
    RowSorter index_;
    RowSorter dependents_;
    std::vector<events::Event> others_held_;
    kv::MapStore others_;  // views of what concerns no job: nodes, switches, words of operators
};

}  // namespace

Status load_logs(kv::Store& store, env::FileSystem& files, const NextEvents& next,
                 const BulkOptions& options) {
    TRY(store.clear());
    TRY_ASSIGN(const auto spill, SpillFile::make(files, options.spill_path, options.keep_free));
    const auto load = [&]() -> Status {
        BulkFold fold(store, *spill, options);
        while (const auto* logged = next()) {
            TRY(fold.take(*logged));
        }
        return fold.finish();
    };
    auto loaded = load();
    spill->remove();
    return loaded;
}

}  // namespace reeve::projection
