#include "node/node.h"

#include "node/ballast.h"
#include "node/replies.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace reeve::node {
namespace {

constexpr milliseconds boot_share_patience{5'000};
constexpr std::uint64_t small_file = 4096;
constexpr int claim_rounds = 64;

struct Remembered {
    Incarnation incarnation;
    std::string nonce;
};

std::string remembered_path(const NodeConfig& config) {
    return config.log_root() + "/" + config.writer.v + "/incarnation.json";
}

std::optional<Remembered> remembered(env::FileSystem& files, const NodeConfig& config) {
    const auto bytes = files.read_file(remembered_path(config), small_file);
    const auto parsed =
        bytes ? nlohmann::json::parse(as_text(*bytes), nullptr, false) : nlohmann::json();
    const auto number = parsed.is_object() ? parsed.find("incarnation") : parsed.end();
    if (number == parsed.end() || !number->is_number_unsigned()) {
        return std::nullopt;
    }
    return Remembered{Incarnation(number->get<std::uint64_t>()), text_of(parsed, "nonce")};
}

Status remember(env::FileSystem& files, const NodeConfig& config, Incarnation incarnation,
                const share::Nonce& nonce) {
    const nlohmann::json record{{"incarnation", incarnation.v}, {"nonce", to_hex(nonce)}};
    return files.replace_file(remembered_path(config), as_bytes(record.dump()), true);
}

/// What the boot task tells: which incarnation is ours, or why the share gave no answer.
struct BootClaim {
    Incarnation incarnation;
    std::string failure;
};

}  // namespace

Node::Node(NodeServices services, NodeConfig config)
    : services_(services), config_(std::move(config)), mail_(services.env.tasks) {}

Result<std::unique_ptr<Node>> Node::open(NodeServices services, NodeConfig config) {
    std::unique_ptr<Node> node(new Node(services, std::move(config)));
    auto& files = node->services_.env.files;
    const bool room_made = release_ballast_to_start(
        node->services_.env, node->config_.state_directory, node->config_.ballast_file());
    TRY(files.make_dirs(node->config_.log_root() + "/" + node->config_.writer.v));
    TRY(files.make_dirs(node->config_.run_root()));
    TRY(node->look_at_boot());
    TRY(node->open_log());
    TRY(node->open_projection());
    const LoopLinks links{node->mail_.loop,        node->mail_.push,    node->mail_.pull,
                          node->mail_.claims,      node->mail_.bulk,    node->services_.supervisor,
                          node->services_.control, node->services_.host};
    node->loop_ =
        std::make_unique<Loop>(node->services_.env, node->config_, links, *node->projection_,
                               std::move(node->writer_), node->rebooted_);
    if (room_made) {
        node->loop_->started_without_ballast("the disk was full at the start");
    }
    return node;
}

// The local store is not synced: after a boot it is built again from the logs. A worker remembers
// the boot only when it has settled what the boot interrupted (loop_attempts.cc).
Status Node::look_at_boot() {
    auto& files = services_.env.files;
    const auto boot_id = services_.host.facts().boot_id;
    const auto last_boot = files.read_file(config_.boot_file(), small_file);
    const bool first = !last_boot && last_boot.error().code == Code::not_found;
    rebooted_ = !first && !(last_boot && as_text(*last_boot) == boot_id);
    const std::string rebuild = config_.rebuild_file();
    if (first || rebooted_ || files.info(rebuild)) {
        TRY(services_.store.clear());
        static_cast<void>(files.remove(rebuild).has_value());
    }
    const bool remember_now = first || services_.supervisor == nullptr;
    return remember_now ? files.replace_file(config_.boot_file(), as_bytes(boot_id), true) : ok();
}

// A view whose past has changed is built again, never guessed: each cursor must still end a batch
// of the log that it was read from.
Status Node::open_projection() {
    TRY_ASSIGN(projection_, projection::Projection::open(services_.store));
    for (const auto& [writer, cursor] : projection_->cut()) {
        TRY_ASSIGN(auto reader, eventlog::LogReader::open(services_.env.files,
                                                          config_.log_root() + "/" + writer.v,
                                                          config_.cluster, writer));
        const auto found = reader.seek(cursor.position);
        if (found ||
            (found.error().code != Code::conflict && found.error().code != Code::not_found)) {
            continue;  // damage is met, and told, where the log is read
        }
        services_.env.telemetry.log(env::Level::warning, "projection",
                                    "built again: " + found.error().message);
        projection_.reset();
        TRY(services_.store.clear());
        TRY_ASSIGN(projection_, projection::Projection::open(services_.store));
        return ok();
    }
    return ok();
}

Status Node::open_log() {
    auto& files = services_.env.files;
    const std::string directory = config_.log_root() + "/" + config_.writer.v;
    TRY_ASSIGN(const auto recovered, eventlog::recover(files, directory, config_.cluster,
                                                       config_.writer, eventlog::Tail::owners));
    for (const auto& warning : recovered.warnings) {
        services_.env.telemetry.log(env::Level::warning, "log", warning);
    }
    const auto before = remembered(files, config_);
    const Incarnation own_last =
        std::max(recovered.end.incarnation, before ? before->incarnation : Incarnation(0));
    services_.env.entropy.fill(nonce_);
    TRY_ASSIGN(incarnation_, claim_incarnation(own_last));
    eventlog::LogWriter::Options options;
    options.directory = directory;
    options.cluster = config_.cluster;
    options.writer = config_.writer;
    options.incarnation = incarnation_;
    options.nonce = nonce_;
    options.previous = recovered.end;
    options.last_hlc = recovered.last_hlc;
    TRY_ASSIGN(writer_, eventlog::LogWriter::open(services_.env, options));
    return ok();
}

// Number and nonce are durable here before the link, so that a crash in between never locks a lone
// node out: a claim with a remembered nonce would be its own.
Result<Incarnation> Node::claim_incarnation(Incarnation own_last) {
    auto answers = std::make_shared<env::Mailbox<BootClaim>>(services_.env.tasks, 4);
    const NodeConfig& config = config_;
    auto& share = services_.share;
    auto& files = services_.env.files;
    services_.env.tasks.spawn("boot", [answers, config, &share, &files, own_last, nonce = nonce_] {
        const auto claim = [&]() -> Result<Incarnation> {
            TRY(share.identity().check());
            TRY_ASSIGN(const auto greatest, share.log().greatest_incarnation(config.writer));
            Incarnation next = std::max(own_last, greatest).next();
            for (int round = 0; round < claim_rounds; ++round, next = next.next()) {
                TRY(remember(files, config, next, nonce));
                TRY_ASSIGN(const auto holder,
                           share.log().claim_incarnation(config.writer, next, nonce));
                if (holder == nonce) {
                    return next;
                }
            }
            return Error{Code::conflict, "every incarnation number tried is another's"};
        };
        auto done = claim();
        const BootClaim answer =
            done ? BootClaim{*done, ""} : BootClaim{Incarnation(0), done.error().message};
        static_cast<void>(answers->push(answer).has_value());
    });
    const auto answer = answers->take(services_.env.clock.mono_now() + boot_share_patience);
    if (answer && answer->failure.empty()) {
        return answer->incarnation;
    }
    services_.env.telemetry.log(
        env::Level::warning, "share",
        "starting without the share: " + (answer ? answer->failure : "no answer"));
    // Greater than any number that the boot task may still be trying to claim for this run.
    const Incarnation next(own_last.v + claim_rounds + 1);
    TRY(remember(files, config_, next, nonce_));
    return next;
}

void Node::start() {
    auto& tasks = services_.env.tasks;
    const TaskContext context{services_.env, config_, services_.share, mail_, incarnation_, nonce_};
    auto* doorbell = services_.doorbell;
    tasks.spawn("push", [context, doorbell] { push_task(context, doorbell); });
    tasks.spawn("pull", [context] { pull_task(context); });
    tasks.spawn("claims", [context] { claims_task(context); });
    tasks.spawn("bulk", [context, this] { bulk_task(context, *projection_); });
    tasks.spawn("control", [context, this] { control_task(context, services_.control, stop_); });
    if (services_.supervisor != nullptr) {
        tasks.spawn("exec", [context, this] { exec_task(context, *services_.supervisor, stop_); });
    }
    if (doorbell != nullptr) {
        tasks.spawn("doorbell",
                    [context, this, doorbell] { doorbell_task(context, *doorbell, stop_); });
    }
    tasks.spawn("loop", [this] {
        const int status = loop_->run();
        stop_tasks();
        exit_ = status;
    });
}

void Node::stop(const std::string& reason) {
    static_cast<void>(mail_.loop.push(LoopMessage(StopRequested{reason})).has_value());
}

void Node::stop_tasks() {
    stop_ = true;
    static_cast<void>(mail_.push.push(StopTask{}).has_value());
    static_cast<void>(mail_.pull.push(StopTask{}).has_value());
    static_cast<void>(mail_.claims.push(StopTask{}).has_value());
    static_cast<void>(mail_.bulk.push(StopTask{}).has_value());
}

std::optional<int> Node::ended() const {
    const int status = exit_;
    return status < 0 ? std::nullopt : std::optional(status);
}

}  // namespace reeve::node
