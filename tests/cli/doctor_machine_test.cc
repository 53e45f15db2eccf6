// What doctor makes of daemons, limits, clocks and units.

#include <gtest/gtest.h>

#include "tools/reeve/doctor/judge_machine.h"

namespace reeve::doctor {
namespace {

DaemonFacts running() {
    DaemonFacts out;
    out.writer = "nova.worker";
    out.program = "reeve-worker";
    out.answers = out.listens = true;
    out.version = "1.2.3";
    out.pid = 17;
    out.program_file = "/usr/bin/reeve-worker";
    return out;
}

TEST(DoctorDaemon, AbsentHungOrOfAnotherVersion) {
    auto daemon = running();
    EXPECT_EQ(judge_daemon(daemon).verdict, Verdict::ok);
    EXPECT_EQ(judge_version(daemon, "1.2.3").verdict, Verdict::ok);
    EXPECT_EQ(judge_version(daemon, "1.2.4").verdict, Verdict::warn);
    daemon.program_file += " (deleted)";
    EXPECT_EQ(judge_version(daemon, "1.2.3").verdict, Verdict::warn);
    daemon.answers = false;
    EXPECT_EQ(judge_daemon(daemon).verdict, Verdict::fail);
    EXPECT_EQ(judge_version(daemon, "1.2.3").verdict, Verdict::skip);
    daemon.listens = false;
    EXPECT_EQ(judge_daemon(daemon).verdict, Verdict::warn);
}

TEST(DoctorDaemon, Supervisor) {
    SupervisorFacts facts;
    facts.daemon_uid = 990;
    EXPECT_EQ(judge_supervisor(facts).verdict, Verdict::fail);
    facts.program_there = true;
    EXPECT_EQ(judge_supervisor(facts).verdict, Verdict::skip);
    facts.worker_answers = true;
    EXPECT_EQ(judge_supervisor(facts).verdict, Verdict::warn);
    facts.peer = runtime::Peer{5, 990};
    EXPECT_EQ(judge_supervisor(facts).verdict, Verdict::ok);
    facts.peer->uid = 0;
    EXPECT_EQ(judge_supervisor(facts).verdict, Verdict::fail);
}

TEST(DoctorDaemon, DoorbellPorts) {
    BellFacts bell{"doorbell.nova.worker", "", false, std::nullopt};
    EXPECT_EQ(judge_bell(bell).verdict, Verdict::skip);
    bell.address = "0.0.0.0:7400";
    EXPECT_EQ(judge_bell(bell).verdict, Verdict::ok);
    bell.answers = true;
    EXPECT_EQ(judge_bell(bell).verdict, Verdict::warn);
    bell.bind_error = Error{Code::conflict, "in use"};
    EXPECT_EQ(judge_bell(bell).verdict, Verdict::ok);
    bell.answers = false;
    EXPECT_EQ(judge_bell(bell).verdict, Verdict::fail);
    bell.bind_error = Error{Code::invalid, "no address"};
    EXPECT_EQ(judge_bell(bell).verdict, Verdict::fail);
}

TEST(DoctorDaemon, DoorbellPeers) {
    EXPECT_EQ(judge_peers({}, false).verdict, Verdict::skip);
    EXPECT_EQ(judge_peers({}, true).verdict, Verdict::warn);
    EXPECT_EQ(judge_peers({{"10.0.0.2:7400", ok()}}, true).verdict, Verdict::ok);
    const auto check =
        judge_peers({{"10.0.0.2:7400", ok()}, {"x", Error{Code::invalid, "bad x"}}}, true);
    EXPECT_EQ(check.verdict, Verdict::warn);
    EXPECT_EQ(check.evidence, "bad x");
}

TEST(DoctorLimits, FilesTimeAndSize) {
    LimitFacts limits{"nova.worker", 1024, std::nullopt, std::nullopt, 96};
    EXPECT_EQ(judge_file_limit(limits).verdict, Verdict::ok);
    limits.slots = 97;
    EXPECT_EQ(judge_file_limit(limits).verdict, Verdict::warn);
    limits.files.reset();
    EXPECT_EQ(judge_file_limit(limits).verdict, Verdict::ok);
    EXPECT_EQ(judge_time_limit(limits).verdict, Verdict::ok);
    limits.cpu_s = 3600;
    EXPECT_EQ(judge_time_limit(limits).verdict, Verdict::fail);
    limits.cpu_s.reset();
    limits.file_bytes = 1024;
    EXPECT_EQ(judge_time_limit(limits).verdict, Verdict::fail);
}

TEST(DoctorLimits, ProcessesAndControlGroup) {
    ProcessFacts facts;
    EXPECT_EQ(judge_processes(facts).verdict, Verdict::skip);
    facts.pid_max = 32'768;
    facts.slots = 4;
    EXPECT_EQ(judge_processes(facts).verdict, Verdict::ok);
    facts.pid_max = 4'096;
    EXPECT_EQ(judge_processes(facts).verdict, Verdict::warn);
    EXPECT_EQ(judge_cgroup(facts).verdict, Verdict::skip);
    facts.cgroup = "/system.slice/reeve-worker.service";
    EXPECT_EQ(judge_cgroup(facts).verdict, Verdict::ok);
    facts.cgroup_pids = 64 + 4 * 64;
    EXPECT_EQ(judge_cgroup(facts).verdict, Verdict::ok);
    facts.cgroup_pids = 64 + 4 * 64 - 1;
    EXPECT_EQ(judge_cgroup(facts).verdict, Verdict::warn);
    facts.cgroup_pids.reset();
    facts.cgroup_memory = 1ULL << 30;
    facts.memory_mb = 1025;
    EXPECT_EQ(judge_cgroup(facts).verdict, Verdict::warn);
}

TEST(DoctorLimits, MemoryAndSwap) {
    MemoryFacts memory;
    EXPECT_EQ(judge_memory(memory).verdict, Verdict::skip);
    memory.total_kb = 1024 * 1024;
    memory.configured_mb = 1024;
    EXPECT_EQ(judge_memory(memory).verdict, Verdict::ok);
    memory.configured_mb = 1025;
    EXPECT_EQ(judge_memory(memory).verdict, Verdict::warn);
    EXPECT_EQ(judge_swap(memory).verdict, Verdict::ok);
    memory.swap_total_kb = 1000;
    memory.swap_free_kb = 500;
    EXPECT_EQ(judge_swap(memory).verdict, Verdict::ok);
    memory.swap_free_kb = 499;
    EXPECT_EQ(judge_swap(memory).verdict, Verdict::warn);
}

TEST(DoctorClock, SynchronisedOrNot) {
    EXPECT_EQ(judge_ntp(runtime::KernelClock{true, 1'000}).verdict, Verdict::ok);
    EXPECT_EQ(judge_ntp(runtime::KernelClock{false, 16'000'000}).verdict, Verdict::warn);
    EXPECT_EQ(judge_ntp(Error{Code::io, "not permitted"}).verdict, Verdict::skip);
}

TEST(DoctorUnits, InstalledEnabledWanted) {
    UnitFacts unit{"reeve-worker.service", false, "", false, true};
    EXPECT_EQ(judge_unit(unit).id, "units.reeve-worker");
    EXPECT_EQ(judge_unit(unit).verdict, Verdict::skip);
    unit.booted = true;
    EXPECT_EQ(judge_unit(unit).verdict, Verdict::warn);
    unit.file = "/etc/systemd/system/reeve-worker.service";
    EXPECT_EQ(judge_unit(unit).verdict, Verdict::warn);
    unit.enabled = true;
    EXPECT_EQ(judge_unit(unit).verdict, Verdict::ok);
    unit.wanted = false;
    EXPECT_EQ(judge_unit(unit).verdict, Verdict::warn);
    unit.enabled = false;
    EXPECT_EQ(judge_unit(unit).verdict, Verdict::skip);
}

TEST(DoctorUnits, TheSupervisorsUnitComesWithTheWorkers) {
    const UnitFacts worker{"reeve-worker.service", true, "/lib/reeve-worker.service", true, true};
    UnitFacts unit{"reeve-exec.service", true, "", false, false};
    EXPECT_EQ(judge_supervisor_unit(worker, unit).verdict, Verdict::skip);
    unit.wanted = true;
    EXPECT_EQ(judge_supervisor_unit(worker, unit).verdict, Verdict::warn);
    unit.file = "/lib/reeve-exec.service";
    EXPECT_EQ(judge_supervisor_unit(worker, unit).verdict, Verdict::ok);
    unit.booted = false;
    EXPECT_EQ(judge_supervisor_unit(worker, unit).verdict, Verdict::skip);
}

TEST(DoctorLocale, EachIsOnThisMachine) {
    EXPECT_EQ(judge_locale({{"C.UTF-8", true}}).verdict, Verdict::ok);
    const auto check = judge_locale({{"C.UTF-8", true}, {"xx_YY.UTF-8", false}});
    EXPECT_EQ(check.verdict, Verdict::warn);
    EXPECT_NE(check.evidence.find("xx_YY.UTF-8"), std::string::npos);
}

}  // namespace
}  // namespace reeve::doctor
