// Requests at the control socket of a whole node, which runs in the simulator: each line of the
// input is one. Every request is answered with a JSON object that says ok or why not, and the node
// lives on: it answers a ping afterwards, and its loop has made no call on the share (I9, I12).

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"
#include "tests/sim/workload.h"

using namespace reeve;

namespace {

constexpr std::size_t most_requests = 12;
constexpr milliseconds patience{30'000};

std::vector<std::string> lines_of(ByteView input) {
    std::vector<std::string> out;
    std::string line;
    for (const auto byte : input) {
        if (byte == '\n' && out.size() < most_requests) {
            out.push_back(std::exchange(line, {}));
        } else {
            line.push_back(static_cast<char>(byte));
        }
    }
    out.push_back(line);
    return out;
}

/// Whether the reply is an object with an "ok", and an error that a person can use when it is a no.
bool is_an_answer(const std::optional<std::string>& reply) {
    const auto parsed = nlohmann::json::parse(reply.value_or(""), nullptr, false);
    if (!parsed.is_object() || !parsed.contains("ok") || !parsed["ok"].is_boolean()) {
        return false;
    }
    return parsed["ok"] == true ||
           (parsed.contains("error") && parsed["error"].contains("message"));
}

void ask_all(sim::Cluster& cluster, env::Env& desk, const std::vector<std::string>& requests) {
    const auto deadline = desk.clock.mono_now() + patience;
    while (!cluster.door("nova").call(desk, R"({"verb":"ping"})", patience)) {
        REQUIRE(desk.clock.mono_now() < deadline);
        desk.tasks.sleep_until(desk.clock.mono_now() + milliseconds(100));
    }
    for (const auto& request : requests) {
        const auto reply = cluster.door("nova").call(desk, request, patience);
        REQUIRE(is_an_answer(reply));
    }
    const auto pong = cluster.door("nova").call(desk, R"({"verb":"ping"})", patience);
    REQUIRE(pong && pong->find("nova.worker") != std::string::npos);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto requests = lines_of(ByteView(data, size));
    sim::Scheduler scheduler(1);
    sim::World world(scheduler, sim::Faults::none());
    sim::Truth truth(scheduler);
    scheduler.forbid("/loop", " /nas/", "I12: the loop waits for the share");
    sim::ClusterOptions options;
    options.workers = {"nova"};
    options.coordinator.clear();
    sim::Cluster cluster(world, truth, options);
    auto& desk = world.add_node("desk");
    bool over = false;
    scheduler.spawn(sim::stage_group, "director", [&] {
        auto& founder =
            world.start(desk, "init", [&](env::Env& env) { REQUIRE(cluster.found(env)); });
        world.wait_ended(founder);
        cluster.start();
        auto& person =
            world.start(desk, "person", [&](env::Env& env) { ask_all(cluster, env, requests); });
        world.wait_ended(person);
        over = true;
        cluster.close();
    });
    const auto outcome = scheduler.run();
    if (outcome.failure) {
        std::fprintf(stderr, "%s\n", scheduler.report().c_str());
    }
    REQUIRE(!outcome.failure && over);
    return 0;
}
