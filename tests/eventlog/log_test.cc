// The event log on real files: what was accepted is read back, what was torn is left out, and no
// bit below the declared end can change unseen.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "eventlog/head.h"
#include "eventlog/head_reader.h"
#include "eventlog/reader.h"
#include "eventlog/recovery.h"
#include "eventlog/writer.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/thread_tasks.h"
#include "tests/lib/test_identity.h"

namespace reeve::eventlog {
namespace {

class Log : public ::testing::Test {
protected:
    Log() {
        char name[] = "/tmp/reeve-log-XXXXXX";
        directory_ = ::mkdtemp(name);
    }
    ~Log() override { std::filesystem::remove_all(directory_); }

    std::unique_ptr<LogWriter> open(std::uint64_t incarnation,
                                    std::uint64_t segment_bytes = default_segment_bytes) {
        const auto before = recover(files_, directory_, trust_, writer_, Tail::owners);
        EXPECT_TRUE(before) << before.error().message;
        const LogWriter::Options options{
            directory_,  cluster_,         writer_,      Incarnation(incarnation), {}, identity_,
            before->end, before->last_hlc, segment_bytes};
        auto log = LogWriter::open({clock_, files_, tasks_, entropy_, telemetry_}, options);
        EXPECT_TRUE(log) << log.error().message;
        return std::move(*log);
    }
    void append(LogWriter& log, const std::string& text) {
        const events::Payload payload = events::Observation{"test", "x", text};
        std::vector<events::Event> out;
        const auto done = log.append(std::span(&payload, 1), &out);
        ASSERT_TRUE(done) << done.error().message;
        accepted_.push_back(text);
    }
    Result<std::vector<std::string>> read(std::optional<LogPosition> limit = std::nullopt) {
        TRY_ASSIGN(auto reader, LogReader::open(files_, directory_, trust_, writer_));
        std::vector<std::string> out;
        for (;;) {
            TRY_ASSIGN(const auto batch, reader.next(limit));
            if (!batch) {
                return out;
            }
            for (const auto& event : batch->events) {
                out.push_back(std::get<events::Observation>(event.payload).detail);
            }
        }
    }
    std::string last_file() {
        std::string last;
        for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
            last = std::max(last, entry.path().string());
        }
        return last;
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
    std::vector<std::string> accepted_;
};

TEST_F(Log, WhatWasAcceptedIsReadBackOverSegmentsAndIncarnations) {  // I1
    for (std::uint64_t incarnation = 1; incarnation <= 3; ++incarnation) {
        auto log = open(incarnation, header_page_bytes + 2048);  // a few batches a segment
        for (int i = 0; i < 20; ++i) {
            append(*log,
                   std::to_string(incarnation) + "/" + std::to_string(i) + std::string(100, '.'));
        }
        if (incarnation == 2) {
            ASSERT_TRUE(log->close());
        }
    }
    const auto all = read();
    ASSERT_TRUE(all) << all.error().message;
    EXPECT_EQ(*all, accepted_);
}

TEST_F(Log, ALogThatGrowsWhileItIsReadIsNotDamaged) {
    auto log = open(1, header_page_bytes + 2048);  // a few batches a segment
    append(*log, "0");
    auto reader = LogReader::open(files_, directory_, trust_, writer_);
    ASSERT_TRUE(reader);
    std::vector<std::string> all;
    for (int i = 1; i <= 60; ++i) {
        // One batch is read, with the zeros behind it; then three are written, in new segments too.
        const auto batch = reader->next(std::nullopt);
        ASSERT_TRUE(batch) << batch.error().message;
        ASSERT_TRUE(*batch);
        all.push_back(std::get<events::Observation>((*batch)->events.front().payload).detail);
        for (int n = 0; n < 3; ++n) {
            append(*log, std::to_string(i) + "/" + std::to_string(n));
        }
    }
    EXPECT_TRUE(std::equal(all.begin(), all.end(), accepted_.begin()));
}

TEST_F(Log, ATornLastBatchIsLeftOutAtEveryByte) {
    auto log = open(1);
    append(*log, "first");
    const auto keep = log->position();
    append(*log, "second");
    const auto end = log->position();
    const auto path = last_file();
    const auto whole = content(path);
    for (std::uint64_t cut = keep.end.v; cut < end.end.v; ++cut) {
        store(path, ByteView(whole).first(cut));
        const auto found = recover(files_, directory_, trust_, writer_, Tail::owners);
        ASSERT_TRUE(found) << found.error().message;
        ASSERT_EQ(found->end, keep) << "cut at " << cut;
    }
    store(path, ByteView(whole).first(end.end.v - 1));
    auto next = open(2);
    append(*next, "third");
    EXPECT_EQ(read().value_or({}), (std::vector<std::string>{"first", "third"}));
}

TEST_F(Log, NoBitBelowTheDeclaredEndChangesUnseen) {  // I7
    auto log = open(1);
    for (int i = 0; i < 10; ++i) {
        append(*log, "event " + std::to_string(i));
    }
    const auto end = log->position();
    const auto path = last_file();
    const auto whole = content(path);
    const std::uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    for (int round = 0; round < 2000; ++round) {
        auto bytes = whole;
        const auto bit = random() % (end.end.v * 8);
        bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ (1U << (bit % 8)));
        store(path, bytes);
        const auto seen = read(end);
        ASSERT_FALSE(seen) << "bit " << bit;
        ASSERT_NE(seen.error().message.find("offset"), std::string::npos) << seen.error().message;
    }
}

TEST_F(Log, DamageIsToldWithoutADeclaredEndWhenALaterBatchProvesIt) {  // I7
    Offset last_begins;
    {
        auto log = open(1);
        for (int i = 0; i < 10; ++i) {
            last_begins = log->position().end;
            append(*log, "event " + std::to_string(i));
        }
    }
    const auto path = last_file();
    const auto whole = content(path);
    for (std::uint64_t at = header_page_bytes; at < last_begins.v; at += 7) {
        auto bytes = whole;
        bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ 0x10U);
        store(path, bytes);
        const auto seen = read();
        ASSERT_FALSE(seen) << "byte " << at;
        EXPECT_EQ(seen.error().code, Code::corrupt);
        ASSERT_FALSE(recover(files_, directory_, trust_, writer_, Tail::owners)) << "byte " << at;
    }
    // A mirror pulls again what a power cut left out, so a later batch proves nothing there.
    EXPECT_TRUE(recover(files_, directory_, trust_, writer_, Tail::mirrors));
    auto zeroed = whole;  // a lost sector
    std::fill_n(zeroed.begin() + header_page_bytes, 96, std::uint8_t{0});
    store(path, zeroed);
    EXPECT_FALSE(read());
}

TEST_F(Log, ARottenHeaderOfASegmentInUseIsDamageAndATornOneIsPassedOver) {
    { append(*open(1), "first"); }
    const auto first_file = last_file();
    { append(*open(2), "second"); }
    const auto path = last_file();
    const auto whole = content(path);
    auto rotten = whole;
    rotten[200] ^= 1;
    store(path, rotten);
    EXPECT_FALSE(read());
    EXPECT_FALSE(recover(files_, directory_, trust_, writer_, Tail::owners));
    store(path, ByteView(rotten).first(header_page_bytes));  // it never held a batch
    EXPECT_EQ(read().value_or({}), std::vector<std::string>{"first"});
    EXPECT_TRUE(recover(files_, directory_, trust_, writer_, Tail::owners));
}

TEST_F(Log, ABatchThatTheNextSegmentExcludesIsNotRead) {
    auto log = open(1);
    append(*log, "kept");
    const auto end = log->position();
    append(*log, "its sync failed");
    log.reset();
    LogWriter::Options options{directory_, cluster_, writer_, Incarnation(2),       {},
                               identity_,  end,      {},      default_segment_bytes};
    auto next = *LogWriter::open({clock_, files_, tasks_, entropy_, telemetry_}, options);
    append(*next, "after");
    EXPECT_EQ(read().value_or({}), (std::vector<std::string>{"kept", "after"}));
}

// Of two copies of a disk each may have gone on: what the other one declared is not damage here.
TEST_F(Log, ACursorBehindTheEndThatTheNextSegmentNamesIsOfAnotherLog) {
    auto log = open(1);
    append(*log, "both know this");
    const auto end = log->position();
    append(*log, "only the other one said this");
    const auto cursor = log->position();
    log.reset();
    LogWriter::Options options{directory_, cluster_, writer_, Incarnation(2),       {},
                               identity_,  end,      {},      default_segment_bytes};
    auto next = *LogWriter::open({clock_, files_, tasks_, entropy_, telemetry_}, options);
    append(*next, "after");
    const auto code = [&] {
        auto reader = *LogReader::open(files_, directory_, trust_, writer_);
        EXPECT_TRUE(reader.seek(end));
        const auto found = reader.seek(cursor);
        return found ? Code::invalid : found.error().code;
    };
    EXPECT_EQ(code(), Code::conflict);  // its bytes stand there
    std::filesystem::resize_file(directory_ + "/" + segment_name({Incarnation(1), SegmentNo(1)}),
                                 end.end.v);
    EXPECT_EQ(code(), Code::conflict);  // they do not
}

TEST_F(Log, TheClockOfALogNeverGoesBack) {
    Hlc ahead;
    {
        auto log = open(1);
        log->observe(Hlc(UINT64_MAX));  // a peer ten years ahead: two seconds are believed
        append(*log, "before");
        ahead = recover(files_, directory_, trust_, writer_, Tail::owners)->last_hlc;
    }
    append(*open(2), "after");
    EXPECT_GT(recover(files_, directory_, trust_, writer_, Tail::owners)->last_hlc, ahead);
}

TEST_F(Log, AMissingSegmentIsCorruptionAndAChangedPastIsNoticed) {
    auto log = open(1, header_page_bytes + 2048);
    for (int i = 0; i < 60; ++i) {
        append(*log, std::string(100, 'a'));
    }
    auto reader = *LogReader::open(files_, directory_, trust_, writer_);
    const auto first = *reader.next(std::nullopt);
    ASSERT_TRUE(first);
    const auto cursor = first->position_after;
    std::filesystem::remove(directory_ + "/" + segment_name({Incarnation(1), SegmentNo(2)}));
    const auto seen = read();
    ASSERT_FALSE(seen);
    EXPECT_EQ(seen.error().code, Code::corrupt);
    auto wrong = cursor;
    wrong.hash[0] ^= 1;
    auto again = *LogReader::open(files_, directory_, trust_, writer_);
    EXPECT_TRUE(again.seek(cursor));
    const auto moved = again.seek(wrong);
    ASSERT_FALSE(moved);
    EXPECT_EQ(moved.error().code, Code::conflict);
}

TEST_F(Log, ALogOfAnotherClusterOrWriterIsNotRead) {
    auto log = open(1);
    append(*log, "mine");
    cluster_[0] = 9;
    trust_ = testing_support::test_trust(cluster_);
    const auto seen = read();
    ASSERT_FALSE(seen);
    EXPECT_EQ(seen.error().code, Code::conflict);
}

TEST_F(Log, OneWholeHeadSlotIsAlwaysThere) {
    const std::string path = directory_ + "/" + head_name(Incarnation(1));
    auto file = *files_.open(path, env::OpenMode::create);
    HeadSlot slot;
    slot.writer = writer_;
    slot.incarnation = Incarnation(1);
    for (slot.counter = 1; slot.counter <= 5; ++slot.counter) {
        sign(slot, identity_);
        ASSERT_TRUE(write_head(*file, slot));
    }
    EXPECT_EQ((*read_head(files_, path, trust_))->counter, 5u);
    auto bytes = content(path);
    bytes[head_slot_bytes + 100] ^= 1;  // the slot of counter 5 is torn
    store(path, bytes);
    EXPECT_EQ((*read_head(files_, path, trust_))->counter, 4u);
}

// I6, I7: a reader that remembers believes nothing that does not stand there now.
TEST_F(Log, AHeadThatIsReadAgainIsWhatStandsThereNow) {
    const std::string path = directory_ + "/" + head_name(Incarnation(1));
    auto file = *files_.open(path, env::OpenMode::create);
    HeadReader reader(trust_);
    HeadSlot slot;
    slot.writer = writer_;
    slot.incarnation = Incarnation(1);
    for (slot.counter = 1; slot.counter <= 3; ++slot.counter) {
        sign(slot, identity_);
        ASSERT_TRUE(write_head(*file, slot));
        EXPECT_EQ((*reader.read(files_, path))->counter, slot.counter);
        EXPECT_EQ((*reader.read(files_, path))->counter, slot.counter);
    }
    const auto sound = content(path);
    auto torn = sound;
    torn[head_slot_bytes + 100] ^= 1;  // the slot of counter 3
    store(path, torn);
    EXPECT_EQ((*reader.read(files_, path))->counter, 2U);
    store(path, {});
    EXPECT_FALSE(reader.read(files_, path)->has_value());
    store(path, sound);
    EXPECT_EQ((*reader.read(files_, path))->counter, 3U);
    ASSERT_TRUE(files_.remove(path));
    EXPECT_EQ(reader.read(files_, path).error().code, Code::not_found);
}

TEST_F(Log, NoBitOfAHeaderPageASealOrAHeadSlotChangesUnseen) {
    auto log = open(1);
    append(*log, "one");
    ASSERT_TRUE(log->close());
    const auto whole = content(last_file());
    const auto flip = [&](Bytes bytes, std::size_t bit) {
        bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ (1U << (bit % 8)));
        return bytes;
    };
    const std::string path = last_file();
    const std::size_t sealed_at = whole.size() - seal_bytes;
    for (std::size_t bit = 0; bit < header_page_bytes * 8; bit += 13) {
        store(path, flip(whole, bit));
        ASSERT_FALSE(read()) << "bit " << bit << " of the header page";
    }
    for (std::size_t bit = sealed_at * 8; bit < whole.size() * 8; ++bit) {
        store(path, flip(whole, bit));
        // A seal that is none closes nothing: what it says is never believed.
        const auto decoded = decode_seal(ByteView(flip(whole, bit)).subspan(sealed_at));
        ASSERT_FALSE(decoded && seal_is_signed(ByteView(flip(whole, bit)).subspan(sealed_at),
                                               *decoded, identity_.certificate.key, trust_))
            << "bit " << bit;
    }
    HeadSlot slot;
    slot.writer = writer_;
    slot.incarnation = Incarnation(1);
    slot.counter = 1;
    slot.host = "nova process 7";
    sign(slot, identity_);
    const auto bytes = encode(slot);
    for (std::size_t bit = 0; bit < bytes.size() * 8; bit += 13) {
        const auto decoded = decode_head(flip(bytes, bit));
        ASSERT_FALSE(decoded && verify_head(*decoded, trust_)) << "bit " << bit << " of HEAD";
    }
}

TEST_F(Log, WhatIsSignedByNobodyWhoMayIsNotRead) {
    auto log = open(1);
    append(*log, "mine");
    trust_ = Trust(cluster_, {testing_support::test_key(9).public_key()});
    auto seen = read();
    ASSERT_FALSE(seen);
    EXPECT_EQ(seen.error().code, Code::denied);
    trust_ = Trust::unpinned(cluster_);
    EXPECT_EQ(read().value_or({}), accepted_);
    // A right for another node, and a page that another key signed.
    trust_ = testing_support::test_trust(cluster_);
    identity_ = testing_support::test_identity(cluster_, NodeId("mira"));
    log = open(2);
    seen = read();
    ASSERT_FALSE(seen);
    EXPECT_EQ(seen.error().code, Code::denied);
    identity_ = testing_support::test_identity(cluster_, NodeId("nova"));
    identity_.key = testing_support::test_key(77);
    SegmentHeader header;
    header.cluster = cluster_;
    header.writer = writer_;
    header.id = {Incarnation(1), SegmentNo(1)};
    const auto page = encode_header(header, identity_);
    EXPECT_EQ(verify_header(page, header, trust_).error().code, Code::denied);
    const auto decoded = decode_header(page);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(verify_header(page, *decoded, trust_).error().code, Code::corrupt);
}

TEST_F(Log, AKeyThatWasReplacedSignsNoLaterSegment) {
    identity_ = testing_support::test_identity(cluster_, NodeId("nova"), 2, 5);
    append(*open(1), "by the second key");
    identity_ = testing_support::test_identity(cluster_, NodeId("nova"), 1, 4);
    auto log = open(2);
    const auto seen = read();
    ASSERT_FALSE(seen);
    EXPECT_NE(seen.error().message.find("replaced before"), std::string::npos);
}

TEST_F(Log, AHeadSlotWhoseNamesHaveNoEndIsRefused) {
    HeadSlot slot;
    slot.writer = writer_;
    slot.incarnation = Incarnation(1);
    slot.counter = 1;
    sign(slot, identity_);
    for (const auto& [at, size] : {std::pair(40, 48), std::pair(176, 64)}) {
        auto bytes = encode(slot);
        std::fill_n(bytes.begin() + at, size, std::uint8_t{'a'});
        store_le(bytes.data() + 8, crc32c(ByteView(bytes).subspan(12, 4032 - 12)));
        EXPECT_EQ(decode_head(bytes).error().code, Code::corrupt) << "offset " << at;
    }
}

}  // namespace
}  // namespace reeve::eventlog
