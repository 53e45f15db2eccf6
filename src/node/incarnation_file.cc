#include "node/incarnation_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "node/replies.h"

namespace reeve::node {
namespace {

constexpr std::uint64_t longest = 4096;

std::string encode(const RememberedIncarnation& what) {
    const std::string said = std::to_string(what.incarnation.v) + " " + to_hex(what.nonce);
    const nlohmann::json record{{"incarnation", what.incarnation.v},
                                {"nonce", to_hex(what.nonce)},
                                {"crc32c", crc32c(as_bytes(said))}};
    return record.dump();
}

std::optional<RememberedIncarnation> decode(ByteView bytes) {
    const auto parsed = nlohmann::json::parse(as_text(bytes), nullptr, false);
    const auto number = parsed.is_object() ? parsed.find("incarnation") : parsed.end();
    if (number == parsed.end() || !number->is_number_unsigned()) {
        return std::nullopt;
    }
    RememberedIncarnation out{Incarnation(number->get<std::uint64_t>()), {}};
    const auto nonce = from_hex(text_of(parsed, "nonce"));
    if (!nonce || nonce->size() != out.nonce.size()) {
        return std::nullopt;
    }
    std::copy(nonce->begin(), nonce->end(), out.nonce.begin());
    // One encoding: then no bit of the file, the checksum included, can change unseen.
    return encode(out) == as_text(bytes) ? std::optional(out) : std::nullopt;
}

}  // namespace

Result<std::optional<RememberedIncarnation>> remembered_incarnation(env::FileSystem& files,
                                                                    const std::string& path) {
    const auto bytes = files.read_file(path, longest);
    if (!bytes && bytes.error().code == Code::not_found) {
        return std::optional<RememberedIncarnation>();
    }
    if (!bytes && bytes.error().code != Code::full) {
        return bytes.error();
    }
    const auto what = bytes ? decode(*bytes) : std::nullopt;
    if (!what) {
        return Error{Code::corrupt, path + " at offset 0: it does not verify"};
    }
    return what;
}

Status remember_incarnation(env::FileSystem& files, const std::string& path,
                            const RememberedIncarnation& what) {
    return files.replace_file(path, as_bytes(encode(what)), true);
}

}  // namespace reeve::node
