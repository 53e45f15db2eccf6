// make_future LOG WHAT: goes on with the log of mira.worker in the directory LOG as a build of the
// future would, one incarnation later, and declares it in HEAD.
//
//   level    NodeStarted and LevelRaised of a level far above this build's, and an event of a type
//            that it does not know
//   event    the same type, without a new level: what a newer neighbour may write by mistake
//   frame    a batch that verifies, with an event frame of another version
//   format   a segment whose header names another format

#include "events/codec.h"
#include "tests/golden/story.h"

namespace reeve::golden {
namespace {

constexpr std::uint32_t future_level = 9;
constexpr std::uint16_t future_type = 200;

/// An event as its writer encodes it, but of a type that nobody here knows: the union says so too.
eventlog::EncodedEvent unknown_event(Hlc hlc) {
    const events::Payload known = events::Observation{"of", "the", "future"};
    eventlog::EncodedEvent out{future_type, must(events::encode(hlc, known))};
    auto* p = out.bytes.data();
    const auto root = load_le<std::uint32_t>(p);
    const auto vtable = root - load_le<std::uint32_t>(p + root);
    const auto field = load_le<std::uint16_t>(p + vtable + 4 + 2 * 1);  // payload_type
    p[root + field] = static_cast<std::uint8_t>(future_type);
    return out;
}

Bytes batch_behind(const eventlog::LogPosition& end, Hlc hlc) {
    const auto event = unknown_event(hlc);
    eventlog::BatchHeader header;
    header.uid = eventlog::segment_uid(cluster, mira, segment_of(end));
    header.first_seq = end.seq.next();
    header.first_hlc = header.last_hlc = hlc;
    header.synced_through = end.end;
    header.previous = end.hash;
    return eventlog::encode_batch(header, std::span(&event, 1));
}

/// Another version of the event frame; both CRCs are right.
void change_frame(Bytes& batch) {
    auto* p = batch.data();
    store_le(p + eventlog::batch_header_bytes + 6, std::uint16_t{2});
    store_le(p + 56, crc32c(ByteView(batch).subspan(eventlog::batch_header_bytes)));
    store_le(p + 4, crc32c(ByteView(batch).subspan(8, eventlog::batch_header_bytes - 8)));
}

void append_raw(Scene& scene, const std::string& path, eventlog::LogPosition& end,
                const Bytes& batch) {
    auto file = must(scene.files.open(path, env::OpenMode::create));
    must(file->write_at(end.end, batch));
    end.end = Offset(end.end.v + batch.size());
    end.seq = end.seq.next();
    end.hash = sha256(batch);
}

/// The page names format 2; its CRC and its signature are right.
void change_format(Scene& scene, const std::string& path) {
    constexpr std::size_t crc_at = 200;
    constexpr std::size_t signature_at = 4032;
    auto file = must(scene.files.open(path, env::OpenMode::create));
    Bytes page(eventlog::header_page_bytes);
    must(file->read_at(Offset(0), page));
    auto* p = page.data();
    store_le(p + 8, std::uint32_t{2});
    const auto before = crc32c(ByteView(page).first(crc_at));
    store_le(p + crc_at,
             crc32c(ByteView(page).subspan(crc_at + 4, signature_at - crc_at - 4), before));
    const auto signature = identity_of(mira).key.sign(ByteView(page).first(signature_at));
    std::copy(signature.begin(), signature.end(), p + signature_at);
    must(file->write_at(Offset(0), page));
}

void go_on(const std::string& directory, const std::string& what) {
    Scene scene;
    const auto before =
        must(eventlog::recover(scene.files, directory, scene.trust, mira, eventlog::Tail::owners));
    // Behind all that the others wrote, too.
    scene.clock.pass(hlc_ms(before.last_hlc) + 60'000 - scene.clock.ms());
    const bool raises = what == "level";
    const auto level = raises ? future_level : events::current_level;
    StoryWriter writer(scene, directory, mira, level, eventlog::default_segment_bytes);
    const auto incarnation = before.end.incarnation.v + 1;
    writer.start(incarnation);
    std::vector<events::Payload> first{started(mira, incarnation, level, "future")};
    if (raises) {
        first.emplace_back(events::LevelRaised{future_level});
    }
    writer.say(std::move(first));
    auto end = writer.position();
    const auto path = writer.file();
    auto batch = batch_behind(end, Hlc(static_cast<std::uint64_t>(scene.clock.ms() + 1) << 16));
    if (what == "frame") {
        change_frame(batch);
    }
    append_raw(scene, path, end, batch);
    if (what == "format") {
        change_format(scene, path);
    }
    writer.declare(end);
}

}  // namespace
}  // namespace reeve::golden

int main(int argc, char** argv) {
    const std::string what = argc == 3 ? argv[2] : "";
    if (what != "level" && what != "event" && what != "frame" && what != "format") {
        std::fprintf(stderr, "usage: make_future LOG level|event|frame|format\n");
        return 2;
    }
    reeve::golden::go_on(argv[1], what);
    return 0;
}
