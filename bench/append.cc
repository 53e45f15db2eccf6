// Durable append of events of about 300 bytes, so many a commit: the log of this project beside a
// bare file and the stores that one would take instead. One row a store and group, runs in turn.
//
// usage: bench_append DIRECTORY [--groups 1,10,100,1000] [--runs 5] [--seconds 1]
// DIRECTORY lies on a real disk. One JSON object a row; a store that was not there when this was
// built says so.

#include <fcntl.h>
#include <lmdb.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>

#include "bench/life.h"
#include "bench/world.h"
#include "eventlog/writer.h"
#include "events/codec.h"

#ifdef REEVE_BENCH_SQLITE
#include <sqlite3.h>
#endif
#ifdef REEVE_BENCH_ROCKSDB
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>
#endif

namespace reeve::bench {
namespace {

constexpr std::size_t payload_bytes = 300;
constexpr std::uint64_t presized_bytes = 512ULL << 20;

[[noreturn]] void give_up(const std::string& why) {
    std::fprintf(stderr, "error: %s\n", why.c_str());
    std::exit(1);
}
void must(bool so, const char* what) {
    if (!so) {
        give_up(what);
    }
}
std::string payload() { return std::string(payload_bytes, 'x'); }

/// Appends `group` events and makes them durable.
using Commit = std::function<void(std::size_t group)>;
/// A new store in an empty directory.
using Make = std::function<Commit(const std::string& directory)>;

struct File {
    explicit File(int opened) : fd(opened) { must(fd >= 0, "cannot make a file"); }
    ~File() { ::close(fd); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int fd;
    std::uint64_t at = 0;
};

Commit bare_file(const std::string& directory, bool presized) {
    auto file = std::make_shared<File>(
        ::open((directory + "/log").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0660));
    const std::string zeros(1 << 20, '\0');
    for (std::uint64_t at = 0; presized && at < presized_bytes; at += zeros.size()) {
        must(::pwrite(file->fd, zeros.data(), zeros.size(), static_cast<off_t>(at)) > 0, "pwrite");
    }
    must(::fsync(file->fd) == 0, "fsync");
    return [file, presized](std::size_t group) {
        const std::string bytes(group * payload_bytes, 'x');
        if (presized && file->at + bytes.size() > presized_bytes) {
            file->at = 0;
        }
        must(::pwrite(file->fd, bytes.data(), bytes.size(), static_cast<off_t>(file->at)) ==
                 static_cast<ssize_t>(bytes.size()),
             "pwrite");
        must(::fdatasync(file->fd) == 0, "fdatasync");
        file->at += bytes.size();
    };
}

struct OwnLog {
    World world;
    std::unique_ptr<eventlog::LogWriter> writer;
    std::vector<events::Payload> group;
};

/// As a daemon appends: encoded, framed, chained, hashed.
events::Payload own_event() {
    auto event = submission_of(1);
    const auto plain = events::encode(Hlc(1), event).value().size();
    event.document.insert(event.document.size() - 1, payload_bytes - std::min(payload_bytes, plain),
                          ' ');
    return event;
}

Commit own_log(const std::string& directory) {
    auto own = std::make_shared<OwnLog>();
    eventlog::LogWriter::Options how;
    how.directory = directory;
    how.cluster = cluster;
    how.writer = WriterId(writers[0]);
    how.incarnation = Incarnation(1);
    how.identity = testing_support::test_identity(cluster, node_of(how.writer));
    auto opened = eventlog::LogWriter::open(own->world.env(), how);
    must(opened.has_value(), "cannot open the log");
    own->writer = std::move(*opened);
    return [own, event = own_event()](std::size_t group) {
        own->group.resize(group, event);
        std::vector<events::Event> out;
        must(own->writer->append(own->group, &out).has_value(), "append");
    };
}

Commit lmdb(const std::string& directory) {
    MDB_env* made = nullptr;
    MDB_txn* txn = nullptr;
    MDB_dbi dbi = 0;
    must(mdb_env_create(&made) == 0 && mdb_env_set_mapsize(made, 8ULL << 30) == 0 &&
             mdb_env_open(made, directory.c_str(), 0, 0660) == 0 &&
             mdb_txn_begin(made, nullptr, 0, &txn) == 0 &&
             mdb_dbi_open(txn, nullptr, MDB_INTEGERKEY, &dbi) == 0 && mdb_txn_commit(txn) == 0,
         "lmdb");
    const std::shared_ptr<MDB_env> env(made, &mdb_env_close);
    auto next = std::make_shared<std::uint64_t>(0);
    return [env, dbi, next](std::size_t group) {
        MDB_txn* writing = nullptr;
        must(mdb_txn_begin(env.get(), nullptr, 0, &writing) == 0, "lmdb");
        auto value = payload();
        for (std::size_t i = 0; i < group; ++i) {
            MDB_val k{sizeof *next, next.get()};
            MDB_val v{value.size(), value.data()};
            must(mdb_put(writing, dbi, &k, &v, MDB_APPEND) == 0, "lmdb put");
            ++*next;
        }
        must(mdb_txn_commit(writing) == 0, "lmdb commit");
    };
}

#ifdef REEVE_BENCH_SQLITE
Commit sqlite(const std::string& directory) {
    sqlite3* made = nullptr;
    sqlite3_stmt* put = nullptr;
    const std::string path = directory + "/log.sqlite";
    const bool opened =
        sqlite3_open(path.c_str(), &made) == SQLITE_OK &&
        sqlite3_exec(made,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE log(seq "
                     "INTEGER PRIMARY KEY, event BLOB)",
                     nullptr, nullptr, nullptr) == SQLITE_OK &&
        sqlite3_prepare_v2(made, "INSERT INTO log(event) VALUES(?1)", -1, &put, nullptr) ==
            SQLITE_OK;
    must(opened, "sqlite");
    const std::shared_ptr<sqlite3> db(made, [put](sqlite3* one) {
        sqlite3_finalize(put);
        sqlite3_close(one);
    });
    return [db, put, value = payload()](std::size_t group) {
        const auto run = [&](const char* sql) {
            must(sqlite3_exec(db.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK, sql);
        };
        run("BEGIN");
        for (std::size_t i = 0; i < group; ++i) {
            sqlite3_bind_blob(put, 1, value.data(), static_cast<int>(value.size()), SQLITE_STATIC);
            must(sqlite3_step(put) == SQLITE_DONE, "sqlite insert");
            sqlite3_reset(put);
        }
        run("COMMIT");
    };
}
#endif

#ifdef REEVE_BENCH_ROCKSDB
Commit rocks(const std::string& directory) {
    rocksdb::Options how;
    how.create_if_missing = true;
    rocksdb::DB* made = nullptr;
    must(rocksdb::DB::Open(how, directory + "/rocks", &made).ok(), "rocksdb");
    const std::shared_ptr<rocksdb::DB> db(made);
    auto next = std::make_shared<std::uint64_t>(0);
    return [db, next, value = payload()](std::size_t group) {
        rocksdb::WriteBatch batch;
        for (std::size_t i = 0; i < group; ++i) {
            std::array<char, 8> key{};
            for (std::size_t k = 0; k < key.size(); ++k) {
                key[k] = static_cast<char>(*next >> (8 * (7 - k)));
            }
            batch.Put(rocksdb::Slice(key.data(), key.size()), value);
            ++*next;
        }
        rocksdb::WriteOptions synced;
        synced.sync = true;
        must(db->Write(synced, &batch).ok(), "rocksdb write");
    };
}
#endif

struct Engine {
    const char* name;
    Make make;  // empty: not built in
};

std::vector<Engine> engines() {
    std::vector<Engine> out{
        {"reeve", own_log},
        {"file that grows", [](const auto& d) { return bare_file(d, false); }},
        {"file of 512 MiB", [](const auto& d) { return bare_file(d, true); }},
        {"LMDB", lmdb},
#ifdef REEVE_BENCH_SQLITE
        {"SQLite WAL FULL", sqlite},
#else
        {"SQLite WAL FULL", {}},
#endif
#ifdef REEVE_BENCH_ROCKSDB
        {"RocksDB", rocks},
#else
        {"RocksDB", {}},
#endif
    };
    return out;
}

struct Run {
    double events_per_s = 0;
    double p50_us = 0;
    double p99_us = 0;
    double cpu_us_per_event = 0;
};

double cpu_now() {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

Run run_once(const Engine& engine, const std::string& directory, std::size_t group,
             double seconds) {
    std::filesystem::create_directories(directory);
    Run out;
    {
        const auto commit = engine.make(directory);
        commit(group);  // what is made with the first one
        std::vector<double> took;
        const double cpu = cpu_now();
        const auto begun = std::chrono::steady_clock::now();
        std::chrono::duration<double> passed{};
        while (passed.count() < seconds) {
            const auto before = std::chrono::steady_clock::now();
            commit(group);
            const auto after = std::chrono::steady_clock::now();
            took.push_back(std::chrono::duration<double, std::micro>(after - before).count());
            passed = after - begun;
        }
        const auto events = static_cast<double>(took.size() * group);
        out.events_per_s = events / passed.count();
        out.cpu_us_per_event = 1e6 * (cpu_now() - cpu) / events;
        std::sort(took.begin(), took.end());
        out.p50_us = took[took.size() / 2];
        out.p99_us = took[took.size() * 99 / 100];
    }
    std::filesystem::remove_all(directory);
    return out;
}

void print(const char* name, std::size_t group, const std::vector<Run>& runs) {
    const auto list = [&](double Run::*field) {
        std::string out;
        for (const auto& run : runs) {
            char text[32];
            std::snprintf(text, sizeof text, "%s%.3f", out.empty() ? "" : ",", run.*field);
            out += text;
        }
        return out;
    };
    std::printf(
        "{\"name\":\"%s\",\"group\":%zu,\"events_per_s\":[%s],\"p50_us\":[%s],"
        "\"p99_us\":[%s],\"cpu_us_per_event\":[%s]}\n",
        name, group, list(&Run::events_per_s).c_str(), list(&Run::p50_us).c_str(),
        list(&Run::p99_us).c_str(), list(&Run::cpu_us_per_event).c_str());
    std::fflush(stdout);
}

}  // namespace
}  // namespace reeve::bench

int main(int argc, char** argv) {
    using namespace reeve::bench;
    std::string directory;
    std::vector<std::size_t> groups{1, 10, 100, 1000};
    int runs = 5;
    double seconds = 1;
    CLI::App app{"durable append, beside what one would take instead"};
    app.add_option("directory", directory)->required();
    app.add_option("--groups", groups)->delimiter(',');
    app.add_option("--runs", runs)->capture_default_str();
    app.add_option("--seconds", seconds, "of each run")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    const auto all = engines();
    std::printf("{\"name\":\"reeve\",\"event_bytes\":%zu}\n",
                reeve::events::encode(reeve::Hlc(1), own_event()).value().size());
    for (const auto group : groups) {
        std::vector<std::vector<Run>> found(all.size());
        for (int i = 0; i < runs; ++i) {
            for (std::size_t k = 0; k < all.size(); ++k) {
                if (all[k].make) {
                    found[k].push_back(run_once(all[k], directory + "/append", group, seconds));
                }
            }
        }
        for (std::size_t k = 0; k < all.size(); ++k) {
            if (all[k].make) {
                print(all[k].name, group, found[k]);
            } else {
                std::printf("{\"name\":\"%s\",\"group\":%zu,\"not_run\":\"not built in\"}\n",
                            all[k].name, group);
            }
        }
    }
    return 0;
}
