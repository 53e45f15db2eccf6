#include "node/forks.h"

namespace reeve::node {

eventlog::ForkBook known_forks(env::Env env, const NodeConfig& config) {
    auto book = eventlog::read_forks(env.files, config.forks_file(), config.trust);
    if (!book) {
        env.telemetry.log(env::Level::error, "log",
                          book.error().message + "; the logs are read for it again");
        return {};
    }
    return std::move(*book);
}

Status remember_forks(env::FileSystem& files, const NodeConfig& config,
                      const eventlog::ForkBook& book) {
    TRY_ASSIGN(const auto text, book.text());
    return files.replace_file(config.forks_file(), as_bytes(text), true);
}

eventlog::ForkBook forks_in(const projection::Snapshot& view, const eventlog::Trust& trust) {
    eventlog::ForkBook out;
    for (const auto& fork : view.forks()) {
        out.add(fork);
    }
    for (const auto& decision : view.resolved()) {
        out.add(decision, trust);
    }
    return out;
}

std::string fork_text(const eventlog::ForkBook& book, const WriterId& writer) {
    std::string out;
    for (const auto& fork : book.forks_of(writer)) {
        out += (out.empty() ? "two histories of " + writer.v + " part at event " : ", at event ") +
               std::to_string(fork.seq) + " of incarnation " + std::to_string(fork.incarnation) +
               " (batches " + to_hex(fork.first) + " and " + to_hex(fork.second) + ")";
    }
    return out;
}

}  // namespace reeve::node
