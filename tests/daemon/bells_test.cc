#include <gtest/gtest.h>

#include "daemon/config_file.h"

namespace reeve::daemon {
namespace {

FileConfig machine() {
    FileConfig out;
    out.coordinator = true;
    out.worker_bell = "10.0.0.1:7411";
    out.coordinator_bell = "10.0.0.1:7412";
    out.bell_peers = {"10.0.0.2:7411"};
    return out;
}
using Bells = std::vector<std::string>;

TEST(Bells, TheDaemonsOfOneMachineRingEachOther) {
    EXPECT_EQ(bells_to_ring(machine(), node::Role::worker),
              (Bells{"10.0.0.2:7411", "10.0.0.1:7412"}));
    EXPECT_EQ(bells_to_ring(machine(), node::Role::coordinator),
              (Bells{"10.0.0.2:7411", "10.0.0.1:7411"}));
}

TEST(Bells, NobodyRingsHisOwnOrOneTwice) {
    auto file = machine();
    file.bell_peers = {"10.0.0.1:7411", "10.0.0.1:7412", "10.0.0.2:7411", "10.0.0.2:7411"};
    EXPECT_EQ(bells_to_ring(file, node::Role::worker), (Bells{"10.0.0.1:7412", "10.0.0.2:7411"}));
}

TEST(Bells, ABellOnEveryAddressIsRungOnThisMachine) {
    auto file = machine();
    file.worker_bell = "0.0.0.0:7411";
    EXPECT_EQ(bells_to_ring(file, node::Role::coordinator).back(), "127.0.0.1:7411");
    file.worker_bell = "[::]:7411";
    EXPECT_EQ(bells_to_ring(file, node::Role::coordinator).back(), "[::1]:7411");
}

TEST(Bells, WhereNoCoordinatorMayRunNoneIsRung) {
    auto file = machine();
    file.coordinator = false;
    EXPECT_EQ(bells_to_ring(file, node::Role::worker), Bells{"10.0.0.2:7411"});
    file.worker_bell.clear();
    EXPECT_EQ(bells_to_ring(file, node::Role::coordinator), Bells{"10.0.0.2:7411"});
}

}  // namespace
}  // namespace reeve::daemon
