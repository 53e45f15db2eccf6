// What an operator signs: the canonical bytes of a signed event, in the order of its fields, behind
// a word that says which kind it is, so that no signature serves for another.

#include "base/hash.h"
#include "events/events.h"

namespace reeve::events {

Bytes signed_part(const WriterRetired& e) {
    ByteWriter out;
    out.text("reeve writer retired");
    out.raw(e.cluster);
    out.text(e.writer.v);
    out.u64(e.serial);
    out.u64(e.incarnation);
    out.u64(e.segment);
    out.u64(e.end);
    out.u64(e.seq);
    out.raw(e.hash);
    out.text(e.reason);
    return std::move(out).take();
}

Sha256 policy_hash(const PolicyLoaded& e) {
    ByteWriter out;
    out.u32(static_cast<std::uint32_t>(e.files.size()));
    for (const auto& file : e.files) {
        out.text(file.name);
        out.text(file.text);
    }
    return sha256(out.view());
}

Bytes signed_part(const PolicyLoaded& e) {
    ByteWriter out;
    out.text("reeve policy");
    out.raw(e.cluster);
    out.u64(e.version);
    out.raw(policy_hash(e));
    return std::move(out).take();
}

Bytes signed_part(const ForkResolved& e) {
    ByteWriter out;
    out.text("reeve fork resolved");
    out.raw(e.cluster);
    out.text(e.writer.v);
    for (const auto number : {e.continues, e.incarnation, e.segment, e.end, e.seq}) {
        out.u64(number);
    }
    out.raw(e.hash);
    out.text(e.reason);
    return std::move(out).take();
}

}  // namespace reeve::events
