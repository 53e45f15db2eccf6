// A job document at the door.

#include "queue/door/door.h"
#include "tests/fuzz/fuzz.h"

using namespace reeve;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const queue::DoorContext context{
        [](const std::string& role) { return role == "storage"; },
        [](const JobId& job) { return job.bytes[15] % 2 == 0; },
    };
    const auto answer = queue::check_document(ByteView(data, size), context);
    if (const auto* refused = std::get_if<queue::Rejection>(&answer)) {
        REQUIRE(!refused->reason.empty());
        return 0;
    }
    const auto& accepted = std::get<queue::AcceptedDocument>(answer);
    REQUIRE(accepted.hash == sha256(as_bytes(accepted.canonical)));
    // What the log keeps is what was accepted, and saying it again says the same.
    const auto kept = queue::parse_canonical(accepted.canonical);
    REQUIRE(kept.has_value());
    REQUIRE(kept->argv == accepted.spec.argv && kept->timeout_s == accepted.spec.timeout_s);
    const auto again = queue::check_document(as_bytes(accepted.canonical), context);
    const auto* same = std::get_if<queue::AcceptedDocument>(&again);
    REQUIRE(same != nullptr && same->canonical == accepted.canonical);
    return 0;
}
