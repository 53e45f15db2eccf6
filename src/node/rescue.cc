#include "node/rescue.h"

#include <algorithm>

#include "eventlog/reader.h"
#include "eventlog/recovery.h"
#include "eventlog/writer.h"
#include "mirror/mirror.h"
#include "mirror/remote_mirror.h"
#include "node/boot.h"
#include "node/forks.h"

namespace reeve::node {
namespace {

/// What is only true of the run that said it.
bool is_of_its_run(const events::Payload& payload) {
    return std::holds_alternative<events::NodeStarted>(payload) ||
           std::holds_alternative<events::NodeStopped>(payload) ||
           std::holds_alternative<events::NodeHealth>(payload) ||
           std::holds_alternative<events::DigestTaken>(payload) ||
           std::holds_alternative<events::LevelRaised>(payload) ||
           std::holds_alternative<events::Unknown>(payload);
}

/// The events of `mine` behind the last batch that both logs hold.
Result<std::vector<events::Payload>> only_in(env::FileSystem& files, const NodeConfig& config,
                                             const std::string& mine, const std::string& theirs,
                                             eventlog::Tail tail) {
    TRY_ASSIGN(auto own, eventlog::LogReader::open(files, mine, config.trust, config.writer));
    own.set_tail(tail);
    TRY_ASSIGN(auto other, eventlog::LogReader::open(files, theirs, config.trust, config.writer));
    std::vector<events::Payload> out;
    bool together = true;
    for (;;) {
        TRY_ASSIGN(auto batch, own.next(std::nullopt));
        if (!batch) {
            return out;
        }
        if (together) {
            TRY_ASSIGN(const auto same, other.next(std::nullopt));
            together = same && same->raw == batch->raw;
        }
        for (auto& event : batch->events) {
            if (!together && !is_of_its_run(event.payload)) {
                out.push_back(std::move(event.payload));
            }
        }
    }
}

/// The logs of the others as the share shows them now, and what they say of forks.
Result<eventlog::ForkBook> learn_forks(env::Env env, share::Share& share,
                                       const NodeConfig& config) {
    auto book = known_forks(env, config);
    mirror::MirrorOptions options;
    options.log_root = config.log_root();
    options.trust = config.trust;
    options.fork_root = config.fork_root();
    options.self = config.writer;
    options.forks = book;
    mirror::Puller puller(env, share.log(), options);
    std::map<WriterId, eventlog::LogPosition> before;
    for (bool moved = true; moved;) {
        TRY_ASSIGN(const auto logs, puller.round());
        moved = false;
        for (const auto& [writer, log] : logs) {
            moved = moved || before[writer] != log.mirrored;
            before[writer] = log.mirrored;
        }
    }
    TRY_ASSIGN(const auto entries, env.files.list(config.log_root()));
    for (const auto& entry : entries) {
        if (!valid_writer_name(entry.name) || WriterId(entry.name) == config.writer) {
            continue;
        }
        TRY_ASSIGN(auto reader,
                   eventlog::LogReader::open(env.files, config.log_root() + "/" + entry.name,
                                             config.trust, WriterId(entry.name)));
        reader.set_tail(eventlog::Tail::mirrors);
        // What cannot be read is told by the daemons; what others say is enough.
        for (auto batch = reader.next(std::nullopt); batch && *batch;
             batch = reader.next(std::nullopt)) {
            for (const auto& event : (*batch)->events) {
                if (const auto* fork = std::get_if<events::ForkSeen>(&event.payload)) {
                    book.add(*fork);
                } else if (const auto* decision =
                               std::get_if<events::ForkResolved>(&event.payload)) {
                    book.add(*decision, config.trust);
                }
            }
        }
    }
    return book;
}

/// As if HEAD declared the place where an operator lets this log go on.
eventlog::HeadSlot slot_at(const eventlog::LogPosition& at) {
    eventlog::HeadSlot out;
    out.incarnation = at.incarnation;
    out.segment = at.segment;
    out.durable_end = at.end;
    out.last_seq = at.seq;
    out.last_hash = at.hash;
    return out;
}

/// The own log up to the cut, which the share holds whatever side stands behind it.
Status pull_to_cut(env::Env env, share::Share& share, const NodeConfig& config,
                   const eventlog::LogPosition& at) {
    mirror::MirrorOptions options;
    options.log_root = config.log_root();
    options.trust = config.trust;
    mirror::RemoteMirror own(env, share.log(), options, config.writer, false);
    TRY(own.load());
    const auto target = slot_at(at);
    while (at.incarnation.v != 0 && !own.reached(target)) {
        const auto before = own.end();
        TRY(own.pull(target, UINT64_MAX));
        if (own.end() == before && !own.reached(target)) {
            return Error{Code::unavailable,
                         "the share does not show this log up to its cut, event " +
                             std::to_string(at.seq.v)};
        }
    }
    return ok();
}

/// What the share shows behind the cut, when this disk is of the other side: who wrote it may never
/// come back to say it.
Result<std::vector<events::Payload>> of_the_other_side(env::Env env, share::Share& share,
                                                       const NodeConfig& config,
                                                       const eventlog::HeadSlot& head,
                                                       const std::string& mine,
                                                       const std::string& directory) {
    TRY_ASSIGN(auto own, eventlog::LogReader::open(env.files, mine, config.trust, config.writer));
    if (own.seek(position_of(head))) {
        return std::vector<events::Payload>();
    }
    mirror::MirrorOptions options;
    options.log_root = config.fork_root();
    options.trust = config.trust;
    mirror::RemoteMirror side(env, share.log(), options, config.writer);
    TRY(side.load());
    while (!side.reached(head)) {
        const auto before = side.end();
        TRY(side.pull(head, UINT64_MAX));
        if (side.end() == before && !side.reached(head)) {
            return Error{Code::unavailable, "the share does not show the other side of the fork"};
        }
    }
    return only_in(env.files, config, side.directory(), directory, eventlog::Tail::mirrors);
}

Status say_again(env::Env env, share::Share& share, const NodeConfig& config,
                 const eventlog::Cuts& cuts, const std::vector<events::Payload>& payloads) {
    const auto directory = config.log_root() + "/" + config.writer.v;
    TRY_ASSIGN(const auto recovered, eventlog::recover(env.files, directory, config.trust,
                                                       config.writer, eventlog::Tail::owners));
    TRY_ASSIGN(const auto greatest, share.log().greatest_incarnation(config.writer));
    eventlog::LogWriter::Options options;
    env.entropy.fill(options.nonce);
    TRY_ASSIGN(options.incarnation,
               claim_incarnation(env, share, config, options.nonce,
                                 std::max(std::max(greatest, recovered.end.incarnation).next(),
                                          cuts.least_incarnation())));
    options.directory = directory;
    options.cluster = config.trust.cluster();
    options.writer = config.writer;
    options.identity = config.identity;
    options.previous = recovered.end;
    options.last_hlc = recovered.last_hlc;
    TRY_ASSIGN(const auto log, eventlog::LogWriter::open(env, options));
    std::vector<events::Event> said;
    TRY(log->append(payloads, &said));
    return log->close();
}

}  // namespace

Result<Rescue> rescue_log(env::Env env, share::Share& share, const NodeConfig& config) {
    auto& files = env.files;
    const auto directory = config.log_root() + "/" + config.writer.v;
    const auto aside = config.state_directory + "/rescuing";
    TRY(share.identity().check());
    TRY_ASSIGN(const auto head, share.log().head(config.writer));
    if (!head) {
        return Error{Code::not_found, "the share holds no log of " + config.writer.v};
    }
    TRY_ASSIGN(const auto book, learn_forks(env, share, config));
    const auto& cuts = book.of(config.writer);
    if (cuts.open()) {
        return Error{Code::denied, fork_text(book, config.writer) +
                                       "; where the log goes on is for an operator to decide: "
                                       "reeve log resolve " +
                                       config.writer.v};
    }
    TRY(remember_forks(files, config, book));
    const auto decided =
        cuts.admits(head->incarnation, head->last_seq) ? std::nullopt : cuts.last_decision();
    if (!files.info(aside)) {
        TRY(files.rename(directory, aside));
        TRY(files.sync_dir(config.log_root()));
        TRY(files.sync_dir(config.state_directory));
    }
    TRY(files.make_dirs(directory));
    Rescue out;
    const auto done = aside + "/said-again";  // a rescue that was interrupted behind its append
    if (!files.info(done)) {
        TRY_ASSIGN(const auto begun, eventlog::recover(files, directory, config.trust,
                                                       config.writer, eventlog::Tail::owners));
        const bool said =
            begun.end.incarnation > (decided ? decided->at : position_of(*head)).incarnation;
        if (!said) {
            TRY(decided ? pull_to_cut(env, share, config, decided->at)
                        : adopt_log(env, share, config, *head, begun.end));
        }
        // Said twice after an interruption, they are the same facts.
        TRY_ASSIGN(auto payloads, only_in(files, config, aside, directory, eventlog::Tail::owners));
        if (decided) {
            auto others = of_the_other_side(env, share, config, *head, aside, directory);
            if (!others) {
                env.telemetry.log(env::Level::warning, "log",
                                  others.error().message + "; only this disk's side is said again");
            }
            for (auto& one : others ? *others : std::vector<events::Payload>{}) {
                payloads.push_back(std::move(one));
            }
        }
        out.events = payloads.size();
        if (!payloads.empty()) {
            TRY(say_again(env, share, config, cuts, payloads));
        }
        TRY(files.replace_file(done, as_bytes("done\n"), true));
    }
    out.kept = config.state_directory + "/rescued-" + std::to_string(env.clock.wall_now().ms);
    TRY(files.rename(aside, out.kept));
    auto removed = files.remove(config.replaced_file());
    if (!removed && removed.error().code != Code::not_found) {
        return removed.error();
    }
    return out;
}

}  // namespace reeve::node
