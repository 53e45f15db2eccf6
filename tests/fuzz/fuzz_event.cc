// One event as it stands in a frame: type, then a FlatBuffer.

#include <nlohmann/json.hpp>

#include "events/codec.h"
#include "tests/fuzz/fuzz.h"

using namespace reeve;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Pieces in(data, size);
    const auto type = in.u16();
    const auto rest = in.rest();
    const Bytes bytes(rest.begin(), rest.end());  // aligned, as everything in a log is
    const auto event = events::decode(type, bytes, fuzz::writer, Seq(1));
    if (!event) {
        REQUIRE(event.error().code == Code::corrupt);
        return 0;
    }
    // People see all that is believed; hostile text must not break the document around it.
    REQUIRE(nlohmann::json::accept(events::to_json(*event)));
    if (std::holds_alternative<events::Unknown>(event->payload)) {
        return 0;  // kept as it stands, and written by nobody
    }
    const auto again = events::encode(event->hlc, event->payload);
    if (!again) {  // bytes of one buffer may be shared by many fields: written out they are more
        REQUIRE(again.error().code == Code::invalid);
        return 0;
    }
    const auto same = events::decode(events::type_id(event->payload), *again, fuzz::writer, Seq(1));
    REQUIRE(same.has_value());
    REQUIRE(events::to_json(*same) == events::to_json(*event));
    return 0;
}
