#include "exec/protocol.h"

#include "base/text.h"

#include <algorithm>

namespace reeve::exec {
namespace {

enum class Kind : std::uint8_t {
    client_hello = 1,
    start = 2,
    stop = 3,
    ack = 4,
    server_hello = 65,
    outcome = 66,
    refused = 67,
};

void kind(ByteWriter& out, Kind value) { out.u8(static_cast<std::uint8_t>(value)); }

void write_attempt(ByteWriter& out, const AttemptId& attempt) {
    out.raw(attempt.job.bytes);
    out.u32(attempt.attempt.v);
}

AttemptId read_attempt(ByteReader& in) {
    AttemptId attempt;
    const auto job = in.raw(attempt.job.bytes.size());
    std::copy(job.begin(), job.end(), attempt.job.bytes.begin());
    attempt.attempt = AttemptNo(in.u32());
    return attempt;
}

void write_texts(ByteWriter& out, const std::vector<std::string>& texts) {
    out.u32(static_cast<std::uint32_t>(texts.size()));
    for (const auto& text : texts) {
        out.text(text);
    }
}

// Grows element by element: a false count in a short packet ends at the end of the packet.
std::vector<std::string> read_texts(ByteReader& in) {
    std::vector<std::string> texts;
    const auto count = in.u32();
    for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
        texts.push_back(in.text());
    }
    return texts;
}

void write_plan(ByteWriter& out, const env::ExecPlan& plan) {
    write_attempt(out, plan.attempt);
    write_texts(out, plan.argv);
    write_texts(out, plan.environment);
    out.text(plan.cwd);
    out.boolean(plan.stdin_text.has_value());
    if (plan.stdin_text) {
        out.text(*plan.stdin_text);
    }
    out.i64(plan.timeout_ms);
    out.i64(plan.grace_ms);
    out.u64(plan.inline_limit_bytes);
    out.u64(plan.output_cap_bytes);
    out.text(plan.directory);
}

env::ExecPlan read_plan(ByteReader& in) {
    env::ExecPlan plan;
    plan.attempt = read_attempt(in);
    plan.argv = read_texts(in);
    plan.environment = read_texts(in);
    plan.cwd = in.text();
    if (in.boolean()) {
        plan.stdin_text = in.text();
    }
    plan.timeout_ms = in.i64();
    plan.grace_ms = in.i64();
    plan.inline_limit_bytes = in.u64();
    plan.output_cap_bytes = in.u64();
    plan.directory = in.text();
    return plan;
}

void write_stream(ByteWriter& out, const env::ExecStream& stream) {
    out.bytes(stream.head);
    out.u64(stream.total_bytes);
    out.u64(stream.kept_bytes);
    out.text(stream.file);
}

env::ExecStream read_stream(ByteReader& in) {
    env::ExecStream stream;
    stream.head = in.bytes();
    stream.total_bytes = in.u64();
    stream.kept_bytes = in.u64();
    stream.file = in.text();
    return stream;
}

void write_hello(ByteWriter& out, const ServerHello& message) {
    out.u32(message.version);
    out.text(message.hello.instance);
    out.u32(static_cast<std::uint32_t>(message.hello.running.size()));
    for (const auto& attempt : message.hello.running) {
        write_attempt(out, attempt);
    }
}

Error malformed() { return Error{Code::invalid, "malformed packet"}; }

Error other_version(std::uint32_t version) {
    return Error{Code::unsupported, "the other side speaks version " + std::to_string(version) +
                                        ", this build speaks " + std::to_string(protocol_version)};
}

Result<ServerMessage> read_server_hello(ByteReader& in) {
    ServerHello message;
    message.version = in.u32();
    if (in.ok() && message.version != protocol_version) {
        return other_version(message.version);
    }
    message.hello.instance = in.text();
    const auto count = in.u32();
    for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
        message.hello.running.push_back(read_attempt(in));
    }
    return ServerMessage(std::move(message));
}

}  // namespace

void write_outcome(ByteWriter& out, const env::ExecOutcome& outcome) {
    out.u64(outcome.number);
    write_attempt(out, outcome.attempt);
    out.u8(static_cast<std::uint8_t>(outcome.end));
    out.u32(static_cast<std::uint32_t>(outcome.exit));
    out.u32(static_cast<std::uint32_t>(outcome.signal));
    out.i64(outcome.wall_ms);
    out.i64(outcome.cpu_user_ms);
    out.i64(outcome.cpu_system_ms);
    out.i64(outcome.max_rss_kib);
    write_stream(out, outcome.out);
    write_stream(out, outcome.err);
    out.text(clip_utf8(outcome.error, reason_limit_bytes));
}

bool read_outcome(ByteReader& in, env::ExecOutcome& outcome) {
    outcome.number = in.u64();
    outcome.attempt = read_attempt(in);
    const auto end = in.u8();
    outcome.end = static_cast<env::ExecEnd>(end);
    outcome.exit = static_cast<std::int32_t>(in.u32());
    outcome.signal = static_cast<std::int32_t>(in.u32());
    outcome.wall_ms = in.i64();
    outcome.cpu_user_ms = in.i64();
    outcome.cpu_system_ms = in.i64();
    outcome.max_rss_kib = in.i64();
    outcome.out = read_stream(in);
    outcome.err = read_stream(in);
    outcome.error = in.text();
    return end >= static_cast<std::uint8_t>(env::ExecEnd::exited) &&
           end <= static_cast<std::uint8_t>(env::ExecEnd::not_started);
}

Bytes encode(const ClientMessage& message) {
    ByteWriter out;
    if (const auto* hello = std::get_if<ClientHello>(&message)) {
        kind(out, Kind::client_hello);
        out.u32(hello->version);
        out.u64(hello->last_recorded);
    } else if (const auto* start = std::get_if<Start>(&message)) {
        kind(out, Kind::start);
        write_plan(out, start->plan);
        out.text(start->impossible);
    } else if (const auto* stop = std::get_if<Stop>(&message)) {
        kind(out, Kind::stop);
        write_attempt(out, stop->attempt);
        out.i64(stop->grace_ms);
    } else {
        kind(out, Kind::ack);
        out.u64(std::get<Ack>(message).number);
    }
    return std::move(out).take();
}

Bytes encode(const ServerMessage& message) {
    ByteWriter out;
    if (const auto* hello = std::get_if<ServerHello>(&message)) {
        kind(out, Kind::server_hello);
        write_hello(out, *hello);
    } else if (const auto* outcome = std::get_if<env::ExecOutcome>(&message)) {
        kind(out, Kind::outcome);
        write_outcome(out, *outcome);
    } else {
        const auto& refused = std::get<env::ExecRefused>(message);
        kind(out, Kind::refused);
        write_attempt(out, refused.attempt);
        out.text(clip_utf8(refused.reason, reason_limit_bytes));
    }
    return std::move(out).take();
}

Result<ClientMessage> decode_client(ByteView packet) {
    ByteReader in(packet);
    ClientMessage message;
    switch (static_cast<Kind>(in.u8())) {
        case Kind::client_hello: {
            ClientHello hello;
            hello.version = in.u32();
            if (in.ok() && hello.version != protocol_version) {
                return other_version(hello.version);
            }
            hello.last_recorded = in.u64();
            message = hello;
            break;
        }
        case Kind::start: {
            Start start{read_plan(in), {}};
            start.impossible = in.text();
            message = std::move(start);
            break;
        }
        case Kind::stop: {
            Stop stop{read_attempt(in), 0};
            stop.grace_ms = in.i64();
            message = stop;
            break;
        }
        case Kind::ack: message = Ack{in.u64()}; break;
        case Kind::server_hello:
        case Kind::outcome:
        case Kind::refused:
        default: return malformed();
    }
    if (!in.at_end()) {
        return malformed();
    }
    return message;
}

Result<ServerMessage> decode_server(ByteView packet) {
    ByteReader in(packet);
    ServerMessage message;
    switch (static_cast<Kind>(in.u8())) {
        case Kind::server_hello: {
            TRY_ASSIGN(message, read_server_hello(in));
            break;
        }
        case Kind::outcome: {
            env::ExecOutcome outcome;
            if (!read_outcome(in, outcome)) {
                return malformed();
            }
            message = std::move(outcome);
            break;
        }
        case Kind::refused: {
            env::ExecRefused refused{read_attempt(in), {}};
            refused.reason = in.text();
            message = std::move(refused);
            break;
        }
        case Kind::client_hello:
        case Kind::start:
        case Kind::stop:
        case Kind::ack:
        default: return malformed();
    }
    if (!in.at_end()) {
        return malformed();
    }
    return message;
}

Bytes encode_start(const env::ExecPlan& plan) {
    auto packet = encode(ClientMessage(Start{plan, {}}));
    if (packet.size() <= packet_limit_bytes) {
        return packet;
    }
    env::ExecPlan rest;
    rest.attempt = plan.attempt;
    rest.directory = plan.directory;
    return encode(ClientMessage(
        Start{std::move(rest), "the command, its environment and its standard input have " +
                                   std::to_string(packet.size()) + " bytes together, allowed are " +
                                   std::to_string(packet_limit_bytes) +
                                   "; fix: pass large input in a file"}));
}

}  // namespace reeve::exec
