// What lies on the share about membership: certificates and requests, as bytes and as JSON.

#include "share/dir/members.h"
#include "tests/fuzz/fuzz.h"

using namespace reeve;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Pieces in(data, size);
    const auto kind = in.byte() % 4;
    const auto rest = in.rest();
    if (kind == 0) {
        const auto certificate = eventlog::decode_certificate(rest);
        if (certificate) {
            REQUIRE(rest.size() >= eventlog::certificate_bytes);
            const auto again = eventlog::encode(*certificate);
            REQUIRE(std::equal(again.begin(), again.end(), rest.begin()));
            static_cast<void>(fuzz::trust().check(*certificate, fuzz::writer).has_value());
        }
    } else if (kind == 1) {
        const auto certificate = eventlog::parse_certificate(as_text(rest));
        if (certificate) {
            const auto again =
                eventlog::parse_certificate(eventlog::certificate_text(*certificate));
            REQUIRE(again && *again == *certificate);
        }
    } else if (kind == 2) {
        const auto request = share::parse_request(as_text(rest));
        REQUIRE(request || request.error().code == Code::invalid);
        REQUIRE(!request || valid_node_name(request->node.v));
    } else {
        const auto code = eventlog::join_code(fuzz::cluster, fuzz::trust().operators());
        REQUIRE(eventlog::same_join_code(code, code));
        REQUIRE(!eventlog::same_join_code(as_text(rest), code) || rest.size() >= 16);
    }
    return 0;
}
