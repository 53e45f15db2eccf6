// Two machines with one disk: what the second one is, what is expected of the one that was replaced
// (I6), and what people do when both were.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "daemon/identity.h"
#include "events/codec.h"
#include "node/forks.h"
#include "node/rescue.h"
#include "tests/sim/cluster.h"

namespace reeve::sim {
namespace {

constexpr milliseconds operator_patience{10'000};

}  // namespace

// One of two copies: it stays away, also when it is started again, and says who took its place.
void Cluster::was_replaced(Daemon& daemon) {
    daemon.wanted = false;
    const auto& machine = *daemon.machine;
    if (machine.leaving) {
        truth_.tell(machine.node.name + " was removed, and stays away");
        world_.count("removed machine stays away");
        daemon.replaced = "removed";
        return;
    }
    if (machine.twin == nullptr) {
        truth_.violated("I6: " + daemon.writer.v + " was replaced, and nobody is its clone");
        return;
    }
    auto& disk = daemon.machine->node.disk;
    const auto file = disk.open(machine.file.writer_state(daemon.writer) + "/replaced",
                                env::OpenMode::read, world_.true_time());
    Bytes bytes(file ? disk.size(*file) : 0);
    if (file) {
        disk.read(*file, 0, bytes);
    } else {
        world_.count("replaced, and not remembered");  // that disk was full, or failed
    }
    const std::string why(as_text(bytes));
    const auto says = [&](const std::string& what) { return why.find(what) != std::string::npos; };
    if (file && !says(machine.twin->node.name) && !says("is claimed on the share") &&
        !says("holds this incarnation") && !says("was cut")) {
        truth_.violated("I6: " + machine.node.name +
                        " was replaced and does not say by whom: " + why);
    }
    if (!daemon.replaced) {
        truth_.tell(machine.node.name + " was replaced: " + why);
        world_.count("one of two clones replaced");
        daemon.wanted = file.has_value();  // somebody starts it once more
        daemon.not_before =
            world_.scheduler().now() + milliseconds(world_.random().between(1'000, 60'000));
    }
    daemon.replaced = why;
}

Machine& Cluster::clone(Machine& machine, Duration starts_in) {
    CHECK(machine.twin == nullptr && machine.daemons.size() == 1);
    const bool torn = world_.random().coin();
    const auto name = machine.node.name + "2";
    truth_.tell(std::string("a copy of the disk of ") + machine.node.name +
                (torn ? ", as the power would leave it," : "") + " becomes " + name);
    world_.count("disk cloned");
    auto& node = world_.add_copy(machine.node, name, torn);
    auto& twin = add(node, machine.file, machine.daemons.front()->role);
    twin.exec.copy_files_of(machine.exec, torn);
    twin.twin = &machine;
    machine.twin = &twin;
    auto& daemon = *twin.daemons.front();
    daemon.not_before = world_.scheduler().now() + starts_in;
    keep_up(daemon);
    return twin;
}

Machine* Cluster::needs_rescue() const {
    for (const auto& machine : machines_) {
        const auto gone = [](const Machine& one) {
            const auto& daemon = *one.daemons.front();
            return daemon.replaced.has_value() && daemon.process == nullptr && !daemon.wanted;
        };
        if (machine->twin != nullptr && gone(*machine) && gone(*machine->twin)) {
            return machine.get();
        }
    }
    return nullptr;
}

void Cluster::rescue(Machine& machine) {
    auto& daemon = *machine.daemons.front();
    truth_.tell("a person rescues the log of " + machine.node.name);
    world_.count("log rescued");
    auto& process = world_.start(machine.node, "rescue", [&](env::Env& env) {
        auto config =
            daemon::node_config(machine.file, daemon.role, machine_cpus, machine_memory_mb);
        auto identity = daemon::stored_identity(env.files, machine.file, daemon.writer);
        CHECK(identity);
        config.identity = std::move(*identity);
        config.host = machine.node.name;
        config.trust = trust_;
        share::DirShare share(env.files, machine.file.nas, config.trust, env.entropy, env.clock);
        auto done = node::rescue_log(env, share, config);
        if (!done && done.error().code == Code::denied && decide(env, share, daemon.writer)) {
            return;  // when the others know of it
        }
        if (!done) {
            truth_.violated("I6: the log of " + machine.node.name +
                            " cannot be rescued: " + done.error().message);
            return;
        }
        truth_.tell(std::to_string(done->events) + " events were said again");
        daemon.replaced.reset();
        daemon.wanted = true;
    });
    world_.wait_ended(process);
}

bool Cluster::has_copy(const WriterId& writer) const {
    return std::any_of(machines_.begin(), machines_.end(), [&](const auto& one) {
        return one->twin != nullptr && one->daemons.front()->writer == writer;
    });
}

/// A signed word at a node's door; its answer, empty without one.
std::string Cluster::bring(env::Env& env, Daemon& door, const events::Payload& word) {
    const auto bytes = events::encode(Hlc(), word);
    CHECK(bytes);
    const nlohmann::json body{
        {"verb", "append_signed"}, {"type", events::type_id(word)}, {"event", to_hex(*bytes)}};
    return door.control.call(env, body.dump(), operator_patience).value_or("");
}

std::string Cluster::policy_text(std::uint64_t version) {
    return "# policy " + std::to_string(version) + "\n";
}

bool Cluster::load_policy(env::Env& env, Daemon& door, std::uint64_t version) {
    events::PolicyLoaded word;
    word.version = version;
    word.files = {{"rules.toml", policy_text(version)}};
    word.operator_key = operator_.public_key();
    word.cluster = id_;
    word.signature = operator_.sign(signed_part(word));
    const auto answer = nlohmann::json::parse(bring(env, door, word), nullptr, false);
    return !answer.is_discarded() && answer.value("ok", false);
}

bool Cluster::remove(env::Env& env, Machine& machine, Daemon& door) {
    auto& daemon = *machine.daemons.front();
    share::DirShare share(env.files, root_, trust_, env.entropy, env.clock);
    const auto head =
        share.identity().check()
            ? share.log().head(daemon.writer)
            : Result<std::optional<eventlog::HeadSlot>>(Error{Code::unavailable, "no share"});
    const auto cut = view(door).cut();
    const auto read = cut.find(daemon.writer);
    if (!head || !*head || (read != cut.end() && read->second.position.seq > (*head)->last_seq)) {
        return false;
    }
    events::WriterRetired word;
    word.writer = daemon.writer;
    word.serial = 1;
    word.incarnation = (*head)->incarnation.v;
    word.segment = (*head)->segment.v;
    word.end = (*head)->durable_end.v;
    word.seq = (*head)->last_seq.v;
    word.hash = (*head)->last_hash;
    word.reason = "its board died";
    word.operator_key = operator_.public_key();
    word.cluster = id_;
    word.signature = operator_.sign(signed_part(word));
    const auto answer = nlohmann::json::parse(bring(env, door, word), nullptr, false);
    if (answer.is_discarded() || !answer.value("ok", false)) {
        return false;
    }
    truth_.tell("an operator has removed " + machine.node.name + " behind event " +
                std::to_string(word.seq));
    world_.count("node removed");
    truth_.removed_at[daemon.writer] = {(*head)->incarnation, (*head)->last_seq};
    daemon.replaced = "removed";
    return true;
}

/// `reeve log resolve`: the log goes on where all views were cut.
bool Cluster::decide(env::Env& env, share::Share& share, const WriterId& writer) {
    const auto all = daemons();
    const auto other = std::find_if(all.begin(), all.end(), [&](const auto* one) {
        return one->writer != writer && one->up();
    });
    if (other == all.end()) {
        return false;
    }
    const auto seen = view(**other);
    const auto book = node::forks_in(seen, trust_);
    const auto cut = seen.cut();
    const auto cursor = cut.find(writer);
    auto greatest = share.log().greatest_incarnation(writer);
    if (!book.of(writer).open() || cursor == cut.end() || !greatest) {
        return true;  // not known there yet
    }
    const auto& at = cursor->second.position;
    if (at.seq.next() != *book.of(writer).open()) {
        return true;
    }
    events::ForkResolved word;
    word.writer = writer;
    word.continues = std::max(*greatest, book.of(writer).least_incarnation()).next().v;
    word.incarnation = at.incarnation.v;
    word.segment = at.segment.v;
    word.end = at.end.v;
    word.seq = at.seq.v;
    word.hash = at.hash;
    word.reason = "two machines had one disk";
    word.operator_key = operator_.public_key();
    word.cluster = id_;
    word.signature = operator_.sign(signed_part(word));
    const auto answer = bring(env, **other, word);
    truth_.tell("an operator lets the log of " + writer.v + " go on behind event " +
                std::to_string(word.seq) + ": " + (answer.empty() ? "no answer" : answer));
    world_.count("fork decided");
    truth_.cut_at[writer] = at.seq;
    return true;
}

}  // namespace reeve::sim
