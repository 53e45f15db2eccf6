#pragma once

#include <cstdint>
#include <string>

namespace reeve::env {

struct HostFacts {
    std::uint32_t load_milli = 0;  // 1-minute load average x 1000
    std::uint64_t memory_free_mb = 0;
    std::uint64_t disk_free_mb = 0;  // where the state directory lies
    std::string boot_id;             // changes with every boot of the machine
};

/// What the machine says about itself. Thread-safe; local and quick.
class Host {
public:
    virtual ~Host() = default;
    virtual HostFacts facts() = 0;
};

}  // namespace reeve::env
