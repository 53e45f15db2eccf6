#pragma once

// Bytes: the one buffer type, little-endian access, and a canonical writer and reader.
//
// ByteWriter and ByteReader are the encoding of projection rows: fixed-width little-endian integers
// and length-prefixed strings, one encoding per value, so that equal rows are equal bytes (I5).

#include <array>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace reeve {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

inline ByteView as_bytes(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteView bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <std::integral T>
T load_le(const std::uint8_t* p) {
    T v;
    std::memcpy(&v, p,
                sizeof v);  // all supported machines are little endian (asserted in bytes.cc)
    return v;
}
template <std::integral T>
void store_le(std::uint8_t* p, T v) {
    std::memcpy(p, &v, sizeof v);
}

constexpr std::size_t align8(std::size_t n) { return (n + 7) & ~std::size_t{7}; }

std::string to_hex(ByteView bytes);
Result<Bytes> from_hex(std::string_view text);

class ByteWriter {
public:
    ByteWriter() = default;
    /// For about so many bytes.
    explicit ByteWriter(std::size_t expected) { out_.reserve(expected); }
    void u8(std::uint8_t v) { out_.push_back(v); }
    void u16(std::uint16_t v) { integer(v); }
    void u32(std::uint32_t v) { integer(v); }
    void u64(std::uint64_t v) { integer(v); }
    void i64(std::int64_t v) { integer(v); }
    void boolean(bool v) { u8(v ? 1 : 0); }
    void text(std::string_view v) { bytes(as_bytes(v)); }
    void bytes(ByteView v) {
        u32(static_cast<std::uint32_t>(v.size()));
        raw(v);
    }
    void raw(ByteView v) { out_.insert(out_.end(), v.begin(), v.end()); }
    Bytes take() && { return std::move(out_); }
    const Bytes& view() const { return out_; }

private:
    template <typename T>
    void integer(T v) {
        std::array<std::uint8_t, sizeof v> bytes;
        store_le(bytes.data(), v);
        out_.insert(out_.end(), bytes.begin(), bytes.end());
    }
    Bytes out_;
};

/// Reads what ByteWriter wrote. A short or over-long input makes `ok()` false for good and every
/// further read a zero value: check once at the end.
class ByteReader {
public:
    explicit ByteReader(ByteView in) : in_(in) {}
    std::uint8_t u8() { return integer<std::uint8_t>(); }
    std::uint16_t u16() { return integer<std::uint16_t>(); }
    std::uint32_t u32() { return integer<std::uint32_t>(); }
    std::uint64_t u64() { return integer<std::uint64_t>(); }
    std::int64_t i64() { return integer<std::int64_t>(); }
    bool boolean() {
        const auto v = u8();
        ok_ = ok_ && v <= 1;  // one encoding per value
        return v == 1;
    }
    std::string text() {
        const auto v = raw(u32());
        return std::string(as_text(v));
    }
    Bytes bytes() {
        const auto v = raw(u32());
        return Bytes(v.begin(), v.end());
    }
    ByteView raw(std::size_t n) {
        if (!ok_ || n > in_.size() - at_) {
            ok_ = false;
            return {};
        }
        const auto v = in_.subspan(at_, n);
        at_ += n;
        return v;
    }
    bool ok() const { return ok_; }
    bool at_end() const { return ok_ && at_ == in_.size(); }
    std::size_t position() const { return at_; }

private:
    template <typename T>
    T integer() {
        const auto v = raw(sizeof(T));
        return v.empty() ? T{} : load_le<T>(v.data());
    }
    ByteView in_;
    std::size_t at_ = 0;
    bool ok_ = true;
};

}  // namespace reeve
