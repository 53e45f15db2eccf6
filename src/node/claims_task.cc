// The claim, steps 1 to 3 (jobs page): link, look, barrier, look again. Requests that wait together
// go through one barrier together.
//
//   ClaimRequest*  ->  link + look  ->  mine: ReadAll to pull, IsHeadOurs to push  ->  look  ->
//   loop
//                                   ->  another's, nobody's, unknown               ->          loop

#include <algorithm>

#include "node/tasks.h"

namespace reeve::node {
namespace {

constexpr milliseconds barrier_deadline{15'000};

class Claimer {
public:
    explicit Claimer(TaskContext context) : context_(std::move(context)) {}

    void run() {
        while (!stopped_) {
            // Requests that came while a barrier was waited for are served before more is.
            const bool waiting = list_ || !requests_.empty();
            auto mail = context_.mail.claims.take_all(waiting ? context_.env.clock.mono_now()
                                                              : MonoTime::never());
            sort(std::move(mail));
            if (list_) {
                list_ = false;
                list_own();
            }
            auto requests = std::move(requests_);
            requests_.clear();
            if (!requests.empty()) {
                serve(std::move(requests));
            }
        }
    }

private:
    void sort(std::vector<ClaimsMessage> mail) {
        for (auto& message : mail) {
            if (auto* request = std::get_if<ClaimRequest>(&message)) {
                requests_.push_back(std::move(*request));
            } else if (auto* logs = std::get_if<BarrierLogs>(&message)) {
                if (logs->barrier == barrier_) {
                    logs_ = std::move(*logs);
                }
            } else if (auto* head = std::get_if<BarrierHead>(&message)) {
                if (head->barrier == barrier_) {
                    head_ = std::move(*head);
                }
            } else if (std::holds_alternative<ListOwn>(message)) {
                list_ = true;
            } else {
                stopped_ = true;
            }
        }
    }

    share::Ticket ticket(share::TicketKind kind) const {
        return {context_.config.writer, context_.incarnation, context_.nonce, kind};
    }

    void tell(ClaimAnswer answer) { insist(context_, std::move(answer)); }

    void list_own() {
        auto held = context_.share.claims().list_of(context_.config.writer);
        if (held) {
            static_cast<void>(
                context_.mail.loop.push(LoopMessage(OwnClaims{std::move(*held)})).has_value());
        }
    }

    /// Link and look. The call's own result says nothing (a lost reply lies): only the look counts.
    ClaimAnswer link_and_look(ClaimRequest request) {
        ClaimAnswer answer;
        const auto mine = ticket(request.kind);
        answer.request = std::move(request);
        auto& claims = context_.share.claims();
        if (!answer.request.only_look) {
            auto prepared = claims.prepare(mine);
            auto linked =
                prepared ? claims.link(answer.request.attempt, mine) : std::move(prepared);
            answer.failure = linked ? "" : linked.error().message;
        }
        look(answer);
        return answer;
    }

    void look(ClaimAnswer& answer) {
        auto holder = context_.share.claims().look(answer.request.attempt);
        if (!holder) {
            answer.mine = false;
            answer.failure = holder.error().message;
            return;
        }
        answer.mine = holder->has_value() && **holder == ticket(answer.request.kind) &&
                      !answer.request.only_look;
        if (answer.mine) {
            return;
        }
        answer.holder = *holder;
        if (!answer.holder && answer.failure.empty()) {
            answer.failure = "nobody holds it";
        }
    }

    void serve(std::vector<ClaimRequest> requests) {
        std::vector<ClaimAnswer> won;
        for (auto& request : requests) {
            auto answer = link_and_look(std::move(request));
            if (answer.mine && answer.request.kind == share::TicketKind::run) {
                won.push_back(std::move(answer));
            } else {
                tell(std::move(answer));
            }
        }
        if (won.empty()) {
            return;
        }
        const std::string broken = barrier();
        for (auto& answer : won) {
            look(answer);
            if (!answer.mine) {
                tell(std::move(answer));
                continue;
            }
            answer.barrier = broken.empty() ? logs_->logs : RemoteLogs{};
            if (!broken.empty()) {
                // The loop releases it: the view is not current enough to start anything.
                answer.barrier_failure = broken;
            }
            tell(std::move(answer));
        }
    }

    /// Empty when every log was read to a HEAD read after now and the own HEAD bears the last own
    /// tag.
    std::string barrier() {
        logs_.reset();
        head_.reset();
        ++barrier_;
        if (!context_.mail.pull.push(ReadAll{barrier_}) ||
            !context_.mail.push.push(IsHeadOurs{barrier_})) {
            return "the tasks of the mirror are behind";
        }
        const MonoTime deadline = context_.env.clock.mono_now() + barrier_deadline;
        while (!stopped_ && !(logs_ && head_)) {
            auto mail = context_.mail.claims.take_all(deadline);
            if (mail.empty()) {
                return "the share did not answer in time";
            }
            sort(std::move(mail));
        }
        if (stopped_) {
            return "stopping";
        }
        if (!logs_->complete) {
            return logs_->reason;
        }
        return head_->ours ? "" : head_->reason;
    }

    TaskContext context_;
    std::vector<ClaimRequest> requests_;
    std::uint64_t barrier_ = 0;  // number of the last question
    std::optional<BarrierLogs> logs_;
    std::optional<BarrierHead> head_;
    bool list_ = false;
    bool stopped_ = false;
};

}  // namespace

void claims_task(TaskContext context) { Claimer(std::move(context)).run(); }

}  // namespace reeve::node
