#pragma once

// Text that is shown or stored as text must be UTF-8, whatever a document, a file name or another
// machine's log held.

#include <cstddef>
#include <string>
#include <string_view>

namespace reeve {

/// The longest beginning of at most `most_bytes` that does not end within a character.
std::string_view clip_utf8(std::string_view text, std::size_t most_bytes);

/// The same text with each byte that belongs to no character (RFC 3629) replaced by U+FFFD.
std::string valid_utf8(std::string_view text);

}  // namespace reeve
