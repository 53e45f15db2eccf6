// A segment in two forms: the archive reads as the segment did, nothing in it can change unseen, no
// crash leaves less than one whole form, and what a hostile one says of itself costs nothing.

#include "eventlog/archive.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "eventlog/reader.h"
#include "eventlog/recovery.h"
#include "eventlog/salvage.h"
#include "eventlog/writer.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/thread_tasks.h"
#include "tests/lib/test_identity.h"

namespace reeve::eventlog {
namespace {

namespace fs = std::filesystem;

struct Crash {};

/// Dies at the n-th call that changes something.
class Dying : public env::FileSystem {
public:
    Dying(env::FileSystem& files, int calls) : files_(files), calls_(calls) {}
    Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override {
        if (mode == env::OpenMode::read) {
            return files_.open(path, mode);
        }
        step();
        TRY_ASSIGN(auto file, files_.open(path, mode));
        return std::unique_ptr<env::File>(std::make_unique<DyingFile>(*this, std::move(file)));
    }
    Result<Bytes> read_file(const std::string& path, std::uint64_t limit) override {
        return files_.read_file(path, limit);
    }
    Status replace_file(const std::string& path, ByteView bytes, bool durable) override {
        step();
        return files_.replace_file(path, bytes, durable);
    }
    Status link(const std::string& from, const std::string& to) override {
        step();
        return files_.link(from, to);
    }
    Status rename(const std::string& from, const std::string& to) override {
        step();
        return files_.rename(from, to);
    }
    Status remove(const std::string& path) override {
        step();
        return files_.remove(path);
    }
    Status make_dirs(const std::string& path) override { return files_.make_dirs(path); }
    Status remove_dir(const std::string& path) override { return files_.remove_dir(path); }
    Status sync_dir(const std::string& path) override {
        step();
        return files_.sync_dir(path);
    }
    Result<std::vector<env::DirEntry>> list(const std::string& path) override {
        return files_.list(path);
    }
    Result<env::FileInfo> info(const std::string& path) override { return files_.info(path); }
    Result<std::uint64_t> free_bytes(const std::string& path) override {
        return files_.free_bytes(path);
    }
    void step() {
        if (calls_-- == 0) {
            throw Crash{};
        }
    }

private:
    class DyingFile : public env::File {
    public:
        DyingFile(Dying& world, std::unique_ptr<env::File> file)
            : world_(world), file_(std::move(file)) {}
        Result<std::size_t> read_at(Offset at, std::span<std::uint8_t> out) override {
            return file_->read_at(at, out);
        }
        Status write_at(Offset at, ByteView bytes) override {
            world_.step();
            return file_->write_at(at, bytes);
        }
        Status sync() override {
            world_.step();
            return file_->sync();
        }
        Result<std::uint64_t> size() override { return file_->size(); }
        Status resize(std::uint64_t bytes) override { return file_->resize(bytes); }

    private:
        Dying& world_;
        std::unique_ptr<env::File> file_;
    };
    env::FileSystem& files_;
    int calls_;
};

class Archive : public ::testing::Test {
protected:
    Archive() {
        char name[] = "/tmp/reeve-archive-XXXXXX";
        directory_ = ::mkdtemp(name);
        write_log();
    }
    ~Archive() override { fs::remove_all(directory_); }

    /// Three segments: one of some blocks, with a seal; one without a seal, as after a kill; the
    /// last.
    void write_log() {
        for (std::uint64_t incarnation = 1; incarnation <= 3; ++incarnation) {
            const auto before = recover(files_, directory_, trust_, writer_, Tail::owners);
            ASSERT_TRUE(before) << before.error().message;
            const LogWriter::Options options{
                directory_, cluster_,    writer_,          Incarnation(incarnation), {},
                identity_,  before->end, before->last_hlc, default_segment_bytes};
            auto log = LogWriter::open({clock_, files_, tasks_, entropy_, telemetry_}, options);
            ASSERT_TRUE(log) << log.error().message;
            std::mt19937 noise(static_cast<unsigned>(incarnation));
            for (int i = 0; i < (incarnation == 1 ? 60 : 4); ++i) {
                std::string text(10'000, 'x');  // half of it does not shrink
                std::generate(text.begin() + 5000, text.end(),
                              [&] { return static_cast<char>('a' + noise() % 26); });
                const events::Payload payload = events::Observation{"test", "x", text};
                std::vector<events::Event> out;
                ASSERT_TRUE((*log)->append(std::span(&payload, 1), &out));
            }
            ends_.push_back((*log)->position());
            if (incarnation != 2) {
                ASSERT_TRUE((*log)->close());
            }
        }
    }
    static SegmentId id(std::uint64_t incarnation) {
        return {Incarnation(incarnation), SegmentNo(1)};
    }
    std::string plain(std::uint64_t n) const { return directory_ + "/" + segment_name(id(n)); }
    std::string archive(std::uint64_t n) const { return directory_ + "/" + archive_name(id(n)); }
    std::uint64_t bytes_of(std::uint64_t n) const {
        return ends_[n - 1].end.v + (n == 2 ? 0 : seal_bytes);
    }
    void make(env::FileSystem& files, std::uint64_t n) {
        const auto made = make_archive(files, directory_, id(n), bytes_of(n));
        ASSERT_TRUE(made) << made.error().message;
        EXPECT_EQ(made->plain_bytes, bytes_of(n));
        const auto dropped = drop_plain(files, directory_, id(n));
        ASSERT_TRUE(dropped) << dropped.error().message;
    }
    /// Every batch, and where it ends.
    Result<std::vector<Bytes>> read(const Cuts& cuts = {}) {
        TRY_ASSIGN(auto reader, LogReader::open(files_, directory_, trust_, writer_));
        reader.set_cuts(cuts);
        std::vector<Bytes> out;
        for (;;) {
            TRY_ASSIGN(auto batch, reader.next(ends_.back()));
            if (!batch) {
                return out;
            }
            out.push_back(std::move(batch->raw));
        }
    }
    Bytes content(const std::string& path) { return *files_.read_file(path, 1ULL << 30); }
    static void store(const std::string& path, ByteView bytes) {
        std::ofstream file(path, std::ios::binary | std::ios::trunc);
        file.write(reinterpret_cast<const char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
    }

    runtime::SpdlogTelemetry telemetry_;
    runtime::ThreadTasks tasks_{telemetry_};
    runtime::PosixClock clock_;
    runtime::PosixFileSystem files_;
    runtime::OsEntropy entropy_;
    ClusterId cluster_{1, 2, 3};
    Trust trust_ = testing_support::test_trust(cluster_);
    Identity identity_ = testing_support::test_identity(cluster_, NodeId("nova"));
    WriterId writer_{"nova.worker"};
    std::string directory_;
    std::vector<LogPosition> ends_;
};

TEST_F(Archive, ReadsAsTheSegmentDid) {  // I7
    const auto before = read();
    ASSERT_TRUE(before) << before.error().message;
    const auto segment = content(plain(1));
    for (const std::uint64_t n : {1U, 2U}) {
        make(files_, n);
        EXPECT_FALSE(fs::exists(plain(n)));
        EXPECT_LT(fs::file_size(archive(n)), bytes_of(n) * 4 / 5);
    }
    const auto after = read();
    ASSERT_TRUE(after) << after.error().message;
    EXPECT_EQ(*after, *before);

    auto file = open_segment(files_, directory_, id(1));
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ((*file)->size().value(), bytes_of(1));
    for (const std::uint64_t at :
         {std::uint64_t{0}, std::uint64_t{4095}, std::uint64_t{archive_block_bytes - 3},
          bytes_of(1) - 2, bytes_of(1), bytes_of(1) + 9}) {
        Bytes out(4096, 0xEE);
        const auto n = (*file)->read_at(Offset(at), out);
        ASSERT_TRUE(n) << n.error().message;
        const auto from = std::min(at, bytes_of(1));
        ASSERT_EQ(*n, std::min<std::uint64_t>(4096, bytes_of(1) - from));
        EXPECT_TRUE(std::equal(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(*n),
                               segment.begin() + static_cast<std::ptrdiff_t>(from)));
    }
    EXPECT_EQ((*file)->write_at(Offset(0), segment).error().code, Code::invalid);
}

TEST_F(Archive, AReaderWithACutInsideItStopsAtTheCut) {  // I5, I6
    const auto whole = *read();
    std::vector<std::pair<Cuts, std::vector<Bytes>>> before;
    for (const std::uint64_t at : {1U, 2U, 30U, 60U, 61U, 63U}) {  // the first of 60 + 4 + 4 events
        Cuts cuts;
        cuts.cut(Incarnation(1), Seq(at));
        const auto read_so_far = read(cuts);
        ASSERT_TRUE(read_so_far) << at << ": " << read_so_far.error().message;
        ASSERT_EQ(read_so_far->size(), at - 1) << "a batch an event";
        ASSERT_TRUE(std::equal(read_so_far->begin(), read_so_far->end(), whole.begin()));
        before.emplace_back(cuts, *read_so_far);
    }
    for (const std::uint64_t n : {1U, 2U}) {
        make(files_, n);
        for (const auto& [cuts, expected] : before) {
            const auto after = read(cuts);
            ASSERT_TRUE(after) << after.error().message;
            EXPECT_EQ(*after, expected) << "segment " << n << " is archived";
        }
    }
}

TEST_F(Archive, EveryReaderKnowsIt) {
    std::vector<LogPosition> cuts;
    auto reader = LogReader::open(files_, directory_, trust_, writer_);
    ASSERT_TRUE(reader);
    for (auto batch = reader->next(std::nullopt); batch && *batch;
         batch = reader->next(std::nullopt)) {
        cuts.push_back((*batch)->position_after);
    }
    make(files_, 1);
    make(files_, 2);
    for (const auto& cut : cuts) {
        auto again = LogReader::open(files_, directory_, trust_, writer_);
        ASSERT_TRUE(again);
        const auto found = again->seek(cut);
        EXPECT_TRUE(found) << found.error().message;
    }
    const auto whole = recover(files_, directory_, trust_, writer_, Tail::owners);
    ASSERT_TRUE(whole) << whole.error().message;
    EXPECT_EQ(whole->end, ends_.back());
    auto salvage = Salvage::open(files_, directory_, trust_, writer_, std::nullopt);
    ASSERT_TRUE(salvage);
    std::size_t batches = 0;
    while (const auto item = salvage->next()) {
        ASSERT_TRUE(std::holds_alternative<SalvagedBatch>(*item));
        ++batches;
    }
    EXPECT_EQ(batches, cuts.size());
}

TEST_F(Archive, NoBitOfItChangesUnseen) {  // I7
    make(files_, 2);
    const auto good = content(archive(2));
    const auto before = read();
    ASSERT_TRUE(before);
    std::mt19937 random(7);
    for (std::size_t byte = 0; byte < good.size(); byte += byte < 200 ? 1 : 1 + random() % 97) {
        auto bad = good;
        bad[byte] ^= static_cast<std::uint8_t>(1U << (random() % 8));
        store(archive(2), bad);
        const auto after = read();
        ASSERT_FALSE(after) << "byte " << byte;
        EXPECT_TRUE(after.error().code == Code::corrupt || after.error().code == Code::unsupported)
            << "byte " << byte << ": " << after.error().message;
        EXPECT_NE(after.error().message.find(archive_name(id(2))), std::string::npos)
            << after.error().message;
    }
    for (const std::size_t length : {std::size_t{0}, std::size_t{71}, good.size() - 1}) {
        store(archive(2), ByteView(good).first(length));
        EXPECT_EQ(read().error().code, Code::corrupt) << length;
    }
    auto longer = good;
    longer.push_back(0);
    store(archive(2), longer);
    EXPECT_EQ(read().error().code, Code::corrupt);
}

TEST_F(Archive, DamageNamesTheSegmentThatIsToBeMended) {
    make(files_, 1);
    auto bad = content(archive(1));
    bad[bad.size() - 10] ^= 1;
    store(archive(1), bad);
    auto reader = LogReader::open(files_, directory_, trust_, writer_);
    ASSERT_TRUE(reader);
    auto batch = reader->next(ends_.back());
    while (batch && *batch) {
        batch = reader->next(ends_.back());
    }
    ASSERT_FALSE(batch);
    EXPECT_EQ(reader->damaged(), id(1));
    // What lies before and behind the damage is told all the same.
    auto salvage = Salvage::open(files_, directory_, trust_, writer_, std::nullopt);
    ASSERT_TRUE(salvage);
    std::size_t batches = 0;
    std::size_t gaps = 0;
    while (const auto item = salvage->next()) {
        ++(std::holds_alternative<Gap>(*item) ? gaps : batches);
    }
    EXPECT_GT(batches, 30U);
    EXPECT_EQ(gaps, 1U);
}

TEST_F(Archive, ACrashAtAnyLineLeavesAWholeForm) {  // I8
    const auto before = read();
    ASSERT_TRUE(before);
    const auto segment = content(plain(2));
    int crashes = 0;
    for (int calls = 0;; ++calls) {
        Dying dying(files_, calls);
        bool crashed = false;
        try {
            make(dying, 2);
        } catch (const Crash&) {
            crashed = true;
        }
        const auto after = read();
        ASSERT_TRUE(after) << "at call " << calls << ": " << after.error().message;
        ASSERT_EQ(*after, *before);
        if (fs::exists(plain(2))) {
            make(files_, 2);  // the next round goes on from there
        }
        ASSERT_FALSE(fs::exists(plain(2)));
        ASSERT_EQ(read().value(), *before);
        if (!crashed) {
            break;
        }
        ++crashes;
        fs::remove(archive(2));
        store(plain(2), segment);
    }
    EXPECT_GT(crashes, 8);
    for (const auto& entry : fs::directory_iterator(directory_)) {
        EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
    }
}

TEST_F(Archive, WhatIsNotTheSameIsNotDropped) {  // I8
    ASSERT_TRUE(make_archive(files_, directory_, id(2), bytes_of(2)));
    auto other = content(plain(2));
    other[5000] ^= 1;
    store(plain(2), other);
    EXPECT_EQ(drop_plain(files_, directory_, id(2)).error().code, Code::conflict);
    EXPECT_TRUE(fs::exists(plain(2)));
    EXPECT_FALSE(make_archive(files_, directory_, id(2), bytes_of(2)));  // nor written over

    auto more = content(plain(1));
    more.resize(more.size() + 5000);
    more.back() = 1;
    store(plain(1), more);
    EXPECT_EQ(make_archive(files_, directory_, id(1), bytes_of(1)).error().code, Code::invalid)
        << "bytes behind the end are no zeros: they would be lost";
    EXPECT_FALSE(fs::exists(archive(1)));
}

TEST_F(Archive, ThePlainFormCountsWhereBothStand) {
    make(files_, 2);
    const auto good = content(archive(2));
    auto whole = open_segment(files_, directory_, id(2));
    ASSERT_TRUE(whole);
    Bytes segment(bytes_of(2));
    ASSERT_EQ((*whole)->read_at(Offset(0), segment).value(), segment.size());
    store(plain(2), segment);
    store(archive(2), as_bytes("nonsense"));
    EXPECT_TRUE(read());
    EXPECT_EQ(segment_path(files_, directory_, id(2)).value(), plain(2));
    EXPECT_FALSE(drop_plain(files_, directory_, id(2)));
    EXPECT_TRUE(fs::exists(plain(2)));
}

/// An archive whose only block is `frame`, with every checksum right.
Bytes archive_of(ByteView frame, std::uint64_t declared) {
    ByteWriter out;
    out.u32(0x184D2A5E);
    out.u32(72);
    out.raw(as_bytes("RVARC001"));
    out.u32(1);
    out.u32(archive_block_bytes);
    out.u64(declared);
    out.raw(Sha256{});
    out.u32(1);
    out.u32(0);
    out.u32(static_cast<std::uint32_t>(frame.size()));
    out.u32(crc32c(frame));
    auto bytes = std::move(out).take();
    auto crc = crc32c(ByteView(bytes).first(68));
    crc = crc32c(ByteView(bytes).subspan(72), crc);
    store_le(bytes.data() + 68, crc);
    bytes.insert(bytes.end(), frame.begin(), frame.end());
    return bytes;
}

Bytes frame_of(std::size_t zeros, bool with_size) {
    const Bytes plain(zeros);
    Bytes out(ZSTD_compressBound(zeros));
    auto* context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, with_size ? 1 : 0);
    out.resize(ZSTD_compress2(context, out.data(), out.size(), plain.data(), plain.size()));
    ZSTD_freeCCtx(context);
    return out;
}

TEST_F(Archive, ABombEndsAtTheDeclaredLength) {  // I9
    fs::remove(plain(1));
    const auto attempt = [&](ByteView bytes) {
        store(archive(1), bytes);
        auto file = open_segment(files_, directory_, id(1));
        if (!file) {
            return file.error().code;
        }
        Bytes out(archive_block_bytes);
        const auto n = (*file)->read_at(Offset(0), out);
        return n ? Code::not_found : n.error().code;
    };
    // One of 64 MiB in some KiB, which says so or does not, and one of several frames.
    EXPECT_EQ(attempt(archive_of(frame_of(64 << 20, true), 8192)), Code::corrupt);
    EXPECT_EQ(attempt(archive_of(frame_of(64 << 20, false), 8192)), Code::corrupt);
    auto frames = frame_of(4096, true);
    const auto once = frames;
    frames.insert(frames.end(), once.begin(), once.end());
    EXPECT_EQ(attempt(archive_of(frames, 8192)), Code::corrupt);
    EXPECT_EQ(attempt(archive_of(frame_of(8192, true), 8192)), Code::not_found) << "a right one";
    // Lengths that would size buffers.
    EXPECT_EQ(attempt(archive_of(frame_of(8192, true), UINT64_MAX)), Code::corrupt);
    EXPECT_EQ(attempt(archive_of(frame_of(8192, true), archive_block_bytes + 1)), Code::corrupt);
    EXPECT_EQ(attempt(archive_of(frame_of(8192, true), 100)), Code::corrupt);
}

}  // namespace
}  // namespace reeve::eventlog
