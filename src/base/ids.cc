#include "base/ids.h"

#include <algorithm>

namespace reeve {
namespace {

constexpr std::string_view crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr std::size_t ulid_chars = 26;

int crockford_value(char c) {
    const auto at = crockford.find(c);
    return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

}  // namespace

NodeId node_of(const WriterId& writer) { return NodeId(writer.v.substr(0, writer.v.find('.'))); }

bool valid_node_name(std::string_view name) {
    if (name.empty() || name.size() > 32 || name[0] < 'a' || name[0] > 'z') {
        return false;
    }
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
    });
}

bool valid_writer_name(std::string_view name) {
    const auto dot = name.find('.');
    if (dot == std::string_view::npos || !valid_node_name(name.substr(0, dot))) {
        return false;
    }
    const auto role = name.substr(dot + 1);
    return role == "worker" || role == "coord";
}

std::string JobId::text() const {
    // 128 bits as 26 groups of 5, the first group holding the top 3 bits.
    std::string out(ulid_chars, '0');
    for (std::size_t i = 0; i < ulid_chars; ++i) {
        int value = 0;
        for (int bit = 0; bit < 5; ++bit) {
            const int position = static_cast<int>(i) * 5 + bit - 2;  // bit of the 128, from the top
            const bool set =
                position >= 0 &&
                ((bytes[static_cast<std::size_t>(position) / 8] >> (7 - position % 8)) & 1) != 0;
            value = value * 2 + (set ? 1 : 0);
        }
        out[i] = crockford[static_cast<std::size_t>(value)];
    }
    return out;
}

std::int64_t JobId::ms() const {
    std::int64_t out = 0;
    for (std::size_t i = 0; i < 6; ++i) {
        out = out * 256 + bytes[i];
    }
    return out;
}

Result<JobId> JobId::parse(std::string_view text) {
    const Error bad{Code::invalid,
                    "'" + std::string(text.substr(0, 40)) +
                        "' is not a job id (26 characters of 0-9 A-Z without I L O U)"};
    if (text.size() != ulid_chars || crockford_value(text[0]) < 0 || crockford_value(text[0]) > 7) {
        return bad;
    }
    JobId id;
    for (std::size_t i = 0; i < ulid_chars; ++i) {
        const int value = crockford_value(text[i]);
        if (value < 0) {
            return bad;
        }
        for (int bit = 0; bit < 5; ++bit) {
            const int position = static_cast<int>(i) * 5 + bit - 2;
            if (position >= 0 && ((value >> (4 - bit)) & 1) != 0) {
                auto& byte = id.bytes[static_cast<std::size_t>(position) / 8];
                byte = static_cast<std::uint8_t>(byte | (1U << (7 - position % 8)));
            }
        }
    }
    return id;
}

JobId JobId::make(std::int64_t ms, const std::array<std::uint8_t, 10>& random) {
    JobId id;
    for (std::size_t i = 0; i < 6; ++i) {
        id.bytes[i] = static_cast<std::uint8_t>((ms >> (8 * (5 - i))) & 0xff);
    }
    std::copy(random.begin(), random.end(), id.bytes.begin() + 6);
    return id;
}

std::string AttemptId::text() const { return job.text() + ".a" + std::to_string(attempt.v); }

Result<AttemptId> AttemptId::parse(std::string_view text) {
    const Error bad{Code::invalid,
                    "'" + std::string(text.substr(0, 60)) + "' is not an attempt (<job>.a<k>)"};
    if (text.size() < ulid_chars + 3 || text.substr(ulid_chars, 2) != ".a") {
        return bad;
    }
    TRY_ASSIGN(const JobId job, JobId::parse(text.substr(0, ulid_chars)));
    const auto digits = text.substr(ulid_chars + 2);
    if (digits.size() > 6 || digits[0] == '0' ||
        !std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) {
        return bad;
    }
    std::uint32_t value = 0;
    for (const char c : digits) {
        value = value * 10 + static_cast<std::uint32_t>(c - '0');
    }
    return AttemptId{job, AttemptNo(value)};
}

}  // namespace reeve
