#include "mirror/tag_book.h"

#include <algorithm>

#include "base/hash.h"

namespace reeve::mirror {
namespace {

constexpr std::uint32_t magic = 0x54485652;   // "RVHT"
constexpr std::size_t kept_entries = 64;      // of the past
constexpr std::size_t reserved_entries = 64;  // for the future: one durable write for so many HEADs
constexpr std::size_t max_entries = kept_entries + reserved_entries;
constexpr std::uint64_t max_file_bytes = 8 + 32 * max_entries + 4;

}  // namespace

TagBook::TagBook(env::FileSystem& files, env::Entropy& entropy, std::string path,
                 Incarnation incarnation)
    : files_(files), entropy_(entropy), path_(std::move(path)), incarnation_(incarnation) {}

Status TagBook::load() {
    entries_.clear();
    const auto bytes = files_.read_file(path_, max_file_bytes);
    if (!bytes) {
        return bytes.error().code == Code::not_found ? ok() : Status(bytes.error());
    }
    ByteReader in(*bytes);
    const auto found = in.u32();
    const auto count = in.u32();
    std::vector<Entry> entries;
    for (std::uint32_t i = 0; i < count && in.ok() && count <= max_entries; ++i) {
        Entry entry;
        entry.incarnation = Incarnation(in.u64());
        entry.counter = in.u64();
        const auto tag = in.raw(entry.tag.size());
        std::copy(tag.begin(), tag.end(), entry.tag.begin());
        entries.push_back(entry);
    }
    const auto covered = in.position();
    const auto crc = in.u32();
    if (!in.at_end() || found != magic || crc != crc32c(ByteView(*bytes).first(covered))) {
        return Error{Code::corrupt, path_ + " does not verify"};
    }
    entries_ = std::move(entries);
    return ok();
}

Result<Tag> TagBook::tag_of(std::uint64_t counter) {
    const auto find = [&] {
        return std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
            return entry.incarnation == incarnation_ && entry.counter == counter;
        });
    };
    if (find() == entries_.end()) {
        TRY(reserve_from(counter));
    }
    return find()->tag;
}

Status TagBook::reserve_from(std::uint64_t counter) {
    auto entries = entries_;
    if (entries.size() > kept_entries) {
        entries.erase(entries.begin(), entries.end() - kept_entries);
    }
    for (std::uint64_t i = 0; i < reserved_entries; ++i) {
        Entry entry{incarnation_, counter + i, {}};
        entropy_.fill(entry.tag);
        entries.push_back(entry);
    }
    ByteWriter out;
    out.u32(magic);
    out.u32(static_cast<std::uint32_t>(entries.size()));
    for (const auto& entry : entries) {
        out.u64(entry.incarnation.v);
        out.u64(entry.counter);
        out.raw(entry.tag);
    }
    out.u32(crc32c(out.view()));
    TRY(files_.replace_file(path_, out.view(), true).with("remember HEAD tags"));
    entries_ = std::move(entries);
    return ok();
}

bool TagBook::knows(const Tag& tag) const {
    return std::any_of(entries_.begin(), entries_.end(),
                       [&](const Entry& entry) { return entry.tag == tag; });
}

std::uint64_t TagBook::greatest_reserved() const {
    std::uint64_t greatest = 0;
    for (const auto& entry : entries_) {
        greatest = entry.incarnation == incarnation_ ? std::max(greatest, entry.counter) : greatest;
    }
    return greatest;
}

}  // namespace reeve::mirror
