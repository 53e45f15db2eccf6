#pragma once

// Small helpers for the daemons: signals, the service manager, what the machine says of itself, and
// starting a program that outlives us. Plain functions; each says which thread may call it when
// that matters.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "runtime/os.h"

namespace reeve::runtime {

/// Takes SIGTERM, SIGINT and SIGHUP out of the process's way and hands them to wait(). Make it
/// first in main: only threads made later inherit the mask. Also ignores SIGPIPE and SIGXFSZ, so
/// that a closed pipe and a file size limit are errors of a call instead of the end of the process.
class SignalWaiter {
public:
    SignalWaiter();
    SignalWaiter(const SignalWaiter&) = delete;
    SignalWaiter& operator=(const SignalWaiter&) = delete;
    ~SignalWaiter();
    /// The number of the next signal, or nothing after `timeout`. One thread at a time.
    std::optional<int> wait(Duration timeout);

private:
    int fd_ = -1;
};

/// Tells the service manager, e.g. "READY=1" or "STATUS=...". False when there is none or it does
/// not hear. Never blocks.
bool sd_notify(std::string_view state);

/// Without the domain's dots only if the system is set up so; empty never.
std::string host_name();
/// New with every boot of the machine; empty when the kernel does not tell.
std::string process_boot_id();

struct HostLoad {
    std::uint32_t load_milli = 0;  // 1-minute load average x 1000
    std::uint64_t memory_total_mb = 0;
    std::uint64_t memory_free_mb = 0;  // available without swapping
    std::uint32_t cpus = 0;            // that this process may use, at least 1
};
/// From /proc; what cannot be read is 0.
HostLoad read_host_load();

/// Starts argv in a session of its own, without a parent to wait for it: stdin is /dev/null, stdout
/// and stderr are appended to `log_path`, no other descriptor, no signal mask and no ignored signal
/// is inherited; environment and working directory are ours. argv[0] is a path with a slash. ok()
/// means that the program was executed; when exec fails, its reason is the error.
Status spawn_detached(const std::vector<std::string>& argv, const std::string& log_path);

/// How a program ended.
struct ChildEnd {
    int exit = 0;         // its exit status, when signal is 0
    int signal = 0;       // what killed it
    bool in_time = true;  // false: we did, at its time limit
    std::string said;     // the beginning of its standard output
};
/// A program that we wait for: standard input is /dev/null, its standard output comes to us, the
/// rest is inherited. It does not outlive this object.
class Child {
public:
    /// argv[0] is a path with a slash. An error when the program cannot be executed.
    static Result<Child> start(const std::vector<std::string>& argv, Duration limit);
    Child(Child&& other) noexcept;
    Child& operator=(Child&&) = delete;
    ~Child();
    /// Its end, once it has come within `patience`; not to be asked again then.
    std::optional<ChildEnd> ended(Duration patience);

private:
    Child(int pid, UniqueFd output, MonoTime deadline)
        : pid_(pid), output_(std::move(output)), deadline_(deadline) {}
    int pid_;  // 0: waited for
    UniqueFd output_;
    MonoTime deadline_;
    std::string said_;
};
/// This process is killed when the thread that started it ends, and after `limit` at the latest.
void end_with_parent(seconds limit);

/// From now on a fault (a page of a mapped file that has rotted or is gone, a broken relation of a
/// library) ends the process with these words on standard error and this status. `words` lives for
/// ever.
void explain_faults(const char* words, int status);

/// Becomes the program at `path` with these arguments (argv[0] is added), as the shell's exec does.
/// Returns only when that fails: says why on stderr and returns an exit status.
int replace_process(const std::string& path, int argc, char** argv);
/// A regular file that we may execute.
bool is_executable(const std::string& path);

/// Holds an exclusive lock on a local file until it goes; the kernel lets go of it when the process
/// ends, however it ends.
class FileLock {
public:
    explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}

private:
    UniqueFd fd_;
};
/// Makes the file if absent and never removes it. Code::conflict when another process holds it.
Result<FileLock> lock_file(const std::string& path);

/// The directory of the program that runs, without a slash at the end; empty if unknown.
std::string self_exe_dir();
/// Goes on as `user` and its groups, for good, when we are root and such a user exists; else does
/// nothing. What root makes, a daemon that is not root could not change; on many shares root is
/// nobody. Before threads start.
Status leave_root_for(const std::string& user);
bool is_terminal(int fd);
/// The number of this process.
int process_id();
/// Permission bits that new files never get, for example 0007. Once, before threads start.
void set_file_creation_mask(unsigned mask);
/// Ends the process at once: no destructor runs and no thread is joined. For a task that hangs on a
/// share for ever, after everything local is synced.
[[noreturn]] void exit_now(int status);

}  // namespace reeve::runtime
