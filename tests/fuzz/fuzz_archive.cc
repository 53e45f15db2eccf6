// An archive of a segment: whatever it says of itself, a reader holds one block, reads what is
// declared and no more, and reads the same again.
//
//     input = the file

#include "eventlog/archive.h"
#include "eventlog/reader.h"
#include "eventlog/salvage.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_files.h"

using namespace reeve;
using namespace reeve::eventlog;

namespace {

constexpr std::size_t table_at = 72;
constexpr std::size_t crc_at = 68;
constexpr std::size_t count_at = 64;
const SegmentId id{Incarnation(1), SegmentNo(1)};

/// The checksums that a writer would have put over what stands there now.
void mend(std::span<std::uint8_t> file) {
    if (file.size() < table_at) {
        return;
    }
    const std::size_t most = (file.size() - table_at) / 8;
    const auto count = std::min<std::size_t>(load_le<std::uint32_t>(file.data() + count_at), most);
    std::size_t at = table_at + 8 * count;
    for (std::size_t i = 0; i < count; ++i) {
        auto* entry = file.data() + table_at + 8 * i;
        const auto stored =
            std::min<std::size_t>(load_le<std::uint32_t>(entry), file.size() - at);
        store_le(entry + 4, crc32c(ByteView(file).subspan(at, stored)));
        at += stored;
    }
    store_le(file.data() + 4, static_cast<std::uint32_t>(table_at - 8 + 8 * count));
    const auto crc = crc32c(ByteView(file).first(crc_at));
    store_le(file.data() + crc_at, crc32c(ByteView(file).subspan(table_at, 8 * count), crc));
}

void reads_alike(env::File& file, std::uint64_t size) {
    Bytes whole(static_cast<std::size_t>(std::min<std::uint64_t>(size, 1 << 20)));
    const auto n = file.read_at(Offset(0), whole);
    if (!n) {
        REQUIRE(n.error().code == Code::corrupt && !n.error().message.empty());
        REQUIRE(!file.read_at(Offset(0), whole).has_value());
        return;
    }
    REQUIRE(*n == whole.size());
    Bytes piece(100);
    const auto middle = whole.size() / 2;
    const auto got = file.read_at(Offset(middle), piece);
    REQUIRE(got.has_value() && *got == std::min(piece.size(), whole.size() - middle));
    REQUIRE(std::equal(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(*got),
                       whole.begin() + static_cast<std::ptrdiff_t>(middle)));
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned int seed) {
    size = LLVMFuzzerMutate(data, size, most);
    if (seed % 4 != 0) {
        mend({data, size});
    }
    return size;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::MemoryFiles files;
    files.put("/log/" + archive_name(id), Bytes(data, data + size));
    auto file = open_segment(files, "/log", id);
    if (!file) {
        REQUIRE(!file.error().message.empty());
    } else {
        const auto declared = (*file)->size();
        REQUIRE(declared && *declared >= header_page_bytes && *declared <= most_archived_bytes);
        reads_alike(**file, *declared);
        Bytes beyond(8);
        const auto n = (*file)->read_at(Offset(*declared), beyond);
        REQUIRE(n && *n == 0);
    }
    auto reader = LogReader::open(files, "/log", fuzz::trust(), fuzz::writer);
    REQUIRE(reader.has_value());
    while (true) {
        const auto batch = reader->next(std::nullopt);
        if (!batch || !*batch) {
            break;
        }
    }
    auto salvage = Salvage::open(files, "/log", fuzz::trust(), fuzz::writer, std::nullopt);
    REQUIRE(salvage.has_value());
    while (salvage->next()) {
    }
    return 0;
}
