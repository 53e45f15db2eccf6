// What is behind the damage, and that the gap in front of it is told exactly. The logs are made by
// the real writer; then their files are spoilt as disks, copies and strangers spoil them.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>

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

/// The real files; one page of one file cannot be read, as a disk or a scrubbed NAS refuses it.
class BadSector : public env::FileSystem {
public:
    std::string path;
    std::uint64_t page = 0;

    Result<std::unique_ptr<env::File>> open(const std::string& name, env::OpenMode mode) override {
        TRY_ASSIGN(auto file, real_.open(name, mode));
        if (name != path) {
            return file;
        }
        return std::unique_ptr<env::File>(new Bad(std::move(file), page));
    }
    Result<Bytes> read_file(const std::string& name, std::uint64_t limit) override {
        return real_.read_file(name, limit);
    }
    Status replace_file(const std::string& name, ByteView bytes, bool durable) override {
        return real_.replace_file(name, bytes, durable);
    }
    Status link(const std::string& from, const std::string& to) override {
        return real_.link(from, to);
    }
    Status rename(const std::string& from, const std::string& to) override {
        return real_.rename(from, to);
    }
    Status remove(const std::string& name) override { return real_.remove(name); }
    Status make_dir(const std::string& name) override { return real_.make_dir(name); }
    Status make_dirs(const std::string& name) override { return real_.make_dirs(name); }
    Status remove_dir(const std::string& name) override { return real_.remove_dir(name); }
    Status sync_dir(const std::string& name) override { return real_.sync_dir(name); }
    Result<std::vector<env::DirEntry>> list(const std::string& name) override {
        return real_.list(name);
    }
    Result<env::FileInfo> info(const std::string& name) override { return real_.info(name); }
    Result<std::uint64_t> free_bytes(const std::string& name) override {
        return real_.free_bytes(name);
    }

private:
    class Bad : public env::File {
    public:
        Bad(std::unique_ptr<env::File> file, std::uint64_t page)
            : file_(std::move(file)), from_(page * 4096) {}
        Result<std::size_t> read_at(Offset at, std::span<std::uint8_t> out) override {
            if (at.v < from_ + 4096 && at.v + out.size() > from_) {
                return Error{Code::io, "Input/output error"};
            }
            return file_->read_at(at, out);
        }
        Status write_at(Offset at, ByteView bytes) override { return file_->write_at(at, bytes); }
        Status sync() override { return file_->sync(); }
        Result<std::uint64_t> size() override { return file_->size(); }
        Status resize(std::uint64_t bytes) override { return file_->resize(bytes); }

    private:
        std::unique_ptr<env::File> file_;
        std::uint64_t from_;
    };
    runtime::PosixFileSystem real_;
};

class SalvageTest : public ::testing::Test {
protected:
    SalvageTest() {
        char name[] = "/tmp/reeve-salvage-XXXXXX";
        directory_ = ::mkdtemp(name);
    }
    ~SalvageTest() override { std::filesystem::remove_all(directory_); }

    /// Opens the log as the owner does, with a few batches a segment.
    std::unique_ptr<LogWriter> open(std::uint64_t incarnation,
                                    std::uint64_t segment_bytes = header_page_bytes + 2048) {
        const auto before = recover(files_, directory_, trust_, writer_, Tail::owners);
        EXPECT_TRUE(before) << before.error().message;
        LogWriter::Options options{directory_,   cluster_,  writer_,     Incarnation(incarnation),
                                   {},           identity_, before->end, before->last_hlc,
                                   segment_bytes};
        return *LogWriter::open({clock_, files_, tasks_, entropy_, telemetry_}, options);
    }
    /// Appends one batch of one event; batches_ says where it stands.
    void append(LogWriter& log, const std::string& text) {
        const events::Payload payload = events::Observation{"test", "x", text};
        std::vector<events::Event> out;
        const auto done = log.append(std::span(&payload, 1), &out);
        ASSERT_TRUE(done) << done.error().message;
        batches_.push_back({segment_of(*done), done->end, done->seq});
        end_ = *done;
    }
    void fill(LogWriter& log, int count) {
        for (int i = 0; i < count; ++i) {
            append(log, "event " + std::to_string(batches_.size()) + std::string(200, '.'));
        }
    }
    struct Seen {
        std::vector<std::uint64_t> numbers;
        std::vector<Gap> gaps;
    };
    Seen salvage(std::optional<LogPosition> limit = std::nullopt) {
        return salvage_with(files_, limit);
    }
    Seen salvage_with(env::FileSystem& files, const std::optional<LogPosition>& limit) {
        Seen out;
        auto reader = Salvage::open(files, directory_, trust_, writer_, limit);
        EXPECT_TRUE(reader) << reader.error().message;
        while (auto item = reader->next()) {
            if (const auto* gap = std::get_if<Gap>(&*item)) {
                out.gaps.push_back(*gap);
                continue;
            }
            for (const auto& event : std::get<SalvagedBatch>(*item).events) {
                out.numbers.push_back(event.seq.v);
            }
        }
        return out;
    }
    /// The numbers of a log of `count` events without those of [from, to].
    static std::vector<std::uint64_t> without(std::uint64_t count, std::uint64_t from,
                                              std::uint64_t to) {
        std::vector<std::uint64_t> out;
        for (std::uint64_t n = 1; n <= count; ++n) {
            if (n < from || n > to) {
                out.push_back(n);
            }
        }
        return out;
    }
    std::string path(std::uint64_t incarnation, std::uint64_t segment) const {
        return directory_ + "/" + segment_name({Incarnation(incarnation), SegmentNo(segment)});
    }
    Bytes content(const std::string& name) { return *files_.read_file(name, 1ULL << 30); }
    static void store(const std::string& name, ByteView bytes) {
        std::ofstream file(name, std::ios::binary | std::ios::trunc);
        file.write(reinterpret_cast<const char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
    }
    void flip(const std::string& name, std::uint64_t at, std::uint8_t bits = 1) {
        auto bytes = content(name);
        bytes.at(at) = static_cast<std::uint8_t>(bytes.at(at) ^ bits);
        store(name, bytes);
    }
    void expect_one_gap(const Seen& seen, const std::string& file, std::uint64_t from,
                        const std::string& to_file, std::uint64_t to) {
        ASSERT_EQ(seen.gaps.size(), 1u);
        EXPECT_EQ(seen.gaps[0].file, file);
        EXPECT_EQ(seen.gaps[0].from.v, from);
        EXPECT_EQ(seen.gaps[0].to_file, to_file);
        EXPECT_EQ(seen.gaps[0].to.v, to);
        EXPECT_FALSE(seen.gaps[0].reason.empty());
    }

    /// A header that verifies, of a batch whose body does not.
    static void false_header(std::uint8_t* p, std::uint64_t uid, std::uint64_t at) {
        store_le(p, std::uint32_t{0x31425652});
        store_le(p + 8, static_cast<std::uint32_t>(max_batch_bytes));
        store_le(p + 12, std::uint32_t{1});
        store_le(p + 16, uid);
        store_le(p + 24, std::uint64_t{7});
        store_le(p + 48, at);
        store_le(p + 4, crc32c(ByteView(p + 8, batch_header_bytes - 8)));
    }

    struct Where {
        SegmentId segment;
        Offset end;
        Seq last;
    };
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
    std::vector<Where> batches_;
    LogPosition end_;
};

TEST_F(SalvageTest, AWholeLogHasNoGapAndTheEventsOfTheReader) {
    for (std::uint64_t incarnation = 1; incarnation <= 3; ++incarnation) {
        auto log = open(incarnation);
        fill(*log, 20);
        if (incarnation == 2) {
            ASSERT_TRUE(log->close());
        }
    }
    for (const auto& limit : {std::optional<LogPosition>(), std::optional(end_)}) {
        const auto seen = salvage(limit);
        EXPECT_TRUE(seen.gaps.empty()) << seen.gaps.front().reason;
        EXPECT_EQ(seen.numbers, without(60, 0, 0));
    }
    const auto& middle = batches_[30];
    const LogPosition limit{
        middle.segment.incarnation, middle.segment.segment, middle.end, middle.last, {}};
    EXPECT_EQ(salvage(limit).numbers, without(31, 0, 0)) << "nothing beyond the limit";
}

TEST_F(SalvageTest, EveryByteOfABatchInTheMiddle) {
    fill(*open(1, default_segment_bytes), 10);
    const auto file = path(1, 1);
    const auto whole = content(file);
    const auto from = batches_[4].end.v;
    const auto to = batches_[5].end.v;
    for (auto at = from; at < to; ++at) {
        auto bytes = whole;
        bytes[at] ^= 0x20;
        store(file, bytes);
        for (const auto& limit : {std::optional<LogPosition>(), std::optional(end_)}) {
            const auto seen = salvage(limit);
            SCOPED_TRACE("byte " + std::to_string(at));
            ASSERT_EQ(seen.numbers, without(10, 6, 6));
            ASSERT_NO_FATAL_FAILURE(expect_one_gap(seen, file, from, file, to));
            ASSERT_EQ(seen.gaps[0].first_missing.v, 6u);
            ASSERT_EQ(seen.gaps[0].last_missing.value_or(Seq(0)).v, 6u);
            ASSERT_EQ(seen.gaps[0].missing(), 1u);
        }
    }
}

TEST_F(SalvageTest, EveryByteOfAHeaderPageCostsNoEvent) {
    fill(*open(1), 20);
    const auto file = path(1, 2);
    const auto whole = content(file);
    for (std::size_t at = 0; at < header_page_bytes; at += at < 256 ? 1 : 97) {
        auto bytes = whole;
        bytes[at] ^= 4;
        store(file, bytes);
        const auto seen = salvage();
        SCOPED_TRACE("byte " + std::to_string(at));
        ASSERT_EQ(seen.numbers, without(20, 0, 0));
        ASSERT_NO_FATAL_FAILURE(expect_one_gap(seen, file, 0, file, header_page_bytes));
        ASSERT_EQ(seen.gaps[0].missing(), 0u);
    }
}

TEST_F(SalvageTest, TheOnlyHeaderPageOfALog) {
    fill(*open(1, default_segment_bytes), 5);
    store(path(1, 1), [&] {
        auto bytes = content(path(1, 1));
        std::fill_n(bytes.begin(), header_page_bytes, std::uint8_t{0xff});
        return bytes;
    }());
    const auto seen = salvage();
    EXPECT_EQ(seen.numbers, without(5, 0, 0));
    expect_one_gap(seen, path(1, 1), 0, path(1, 1), header_page_bytes);
}

TEST_F(SalvageTest, TheLastBatchOfASegmentAndTheFirstOfTheNext) {
    fill(*open(1), 20);
    // Of the first segment the last batch, of the second the header page and the first batch.
    std::size_t last = 0;
    while (batches_[last + 1].segment.segment.v == 1) {
        ++last;
    }
    flip(path(1, 1), batches_[last - 1].end.v + 100);
    auto seen = salvage();
    EXPECT_EQ(seen.numbers, without(20, last + 1, last + 1));
    expect_one_gap(seen, path(1, 1), batches_[last - 1].end.v, path(1, 2), header_page_bytes);
    flip(path(1, 2), 50);
    flip(path(1, 2), header_page_bytes + 70);
    seen = salvage();
    EXPECT_EQ(seen.numbers, without(20, last + 1, last + 2));
    ASSERT_EQ(seen.gaps.size(), 2u);
    EXPECT_EQ(seen.gaps[1].file, path(1, 2));
    EXPECT_EQ(seen.gaps[1].to, batches_[last + 1].end);
    EXPECT_EQ(seen.gaps[1].missing(), 1u);
}

TEST_F(SalvageTest, AMissingSegment) {
    fill(*open(1), 40);
    const auto count = [&](std::uint64_t segment) {
        return static_cast<std::uint64_t>(
            std::count_if(batches_.begin(), batches_.end(),
                          [&](const Where& w) { return w.segment.segment.v == segment; }));
    };
    std::filesystem::remove(path(1, 2));
    const auto seen = salvage(end_);
    EXPECT_EQ(seen.numbers, without(40, count(1) + 1, count(1) + count(2)));
    expect_one_gap(seen, path(1, 2), 0, path(1, 3), header_page_bytes);
    EXPECT_EQ(seen.gaps[0].missing(), count(2));
    EXPECT_NE(seen.gaps[0].reason.find("missing"), std::string::npos) << seen.gaps[0].reason;
}

TEST_F(SalvageTest, TheFirstAndTheLastSegmentMissing) {
    fill(*open(1), 40);
    std::filesystem::remove(path(1, 1));
    std::filesystem::remove(path(end_.incarnation.v, end_.segment.v));
    const auto seen = salvage(end_);
    ASSERT_EQ(seen.gaps.size(), 2u);
    EXPECT_EQ(seen.gaps[0].file, path(1, 1));
    EXPECT_EQ(seen.gaps[0].first_missing.v, 1u);
    EXPECT_EQ(seen.gaps[1].last_missing, end_.seq) << "HEAD declares what is missing at the end";
    EXPECT_EQ(seen.numbers.size() + seen.gaps[0].missing() + seen.gaps[1].missing(), 40u);
}

TEST_F(SalvageTest, TruncatedAtEveryPlace) {
    fill(*open(1), 20);
    const auto file = path(1, 2);
    const auto whole = content(file);
    for (std::size_t cut = 0; cut < whole.size(); cut += 41) {
        store(file, ByteView(whole).first(cut));
        const auto seen = salvage();
        SCOPED_TRACE("cut at " + std::to_string(cut));
        std::uint64_t missing = 0;
        for (const auto& gap : seen.gaps) {
            missing += gap.missing();
        }
        ASSERT_EQ(seen.numbers.size() + missing, 20u);
        ASSERT_LE(seen.gaps.size(), 1u);
        ASSERT_TRUE(std::is_sorted(seen.numbers.begin(), seen.numbers.end()));
    }
}

TEST_F(SalvageTest, ATornTailIsNoGapUnlessSomethingProvesDamage) {
    fill(*open(1, default_segment_bytes), 5);
    const auto file = path(1, 1);
    const auto whole = content(file);
    flip(file, batches_[4].end.v - 3);
    auto seen = salvage();
    EXPECT_EQ(seen.numbers, without(4, 0, 0));
    EXPECT_TRUE(seen.gaps.empty()) << "a write that never became whole was never declared";
    seen = salvage(end_);
    EXPECT_EQ(seen.numbers, without(4, 0, 0));
    ASSERT_EQ(seen.gaps.size(), 1u) << "HEAD declares it";
    EXPECT_EQ(seen.gaps[0].last_missing, end_.seq);
    EXPECT_EQ(seen.gaps[0].from, batches_[3].end);
    store(file, whole);
    std::filesystem::remove(file);
    batches_.clear();
    auto log = open(1, default_segment_bytes);
    fill(*log, 5);
    ASSERT_TRUE(log->close());
    flip(file, batches_[4].end.v - 3);
    seen = salvage();
    ASSERT_EQ(seen.gaps.size(), 1u) << "the seal behind it proves that it was whole";
    EXPECT_EQ(seen.gaps[0].missing(), 1u);
    EXPECT_EQ(seen.gaps[0].to, batches_[4].end);
}

TEST_F(SalvageTest, ASegmentUnderAWrongName) {
    fill(*open(1), 20);
    std::filesystem::copy_file(path(1, 2), path(1, 99));  // a copy that sorts behind the last
    auto seen = salvage();
    EXPECT_EQ(seen.numbers, without(20, 0, 0)) << "its batches bear the uid of another file";
    ASSERT_EQ(seen.gaps.size(), 1u);
    EXPECT_EQ(seen.gaps[0].file, path(1, 99));
    EXPECT_FALSE(seen.gaps[0].last_missing);
    std::filesystem::remove(path(1, 99));
    std::filesystem::copy_file(path(1, 3), path(1, 2),
                               std::filesystem::copy_options::overwrite_existing);
    seen = salvage();
    ASSERT_EQ(seen.gaps.size(), 1u) << "and one in the place of another: that one is missing";
    EXPECT_GT(seen.gaps[0].missing(), 0u);
    EXPECT_EQ(seen.numbers.size() + seen.gaps[0].missing(), 20u);
}

TEST_F(SalvageTest, ABatchInsideABatchIsNotFound) {
    auto log = open(1, default_segment_bytes);
    fill(*log, 2);
    const auto file = path(1, 1);
    const auto whole = content(file);
    // A command whose output is its own node's log: whole batches of this very file.
    const std::string copy(whole.begin() + header_page_bytes,
                           whole.begin() + static_cast<std::ptrdiff_t>(batches_[1].end.v));
    const auto begins = log->position().end.v;
    for (std::size_t shift = 0; shift < 8; ++shift) {
        append(*log, std::string(shift, ' ') + copy);
    }
    fill(*log, 1);
    flip(file, begins);  // the magic: what follows is searched byte by byte
    flip(file, batches_[5].end.v);
    const auto seen = salvage();
    EXPECT_EQ(seen.numbers, (std::vector<std::uint64_t>{1, 2, 4, 5, 6, 8, 9, 10, 11}));
    EXPECT_EQ(seen.gaps.size(), 2u);
}

TEST_F(SalvageTest, NumbersThatOverlapAreToldNotHidden) {
    // A fork: two histories of one writer, the second half from a copy of its directory.
    { fill(*open(1, default_segment_bytes), 3); }
    const auto first = content(path(1, 1));
    { fill(*open(2, default_segment_bytes), 3); }
    const auto second = content(path(2, 1));
    std::filesystem::remove(path(2, 1));
    { fill(*open(3, default_segment_bytes), 3); }
    store(path(2, 1), second);  // 2 and 3 both continue 1
    const auto seen = salvage();
    EXPECT_EQ(seen.numbers, (std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6, 4, 5, 6}));
    ASSERT_EQ(seen.gaps.size(), 1u);
    EXPECT_EQ(seen.gaps[0].missing(), 0u);
    EXPECT_NE(seen.gaps[0].reason.find("overlap"), std::string::npos) << seen.gaps[0].reason;
}

TEST_F(SalvageTest, ASegmentWithoutEventsOfAnotherCopyIsPassedOver) {  // I6
    { fill(*open(1, default_segment_bytes), 3); }
    open(2, default_segment_bytes).reset();  // begun, and nothing said
    const auto begun = content(path(2, 1));
    std::filesystem::remove(path(2, 1));
    { fill(*open(3, default_segment_bytes), 3); }
    store(path(2, 1), begun);  // 2 and 3 both continue 1
    const auto seen = salvage();
    EXPECT_TRUE(seen.gaps.empty()) << seen.gaps.front().reason;
    EXPECT_EQ(seen.numbers, without(6, 0, 0));
    const auto read_all = [&]() -> Result<LogPosition> {
        TRY_ASSIGN(auto reader, LogReader::open(files_, directory_, trust_, writer_));
        for (;;) {
            TRY_ASSIGN(const auto batch, reader.next(std::nullopt));
            if (!batch) {
                return reader.position();
            }
        }
    };
    const auto all = read_all();
    ASSERT_TRUE(all) << all.error().message;
    EXPECT_EQ(*all, end_);
    auto torn = content(path(3, 1));
    std::copy(begun.begin(), begun.begin() + header_page_bytes, torn.begin());
    store(path(2, 1), torn);  // something was said there
    const auto doubtful = read_all();
    ASSERT_FALSE(doubtful);
    EXPECT_EQ(doubtful.error().code, Code::corrupt);
}

TEST_F(SalvageTest, TheChainIsCheckedAgainBehindAGap) {
    fill(*open(1, default_segment_bytes), 10);
    const auto file = path(1, 1);
    flip(file, batches_[1].end.v + 120);
    // Batch 7 with another link, and CRCs that fit: only the chain shows it.
    auto bytes = content(file);
    const auto at = batches_[5].end.v;
    bytes[at + 70] ^= 1;
    store_le(bytes.data() + at + 4,
             crc32c(ByteView(bytes).subspan(at + 8, batch_header_bytes - 8)));
    store(file, bytes);
    const auto seen = salvage();
    ASSERT_EQ(seen.gaps.size(), 2u);
    EXPECT_EQ(seen.gaps[1].from.v, at);
    EXPECT_NE(seen.gaps[1].reason.find("chain"), std::string::npos) << seen.gaps[1].reason;
    EXPECT_EQ(seen.numbers, (std::vector<std::uint64_t>{1, 2, 4, 5, 6, 8, 9, 10}));
}

TEST_F(SalvageTest, ASectorThatCannotBeRead) {
    auto log = open(1, default_segment_bytes);
    for (int i = 0; i < 40; ++i) {
        append(*log, std::string(1000, 'x'));
    }
    BadSector bad;
    bad.path = path(1, 1);
    bad.page = 4;
    const auto seen = salvage_with(bad, end_);
    ASSERT_EQ(seen.gaps.size(), 1u);
    EXPECT_LE(seen.gaps[0].from.v, 4u * 4096);
    EXPECT_GE(seen.gaps[0].to.v, 5u * 4096);
    EXPECT_LE(seen.gaps[0].missing(), 5u);
    EXPECT_EQ(seen.numbers.size() + seen.gaps[0].missing(), 40u);
    bad.page = 0;
    const auto without_header = salvage_with(bad, end_);
    EXPECT_EQ(without_header.numbers, without(40, 0, 0));
    EXPECT_EQ(without_header.gaps.size(), 1u);
}

TEST_F(SalvageTest, ASparseFileAndFalseHeadersEndInTime) {
    { fill(*open(1, default_segment_bytes), 3); }
    const auto file = path(1, 1);
    flip(file, batches_[2].end.v - 3);
    std::filesystem::resize_file(file, 1ULL << 40);
    EXPECT_EQ(salvage().numbers, without(2, 0, 0));
    // 8 MiB of headers of this file, each of a batch of 1 MiB that is none.
    std::filesystem::resize_file(file, batches_[2].end.v);
    auto bytes = content(file);
    const auto from = bytes.size();
    bytes.resize(from + 8 * 1024 * 1024);
    const auto uid = segment_uid(cluster_, writer_, {Incarnation(1), SegmentNo(1)});
    for (std::size_t at = from; at + max_batch_bytes <= bytes.size(); at += batch_header_bytes) {
        false_header(bytes.data() + at, uid, at);
    }
    store(file, bytes);
    const auto seen = salvage();
    EXPECT_EQ(seen.numbers, without(2, 0, 0));
    ASSERT_EQ(seen.gaps.size(), 1u);
    EXPECT_NE(seen.gaps[0].reason.find("given up"), std::string::npos) << seen.gaps[0].reason;
}

TEST_F(SalvageTest, RandomDamageNeverCrashesAndNeverInventsAnEvent) {
    for (std::uint64_t incarnation = 1; incarnation <= 3; ++incarnation) {
        fill(*open(incarnation), 20);
    }
    std::map<std::string, Bytes> whole;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
        whole[entry.path()] = content(entry.path());
    }
    const std::uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::set<std::string> spoilt;
    for (int round = 0; round < 200; ++round) {
        for (const auto& name : spoilt) {
            store(name, whole[name]);
        }
        spoilt.clear();
        for (auto hits = 1 + random() % 8; hits > 0; --hits) {
            auto it = whole.begin();
            std::advance(it, random() % whole.size());
            auto bytes = content(it->first);
            const auto at =
                bytes.empty() ? 0 : random() % std::min<std::size_t>(bytes.size(), 8192);
            const auto n = std::min<std::size_t>(bytes.size() - at, random() % 600);
            for (std::size_t i = 0; i < n; ++i) {
                bytes[at + i] = round % 2 == 0 ? 0 : static_cast<std::uint8_t>(random());
            }
            if (random() % 8 == 0) {
                bytes.resize(at);
            }
            store(it->first, bytes);
            spoilt.insert(it->first);
        }
        const auto seen = salvage(end_);
        std::uint64_t missing = 0;
        for (const auto& gap : seen.gaps) {
            missing += gap.missing();
        }
        ASSERT_EQ(seen.numbers.size() + missing, 60u);
        ASSERT_TRUE(std::is_sorted(seen.numbers.begin(), seen.numbers.end()));
        ASSERT_EQ(std::adjacent_find(seen.numbers.begin(), seen.numbers.end()), seen.numbers.end());
    }
}

TEST_F(SalvageTest, AnEmptyDirectoryAndAnImpossibleName) {
    EXPECT_TRUE(salvage().numbers.empty());
    directory_ += "/absent";
    EXPECT_TRUE(salvage().gaps.empty());
    directory_ = directory_.substr(0, directory_.size() - 7);
    const auto none =
        Salvage::open(files_, directory_, trust_, WriterId(std::string(48, 'n')), std::nullopt);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Code::invalid);
}

}  // namespace
}  // namespace reeve::eventlog
