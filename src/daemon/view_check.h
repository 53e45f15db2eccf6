#pragma once

// The stored view is read whole before a daemon trusts it, in a process of its own: LMDB believes
// what its pages say, so a page that rotted may end whatever process reads it. The view is derived
// data: one that does not pass is set aside and built again from the logs.

#include <optional>
#include <string>

#include "base/time.h"
#include "daemon/config_file.h"
#include "node/node.h"
#include "runtime/process.h"

namespace reeve::daemon {

constexpr seconds view_check_interval{24 * 60 * 60};

enum class ViewCheck : std::uint8_t {
    rows,  // every row as it was written, and none missing
    all,   // also: what follows from rows is what is stored of it
};

/// The process that checks: `--check-view rows|all`. Returns its exit status, and has said why on
/// stdout.
int check_view(const FileConfig& file, node::Role role, ViewCheck what);

/// Before the store is opened: afterwards its directory holds a view that passed, or none. Code::
/// cancelled when a signal came first.
Status settle_view(const env::Env& env, const FileConfig& file, node::Role role,
                   const node::NodeConfig& config, runtime::SignalWaiter& signals);

/// The same check beside a running node, from time to time; a node whose view has rotted ends, and
/// its next start finds the mark. Asked again and again by one thread.
class ViewWatch {
public:
    ViewWatch(const env::Env& env, const FileConfig& file, node::Role role, seconds interval);
    /// Why the view is not to be used any more, if the check that ends now says so.
    std::optional<Error> look();

private:
    const env::Env& env_;
    const FileConfig& file_;
    node::Role role_;
    seconds interval_;
    MonoTime next_;
    std::optional<runtime::Child> child_;
};

}  // namespace reeve::daemon
