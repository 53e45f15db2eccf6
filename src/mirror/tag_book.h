#pragma once

// The tags that this writer may write, or has written, to its HEAD, on the local disk before the
// first of them is used: an own old HEAD that a rollback of the share brings back must never look
// like a clone's. Bytes in docs/formats/share.md, "head.tags". Owned by the Pusher.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "env/env.h"

namespace reeve::mirror {

using Tag = std::array<std::uint8_t, 16>;

class TagBook {
public:
    /// `path`: <log_root>/<self>/head.tags.
    TagBook(env::FileSystem& files, env::Entropy& entropy, std::string path,
            Incarnation incarnation);
    /// Reads what earlier runs left. An absent file is an empty book; Code::corrupt when it does
    /// not verify.
    Status load();
    /// The tag of `counter` in this incarnation, durable before it is returned.
    Result<Tag> tag_of(std::uint64_t counter);
    bool knows(const Tag& tag) const;
    /// The greatest counter for which a tag was ever set aside in this incarnation; 0 when none
    /// was.
    std::uint64_t greatest_reserved() const;

private:
    struct Entry {
        Incarnation incarnation;
        std::uint64_t counter = 0;
        Tag tag{};
    };
    Status reserve_from(std::uint64_t counter);

    env::FileSystem& files_;
    env::Entropy& entropy_;
    const std::string path_;
    const Incarnation incarnation_;
    std::vector<Entry> entries_;
};

}  // namespace reeve::mirror
