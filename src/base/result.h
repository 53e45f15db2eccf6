#pragma once

// Result<T>: a value or an Error, shaped like std::expected so that a later move is mechanical.
//
// Error codes are a short closed list, one per different *reaction* of a caller. Each layer adds
// one clause of context with `Error::with`; the text is assembled outermost first: "open log: read
// header: short read".

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace reeve {

enum class Code {
    not_found,    // the named thing does not exist
    conflict,     // it exists and is somebody else's, or differs
    invalid,      // the caller's input is wrong; mend the input
    corrupt,      // stored bytes do not verify; stop, report, repair from a copy
    io,           // the operating system failed; may or may not have happened
    full,         // no space, or a bounded queue is full
    timeout,      // a deadline passed; may or may not have happened
    unavailable,  // the other side (NAS, daemon) is away; try later
    cancelled,    // the task is being stopped
    unsupported,  // a level, feature or format that this build does not know
    denied,       // not allowed: no certificate, no operator, no right
    replaced,     // another writer of this node has taken over: exit 11
};

std::string_view code_name(Code code);

struct [[nodiscard]] Error {
    Code code = Code::io;
    std::string message;

    /// The same error with one more clause of context in front.
    Error with(std::string_view context) && {
        message.insert(0, ": ");
        message.insert(0, context);
        return std::move(*this);
    }
    Error with(std::string_view context) const& { return Error(*this).with(context); }
};

template <typename T>
class [[nodiscard]] Result {
public:
    using value_type = T;
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const { return state_.index() == 0; }
    explicit operator bool() const { return has_value(); }

    T& value() & {
        CHECK(has_value());
        return std::get<0>(state_);
    }
    const T& value() const& {
        CHECK(has_value());
        return std::get<0>(state_);
    }
    T&& value() && {
        CHECK(has_value());
        return std::get<0>(std::move(state_));
    }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }
    T value_or(T other) const& { return has_value() ? std::get<0>(state_) : std::move(other); }

    Error& error() & {
        CHECK(!has_value());
        return std::get<1>(state_);
    }
    const Error& error() const& {
        CHECK(!has_value());
        return std::get<1>(state_);
    }
    Error&& error() && {
        CHECK(!has_value());
        return std::get<1>(std::move(state_));
    }
    Result with(std::string_view context) && {
        if (!has_value()) {
            return std::get<1>(std::move(state_)).with(context);
        }
        return std::move(*this);
    }

private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
public:
    using value_type = void;
    Result() = default;
    Result(Error error) : error_(std::move(error)) {}

    bool has_value() const { return !error_.has_value(); }
    explicit operator bool() const { return has_value(); }
    void value() const { CHECK(has_value()); }
    Error& error() & {
        CHECK(!has_value());
        return *error_;
    }
    const Error& error() const& {
        CHECK(!has_value());
        return *error_;
    }
    Error&& error() && {
        CHECK(!has_value());
        return *std::move(error_);
    }
    Result with(std::string_view context) && {
        if (error_) {
            return (*std::move(error_)).with(context);
        }
        return {};
    }

private:
    std::optional<Error> error_;
};

using Status = Result<void>;
inline Status ok() { return {}; }

}  // namespace reeve

#define REEVE_CONCAT_INNER(a, b) a##b
#define REEVE_CONCAT(a, b) REEVE_CONCAT_INNER(a, b)

/// Evaluates a Result and returns its error from the enclosing function, if it has one.
#define TRY(expression)                                    \
    do {                                                   \
        if (auto try_result = (expression); !try_result) { \
            return std::move(try_result).error();          \
        }                                                  \
    } while (false)

/// TRY_ASSIGN(auto x, expression): the value, or return the error.
#define TRY_ASSIGN(declaration, expression)                            \
    auto REEVE_CONCAT(try_assign_, __LINE__) = (expression);           \
    if (!REEVE_CONCAT(try_assign_, __LINE__)) {                        \
        return std::move(REEVE_CONCAT(try_assign_, __LINE__)).error(); \
    }                                                                  \
    declaration = std::move(REEVE_CONCAT(try_assign_, __LINE__)).value()
