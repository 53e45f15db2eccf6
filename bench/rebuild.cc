// How long it takes to make the view anew from logs: reading alone, everything as a daemon does it,
// and SQLite fed by the same reader.
//
// usage: bench_rebuild DIRECTORY --jobs N --per-job N [--cores N] [--runs N] [--what
// read,view,sqlite] Makes the logs in DIRECTORY/log when they are not there. One JSON object a row.

#include <sched.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "bench/life.h"
#include "bench/world.h"
#include "eventlog/writer.h"
#include "node/log_merge.h"
#include "projection/bulk.h"
#include "projection/kv/lmdb_store.h"

#ifdef REEVE_BENCH_SQLITE
#include <sqlite3.h>
#endif

namespace reeve::bench {
namespace {

constexpr std::uint64_t jobs_at_once = 1000;  // between the begin and the end of one
constexpr std::size_t events_a_commit = 500;

struct Options {
    std::string directory;
    std::uint64_t jobs = 200'000;
    std::size_t per_job = 5;
    int cores = 0;
    int runs = 1;
    std::vector<std::string> what{"read", "view"};
};

std::string log_of(const Options& options, const std::string& writer) {
    return options.directory + "/log/" + writer;
}

class Writers {
public:
    Writers(World& world, const Options& options) : held_(writers.size()) {
        for (const auto& name : writers) {
            const WriterId id(name);
            std::filesystem::create_directories(log_of(options, name));
            eventlog::LogWriter::Options how;
            how.directory = log_of(options, name);
            how.cluster = cluster;
            how.writer = id;
            how.incarnation = Incarnation(1);
            how.identity = testing_support::test_identity(cluster, node_of(id));
            auto opened = eventlog::LogWriter::open(world.env(), how);
            logs_.push_back(std::move(opened).value());
        }
    }
    Status add(Said&& said) {
        auto& held = held_[said.writer];
        held.push_back(std::move(said.payload));
        return held.size() >= events_a_commit ? flush(said.writer) : ok();
    }
    Status close() {
        for (std::size_t i = 0; i < logs_.size(); ++i) {
            TRY(flush(i));
            TRY(logs_[i]->close());
        }
        return ok();
    }

private:
    Status flush(std::size_t i) {
        std::vector<events::Event> out;
        TRY(logs_[i]->append(held_[i], &out));
        held_[i].clear();
        return ok();
    }
    std::vector<std::unique_ptr<eventlog::LogWriter>> logs_;
    std::vector<std::vector<events::Payload>> held_;
};

Status make_logs(World& world, const Options& options) {
    const auto mark = options.directory + "/made";
    const auto wanted = std::to_string(options.jobs) + " " + std::to_string(options.per_job);
    std::string found;
    std::getline(std::ifstream(mark), found);
    if (found == wanted) {
        return ok();
    }
    std::filesystem::remove_all(options.directory + "/log");
    Writers all(world, options);
    for (std::uint64_t from = 0; from < options.jobs; from += jobs_at_once) {
        std::vector<std::vector<Said>> lives;
        for (auto n = from; n < std::min(from + jobs_at_once, options.jobs); ++n) {
            lives.push_back(life_of(n, options.per_job));
        }
        for (std::size_t k = 0; k < options.per_job; ++k) {
            for (auto& life : lives) {
                TRY(all.add(std::move(life[k])));
            }
        }
    }
    TRY(all.close());
    std::ofstream(mark) << wanted << "\n";
    return ok();
}

std::uint64_t bytes_of(const std::string& directory) {
    std::uint64_t out = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
        out += entry.is_regular_file() ? entry.file_size() : 0;
    }
    return out;
}

std::vector<node::LogToRead> logs_of(const Options& options) {
    std::vector<node::LogToRead> out;
    const eventlog::LogPosition everything{
        Incarnation(UINT32_MAX), SegmentNo(UINT32_MAX), {}, Seq(UINT64_MAX), {}};
    for (const auto& name : writers) {
        out.push_back({WriterId(name), log_of(options, name), everything, {}});
    }
    return out;
}

/// The greatest RssAnon of this process while it lives, looked at every 10 ms.
class PeakMemory {
public:
    PeakMemory() : watcher_([this] { watch(); }) {}
    ~PeakMemory() { stop(); }
    double megabytes() {
        stop();
        return static_cast<double>(peak_) / 1024;
    }

private:
    void stop() {
        {
            const std::lock_guard lock(mutex_);
            over_ = true;
        }
        stopped_.notify_all();
        if (watcher_.joinable()) {
            watcher_.join();
        }
    }
    void watch() {
        std::unique_lock lock(mutex_);
        while (!stopped_.wait_for(lock, std::chrono::milliseconds(10), [this] { return over_; })) {
            std::ifstream status("/proc/self/status");
            for (std::string line; std::getline(status, line);) {
                if (line.starts_with("RssAnon:")) {
                    peak_ = std::max<std::uint64_t>(peak_, std::stoull(line.substr(8)));
                }
            }
        }
    }
    std::mutex mutex_;
    std::condition_variable stopped_;
    bool over_ = false;
    std::uint64_t peak_ = 0;
    std::thread watcher_;
};

Status read_all(World& world, const Options& options) {
    for (const auto& log : logs_of(options)) {
        TRY_ASSIGN(auto reader,
                   eventlog::LogReader::open(world.files, log.directory, world.trust, log.writer));
        for (bool more = true; more;) {
            auto batch = reader.next(std::nullopt);
            TRY(batch);
            more = batch->has_value();
        }
    }
    return ok();
}

Status load_view(World& world, const Options& options) {
    const auto directory = options.directory + "/view";
    std::filesystem::remove_all(directory);
    TRY_ASSIGN(auto store,
               kv::LmdbStore::open(directory, projection::Projection::table_names(), {}));
    TRY_ASSIGN(auto view, projection::Projection::open(*store));
    node::LogMerge merge(world.env(), world.trust, logs_of(options));
    projection::LoggedEvents logged;
    const auto next = [&]() -> const projection::LoggedEvents* {
        const auto* batch = merge.next();
        if (batch == nullptr) {
            return nullptr;
        }
        logged = {merge.writer(), batch->position_after, batch->events};
        return &logged;
    };
    projection::BulkOptions how;
    how.spill_path = options.directory + "/spill";
    return view->load(world.files, next, how);
}

#ifdef REEVE_BENCH_SQLITE
/// A row a job, upserted as its events come, in one transaction: what one would write first.
Status load_sqlite(World& world, const Options& options) {
    const auto path = options.directory + "/view.sqlite";
    std::filesystem::remove(path);
    sqlite3* db = nullptr;
    sqlite3_stmt* put = nullptr;
    const bool opened =
        sqlite3_open(path.c_str(), &db) == SQLITE_OK &&
        sqlite3_exec(db,
                     "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE jobs(id BLOB "
                     "PRIMARY KEY, state INT, document TEXT, at INT) WITHOUT ROWID; BEGIN",
                     nullptr, nullptr, nullptr) == SQLITE_OK &&
        sqlite3_prepare_v2(db,
                           "INSERT INTO jobs VALUES(?1,?2,?3,?4) ON CONFLICT(id) DO UPDATE SET "
                           "state=max(state,?2), document=coalesce(?3,document), at=max(at,?4)",
                           -1, &put, nullptr) == SQLITE_OK;
    if (!opened) {
        return Error{Code::io, sqlite3_errmsg(db)};
    }
    node::LogMerge merge(world.env(), world.trust, logs_of(options));
    while (const auto* batch = merge.next()) {
        for (const auto& event : batch->events) {
            const auto job = projection::job_of(event.payload);
            if (!job) {
                continue;
            }
            const auto* submitted = std::get_if<events::JobSubmitted>(&event.payload);
            sqlite3_bind_blob(put, 1, job->bytes.data(), 16, SQLITE_TRANSIENT);
            sqlite3_bind_int(put, 2, static_cast<int>(event.payload.index()));
            if (submitted != nullptr) {
                sqlite3_bind_text(put, 3, submitted->document.data(),
                                  static_cast<int>(submitted->document.size()), SQLITE_TRANSIENT);
            } else {
                sqlite3_bind_null(put, 3);
            }
            sqlite3_bind_int64(put, 4, static_cast<std::int64_t>(event.hlc.v));
            if (sqlite3_step(put) != SQLITE_DONE) {
                return Error{Code::io, sqlite3_errmsg(db)};
            }
            sqlite3_reset(put);
        }
    }
    sqlite3_finalize(put);
    sqlite3_exec(db, "COMMIT", nullptr, nullptr, nullptr);
    sqlite3_close(db);
    return ok();
}
#else
Status load_sqlite(World&, const Options&) {
    return Error{Code::unsupported, "built without SQLite: not run"};
}
#endif

void use_cores(int cores) {
    if (cores <= 0) {
        return;
    }
    cpu_set_t set;
    CPU_ZERO(&set);
    for (std::size_t i = 0; i < static_cast<std::size_t>(cores); ++i) {
        CPU_SET(i, &set);
    }
    sched_setaffinity(0, sizeof set, &set);
}

Status run(const Options& options) {
    World world;
    std::filesystem::create_directories(options.directory);
    TRY(make_logs(world, options));
    use_cores(options.cores);
    const auto events = options.jobs * options.per_job;
    const auto bytes = bytes_of(options.directory + "/log");
    for (int i = 0; i < options.runs; ++i) {
        for (const auto& what : options.what) {
            PeakMemory memory;
            const auto begun = std::chrono::steady_clock::now();
            const auto cpu_begun = std::clock();
            const auto done = what == "read"   ? read_all(world, options)
                              : what == "view" ? load_view(world, options)
                                               : load_sqlite(world, options);
            if (!done) {
                std::printf("{\"what\":\"%s\",\"error\":\"%s\"}\n", what.c_str(),
                            done.error().message.c_str());
                continue;
            }
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
            const double cpu = static_cast<double>(std::clock() - cpu_begun) / CLOCKS_PER_SEC;
            std::printf(
                "{\"what\":\"%s\",\"cores\":%d,\"events\":%llu,\"jobs\":%llu,"
                "\"log_mb\":%.0f,\"seconds\":%.3f,\"cpu_s\":%.3f,\"events_per_s\":%.0f,"
                "\"anon_mb\":%.0f}\n",
                what.c_str(), options.cores, static_cast<unsigned long long>(events),
                static_cast<unsigned long long>(options.jobs), static_cast<double>(bytes) / 1e6,
                took.count(), cpu, static_cast<double>(events) / took.count(), memory.megabytes());
            std::fflush(stdout);
        }
    }
    return ok();
}

}  // namespace
}  // namespace reeve::bench

int main(int argc, char** argv) {
    reeve::bench::Options options;
    CLI::App app{"how long it takes to make the view anew from logs"};
    app.add_option("directory", options.directory)->required();
    app.add_option("--jobs", options.jobs)->capture_default_str();
    app.add_option("--per-job", options.per_job)->capture_default_str();
    app.add_option("--cores", options.cores, "0: all of them");
    app.add_option("--runs", options.runs)->capture_default_str();
    app.add_option("--what", options.what)->delimiter(',');
    CLI11_PARSE(app, argc, argv);
    const auto done = reeve::bench::run(options);
    if (!done) {
        std::fprintf(stderr, "error: %s\n", done.error().message.c_str());
    }
    return done ? 0 : 1;
}
