// reeve-log: looks into event logs. Read-only; works on a live log, a mirror, the share, a copy,
// and on damaged files: what does not verify is named with file, offset and reason, and the other
// logs go on.

#include <fmt/format.h>

#include <cstdio>
#include <deque>
#include <memory>

#include "base/time_text.h"
#include "events/codec.h"
#include "replay/logs.h"
#include "runtime/posix_file_system.h"
#include "runtime/process.h"
#include "tools/cli/program.h"

namespace reeve::log {
namespace {

using cli::Context;
using nlohmann::json;

struct Arguments {
    std::string path;
    std::string writer;
    std::string type;
    std::string job;
    std::string since;
    std::string until;
    std::string output;
    std::size_t limit = 0;  // 0: all
    std::size_t lines = 20;
    bool follow = false;
};

Result<replay::LogSet> logs_of(Context& context, env::FileSystem& files,
                               const Arguments& arguments) {
    std::string path = arguments.path;
    if (path.empty()) {
        TRY_ASSIGN(const auto* file, context.config());
        const auto worker = file->writer_state(file->writer(node::Role::worker));
        path = files.info(worker + "/log")
                   ? worker
                   : file->writer_state(file->writer(node::Role::coordinator));
    }
    TRY_ASSIGN(auto set, replay::find_logs(files, path));
    set.trust = context.trust_for(set.trust.cluster());
    if (!arguments.writer.empty()) {
        std::erase_if(set.logs, [&](const auto& log) { return log.writer.v != arguments.writer; });
        if (set.logs.empty()) {
            return Error{Code::not_found, "no log of writer " + arguments.writer + " in " + path};
        }
    }
    return set;
}

/// Which events to show.
class Filter {
public:
    static Result<Filter> make(const Arguments& arguments) {
        Filter out;
        out.type_ = arguments.type;
        out.job_ = arguments.job;
        const auto now = cli::wall_now_ms();
        if (!arguments.since.empty()) {
            TRY_ASSIGN(out.since_ms_, cli::parse_moment(arguments.since, now));
        }
        if (!arguments.until.empty()) {
            TRY_ASSIGN(out.until_ms_, cli::parse_moment(arguments.until, now));
        }
        return out;
    }

    bool passes(const json& event) const {
        const std::int64_t at = event.value("hlc_ms", std::int64_t{0});
        if (at < since_ms_ || at > until_ms_ ||
            (!type_.empty() && event.value("type", "") != type_)) {
            return false;
        }
        const std::string subject = event.value("attempt", event.value("job", ""));
        return job_.empty() || (!subject.empty() && subject.starts_with(job_));
    }

private:
    std::string type_;
    std::string job_;
    std::int64_t since_ms_ = 0;
    std::int64_t until_ms_ = std::numeric_limits<std::int64_t>::max();
};

/// "key=value key=value", without what the columns show.
std::string details(const json& event) {
    std::string out;
    for (const auto& [key, value] : event.items()) {
        if (key == "type" || key == "writer" || key == "seq" || key == "hlc" || key == "hlc_ms") {
            continue;
        }
        const auto text = value.dump(-1, ' ', false, json::error_handler_t::replace);
        if (text != "\"\"" && text != "[]") {
            out += (out.empty() ? "" : " ") + key + "=" + text;
        }
    }
    return out;
}

std::string line_of(const Context& context, const json& event) {
    if (context.options.json) {
        return event.dump(-1, ' ', false, json::error_handler_t::replace);
    }
    constexpr std::size_t columns = 160;
    auto text = details(event);
    if (context.options.plain) {
        return fmt::format("{}\t{}\t{}\t{}\t{}", rfc3339(event.value("hlc_ms", std::int64_t{0})),
                           event.value("writer", ""), event.value("seq", std::uint64_t{0}),
                           event.value("type", ""), text);
    }
    if (text.size() > columns) {
        text = text.substr(0, columns) + " ... (--plain shows all)";
    }
    return fmt::format("{}  {:<14} {:>8}  {:<18} {}",
                       rfc3339(event.value("hlc_ms", std::int64_t{0})), event.value("writer", ""),
                       event.value("seq", std::uint64_t{0}), event.value("type", ""), text);
}

/// Says what does not verify; the exit status.
int report_damage(const Context& context, const std::vector<Error>& damage) {
    for (const auto& error : damage) {
        context.fail(error, error.code == Code::unsupported
                                ? "it was written by a later build: read it with that one"
                                : "another writer's mirror or the share may hold this log whole: "
                                  "reeve log verify DIR");
    }
    return damage.empty() ? cli::exit_done : cli::exit_verification;
}

/// Opens logs and filter, or says why not.
struct Source {
    runtime::PosixFileSystem files;
    replay::LogSet set;
    Filter filter;
};

std::unique_ptr<Source> source_of(Context& context, const Arguments& arguments, int& exit) {
    auto out = std::make_unique<Source>();
    auto set = logs_of(context, out->files, arguments);
    if (!set) {
        exit = context.fail(set.error(), "reeve log show /mnt/nas/reeve");
        return nullptr;
    }
    auto filter = Filter::make(arguments);
    if (!filter) {
        exit = context.fail(filter.error(), "reeve log show --since -10m");
        return nullptr;
    }
    out->set = std::move(*set);
    out->filter = std::move(*filter);
    return out;
}

/// Gives every event that passes to `fn` until it returns false; the exit status.
template <typename Fn>
int each_event(Context& context, Source& source, Fn fn) {
    auto reader = replay::MergedReader::open(source.files, source.set);
    if (!reader) {
        return context.fail(reader.error(), "reeve log verify");
    }
    while (auto event = reader->next()) {
        const auto document = json::parse(events::to_json(*event));
        if (source.filter.passes(document) && !fn(document)) {
            return cli::exit_done;
        }
    }
    return report_damage(context, reader->damage());
}

int show(Context& context, const Arguments& arguments) {
    int exit = cli::exit_done;
    auto source = source_of(context, arguments, exit);
    if (!source) {
        return exit;
    }
    std::size_t shown = 0;
    return each_event(context, *source, [&](const json& event) {
        fmt::print("{}\n", line_of(context, event));
        return ++shown != arguments.limit;
    });
}

int export_lines(Context& context, const Arguments& arguments) {
    int exit = cli::exit_done;
    auto source = source_of(context, arguments, exit);
    if (!source) {
        return exit;
    }
    std::FILE* out = arguments.output.empty() ? stdout : std::fopen(arguments.output.c_str(), "wx");
    if (out == nullptr) {
        return context.fail({Code::conflict, arguments.output + " exists or cannot be made"},
                            "name a new file");
    }
    bool written = true;
    exit = each_event(context, *source, [&](const json& event) {
        const auto line = event.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
        written = std::fwrite(line.data(), 1, line.size(), out) == line.size();
        return written;
    });
    const bool closed = out == stdout ? std::fflush(out) == 0 : std::fclose(out) == 0;
    if (!written || !closed) {
        return context.fail({Code::io, "the output could not be written whole"},
                            "free space, or another --output");
    }
    return exit;
}

int tail(Context& context, const Arguments& arguments) {
    int exit = cli::exit_done;
    auto source = source_of(context, arguments, exit);
    if (!source) {
        return exit;
    }
    runtime::SignalWaiter signals;
    auto reader = replay::MergedReader::open(source->files, source->set);
    if (!reader) {
        return context.fail(reader.error(), "reeve log verify");
    }
    std::deque<std::string> last;
    while (auto event = reader->next()) {
        const auto document = json::parse(events::to_json(*event));
        if (source->filter.passes(document)) {
            last.push_back(line_of(context, document));
            if (last.size() > arguments.lines) {
                last.pop_front();
            }
        }
    }
    for (const auto& line : last) {
        fmt::print("{}\n", line);
    }
    constexpr milliseconds poll{200};
    while (arguments.follow && reader->damage().empty()) {
        std::fflush(stdout);
        if (signals.wait(poll)) {
            break;
        }
        while (auto event = reader->next()) {
            const auto document = json::parse(events::to_json(*event));
            if (source->filter.passes(document)) {
                fmt::print("{}\n", line_of(context, document));
            }
        }
    }
    return report_damage(context, reader->damage());
}

/// Whole, but written by a later build: no damage.
bool newer_than_this(const Error& error) { return error.code == Code::unsupported; }
const char* verdict(const std::optional<Error>& damage) {
    if (!damage) {
        return "ok     ";
    }
    return newer_than_this(*damage) ? "NEWER  " : "DAMAGED";
}

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

LogFacts facts_of(env::FileSystem& files, const eventlog::Trust& trust,
                  const replay::LogDirectory& log) {
    LogFacts out;
    auto reader = eventlog::LogReader::open(files, log.path, trust, log.writer);
    if (!reader) {
        out.damage = reader.error();
        return out;
    }
    const auto limit = replay::declared_end(files, log.path, trust);
    while (true) {
        auto batch =
            limit ? reader->next(*limit) : Result<std::optional<eventlog::Batch>>(limit.error());
        if (!batch) {
            out.damage = batch.error();
            return out;
        }
        if (!*batch) {
            return out;
        }
        ++out.batches;
        out.bytes += (*batch)->raw.size();
        out.end = (*batch)->position_after;
        for (const auto& event : (*batch)->events) {
            out.first_ms = out.events == 0 ? hlc_ms(event.hlc) : out.first_ms;
            out.last_ms = hlc_ms(event.hlc);
            ++out.events;
            ++out.types[events::type_name(events::type_id(event.payload))];
        }
    }
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
        documents.push_back(facts_json(log, facts));
        if (!context.options.json) {
            fmt::print("{}  {:<14} {:>8} events  {:>10}  ends in {}-{} at {}, sha256 {}\n",
                       verdict(facts.damage), log.writer.v, facts.events,
                       cli::human_bytes(facts.bytes), facts.end.incarnation.v, facts.end.segment.v,
                       facts.end.end.v, to_hex(facts.end.hash).substr(0, 16));
            if (facts.damage) {
                fmt::print("  {}\n", facts.damage->message);
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
    for (const auto& log : source->set.logs) {
        const auto facts = facts_of(source->files, source->set.trust, log);
        exit = facts.damage ? cli::exit_verification : exit;
        documents.push_back(facts_json(log, facts));
        for (const auto& [type, count] : facts.types) {
            types[type] += count;
        }
        logs.row({log.writer.v, std::to_string(facts.events), std::to_string(facts.batches),
                  cli::human_bytes(facts.bytes), facts.events > 0 ? rfc3339(facts.first_ms) : "-",
                  facts.events > 0 ? rfc3339(facts.last_ms) : "-",
                  !facts.damage                    ? "ok"
                  : newer_than_this(*facts.damage) ? "newer"
                                                   : "damaged"});
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.log_stats/v1"}, {"logs", documents}, {"types", types}});
        return exit;
    }
    logs.print(context.options);
    fmt::print("\n");
    cli::Table by_type({"TYPE", "EVENTS"});
    for (const auto& [type, count] : types) {
        by_type.row({type, std::to_string(count)});
    }
    by_type.print(context.options);
    return exit;
}

CLI::App* log_verb(cli::Program& program, Arguments& arguments, const std::string& name,
                   const std::string& what, const std::string& example,
                   int (*run)(Context&, const Arguments&)) {
    auto* sub = cli::verb(program, program.app, name, what, example,
                          [&program, &arguments, run] { return run(program.context, arguments); });
    sub->add_option(
        "PATH", arguments.path,
        "a state directory, the share, a directory of logs or one log (default: this node's logs)");
    sub->add_option("--writer", arguments.writer, "only this writer's log");
    return sub;
}

void add_filters(CLI::App& sub, Arguments& arguments) {
    sub.add_option("--type", arguments.type, "only events of this type, for example JobStarted");
    sub.add_option("--job", arguments.job, "only events of this job");
    sub.add_option("--since", arguments.since,
                   "from this moment on: RFC 3339 in UTC, or -90s, -10m, -2h, -1d");
    sub.add_option("--until", arguments.until, "to this moment");
}

int run(int argc, char** argv) {
    CLI::App app{
        "reeve-log looks into event logs: live, mirrored, copied or damaged. It changes nothing.",
        "reeve-log"};
    Context context;
    cli::Program program{app, context, {}};
    cli::add_global_options(program);
    app.footer(cli::exit_status_help);
    Arguments arguments;
    auto* all = log_verb(program, arguments, "show",
                         "Events in the order of their time; with --json one object a line",
                         "reeve log show --job 01JQ8Z5M3T4V6W7X8Y9Z0A1B2C", show);
    add_filters(*all, arguments);
    all->add_option("--limit", arguments.limit, "stop after so many");
    auto* last = log_verb(program, arguments, "tail", "The last events, and with -f what comes",
                          "reeve log tail -f", tail);
    add_filters(*last, arguments);
    last->add_option("--lines", arguments.lines, "how many (20)");
    last->add_flag("-f,--follow", arguments.follow, "go on until interrupted");
    auto* out = log_verb(program, arguments, "export", "Events as JSON lines",
                         "reeve log export --output events.jsonl", export_lines);
    add_filters(*out, arguments);
    out->add_option("-o,--output", arguments.output, "a new file (default: stdout)");
    log_verb(program, arguments, "verify", "Check every byte: CRC, chain, sequence, schema",
             "reeve log verify /mnt/nas/reeve", verify);
    log_verb(program, arguments, "stats", "Sizes, times and counts by type", "reeve log stats",
             stats);
    return cli::run_program(program, argc, argv);
}

}  // namespace
}  // namespace reeve::log

int main(int argc, char** argv) { return reeve::log::run(argc, argv); }
