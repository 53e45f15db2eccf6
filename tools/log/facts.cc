#include "tools/log/facts.h"

#include <fmt/format.h>

#include <map>

#include "base/time_text.h"
#include "events/codec.h"
#include "replay/salvaged_logs.h"

namespace reeve::log {
namespace {

using cli::Context;
using nlohmann::json;

/// What one log holds, read and verified to its end.
struct LogFacts {
    std::uint64_t events = 0;
    std::uint64_t bytes = 0;
    std::uint64_t batches = 0;
    std::int64_t first_ms = 0;
    std::int64_t last_ms = 0;
    std::map<std::string, std::uint64_t> types;
    eventlog::LogPosition end;
    std::optional<Error> damage;
};

void count(LogFacts& facts, const eventlog::Batch& batch) {
    ++facts.batches;
    facts.bytes += batch.raw.size();
    facts.end = batch.position_after;
    for (const auto& event : batch.events) {
        facts.first_ms = facts.events == 0 ? hlc_ms(event.hlc) : facts.first_ms;
        facts.last_ms = hlc_ms(event.hlc);
        ++facts.events;
        ++facts.types[events::type_name(events::type_id(event.payload))];
    }
}

/// Whole, but written by a later build: no damage.
bool newer_than_this(const Error& error) { return error.code == Code::unsupported; }

const char* verdict(const std::optional<Error>& damage) {
    if (!damage) {
        return "ok     ";
    }
    return newer_than_this(*damage) ? "NEWER  " : "DAMAGED";
}

Status read_whole(env::FileSystem& files, const eventlog::Trust& trust,
                  const replay::LogDirectory& log, LogFacts& facts) {
    TRY_ASSIGN(auto reader, eventlog::LogReader::open(files, log.path, trust, log.writer));
    TRY_ASSIGN(const auto limit, replay::declared_end(files, log.path, trust));
    for (;;) {
        TRY_ASSIGN(const auto batch, reader.next(limit));
        if (!batch) {
            break;
        }
        count(facts, *batch);
    }
    TRY_ASSIGN(const auto heads, replay::damaged_heads(files, log.path, trust));
    return heads.empty() ? ok() : Status(heads.front());
}

LogFacts facts_of(env::FileSystem& files, const eventlog::Trust& trust,
                  const replay::LogDirectory& log) {
    LogFacts out;
    if (auto done = read_whole(files, trust, log, out); !done) {
        out.damage = done.error();
        out.damage->message = printable(out.damage->message);
    }
    return out;
}

/// What lies behind the damage of one log.
struct Behind {
    std::uint64_t events = 0;
    std::uint64_t batches = 0;
    std::uint64_t missing = 0;
    bool missing_known = true;
    std::vector<eventlog::Gap> gaps;
};

Result<Behind> behind_damage(env::FileSystem& files, const eventlog::Trust& trust,
                             const replay::LogDirectory& log) {
    TRY_ASSIGN(auto salvage, replay::open_salvage(files, trust, log));
    Behind out;
    while (auto item = salvage.next()) {
        if (auto* gap = std::get_if<eventlog::Gap>(&*item)) {
            out.missing += gap->missing();
            out.missing_known = out.missing_known && gap->last_missing.has_value();
            out.gaps.push_back(std::move(*gap));
        } else if (!out.gaps.empty()) {
            ++out.batches;
            out.events += std::get<eventlog::SalvagedBatch>(*item).events.size();
        }
    }
    return out;
}

json facts_json(const replay::LogDirectory& log, const LogFacts& facts) {
    json out{{"writer", log.writer.v},
             {"path", log.path},
             {"ok", !facts.damage},
             {"events", facts.events},
             {"batches", facts.batches},
             {"bytes", facts.bytes},
             {"incarnation", facts.end.incarnation.v},
             {"segment", facts.end.segment.v},
             {"end", facts.end.end.v},
             {"sha256", to_hex(facts.end.hash)},
             {"types", facts.types}};
    if (facts.events > 0) {
        out["first"] = rfc3339(facts.first_ms);
        out["last"] = rfc3339(facts.last_ms);
    }
    if (facts.damage) {
        out[newer_than_this(*facts.damage) ? "unsupported" : "damage"] = facts.damage->message;
    }
    return out;
}

json behind_json(const WriterId& writer, const Behind& behind) {
    json gaps = json::array();
    for (const auto& gap : behind.gaps) {
        gaps.push_back(gap_json(writer, gap));
    }
    return {{"events", behind.events},
            {"batches", behind.batches},
            {"missing", behind.missing_known ? json(behind.missing) : json()},
            {"gaps", gaps}};
}

void print_facts(const replay::LogDirectory& log, const LogFacts& facts) {
    fmt::print("{}  {:<14} {:>8} events  {:>10}  ends in {}-{} at {}, sha256 {}\n",
               verdict(facts.damage), printable(log.writer.v), facts.events,
               cli::human_bytes(facts.bytes), facts.end.incarnation.v, facts.end.segment.v,
               facts.end.end.v, to_hex(facts.end.hash).substr(0, 16));
    if (facts.damage) {
        fmt::print("  {}\n", facts.damage->message);
    }
}

void print_behind(const Behind& behind) {
    for (const auto& gap : behind.gaps) {
        fmt::print("  gap: {}\n", gap_text(gap));
    }
    fmt::print("  behind the damage: {} events in {} batches\n", behind.events, behind.batches);
}

}  // namespace

json gap_json(const WriterId& writer, const eventlog::Gap& gap) {
    const bool known = gap.last_missing.has_value();
    return {{"type", "gap"},
            {"writer", writer.v},
            {"file", gap.file},
            {"from_offset", gap.from.v},
            {"to_file", gap.to_file},
            {"to_offset", gap.to.v},
            {"from_seq", gap.first_missing.v},
            {"to_seq", known ? json(gap.last_missing->v) : json()},
            {"missing", known ? json(gap.missing()) : json()},
            {"reason", gap.reason}};
}

std::string gap_text(const eventlog::Gap& gap) {
    const auto lost = gap.missing();
    const auto events =
        !gap.last_missing
            ? fmt::format("events from {} on missing, how many is not known", gap.first_missing.v)
        : lost == 0 ? std::string("no event missing")
        : lost == 1 ? fmt::format("event {} missing", gap.first_missing.v)
                    : fmt::format("{} events missing ({} to {})", lost, gap.first_missing.v,
                                  gap.last_missing->v);
    const auto to = gap.to_file == gap.file ? std::string() : gap.to_file + " ";
    return printable(fmt::format("{}, {} offset {} to {}offset {}: {}", events, gap.file,
                                 gap.from.v, to, gap.to.v, gap.reason));
}

int verify(Context& context, const Arguments& arguments) {
    int exit = cli::exit_done;
    auto source = source_of(context, arguments, exit);
    if (!source) {
        return exit;
    }
    json documents = json::array();
    for (const auto& log : source->set.logs) {
        const auto facts = facts_of(source->files, source->set.trust, log);
        exit = facts.damage ? cli::exit_verification : exit;
        auto document = facts_json(log, facts);
        const auto behind = facts.damage && arguments.salvage
                                ? behind_damage(source->files, source->set.trust, log)
                                : Result<Behind>(Behind{});
        if (behind && !behind->gaps.empty()) {
            document["salvage"] = behind_json(log.writer, *behind);
        }
        documents.push_back(std::move(document));
        if (!context.options.json) {
            print_facts(log, facts);
            if (behind && !behind->gaps.empty()) {
                print_behind(*behind);
            }
        }
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.log_verify/v1"},
                       {"ok", exit == cli::exit_done},
                       {"logs", documents}});
    }
    return exit;
}

int stats(Context& context, const Arguments& arguments) {
    int exit = cli::exit_done;
    auto source = source_of(context, arguments, exit);
    if (!source) {
        return exit;
    }
    json documents = json::array();
    std::map<std::string, std::uint64_t> types;
    cli::Table logs({"WRITER", "EVENTS", "BATCHES", "SIZE", "FIRST", "LAST", "STATE"});
    std::vector<std::string> damage;
    for (const auto& log : source->set.logs) {
        const auto facts = facts_of(source->files, source->set.trust, log);
        documents.push_back(facts_json(log, facts));
        for (const auto& [type, count] : facts.types) {
            types[type] += count;
        }
        logs.row({printable(log.writer.v), std::to_string(facts.events),
                  std::to_string(facts.batches), cli::human_bytes(facts.bytes),
                  facts.events > 0 ? rfc3339(facts.first_ms) : "-",
                  facts.events > 0 ? rfc3339(facts.last_ms) : "-",
                  !facts.damage                    ? "ok"
                  : newer_than_this(*facts.damage) ? "newer"
                                                   : "damaged"});
        if (facts.damage) {
            exit = cli::exit_verification;
            damage.push_back(facts.damage->message);
        }
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.log_stats/v1"}, {"logs", documents}, {"types", types}});
        return exit;
    }
    logs.print(context.options);
    for (const auto& message : damage) {
        fmt::print("damaged: {}\n", message);
    }
    fmt::print("\n");
    cli::Table by_type({"TYPE", "EVENTS"});
    for (const auto& [type, count] : types) {
        by_type.row({type, std::to_string(count)});
    }
    by_type.print(context.options);
    return exit;
}

}  // namespace reeve::log
