// What worker and supervisor say to each other.

#include "exec/protocol.h"
#include "tests/fuzz/fuzz.h"

using namespace reeve;

namespace {

template <typename Message>
void check(const Result<Message>& message, ByteView packet, Result<Message> (*decode)(ByteView)) {
    if (!message) {
        REQUIRE(message.error().code == Code::invalid || message.error().code == Code::unsupported);
        return;
    }
    const auto again = exec::encode(*message);
    if (again.size() == packet.size()) {
        REQUIRE(std::equal(again.begin(), again.end(), packet.begin(), packet.end()));
        return;
    }
    REQUIRE(again.size() < packet.size());  // a reason that was too long
    const auto shorter = decode(again);
    REQUIRE(shorter && exec::encode(*shorter) == again);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteView packet(data, size);
    check(exec::decode_client(packet), packet, exec::decode_client);
    check(exec::decode_server(packet), packet, exec::decode_server);
    return 0;
}
