// Writes the first inputs of the fuzz targets: right ones, from which a fuzzer finds wrong ones.
// usage: make_fuzz_corpus DIRECTORY       (tests/fuzz/corpus; run again when a format has grown)

#include <zstd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "eventlog/archive.h"
#include "eventlog/head.h"
#include "events/codec.h"
#include "exec/protocol.h"
#include "mirror/mirror.h"
#include "share/dir/members.h"
#include "share/dir/records.h"
#include "tests/fuzz/fuzz.h"
#include "tests/projection/random_events.h"

using namespace reeve;

namespace {

std::filesystem::path root;

void put(const std::string& target, const std::string& name, ByteView bytes) {
    std::filesystem::create_directories(root / target);
    std::ofstream file(root / target / name, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
}
void put(const std::string& target, const std::string& name, std::uint8_t first, ByteView bytes) {
    Bytes all{first};
    all.insert(all.end(), bytes.begin(), bytes.end());
    put(target, name, all);
}

/// One event of each type, the smallest of many.
std::map<std::uint16_t, eventlog::EncodedEvent> one_of_each() {
    std::map<std::uint16_t, eventlog::EncodedEvent> out;
    projection::RandomEvents random(7);
    for (int round = 0; round < 200; ++round) {
        for (const auto& [writer, log] : random.logs(40)) {
            for (const auto& event : log) {
                if (std::holds_alternative<events::Unknown>(event.payload)) {
                    continue;
                }
                const auto type = events::type_id(event.payload);
                auto bytes = events::encode(event.hlc, event.payload);
                if (bytes && (!out.contains(type) || bytes->size() < out[type].bytes.size())) {
                    out[type] = {type, std::move(*bytes)};
                }
            }
        }
    }
    return out;
}

void events_and_segments() {
    Bytes file;
    eventlog::BatchHeader header;
    header.uid = eventlog::segment_uid(fuzz::cluster, fuzz::writer, {Incarnation(1), SegmentNo(1)});
    std::uint64_t seq = 1;
    for (const auto& [type, event] : one_of_each()) {
        Bytes framed(2);
        store_le(framed.data(), type);
        framed.insert(framed.end(), event.bytes.begin(), event.bytes.end());
        put("event", events::type_name(type), framed);
        const auto value = events::decode(type, event.bytes, fuzz::writer, Seq(seq));
        header.first_seq = Seq(seq++);
        header.first_hlc = header.last_hlc = value->hlc;
        header.synced_through = Offset(eventlog::header_page_bytes);
        const auto batch = eventlog::encode_batch(header, std::span(&event, 1));
        header.previous = sha256(batch);
        file.insert(file.end(), batch.begin(), batch.end());
        if (type == 3 || type == 8) {
            put("segment", "few-" + std::to_string(type), 0, file);
        }
    }
    put("segment", "each-type", 0, file);
    eventlog::Seal seal{header.uid,
                        Offset(eventlog::header_page_bytes + file.size()),
                        Seq(seq - 1),
                        header.previous,
                        {}};
    const auto end = eventlog::encode_seal(seal, fuzz::identity().key);
    file.insert(file.end(), end.begin(), end.end());
    put("segment", "sealed", 0, file);
}

/// A segment of two blocks, the second one short.
void archives() {
    Bytes plain(eventlog::archive_block_bytes + 5000, 7);
    ByteWriter table;
    ByteWriter blocks;
    for (std::size_t at = 0; at < plain.size(); at += eventlog::archive_block_bytes) {
        const auto n = std::min(plain.size() - at, eventlog::archive_block_bytes);
        Bytes stored(ZSTD_compressBound(n));
        stored.resize(ZSTD_compress(stored.data(), stored.size(), plain.data() + at, n, 3));
        table.u32(static_cast<std::uint32_t>(stored.size()));
        table.u32(crc32c(stored));
        blocks.raw(stored);
    }
    ByteWriter out;
    out.u32(0x184D2A5E);
    out.u32(static_cast<std::uint32_t>(64 + table.view().size()));
    out.raw(as_bytes("RVARC001"));
    out.u32(1);
    out.u32(static_cast<std::uint32_t>(eventlog::archive_block_bytes));
    out.u64(plain.size());
    out.raw(sha256(plain));
    out.u32(static_cast<std::uint32_t>(table.view().size() / 8));
    out.u32(crc32c(table.view(), crc32c(out.view())));
    out.raw(table.view());
    out.raw(blocks.view());
    put("archive", "two-blocks", out.view());
}

void heads_rings_records() {
    eventlog::HeadSlot slot;
    slot.writer = fuzz::writer;
    slot.incarnation = Incarnation(1);
    slot.counter = 3;
    slot.host = "nova";
    eventlog::sign(slot, fuzz::identity());
    auto two = eventlog::encode(slot);
    slot.counter = 4;
    eventlog::sign(slot, fuzz::identity());
    const auto other = eventlog::encode(slot);
    two.insert(two.end(), other.begin(), other.end());
    put("head", "two", two);
    put("head", "one", other);
    slot.incarnation = Incarnation(2);  // the later run counts, with the smaller number
    slot.counter = 1;
    eventlog::sign(slot, fuzz::identity());
    auto runs = eventlog::encode(slot);
    runs.insert(runs.end(), other.begin(), other.end());
    put("head", "two-runs", runs);
    put("ring", "one",
        mirror::encode(mirror::Ring{fuzz::cluster, fuzz::writer, SegmentNo(2), Offset(8192)}));
    put("record", "ticket", 0,
        share::encode_ticket({fuzz::writer, Incarnation(3), {7}, share::TicketKind::run}));
    put("record", "incarnation", 0, share::encode_incarnation({fuzz::writer, Incarnation(3), {7}}));
    put("record", "segment-name", 1, as_bytes("0000000003-0000000001.rlog"));
    put("record", "attempt", 1, as_bytes("01HF7YAT00000000000000000Z.a1"));
    put("record", "dropped", 1, as_bytes("nightly backup.json"));
    put("record", "path", 1, as_bytes("2024-01-02/result.json"));
}

void members() {
    put("member", "certificate", 0, eventlog::encode(fuzz::identity().certificate));
    put("member", "certificate-text", 1,
        as_bytes(eventlog::certificate_text(fuzz::identity().certificate)));
    const share::JoinRequest request{
        fuzz::cluster, NodeId("nova"),   3, fuzz::identity().certificate.key,
        "nova",        1'700'000'000'000};
    put("member", "request", 2, as_bytes(share::request_text(request, fuzz::identity().key)));
    put("member", "code", 3,
        as_bytes(eventlog::join_code(fuzz::cluster, fuzz::trust().operators())));
}

void packets() {
    const AttemptId attempt{JobId::make(1'700'000'000'000, {1, 2, 3}), AttemptNo(1)};
    env::ExecPlan plan;
    plan.attempt = attempt;
    plan.argv = {"/bin/echo", "hello"};
    plan.directory = "/run/x";
    env::ExecOutcome outcome;
    outcome.attempt = attempt;
    put("exec", "hello", exec::encode(exec::ClientMessage(exec::ClientHello{})));
    put("exec", "start", exec::encode(exec::ClientMessage(exec::Start{plan, ""})));
    put("exec", "stop", exec::encode(exec::ClientMessage(exec::Stop{attempt, 1000})));
    put("exec", "ack", exec::encode(exec::ClientMessage(exec::Ack{7})));
    put("exec", "outcome", exec::encode(exec::ServerMessage(outcome)));
    put("exec", "server-hello", exec::encode(exec::ServerMessage(exec::ServerHello{})));
}

void texts() {
    put("policy", "defaults",
        as_bytes("[results]\nage_days = 30\ntotal_gib = 20\n\n[rendering]\nage_days = 30\n\n"
                 "[rejected]\nage_days = 30\n\n[quarantine]\nage_days = 90\n"));
    put("policy", "none", as_bytes("[results]\nage_days = 0\n"));
    put("document", "least", as_bytes(R"({"argv":["/bin/true"]})"));
    put("document", "much",
        as_bytes(R"({"argv":["/bin/sh","-c","date"],"name":"a","priority":"high",
"requires":{"roles":["storage"],"labels":{"gpu":"yes"},"cpus":2,"memory_mb":64},"timeout_s":10,
"grace_s":1,"cwd":"/tmp","env":{"A":"b"},"stdin":"x","outputs":["out.txt"],
"retry":{"max":3,"backoff_s":1,"on":["failed","timeout","lost"]},"dedupe":"nightly",
"not_before":"2026-01-01T00:00:00Z","deadline":"2026-01-02T00:00:00Z"})"));
}

void requests() {
    put("request", "verbs", as_bytes(R"({"verb":"ping"}
{"verb":"live"}
{"verb":"switch","name":"drain/nova","value":"on","reason":"cleaning"}
{"verb":"cancel","job":"01hzzzzzzzzzzzzzzzzzzzzzzz","give_up_lost":true,"request_id":"r"}
{"verb":"append_signed","type":17,"event":"00ff"}
{"verb":"what"})"));
    put("request", "submit",
        as_bytes(R"({"verb":"submit","request_id":"r1","documents":["{\"argv\":[\"/bin/true\"]}"]}
{"verb":"submit","documents":["{\"argv\":[\"/x\"],\"dedupe\":\"n\"}","{\"argv\":[\"/x\"]}"]}
{"verb":"submit","documents":["{}"],"retry_of":"x"}
{"verb":"live"})"));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: make_fuzz_corpus DIRECTORY\n");
        return 2;
    }
    root = argv[1];
    events_and_segments();
    archives();
    heads_rings_records();
    members();
    packets();
    texts();
    requests();
    return 0;
}
