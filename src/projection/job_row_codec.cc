// Canonical bytes of a job row: equal rows are equal bytes, on every node (I5). A version byte,
// then the fields in the order of the struct; maps in key order.

#include "projection/job_row.h"
#include "projection/row_bytes.h"

namespace reeve::projection {
namespace {

constexpr std::uint8_t row_version = 1;
constexpr std::size_t usual_row_bytes = 1024;

void put_submission(ByteWriter& w, const Submission& s) {
    put_stamp(w, s.stamp);
    w.text(s.document);
    w.u32(s.uid);
    w.text(s.request_id);
    w.u8(static_cast<std::uint8_t>(s.door));
    w.text(s.origin);
    w.text(s.retry_of);
}
Submission get_submission(ByteReader& r) {
    Submission s;
    s.stamp = get_stamp(r);
    s.document = r.text();
    s.uid = r.u32();
    s.request_id = r.text();
    s.door = static_cast<events::SubmitDoor>(r.u8());
    s.origin = r.text();
    s.retry_of = r.text();
    return s;
}

void put_start(ByteWriter& w, const StartMark& m) {
    put_stamp(w, m.started_at);
    put_stamp(w, m.released_at);
    w.u64(m.incarnation.v);
    w.text(m.node.v);
    w.raw(m.spec_hash);
    w.boolean(m.claimed);
}
StartMark get_start(ByteReader& r) {
    StartMark m;
    m.started_at = get_stamp(r);
    m.released_at = get_stamp(r);
    m.incarnation = Incarnation(r.u64());
    m.node = NodeId(r.text());
    get_array(r, m.spec_hash);
    m.claimed = r.boolean();
    settle_mark(m);
    return m;
}

void put_finished(ByteWriter& w, const FinishedMark& m) {
    put_stamp(w, m.stamp);
    w.u8(static_cast<std::uint8_t>(m.outcome));
    w.text(m.node.v);
    w.u32(static_cast<std::uint32_t>(m.exit));
    w.u32(static_cast<std::uint32_t>(m.signal));
    for (const auto value : {m.wall_ms, m.cpu_user_ms, m.cpu_system_ms, m.max_rss_kib}) {
        w.i64(value);
    }
    w.text(m.error);
}
FinishedMark get_finished(ByteReader& r) {
    FinishedMark m;
    m.stamp = get_stamp(r);
    m.outcome = static_cast<events::Outcome>(r.u8());
    m.node = NodeId(r.text());
    m.exit = static_cast<std::int32_t>(r.u32());
    m.signal = static_cast<std::int32_t>(r.u32());
    for (auto* value : {&m.wall_ms, &m.cpu_user_ms, &m.cpu_system_ms, &m.max_rss_kib}) {
        *value = r.i64();
    }
    m.error = r.text();
    return m;
}

void put_attempt(ByteWriter& w, const AttemptRow& a) {
    w.u32(static_cast<std::uint32_t>(a.starts.size()));
    for (const auto& [writer, mark] : a.starts) {
        w.text(writer.v);
        put_start(w, mark);
    }
    w.boolean(a.opened.has_value());
    if (a.opened) {
        put_stamp(w, a.opened->stamp);
        w.i64(a.opened->not_before_ms);
        w.text(a.opened->reason);
    }
    w.boolean(a.lost.has_value());
    if (a.lost) {
        put_stamp(w, a.lost->stamp);
        w.text(a.lost->owner.v);
        w.text(a.lost->reason);
        w.boolean(a.lost->by_owner);
    }
    w.boolean(a.finished.has_value());
    if (a.finished) {
        put_finished(w, *a.finished);
    }
}
AttemptRow get_attempt(ByteReader& r) {
    AttemptRow a;
    const auto starts = r.u32();
    for (std::uint32_t i = 0; i < starts && r.ok(); ++i) {
        const WriterId writer(r.text());
        a.starts[writer] = get_start(r);
    }
    if (r.boolean()) {
        OpenedMark m{get_stamp(r), r.i64(), r.text()};
        a.opened = std::move(m);
    }
    if (r.boolean()) {
        LostMark m{get_stamp(r), WriterId(r.text()), r.text(), r.boolean()};
        a.lost = std::move(m);
    }
    if (r.boolean()) {
        a.finished = get_finished(r);
    }
    return a;
}

void put_offer(ByteWriter& w, const OfferMark& o) {
    put_stamp(w, o.stamp);
    w.u32(o.attempt.v);
    w.u32(static_cast<std::uint32_t>(o.scores.size()));
    for (const auto& s : o.scores) {
        w.text(s.node.v);
        w.boolean(s.eligible);
        w.text(s.reason);
        for (const auto value : {s.role_ppm, s.success_ppm, s.speed_ppm, s.recency_ppm}) {
            w.u32(value);
        }
        w.i64(s.expected_ms);
        w.i64(s.cost_ms);
    }
}
OfferMark get_offer(ByteReader& r) {
    OfferMark o;
    o.stamp = get_stamp(r);
    o.attempt = AttemptNo(r.u32());
    const auto scores = r.u32();
    for (std::uint32_t i = 0; i < scores && r.ok(); ++i) {
        events::OfferScore s;
        s.node = NodeId(r.text());
        s.eligible = r.boolean();
        s.reason = r.text();
        for (auto* value : {&s.role_ppm, &s.success_ppm, &s.speed_ppm, &s.recency_ppm}) {
            *value = r.u32();
        }
        s.expected_ms = r.i64();
        s.cost_ms = r.i64();
        o.scores.push_back(std::move(s));
    }
    return o;
}

}  // namespace

Bytes encode(const JobRow& row) {
    ByteWriter w(usual_row_bytes);
    w.u8(row_version);
    w.u32(static_cast<std::uint32_t>(row.submissions.size()));
    for (const auto& [hash, submission] : row.submissions) {
        w.raw(hash);
        put_submission(w, submission);
    }
    w.u32(static_cast<std::uint32_t>(row.attempts.size()));
    for (const auto& [k, attempt] : row.attempts) {
        w.u32(k.v);
        put_attempt(w, attempt);
    }
    w.boolean(row.cancel.has_value());
    if (row.cancel) {
        put_stamp(w, row.cancel->stamp);
        w.u32(row.cancel->uid);
        w.boolean(row.cancel->give_up_lost);
    }
    w.boolean(row.ended.has_value());
    if (row.ended) {
        put_stamp(w, row.ended->stamp);
        w.u32(row.ended->attempt.v);
        w.u8(static_cast<std::uint8_t>(row.ended->ending));
        w.text(row.ended->reason);
    }
    w.boolean(row.offer.has_value());
    if (row.offer) {
        put_offer(w, *row.offer);
    }
    return std::move(w).take();
}

Result<JobRow> decode_job_row(ByteView bytes) {
    ByteReader r(bytes);
    JobRow row;
    const bool known = r.u8() == row_version;
    const auto submissions = r.u32();
    for (std::uint32_t i = 0; i < submissions && r.ok(); ++i) {
        Sha256 hash{};
        get_array(r, hash);
        row.submissions[hash] = get_submission(r);
    }
    const auto attempts = r.u32();
    for (std::uint32_t i = 0; i < attempts && r.ok(); ++i) {
        const AttemptNo k(r.u32());
        row.attempts[k] = get_attempt(r);
    }
    if (r.boolean()) {
        row.cancel = CancelMark{get_stamp(r), r.u32(), r.boolean()};
    }
    if (r.boolean()) {
        EndedMark m{get_stamp(r), AttemptNo(r.u32()), static_cast<events::Ending>(r.u8()),
                    r.text()};
        row.ended = std::move(m);
    }
    if (r.boolean()) {
        row.offer = get_offer(r);
    }
    if (!known || !r.at_end()) {
        return Error{Code::corrupt, "a job row that does not decode"};
    }
    return row;
}

}  // namespace reeve::projection
