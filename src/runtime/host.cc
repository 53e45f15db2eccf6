// What the machine says of itself (declared in process.h).

#include <sched.h>
#include <unistd.h>

#include <array>
#include <charconv>

#include "runtime/posix_file_system.h"
#include "runtime/process.h"

namespace reeve::runtime {

namespace {

constexpr std::uint64_t proc_limit = 64 * 1024;

std::string read_text(const std::string& path) {
    PosixFileSystem files;
    const auto bytes = files.read_file(path, proc_limit);
    return bytes ? std::string(as_text(*bytes)) : "";
}

/// The number after `label` in a text like /proc/meminfo; 0 without one.
std::uint64_t number_after(std::string_view text, std::string_view label) {
    const auto at = text.find(label);
    if (at == std::string_view::npos) {
        return 0;
    }
    const auto digit = text.find_first_of("0123456789", at + label.size());
    std::uint64_t value = 0;
    if (digit != std::string_view::npos) {
        std::from_chars(text.data() + digit, text.data() + text.size(), value);
    }
    return value;
}

}  // namespace

std::string host_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data()
                                                                               : "localhost";
}

std::string process_boot_id() {
    auto text = read_text("/proc/sys/kernel/random/boot_id");
    return text.substr(0, text.find('\n'));
}

HostLoad read_host_load() {
    HostLoad out;
    const auto load = read_text("/proc/loadavg");
    double average = 0;
    std::from_chars(load.data(), load.data() + load.size(), average);
    out.load_milli = static_cast<std::uint32_t>(average * 1000);
    const auto memory = read_text("/proc/meminfo");
    out.memory_total_mb = number_after(memory, "MemTotal:") / 1024;
    out.memory_free_mb = number_after(memory, "MemAvailable:") / 1024;
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    const bool known = ::sched_getaffinity(0, sizeof allowed, &allowed) == 0;
    const long cpus = known ? CPU_COUNT(&allowed) : ::sysconf(_SC_NPROCESSORS_ONLN);
    out.cpus = cpus > 0 ? static_cast<std::uint32_t>(cpus) : 1;
    return out;
}

}  // namespace reeve::runtime
