// reeve-log: looks into event logs. Read-only; works on a live log, a mirror, the share, a copy,
// and on damaged files: what does not verify is named with file, offset and reason, and the other
// logs go on.

#include <fmt/format.h>

#include <cstdio>
#include <deque>

#include "base/time_text.h"
#include "events/codec.h"
#include "replay/salvaged_logs.h"
#include "runtime/process.h"
#include "tools/cli/program.h"
#include "tools/log/facts.h"
#include "tools/log/rescue.h"
#include "tools/log/source.h"

namespace reeve::log {
namespace {

using cli::Context;
using nlohmann::json;

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
        context.fail(
            {error.code, printable(error.message)},
            error.code == Code::unsupported
                ? "it was written by a later build: read it with that one"
                : "another writer's mirror or the share may hold this log whole: reeve log "
                  "verify DIR; --salvage shows what is behind the damage");
    }
    return damage.empty() ? cli::exit_done : cli::exit_verification;
}

std::string line_of(const Context& context, const replay::LogGap& gap, bool as_json) {
    if (as_json) {
        return gap_json(gap.writer, gap.gap).dump(-1, ' ', false, json::error_handler_t::replace);
    }
    const auto text = gap_text(gap.gap);
    const auto writer = printable(gap.writer.v);
    return context.options.plain
               ? fmt::format("-\t{}\t{}\tgap\t{}", writer, gap.gap.first_missing.v, text)
               : fmt::format("---- gap in {}: {}", writer, text);
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
            return report_damage(context, reader->damage());
        }
    }
    return report_damage(context, reader->damage());
}

/// The same behind the damage too, with every gap given to `mark`, whatever the filter lets pass.
template <typename Fn, typename Mark>
int each_salvaged(Context& context, Source& source, Fn fn, Mark mark) {
    auto reader = replay::SalvagedReader::open(source.files, source.set);
    std::size_t gaps = 0;
    while (auto item = reader.next()) {
        if (const auto* gap = std::get_if<replay::LogGap>(&*item)) {
            ++gaps;
            if (!mark(*gap)) {
                break;
            }
            continue;
        }
        const auto document = json::parse(events::to_json(std::get<events::Event>(*item)));
        if (source.filter.passes(document) && !fn(document)) {
            break;
        }
    }
    const int exit = report_damage(context, reader.damage());
    if (gaps == 0) {
        return exit;
    }
    return context.fail(
        {Code::corrupt, fmt::format("{} gap{} in the logs; nothing proves that what is behind a "
                                    "gap belongs to what is before it",
                                    gaps, gaps == 1 ? "" : "s")},
        "another writer's mirror or the share may hold these logs whole: reeve log verify DIR");
}

int show(Context& context, const Arguments& arguments) {
    int exit = cli::exit_done;
    auto source = source_of(context, arguments, exit);
    if (!source) {
        return exit;
    }
    std::size_t shown = 0;
    const auto print = [&](const json& event) {
        fmt::print("{}\n", line_of(context, event));
        return ++shown != arguments.limit;
    };
    const auto mark = [&](const replay::LogGap& gap) {
        fmt::print("{}\n", line_of(context, gap, context.options.json));
        return true;
    };
    return arguments.salvage ? each_salvaged(context, *source, print, mark)
                             : each_event(context, *source, print);
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
    const auto write = [&](const std::string& text) {
        const auto line = text + "\n";
        written = std::fwrite(line.data(), 1, line.size(), out) == line.size();
        return written;
    };
    const auto put = [&](const json& event) {
        return write(event.dump(-1, ' ', false, json::error_handler_t::replace));
    };
    const auto mark = [&](const replay::LogGap& gap) { return write(line_of(context, gap, true)); };
    exit = arguments.salvage ? each_salvaged(context, *source, put, mark)
                             : each_event(context, *source, put);
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

void add_salvage(CLI::App& sub, Arguments& arguments) {
    sub.add_flag("--salvage", arguments.salvage,
                 "read on behind damage, and mark each gap. Not the log any more: nothing proves "
                 "that what is behind a gap belongs to what is before it");
}

constexpr const char* about =
    "reeve-log looks into event logs: live, mirrored, copied or damaged. It changes nothing,\n"
    "but for rescue and resolve, which are for a writer that was replaced by another.\n"
    "What does not verify is told with file, offset and reason (exit status 10) and ends the "
    "reading\nof that log; the others go on. --salvage (show, export, verify) reads on behind it.";

int run(int argc, char** argv) {
    CLI::App app{about, "reeve-log"};
    Context context;
    cli::Program program{app, context, {}};
    cli::add_global_options(program);
    app.footer(cli::exit_status_help);
    Arguments arguments;
    auto* all = log_verb(program, arguments, "show",
                         "Events in the order of their time; with --json one object a line",
                         "reeve log show --job 01JQ8Z5M3T4V6W7X8Y9Z0A1B2C", show);
    add_filters(*all, arguments);
    add_salvage(*all, arguments);
    all->add_option("--limit", arguments.limit, "stop after so many");
    auto* last = log_verb(program, arguments, "tail", "The last events, and with -f what comes",
                          "reeve log tail -f", tail);
    add_filters(*last, arguments);
    last->add_option("--lines", arguments.lines, "how many (20)");
    last->add_flag("-f,--follow", arguments.follow, "go on until interrupted");
    auto* out = log_verb(program, arguments, "export", "Events as JSON lines",
                         "reeve log export --output events.jsonl", export_lines);
    add_filters(*out, arguments);
    add_salvage(*out, arguments);
    out->add_option("-o,--output", arguments.output, "a new file (default: stdout)");
    auto* check =
        log_verb(program, arguments, "verify", "Check every byte: CRC, chain, sequence, schema",
                 "reeve log verify /mnt/nas/reeve", verify);
    add_salvage(*check, arguments);
    log_verb(program, arguments, "stats", "Sizes, times and counts by type", "reeve log stats",
             stats);
    bool coordinator = false;
    auto* again = cli::verb(program, app, "rescue",
                            "this machine's daemon was replaced: say again what only it holds",
                            "reeve log rescue", [&] { return rescue(context, coordinator); });
    std::string forked, why, operator_key;
    auto* gone = cli::verb(
        program, app, "resolve",
        "a log was cut at a fork: an operator lets it go on; without a name: this machine's "
        "daemon was replaced and lacks nothing, or removed and admitted again: let it start",
        "reeve log resolve mira.worker --reason 'the clone is gone'", [&] {
            return forked.empty() ? resolve(context, coordinator)
                                  : decide(context, forked, why, operator_key);
        });
    gone->add_option("WRITER", forked, "whose log was cut, for example mira.worker");
    gone->add_option("--reason", why, "why, for the others");
    gone->add_option("--operator-key", operator_key,
                     "where the operator's key is (default: beside the configuration)");
    for (auto* one : {again, gone}) {
        one->add_flag("--coordinator", coordinator, "of the coordinator, not of the worker");
    }
    return cli::run_program(program, argc, argv);
}

}  // namespace
}  // namespace reeve::log

int main(int argc, char** argv) { return reeve::log::run(argc, argv); }
