#include "node/node.h"

#include "node/ballast.h"
#include "node/boot.h"
#include "node/forks.h"

namespace reeve::node {
namespace {

constexpr std::uint64_t small_file = 4096;

std::string parent_of(const std::string& path) {
    const auto slash = path.find_last_of('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

bool view_is_void(env::FileSystem& files, const NodeConfig& config, const std::string& boot_id) {
    const auto last_boot = files.read_file(config.boot_file(), small_file);
    return !last_boot || as_text(*last_boot) != boot_id || files.info(config.rebuild_file());
}

Node::Node(NodeServices services, NodeConfig config)
    : services_(services), config_(std::move(config)), mail_(services.env.tasks) {}

Result<std::unique_ptr<Node>> Node::open(NodeServices services, NodeConfig config) {
    std::unique_ptr<Node> node(new Node(services, std::move(config)));
    const bool room_made = release_ballast_to_start(
        node->services_.env, node->config_.state_directory, node->config_.ballast_file());
    TRY(node->make_directories());
    TRY(node->look_at_boot());
    TRY(node->open_log());
    TRY(node->settle_boot());
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

// A synced file is worth nothing in a directory whose own name goes with the power. At each start:
// the one that made them may have died in between.
Status Node::make_directories() {
    auto& files = services_.env.files;
    TRY(files.make_dirs(config_.log_root() + "/" + config_.writer.v));
    TRY(files.make_dirs(config_.run_root()));
    TRY(files.sync_dir(config_.log_root()));
    TRY(files.sync_dir(config_.state_directory));
    // What is above may be closed to this user, and was made when reeve was installed.
    static_cast<void>(files.sync_dir(parent_of(config_.state_directory)).has_value());
    return ok();
}

// The local store is not synced: after a boot it is built again from the logs.
Status Node::look_at_boot() {
    auto& files = services_.env.files;
    boot_id_ = services_.host.facts().boot_id;
    const auto last_boot = files.read_file(config_.boot_file(), small_file);
    boot_unknown_ = !last_boot && last_boot.error().code == Code::not_found;
    rebooted_ = !boot_unknown_ && !(last_boot && as_text(*last_boot) == boot_id_);
    if (view_is_void(files, config_, boot_id_)) {
        TRY(services_.store.clear());  // the loop takes the mark away when it has told the reason
    }
    return ok();
}

// A worker remembers the boot only when it has settled what the boot interrupted
// (loop_attempts.cc). One that has a log and no memory of a boot has lost its disk, or a part of
// it: no local claim proves any more that an attempt never began (I2). Nor does a log without a
// word about a claim, behind a boot.
Status Node::settle_boot() {
    const bool first = boot_unknown_ && incarnation_before_ == Incarnation(0);
    rebooted_ = rebooted_ || (boot_unknown_ && !first);
    if (rebooted_) {  // another machine may run on with the disk that this is a copy of
        TRY(know_nothing_before(services_.env.files, config_, incarnation_));
    }
    const bool remember_now = first || services_.supervisor == nullptr;
    return remember_now
               ? services_.env.files.replace_file(config_.boot_file(), as_bytes(boot_id_), true)
               : ok();
}

// A view whose past has changed is built again, never guessed: each cursor must still end a batch
// of the log that it was read from.
Status Node::open_projection() {
    TRY_ASSIGN(projection_, projection::Projection::open(services_.store));
    const auto forks = known_forks(services_.env, config_);
    for (const auto& [writer, cursor] : projection_->cut()) {
        TRY_ASSIGN(auto reader, eventlog::LogReader::open(services_.env.files,
                                                          config_.log_root() + "/" + writer.v,
                                                          config_.trust, writer));
        auto found = reader.seek(cursor.position);
        if (!forks.of(writer).admits(cursor.position.incarnation, cursor.position.seq)) {
            found = Error{Code::conflict, "the log of " + writer.v + " was read behind its cut"};
        }
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
    services_.env.entropy.fill(nonce_);
    TRY_ASSIGN(auto booted, boot_log(services_.env, services_.share, config_, nonce_));
    for (const auto& warning : booted.recovered.warnings) {
        services_.env.telemetry.log(env::Level::warning, "log", warning);
    }
    incarnation_ = booted.incarnation;
    incarnation_before_ = booted.recovered.end.incarnation;
    serial_before_ = booted.recovered.serial;
    eventlog::LogWriter::Options options;
    options.directory = config_.log_root() + "/" + config_.writer.v;
    options.cluster = config_.trust.cluster();
    options.identity = config_.identity;
    options.writer = config_.writer;
    options.incarnation = incarnation_;
    options.nonce = nonce_;
    options.previous = booted.recovered.end;
    options.last_hlc = booted.recovered.last_hlc;
    TRY_ASSIGN(writer_, eventlog::LogWriter::open(services_.env, options));
    return ok();
}

void Node::start() {
    auto& tasks = services_.env.tasks;
    const TaskContext context{services_.env, config_, services_.share, mail_,
                              incarnation_,  nonce_,  serial_before_};
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

void Node::leave_view(const Error& damage) {
    static_cast<void>(mail_.loop.push(LoopMessage(ViewBroken{damage})).has_value());
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
