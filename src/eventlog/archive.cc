// One zstd frame a block, so that any place of the segment is read by decoding one block, and a
// table in front, in a frame that zstd's own tools pass over.

#include "eventlog/archive.h"

#include <zstd.h>

#include <algorithm>

#include "base/sha256_stream.h"

namespace reeve::eventlog {
namespace {

constexpr std::uint32_t skippable_magic = 0x184D2A5E;
constexpr std::uint32_t zstd_magic = 0xFD2FB528;
constexpr std::string_view archive_magic = "RVARC001";
constexpr std::uint32_t archive_format = 1;
constexpr std::size_t fixed_bytes = 72;  // in front of the table
constexpr std::size_t entry_bytes = 8;
constexpr std::uint64_t most_blocks = most_archived_bytes / archive_block_bytes;
constexpr std::size_t most_block_stored = ZSTD_COMPRESSBOUND(archive_block_bytes);
constexpr std::string_view archive_ending = ".zst";
constexpr int compression_level = 9;

Error bad(const std::string& path, std::uint64_t at, const std::string& why) {
    return {Code::corrupt, path + " at offset " + std::to_string(at) + ": " + why};
}

struct Block {
    std::uint64_t at = 0;  // in the archive
    std::uint32_t stored = 0;
    std::uint32_t crc = 0;
};

struct Table {
    std::uint64_t plain_bytes = 0;
    Sha256 hash{};  // of them
    std::vector<Block> blocks;
    std::uint64_t end = 0;  // of the last block: the length of the file

    std::size_t bytes_of(std::size_t block) const {
        const auto rest = plain_bytes - block * archive_block_bytes;
        return static_cast<std::size_t>(std::min<std::uint64_t>(rest, archive_block_bytes));
    }
};

std::size_t blocks_for(std::uint64_t bytes) {
    return static_cast<std::size_t>((bytes + archive_block_bytes - 1) / archive_block_bytes);
}

Bytes encode(const Table& table) {
    ByteWriter out;
    const auto length = fixed_bytes + entry_bytes * table.blocks.size();
    out.u32(skippable_magic);
    out.u32(static_cast<std::uint32_t>(length - 8));
    out.raw(as_bytes(archive_magic));
    out.u32(archive_format);
    out.u32(static_cast<std::uint32_t>(archive_block_bytes));
    out.u64(table.plain_bytes);
    out.raw(table.hash);
    out.u32(static_cast<std::uint32_t>(table.blocks.size()));
    out.u32(0);
    for (const auto& block : table.blocks) {
        out.u32(block.stored);
        out.u32(block.crc);
    }
    auto bytes = std::move(out).take();
    auto crc = crc32c(ByteView(bytes).first(fixed_bytes - 4));
    crc = crc32c(ByteView(bytes).subspan(fixed_bytes), crc);
    store_le(bytes.data() + fixed_bytes - 4, crc);
    return bytes;
}

/// Reads what stands in front of the blocks. Every bound is checked before anything is sized by it.
Result<Table> read_table(env::File& file, const std::string& path) {
    Bytes fixed(fixed_bytes);
    TRY_ASSIGN(const auto n, file.read_at(Offset(0), fixed));
    ByteReader in(fixed);
    const bool is_one = n == fixed.size() && in.u32() == skippable_magic;
    const std::uint64_t length = in.u32() + std::uint64_t{8};
    if (!is_one || as_text(in.raw(archive_magic.size())) != archive_magic) {
        return bad(path, 0, "it is no archive of a segment");
    }
    const auto format = in.u32();
    const auto block_bytes = in.u32();
    Table out;
    out.plain_bytes = in.u64();
    const auto hash = in.raw(out.hash.size());
    std::copy(hash.begin(), hash.end(), out.hash.begin());
    const std::uint64_t count = in.u32();
    const auto crc = in.u32();
    if (count > most_blocks || length != fixed_bytes + entry_bytes * count) {
        return bad(path, 0, "its table has another length than its header says");
    }
    Bytes entries(entry_bytes * count);
    TRY_ASSIGN(const auto have, file.read_at(Offset(fixed_bytes), entries));
    if (have != entries.size() ||
        crc != crc32c(entries, crc32c(ByteView(fixed).first(fixed_bytes - 4)))) {
        return bad(path, 0, "the checksum of its table differs");
    }
    if (format != archive_format || block_bytes != archive_block_bytes) {
        return Error{Code::unsupported, path + ": archive format " + std::to_string(format) +
                                            " with blocks of " + std::to_string(block_bytes) +
                                            " bytes; upgrade reeve on this node"};
    }
    if (out.plain_bytes < header_page_bytes || out.plain_bytes > most_archived_bytes ||
        count != blocks_for(out.plain_bytes)) {
        return bad(path, 0, "it declares a length that no segment has");
    }
    out.end = length;
    ByteReader table(entries);
    for (std::uint64_t i = 0; i < count; ++i) {
        const Block block{out.end, table.u32(), table.u32()};
        if (block.stored == 0 || block.stored > most_block_stored) {
            return bad(path, 0, "a block has a length that none has");
        }
        out.blocks.push_back(block);
        out.end += block.stored;
    }
    TRY_ASSIGN(const auto size, file.size());
    if (size != out.end) {
        return bad(path, std::min(size, out.end), "its length is not what its table says");
    }
    return out;
}

/// The bytes of the plain form, read out of the archive. Holds one block.
class ArchiveFile : public env::File {
public:
    ArchiveFile(std::unique_ptr<env::File> file, std::string path, Table table)
        : file_(std::move(file)), path_(std::move(path)), table_(std::move(table)) {}

    Result<std::size_t> read_at(Offset at, std::span<std::uint8_t> out) override {
        std::size_t done = 0;
        while (done < out.size() && at.v + done < table_.plain_bytes) {
            const auto from = at.v + done;
            TRY(load(static_cast<std::size_t>(from / archive_block_bytes)));
            const auto skip = static_cast<std::size_t>(from % archive_block_bytes);
            const auto n = std::min(out.size() - done, plain_.size() - skip);
            std::copy_n(plain_.begin() + static_cast<std::ptrdiff_t>(skip), n,
                        out.begin() + static_cast<std::ptrdiff_t>(done));
            done += n;
        }
        return done;
    }
    Status write_at(Offset, ByteView) override { return refused(); }
    Status sync() override { return refused(); }
    Result<std::uint64_t> size() override { return table_.plain_bytes; }
    Status resize(std::uint64_t) override { return refused(); }
    const Sha256& hash() const { return table_.hash; }
    std::uint64_t archive_bytes() const { return table_.end; }

private:
    Error refused() const { return {Code::invalid, path_ + ": an archive is never written to"}; }

    Status load(std::size_t number) {
        if (loaded_ == number) {
            return ok();
        }
        loaded_.reset();
        const auto& block = table_.blocks[number];
        const auto expected = table_.bytes_of(number);
        stored_.resize(block.stored);
        TRY_ASSIGN(const auto n, file_->read_at(Offset(block.at), stored_));
        if (n != stored_.size() || crc32c(stored_) != block.crc) {
            return bad(path_, block.at, "the checksum of a block differs");
        }
        // One frame of today's format, which declares what the table says: a block that would grow
        // beyond it is refused before and while it is decoded.
        const bool one_frame = n > 4 && load_le<std::uint32_t>(stored_.data()) == zstd_magic &&
                               ZSTD_findFrameCompressedSize(stored_.data(), n) == n &&
                               ZSTD_getFrameContentSize(stored_.data(), n) == expected;
        plain_.resize(expected);
        if (!one_frame ||
            ZSTD_decompress(plain_.data(), plain_.size(), stored_.data(), n) != expected) {
            return bad(path_, block.at, "a block does not hold the bytes that it declares");
        }
        loaded_ = number;
        return ok();
    }

    std::unique_ptr<env::File> file_;
    std::string path_;
    Table table_;
    Bytes stored_;
    Bytes plain_;
    std::optional<std::size_t> loaded_;
};

Result<std::unique_ptr<ArchiveFile>> open_archive(env::FileSystem& files, const std::string& path) {
    TRY_ASSIGN(auto file, files.open(path, env::OpenMode::read));
    TRY_ASSIGN(auto table, read_table(*file, path));
    return std::make_unique<ArchiveFile>(std::move(file), path, std::move(table));
}

/// Calls fn with each block of [0, bytes) of a file. Code::conflict: it ends before.
template <typename F>
Status each_block(env::File& file, const std::string& path, std::uint64_t bytes, F&& fn) {
    Bytes block;
    for (std::uint64_t at = 0; at < bytes; at += block.size()) {
        block.resize(
            static_cast<std::size_t>(std::min<std::uint64_t>(archive_block_bytes, bytes - at)));
        TRY_ASSIGN(const auto n, file.read_at(Offset(at), block));
        if (n != block.size()) {
            return Error{Code::conflict, path + " ends at offset " + std::to_string(at + n)};
        }
        TRY(fn(at, ByteView(block)));
    }
    return ok();
}

/// Nothing but zeros from `at` to the end.
Status expect_zeros(env::File& file, const std::string& path, std::uint64_t at, Code code) {
    Bytes bytes(archive_block_bytes);
    for (;;) {
        TRY_ASSIGN(const auto n, file.read_at(Offset(at), bytes));
        const auto end = bytes.begin() + static_cast<std::ptrdiff_t>(n);
        const auto found = std::find_if(bytes.begin(), end, [](auto byte) { return byte != 0; });
        if (found != end) {
            return Error{code, path + " holds more behind offset " + std::to_string(at)};
        }
        if (n < bytes.size()) {
            return ok();
        }
        at += n;
    }
}

/// The archive, read whole, is what the plain file begins with, and its own hash says so too.
Status compare(env::File& plain, const std::string& plain_path, ArchiveFile& archive) {
    Sha256Stream hash;
    Bytes theirs;
    TRY_ASSIGN(const auto bytes, archive.size());
    const auto same = [&](std::uint64_t at, ByteView ours) -> Status {
        theirs.resize(ours.size());
        TRY_ASSIGN(const auto n, archive.read_at(Offset(at), theirs));
        if (n != theirs.size() || !std::equal(ours.begin(), ours.end(), theirs.begin())) {
            return Error{Code::conflict, "the archive beside " + plain_path +
                                             " holds other bytes at offset " + std::to_string(at)};
        }
        hash.add(theirs);
        return ok();
    };
    TRY(each_block(plain, plain_path, bytes, same));
    return hash.finish() == archive.hash()
               ? ok()
               : Status(Error{Code::conflict,
                              "the archive beside " + plain_path + " bears another hash"});
}

/// Compresses [0, bytes) of `plain` into `out`, the table last: until then it is no archive.
Status write_archive(env::File& plain, const std::string& path, std::uint64_t bytes,
                     env::File& out) {
    Table table;
    table.plain_bytes = bytes;
    std::uint64_t at = fixed_bytes + entry_bytes * blocks_for(bytes);
    Bytes stored(most_block_stored);
    Sha256Stream hash;
    const auto compress = [&](std::uint64_t, ByteView block) -> Status {
        const auto n = ZSTD_compress(stored.data(), stored.size(), block.data(), block.size(),
                                     compression_level);
        if (ZSTD_isError(n) != 0) {
            return Error{Code::io, "compress " + path + ": " + ZSTD_getErrorName(n)};
        }
        const auto view = ByteView(stored).first(n);
        TRY(out.write_at(Offset(at), view));
        table.blocks.push_back({at, static_cast<std::uint32_t>(n), crc32c(view)});
        at += n;
        hash.add(block);
        return ok();
    };
    TRY(each_block(plain, path, bytes, compress));
    table.hash = hash.finish();
    TRY(out.write_at(Offset(0), encode(table)));
    return out.sync();
}

}  // namespace

std::string archive_name(const SegmentId& id) {
    return segment_name(id) + std::string(archive_ending);
}

std::optional<SegmentId> parse_either_name(std::string_view name) {
    if (name.ends_with(archive_ending)) {
        name.remove_suffix(archive_ending.size());
    }
    return parse_segment_name(name);
}

std::vector<SegmentId> segments_among(const std::vector<env::DirEntry>& entries) {
    std::vector<SegmentId> out;
    for (const auto& entry : entries) {
        const auto id = parse_either_name(entry.name);
        if (id && entry.kind == env::FileKind::regular) {
            out.push_back(*id);
        }
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

Result<std::vector<SegmentId>> list_segments(env::FileSystem& files, const std::string& directory) {
    const auto entries = files.list(directory);
    if (!entries && entries.error().code == Code::not_found) {
        return std::vector<SegmentId>{};
    }
    TRY(entries ? ok() : Status(entries.error()));
    return segments_among(*entries);
}

Result<std::unique_ptr<env::File>> open_segment(env::FileSystem& files,
                                                const std::string& directory, const SegmentId& id) {
    const auto plain_path = directory + "/" + segment_name(id);
    auto plain = files.open(plain_path, env::OpenMode::read);
    if (plain || plain.error().code != Code::not_found) {
        return plain;
    }
    auto archive = open_archive(files, directory + "/" + archive_name(id));
    if (archive) {
        return std::unique_ptr<env::File>(std::move(*archive));
    }
    // An archive that was damaged is replaced by the plain form, between the two looks.
    auto again = files.open(plain_path, env::OpenMode::read);
    const bool gone = !again && again.error().code == Code::not_found;
    return gone && archive.error().code != Code::not_found
               ? Result<std::unique_ptr<env::File>>(std::move(archive).error())
               : std::move(again);
}

Result<std::string> segment_path(env::FileSystem& files, const std::string& directory,
                                 const SegmentId& id) {
    auto path = directory + "/" + segment_name(id);
    const auto plain = files.info(path);
    if (plain || plain.error().code != Code::not_found) {
        return plain ? Result<std::string>(std::move(path)) : plain.error();
    }
    auto archive = directory + "/" + archive_name(id);
    TRY(files.info(archive));
    return archive;
}

Result<Archived> make_archive(env::FileSystem& files, const std::string& directory,
                              const SegmentId& id, std::uint64_t bytes, const std::string& by) {
    if (bytes < header_page_bytes || bytes > most_archived_bytes) {
        return Error{Code::invalid, segment_name(id) + " is no segment that can be archived"};
    }
    const auto path = directory + "/" + segment_name(id);
    const auto final_path = directory + "/" + archive_name(id);
    // Nobody else makes one under this name: what stands here was left by a crash.
    const auto private_path =
        directory + "/.archive-" + segment_name(id) + (by.empty() ? "" : "." + by);
    TRY_ASSIGN(auto plain, files.open(path, env::OpenMode::read));
    TRY(expect_zeros(*plain, path, bytes, Code::invalid));
    const auto left = files.remove(private_path);
    if (!left && left.error().code != Code::not_found) {
        return left.error();
    }
    const auto make = [&]() -> Result<Archived> {
        TRY_ASSIGN(auto out, files.open(private_path, env::OpenMode::create_new));
        TRY(write_archive(*plain, path, bytes, *out));
        out.reset();
        TRY_ASSIGN(auto made, open_archive(files, private_path));
        TRY(compare(*plain, path, *made));
        auto linked = files.link(private_path, final_path);
        if (!linked) {
            // It may be ours, of a call whose reply was lost, or of a run that crashed.
            TRY_ASSIGN(auto stands, open_archive(files, final_path));
            TRY_ASSIGN(const auto length, stands->size());
            if (length != bytes) {
                return Error{Code::conflict, final_path + " is of another length"};
            }
            TRY(compare(*plain, path, *stands));
        }
        TRY(files.sync_dir(directory));
        return Archived{bytes, made->archive_bytes()};
    };
    auto made = make();
    static_cast<void>(files.remove(private_path).has_value());
    return made;
}

Status drop_plain(env::FileSystem& files, const std::string& directory, const SegmentId& id) {
    const auto path = directory + "/" + segment_name(id);
    TRY_ASSIGN(auto archive, open_archive(files, directory + "/" + archive_name(id)));
    auto plain = files.open(path, env::OpenMode::read);
    if (!plain) {
        return plain.error().code == Code::not_found ? ok() : Status(plain.error());
    }
    TRY(compare(**plain, path, *archive));
    TRY_ASSIGN(const auto bytes, archive->size());
    TRY(expect_zeros(**plain, path, bytes, Code::conflict));
    TRY(files.sync_dir(directory));
    TRY(files.remove(path));
    return files.sync_dir(directory);
}

}  // namespace reeve::eventlog
