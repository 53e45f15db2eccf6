#include "node/rescue.h"

#include "eventlog/reader.h"
#include "eventlog/recovery.h"
#include "eventlog/writer.h"
#include "node/boot.h"

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
                                             const std::string& mine, const std::string& theirs) {
    TRY_ASSIGN(auto own, eventlog::LogReader::open(files, mine, config.trust, config.writer));
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

Status say_again(env::Env env, share::Share& share, const NodeConfig& config,
                 const std::vector<events::Payload>& payloads) {
    const auto directory = config.log_root() + "/" + config.writer.v;
    TRY_ASSIGN(const auto recovered, eventlog::recover(env.files, directory, config.trust,
                                                       config.writer, eventlog::Tail::owners));
    TRY_ASSIGN(const auto greatest, share.log().greatest_incarnation(config.writer));
    eventlog::LogWriter::Options options;
    env.entropy.fill(options.nonce);
    TRY_ASSIGN(options.incarnation,
               claim_incarnation(env, share, config, options.nonce,
                                 std::max(greatest, recovered.end.incarnation).next()));
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
        if (begun.end.incarnation <= head->incarnation) {
            TRY(adopt_log(env, share, config, *head, begun.end));
        }
        // Said twice after an interruption, they are the same facts.
        TRY_ASSIGN(const auto payloads, only_in(files, config, aside, directory));
        out.events = payloads.size();
        if (!payloads.empty()) {
            TRY(say_again(env, share, config, payloads));
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
