#pragma once

// A log share that counts what goes through it, and fails when it is told to.

#include <functional>

#include "share/share.h"

namespace reeve::testing {

class CountingShare : public share::LogShare {
public:
    explicit CountingShare(share::LogShare& real) : real_(real) {}
    std::uint64_t put_bytes = 0;
    std::uint64_t got_bytes = 0;
    std::uint64_t looks = 0;
    int puts_that_fail = 0;         // from now on
    std::function<void()> in_head;  // while a HEAD is read; may be empty

    Status put(const WriterId& writer, const std::string& name, Offset at,
               ByteView bytes) override {
        put_bytes += bytes.size();
        if (puts_that_fail > 0) {
            --puts_that_fail;
            // As a lost reply does: some of it stands there.
            TRY(real_.put(writer, name, at, bytes.first(bytes.size() / 2)));
            return Error{Code::io, "the share went away"};
        }
        return real_.put(writer, name, at, bytes);
    }
    Result<std::optional<std::uint64_t>> length(const WriterId& writer,
                                                const std::string& name) override {
        ++looks;
        return real_.length(writer, name);
    }
    Result<Bytes> get(const WriterId& writer, const std::string& name, Offset at,
                      std::size_t limit) override {
        auto out = real_.get(writer, name, at, limit);
        got_bytes += out ? out->size() : 0;
        return out;
    }
    Status declare(const eventlog::HeadSlot& slot) override { return real_.declare(slot); }
    Status declare_for(const eventlog::HeadSlot& slot, const WriterId& pusher) override {
        return real_.declare_for(slot, pusher);
    }
    Result<WallTime> declared_at(const WriterId& writer, Incarnation incarnation) override {
        return real_.declared_at(writer, incarnation);
    }
    Result<std::optional<eventlog::HeadSlot>> head(const WriterId& writer,
                                                   std::uint64_t known_serial) override {
        return real_.head(writer, known_serial);
    }
    Result<std::optional<eventlog::HeadSlot>> own_head(const WriterId& writer,
                                                       Incarnation incarnation) override {
        auto slot = real_.own_head(writer, incarnation);
        if (in_head) {
            in_head();
        }
        return slot;
    }
    Result<std::vector<WriterId>> writers() override { return real_.writers(); }
    Result<std::vector<std::string>> segments(const WriterId& writer) override {
        return real_.segments(writer);
    }
    Result<std::string> quarantine(const WriterId& writer, const std::string& name) override {
        return real_.quarantine(writer, name);
    }
    Result<share::Nonce> claim_incarnation(const WriterId& writer, Incarnation n,
                                           const share::Nonce& mine) override {
        return real_.claim_incarnation(writer, n, mine);
    }
    Result<Incarnation> greatest_incarnation(const WriterId& writer) override {
        return real_.greatest_incarnation(writer);
    }

private:
    share::LogShare& real_;
};

}  // namespace reeve::testing
