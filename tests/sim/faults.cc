#include "tests/sim/faults.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace reeve::sim {

Faults Faults::of(Random& random) {
    Faults faults;
    const auto pick = [&](std::int64_t most) {
        return random.coin() ? static_cast<std::uint32_t>(random.between(1, most)) : 0;
    };
    faults.lost_reply_permille = pick(60);
    faults.nas_io_permille = pick(40);
    faults.nas_slow_permille = pick(20);
    faults.stale_absence_permille = pick(300);
    faults.local_sync_permille = pick(10);
    faults.outages = pick(2);
    faults.nas_hang_permille = random.coin() ? pick(2) : 0;
    faults.repeat_permille = pick(40);
    faults.stale_name_permille = pick(500);
    faults.stale_attributes_permille = pick(500);
    faults.writeback_permille = pick(500);
    faults.local_io_permille = random.coin() ? pick(4) : 0;
    return faults;
}

std::string Faults::text() const {
    std::string out = "faults permille:";
    const auto add = [&](const char* name, std::uint32_t value) {
        if (value != 0) {
            out += std::string(" ") + name + " " + std::to_string(value) + ",";
        }
    };
    add("lost reply", lost_reply_permille);
    add("nas io", nas_io_permille);
    add("slow", nas_slow_permille);
    add("hang", nas_hang_permille);
    add("repeat", repeat_permille);
    add("stale absence", stale_absence_permille);
    add("stale name", stale_name_permille);
    add("stale attributes", stale_attributes_permille);
    add("writeback", writeback_permille);
    add("local sync", local_sync_permille);
    add("local io", local_io_permille);
    return out + " outages " + std::to_string(outages);
}

const std::vector<FaultRow>& fault_rows() {
    static const std::vector<FaultRow> rows{
        {"kill", "kills"},
        {"request outlives its sender", "kills"},
        {"stop", "stops"},
        {"policy loaded", "policies"},
        {"node removed", "removals"},
        {"removed machine stays away", "removals"},
        {"node admitted", "admissions"},
        {"supervisor killed", "supervisor-kills"},
        {"supervisor stalls", "exec-stalls"},
        {"crash", "crashes"},
        {"disk lost", "lost-disks"},
        {"disk cloned", "clones"},
        {"one of two clones replaced", "clones"},
        {"process paused", "pauses"},
        {"machine paused", "pauses"},
        {"datagram lost", "bells"},
        {"local sync failed", "local-sync"},
        {"local read failed", "local-io"},
        {"local write failed", "local-io"},
        {"local disk full", "full-disks"},
        {"clock stepped", "clocks"},
        {"clock drifts", "clocks"},
        {"clock stands", "clocks"},
        {"clock ten years ahead", "clocks"},
        {"lost reply", "lost-replies"},
        {"nas io, done", "nas-io"},
        {"nas io, not done", "nas-io"},
        {"nas io, done later", "nas-io"},
        {"nas slow", "slow"},
        {"nas call hangs", "hangs"},
        {"request repeated", "repeats"},
        {"requests reordered", "slow"},
        {"stale absence", "absences"},
        {"stale name", "stale-names"},
        {"stale attributes", "stale-attributes"},
        {"stale size", "stale-attributes"},
        {"written back early", "writeback"},
        {"zero hole", "writeback"},
        {"outage", "outages"},
        {"client cut off", "cuts"},
        {"nas restarted", "nas-restarts"},
        {"nas fails: EIO", "nas-errors"},
        {"nas fails: ENOSPC", "nas-errors"},
        {"nas fails: EROFS", "nas-errors"},
        {"nas fails: ESTALE", "nas-errors"},
        {"unmounted", "unmounts"},
        {"nas emptied", "losses"},
        {"nas rolled back", "rollbacks"},
        {"stale handle", "rollbacks"},
    };
    return rows;
}

void add(Coverage& total, const Coverage& more) {
    for (const auto& [what, n] : more) {
        total[what] += n;
    }
}

std::string coverage_table(const Coverage& coverage) {
    std::string out = "how often each fault happened:\n";
    const auto line = [&](const std::string& name, std::uint64_t n, const std::string& klass) {
        std::array<char, 120> text{};
        std::snprintf(text.data(), text.size(), "  %-32s %12llu  %s\n", name.c_str(),
                      static_cast<unsigned long long>(n), klass.c_str());
        out += text.data();
    };
    for (const auto& row : fault_rows()) {
        const auto found = coverage.find(row.name);
        line(row.name, found == coverage.end() ? 0 : found->second, row.klass);
    }
    for (const auto& [name, n] : coverage) {
        const bool known =
            std::any_of(fault_rows().begin(), fault_rows().end(),
                        [&, key = name](const auto& row) { return key == row.name; });
        if (!known) {
            line(name, n, "-");
        }
    }
    return out;
}

std::vector<std::string> never_happened(const Coverage& coverage) {
    std::vector<std::string> out;
    for (const auto& row : fault_rows()) {
        if (!coverage.contains(row.name)) {
            out.emplace_back(row.name);
        }
    }
    return out;
}

}  // namespace reeve::sim
