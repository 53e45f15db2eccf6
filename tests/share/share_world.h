#pragma once

// A temporary directory that is a cluster's share, and what DirShare needs around it: a clock that
// moves by hand, entropy that repeats in every run, and a file system whose replies can be lost.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>

#include "env/env.h"
#include "runtime/posix_file_system.h"
#include "share/dir/dir_share.h"
#include "tests/lib/test_identity.h"

namespace reeve::testing {

class TempDir {
public:
    TempDir() {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "reeve-test-XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    ~TempDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    std::string operator/(std::string_view below) const { return path_ + "/" + std::string(below); }
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

class HandClock : public env::Clock {
public:
    WallTime wall_now() override { return WallTime{1'700'000'000'000 + now_ns / 1'000'000}; }
    MonoTime mono_now() override { return MonoTime{now_ns}; }
    void advance(Duration d) { now_ns += d.count(); }

private:
    std::atomic<std::int64_t> now_ns{1'000'000'000};
};

class SeededEntropy : public env::Entropy {
public:
    explicit SeededEntropy(std::uint64_t seed) : random_(seed) {}
    void fill(std::span<std::uint8_t> out) override {
        const std::lock_guard lock(mutex_);
        for (auto& byte : out) {
            byte = static_cast<std::uint8_t>(random_());
        }
    }

private:
    std::mutex mutex_;
    std::mt19937_64 random_;
};

/// The real file system, except that the reply of a link or rename that happened may be lost.
class LyingFiles : public env::FileSystem {
public:
    std::atomic<bool> link_lies{false};
    std::atomic<bool> rename_lies{false};
    std::atomic<int> links{0};
    std::function<void(const std::string& path)> after_read;  // of a whole file; may be empty
    std::function<void(const std::string& to)> before_link;   // the same

    Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override {
        return real_.open(path, mode);
    }
    Result<Bytes> read_file(const std::string& path, std::uint64_t limit) override {
        auto bytes = real_.read_file(path, limit);
        if (after_read) {
            after_read(path);
        }
        return bytes;
    }
    Status replace_file(const std::string& path, ByteView bytes, bool durable) override {
        return real_.replace_file(path, bytes, durable);
    }
    Status link(const std::string& from, const std::string& to) override {
        ++links;
        if (before_link) {
            before_link(to);
        }
        auto result = real_.link(from, to);
        // What a client does whose first reply was lost: the same call again.
        return link_lies && result ? real_.link(from, to) : result;
    }
    Status rename(const std::string& from, const std::string& to) override {
        auto result = real_.rename(from, to);
        return rename_lies && result ? Status(Error{Code::not_found, "lost reply"}) : result;
    }
    Status remove(const std::string& path) override { return real_.remove(path); }
    Status make_dir(const std::string& path) override { return real_.make_dir(path); }
    Status make_dirs(const std::string& path) override { return real_.make_dirs(path); }
    Status remove_dir(const std::string& path) override { return real_.remove_dir(path); }
    Status sync_dir(const std::string& path) override { return real_.sync_dir(path); }
    Result<std::vector<env::DirEntry>> list(const std::string& path) override {
        return real_.list(path);
    }
    Result<env::FileInfo> info(const std::string& path) override { return real_.info(path); }
    Result<std::uint64_t> free_bytes(const std::string& path) override {
        return real_.free_bytes(path);
    }

private:
    runtime::PosixFileSystem real_;
};

inline share::ClusterId cluster_id(std::uint8_t fill) {
    share::ClusterId id{};
    id.fill(fill);
    return id;
}

inline JobId job_id(std::uint64_t n) {
    std::array<std::uint8_t, 10> random{};
    for (std::size_t i = 0; i < 8; ++i) {
        random[i] = static_cast<std::uint8_t>(n >> (8 * i));
    }
    return JobId::make(1'700'000'000'000, random);
}

inline AttemptId attempt_id(std::uint64_t n, std::uint32_t k = 1) {
    return AttemptId{job_id(n), AttemptNo(k)};
}

inline share::Ticket ticket_of(const std::string& writer, std::uint64_t incarnation = 1,
                               share::TicketKind kind = share::TicketKind::run) {
    share::Ticket ticket;
    ticket.writer = WriterId(writer);
    ticket.incarnation = Incarnation(incarnation);
    ticket.nonce.fill(static_cast<std::uint8_t>(writer[0]));
    ticket.kind = kind;
    return ticket;
}

inline void write_text(const std::string& path, std::string_view text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

inline std::string read_text(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

using testing_support::test_identity;
using testing_support::test_trust;

/// One cluster directory under <dir>/nas, and instances of DirShare over it.
class ShareWorld : public ::testing::Test {
protected:
    void SetUp() override {
        const auto made = share::DirShare::create(files, root(), cluster_id(7), "home \"lab\"",
                                                  test_trust(cluster_id(7)).operators());
        ASSERT_TRUE(made) << made.error().message;
    }
    std::string root() const { return dir / "nas"; }
    std::string at(std::string_view below) const { return root() + "/" + std::string(below); }
    std::unique_ptr<share::DirShare> make_share() {
        return std::make_unique<share::DirShare>(files, root(), test_trust(cluster_id(7)), entropy,
                                                 clock);
    }

    TempDir dir;
    LyingFiles files;
    HandClock clock;
    SeededEntropy entropy{42};
};

}  // namespace reeve::testing
