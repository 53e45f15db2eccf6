// A writer's log of one or two segment files: the reader and the salvage.
//
//     input = flags u8, [header page, with flag 1], [end of the first segment u64, with flag 2],
//             what follows the header of the first segment
//
// Without flag 1 the header page is a right one. With flag 2 a second segment says where the first
// one ends, and nothing follows its header.

#include "eventlog/reader.h"
#include "eventlog/salvage.h"
#include "events/codec.h"
#include "mirror/segments.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_files.h"

using namespace reeve;
using namespace reeve::eventlog;

namespace {

constexpr std::uint8_t own_header = 1;
constexpr std::uint8_t successor = 2;
constexpr std::uint8_t limited = 4;
constexpr std::size_t header_crc_at = 200;
constexpr std::size_t signature_at = 4032;
const SegmentId first{Incarnation(1), SegmentNo(1)};

SegmentHeader header_of(const SegmentId& id) {
    SegmentHeader header;
    header.cluster = fuzz::cluster;
    header.writer = fuzz::writer;
    header.id = id;
    header.first_hlc = Hlc(1);
    return header;
}

const Bytes& right_header() {
    static const auto page = encode_header(header_of(first), fuzz::identity());
    return page;
}

void mend_header(std::uint8_t* page) {
    const ByteView bytes(page, signature_at);
    const auto before = crc32c(bytes.first(header_crc_at));
    store_le(page + header_crc_at, crc32c(bytes.subspan(header_crc_at + 4), before));
    const auto signature = fuzz::identity().key.sign(bytes);
    std::memcpy(page + signature_at, signature.data(), signature.size());
}

/// Length, chain, numbers and CRCs of the batches as a writer would have made them, whatever their
/// events are now.
void mend_batches(std::span<std::uint8_t> bytes) {
    const auto uid = segment_uid(fuzz::cluster, fuzz::writer, first);
    Sha256 previous{};
    std::uint64_t seq = 0;
    while (bytes.size() > batch_header_bytes) {
        auto* p = bytes.data();
        std::size_t length = load_le<std::uint32_t>(p + 8) / 8 * 8;
        if (length <= batch_header_bytes || length > bytes.size()) {
            length = bytes.size() / 8 * 8;
        }
        if (length <= batch_header_bytes) {
            return;
        }
        const auto count = std::max<std::uint32_t>(load_le<std::uint32_t>(p + 12) % 64, 1);
        const ByteView body(p + batch_header_bytes, length - batch_header_bytes);
        store_le(p, std::uint32_t{0x31425652});
        store_le(p + 8, static_cast<std::uint32_t>(length));
        store_le(p + 12, count);
        store_le(p + 16, uid);
        store_le(p + 24, seq + 1);
        store_le(p + 48, std::uint64_t{header_page_bytes});
        store_le(p + 56, crc32c(body));
        store_le(p + 60, std::uint32_t{0});
        std::memcpy(p + 64, previous.data(), previous.size());
        store_le(p + 4, crc32c(ByteView(p + 8, batch_header_bytes - 8)));
        previous = sha256(ByteView(p, length));
        seq += count;
        bytes = bytes.subspan(length);
    }
}

struct Log {
    fuzz::MemoryFiles files;
    std::optional<LogPosition> limit;
};

void lay_out(ByteView input, Log& log) {
    fuzz::Pieces in(input.data(), input.size());
    const auto flags = in.byte();
    Bytes file = right_header();
    if ((flags & own_header) != 0) {
        const auto page = in.take(header_page_bytes);
        file.assign(page.begin(), page.end());
    }
    std::uint64_t end = 0;
    if ((flags & successor) != 0) {
        const auto raw = in.take(8);
        end = raw.size() == 8 ? load_le<std::uint64_t>(raw.data()) : 0;
    }
    const auto rest = in.rest();
    file.insert(file.end(), rest.begin(), rest.end());
    if ((flags & successor) != 0) {
        auto next = header_of({first.incarnation, SegmentNo(2)});
        next.previous = {first.incarnation, first.segment, Offset(end), Seq(end % 16), {}};
        log.files.put("/log/" + segment_name(next.id), encode_header(next, fuzz::identity()));
    }
    if ((flags & limited) != 0) {
        log.limit = {first.incarnation, first.segment, Offset(file.size() / 2), Seq(1), {}};
    }
    log.files.put("/log/" + segment_name(first), std::move(file));
}

std::vector<Batch> read_all(Log& log, Tail tail) {
    std::vector<Batch> out;
    auto reader = LogReader::open(log.files, "/log", fuzz::trust(), fuzz::writer);
    if (!reader) {
        return out;
    }
    reader->set_tail(tail);
    std::uint64_t seq = 0;
    for (;;) {
        auto batch = reader->next(log.limit);
        if (!batch) {
            REQUIRE(!batch.error().message.empty());
            // It stops for good (I7).
            REQUIRE(!reader->next(log.limit).has_value());
            return out;
        }
        if (!*batch) {
            return out;
        }
        for (const auto& event : (*batch)->events) {
            REQUIRE(event.seq.v == ++seq);  // dense
        }
        REQUIRE((*batch)->position_after.seq.v == seq);
        REQUIRE((*batch)->position_after.hash == sha256((*batch)->raw));
        REQUIRE(!log.limit || (*batch)->position_after.end <= log.limit->end ||
                (*batch)->position_after.segment > log.limit->segment);
        out.push_back(std::move(**batch));
    }
}

void resumes(Log& log, const std::vector<Batch>& batches) {
    const auto& middle = batches[batches.size() / 2].position_after;
    auto reader = LogReader::open(log.files, "/log", fuzz::trust(), fuzz::writer);
    REQUIRE(reader.has_value());
    REQUIRE(reader->seek(middle).has_value());
    const auto next = reader->next(log.limit);
    if (batches.size() / 2 + 1 < batches.size()) {
        REQUIRE(next && *next && (*next)->raw == batches[batches.size() / 2 + 1].raw);
    }
    auto other = middle;
    other.hash[0] ^= 1;
    auto second = LogReader::open(log.files, "/log", fuzz::trust(), fuzz::writer);
    REQUIRE(second.has_value() && !second->seek(other).has_value());
}

/// Whatever the reader believes, the salvage finds too, and it comes to an end.
void salvages(Log& log, std::size_t batches) {
    auto salvage = Salvage::open(log.files, "/log", fuzz::trust(), fuzz::writer, log.limit);
    REQUIRE(salvage.has_value());
    std::size_t found = 0;
    while (const auto item = salvage->next()) {
        if (const auto* gap = std::get_if<Gap>(&*item)) {
            REQUIRE(!gap->reason.empty());
        } else {
            ++found;
        }
    }
    REQUIRE(found >= batches);
}

/// The mirror's walk copies what the reader would have read: it must not be more credulous.
void walks_alike(ByteView input, const std::vector<Batch>& batches) {
    if (input.empty() || (input[0] & (own_header | successor | limited)) != 0) {
        return;
    }
    const Bytes aligned(input.begin() + 1, input.end());
    const auto walk = mirror::walk_batches(aligned, first_position(header_of(first)), fuzz::cluster,
                                           fuzz::writer);
    std::size_t bytes = 0;
    for (const auto& batch : batches) {
        bytes += batch.raw.size();
    }
    REQUIRE(walk.taken == bytes);
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned int seed) {
    size = LLVMFuzzerMutate(data, size, most);
    if (seed % 4 == 0 || size == 0) {
        return size;
    }
    std::size_t at = 1;
    if ((data[0] & own_header) != 0) {
        if (size < at + header_page_bytes) {
            return size;
        }
        mend_header(data + at);
        at += header_page_bytes;
    }
    at += (data[0] & successor) != 0 ? 8U : 0U;
    if (at < size) {
        mend_batches({data + at, size - at});
    }
    return size;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteView input(data, size);
    Log log;
    lay_out(input, log);
    const auto batches = read_all(log, Tail::owners);
    const auto as_mirror = read_all(log, Tail::mirrors);
    REQUIRE(as_mirror.size() >= batches.size());
    if (!batches.empty()) {
        resumes(log, batches);
    }
    salvages(log, batches.size());
    walks_alike(input, batches);
    return 0;
}
