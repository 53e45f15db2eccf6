#pragma once

// Small worlds, all of them: every crash point times every answer of every call, within a budget
// of faults, by going back to the last choice and taking the next way (a depth-first search over
// whole runs; nothing is stored but the path). What the swarm finds by chance is found here by
// counting, where the world is small enough: one machine's disk, or one directory of the share and
// two machines.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "env/env.h"
#include "tests/sim/disk.h"

namespace reeve::sim {

/// The choices of one world after the other. 0 is always the plain way.
class Choices {
public:
    std::uint32_t among(std::uint32_t n);
    bool coin() { return among(2) == 1; }
    /// The next world; false when all have been.
    bool next();
    /// Of this world, for a failure: what was not the plain way.
    std::string text() const;
    /// What a choice was about, in its text.
    void note(const std::string& what);

private:
    struct Step {
        std::uint32_t taken = 0;
        std::uint32_t of = 0;
        std::string what;
    };
    std::vector<Step> path_;
    std::size_t at_ = 0;
};

/// How much may go wrong in one world.
struct Budget {
    std::uint32_t faults = 0;    // calls that fail
    std::uint32_t crashes = 0;   // of the program
    std::uint32_t restarts = 0;  // of the server
};

/// A disk whose calls go as the choices say: a machine's own, or the share as one client sees it.
class TinyFiles : public env::FileSystem {
public:
    enum class Kind : std::uint8_t { local, share };
    TinyFiles(Disk& disk, Kind kind, Choices& choices, Budget& budget)
        : disk_(disk), kind_(kind), choices_(choices), budget_(budget) {}

    /// Called before each call: another program may run there.
    std::function<void(const std::string& path)> before;
    /// What the server will still carry out, whoever asked for it.
    std::vector<std::function<void()>>* late = nullptr;

    Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override;
    Result<Bytes> read_file(const std::string& path, std::uint64_t limit) override;
    Status replace_file(const std::string& path, ByteView bytes, bool durable) override;
    Status link(const std::string& from, const std::string& to) override;
    Status rename(const std::string& from, const std::string& to) override;
    Status remove(const std::string& path) override;
    Status make_dir(const std::string& path) override;
    Status make_dirs(const std::string& path) override;
    Status remove_dir(const std::string& path) override;
    Status sync_dir(const std::string& path) override;
    Result<std::vector<env::DirEntry>> list(const std::string& path) override;
    Result<env::FileInfo> info(const std::string& path) override;
    Result<std::uint64_t> free_bytes(const std::string& path) override;

private:
    friend class TinyFile;
    enum class Way : std::uint8_t {
        plain,
        fails,    // io, nothing was done
        done,     // io, and it was done
        part,     // io, and a part was written
        full,     // no room
        lie,      // the reply was lost, and the second answer is about the first request
        later,    // io, and it is done at some later moment
        absent,   // a name that this client asked for too early
        crash,    // the program ends before it
        torn,     // the program ends in the middle of it
        restart,  // the server restarts before it
    };
    Way choose(const std::string& what, std::vector<Way> faults, bool torn = false);
    Status change(const std::string& what, Code lie, std::function<Status()> effect);
    static Error io(const std::string& what) { return {Code::io, what + ": input/output error"}; }

    Disk& disk_;
    const Kind kind_;
    Choices& choices_;
    Budget& budget_;
    std::uint64_t temporary_count_ = 0;
    std::map<std::string, bool> seen_absent_;
};

/// What a program needs besides: a clock that stands, entropy that counts, nobody to talk to.
class TinyEnv {
public:
    TinyEnv(env::FileSystem& files, std::uint8_t seed) : files_(files), entropy_(seed) {}
    env::Env env() { return {clock_, files_, tasks_, entropy_, telemetry_}; }

private:
    struct Clock : env::Clock {
        WallTime wall_now() override { return WallTime{1'795'000'000'000}; }
        MonoTime mono_now() override { return MonoTime{1'000'000'000}; }
    };
    struct Tasks : env::Tasks {
        std::unique_ptr<env::WaitPoint> make_wait_point() override { return nullptr; }
        void spawn(const std::string&, std::function<void()>) override { CHECK(false); }
        void sleep_until(MonoTime) override {}
    };
    struct Entropy : env::Entropy {
        explicit Entropy(std::uint8_t first) : next(first) {}
        void fill(std::span<std::uint8_t> out) override {
            for (auto& byte : out) {
                byte = next;
            }
            ++next;
        }
        std::uint8_t next;
    };
    struct Telemetry : env::Telemetry {
        void log(env::Level, std::string_view, std::string_view) override {}
        void count(std::string_view, std::int64_t) override {}
        void observe(std::string_view, double) override {}
        void gauge(std::string_view, double) override {}
    };

    Clock clock_;
    env::FileSystem& files_;
    Tasks tasks_;
    Entropy entropy_;
    Telemetry telemetry_;
};

}  // namespace reeve::sim
