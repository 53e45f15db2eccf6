"""A wall clock that steps, stands, or is ten years ahead on one node of three. What the share says of the time that a
HEAD was written is the measure: a node that is off says so once, and claims, offers and decides nothing until it is set
right; its own log stays in order, and the others are not drawn along (I3, I5)."""

import json
import time
import unittest

from faults import FaultCase
from harness import COORDINATOR_NODE, wait_for

HOUR_MS = 3_600_000
TEN_YEARS_MS = 10 * 365 * 24 * HOUR_MS
MAX_SKEW_MS = 2_000


class Clock(FaultCase):
    def clock_is(self, state, *writers):
        return all(self.live(writer).get("clock", {}).get("state") == state for writer in writers)

    def events(self, writer, node=None, **fields):
        lines = self.cluster.reeve("log", "show", "--writer", writer, "--json", node=node or writer.split(".")[0])
        events = [json.loads(line) for line in lines.splitlines()]
        return [event for event in events if all(event.get(key) == value for key, value in fields.items())]

    def in_order(self, writer):
        """The hybrid clock of a log is strictly increasing, whatever the wall clock does."""
        clocks = [(event["seq"], event["hlc"]) for event in self.events(writer)]
        clocks = [hlc for _, hlc in sorted(clocks)]
        self.assertEqual([i for i in range(1, len(clocks)) if clocks[i] <= clocks[i - 1]], [])

    @classmethod
    def configure(cls, cluster):
        config = cluster.config("mira")
        config.write_text(config.read_text().replace('roles  = ["compute"]', 'roles  = ["compute","here"]'))

    def off_for_a_while(self, name, argument):
        """mira's clock is off: the others do all the work, mira what it already had."""
        before = len(self.observed("clock.skew", "mira.worker"))
        running = self.work(f"{name}-running", 6, "sleep 1")
        with self.faults.on("clock", argument, writers=("mira.worker",)):
            wait_for(lambda: self.clock_is("off", "mira.worker"), 20, "mira has noticed")
            claimed = len(self.events("mira.worker", type="JobStarted"))
            self.work(name, 12)
            self.work(f"{name}-on-mira", 3, node="mira")
            self.wait_once()
            self.assertEqual(len(self.events("mira.worker", type="JobStarted")), claimed, "mira has claimed nothing")
            self.assertEqual(len(self.observed("clock.skew", "mira.worker")), before + 1, "said once")
            self.assertTrue(self.clock_is("ok", "nova.worker", "orin.worker"))
            here = self.only_mira(name)
        wait_for(lambda: self.clock_is("ok", "mira.worker"), 20, "mira is trusted again")
        self.assertEqual(len(running), 6)
        self.wait_state(here, "succeeded")
        self.wait_once()
        self.in_order("mira.worker")

    def test_an_hour_ahead(self):
        self.off_for_a_while("ahead", f"+{HOUR_MS}")

    def test_an_hour_behind(self):
        self.off_for_a_while("behind", f"-{HOUR_MS}")

    def test_a_clock_that_stands(self):
        self.off_for_a_while("stands", "freeze")

    def only_mira(self, name):
        """A job that nobody else may run: it waits until mira's clock is right."""
        job = self.work(f"{name}-here", 1, requires={"roles": ["here"]})[f"{name}-here0"]
        self.cluster.wait_equal_cuts()
        self.assertEqual(self.show(job, node="mira")["state"], "pending")
        return job

    def test_the_duties_leave_a_coordinator_whose_clock_is_off(self):
        coordinator = f"{COORDINATOR_NODE}.coord"
        self.assertTrue(self.live(coordinator)["duties"])
        # One machine has one clock.
        with self.faults.on("clock", f"+{HOUR_MS}", writers=(coordinator, f"{COORDINATOR_NODE}.worker")):
            wait_for(lambda: not self.live(coordinator)["duties"], 20, "the coordinator leaves the duties")
            wait_for(lambda: self.live("mira.worker")["duties"], 30, "a worker whose clock is right takes them")
            first = self.work("first", 1, node="orin")["first0"]
            self.work("then", 1, node="orin", after=[{"job": first, "on": "success"}])
            self.wait_once()
        wait_for(lambda: self.live(coordinator)["duties"], 30, "the coordinator has them again")
        wait_for(lambda: not self.live("mira.worker")["duties"], 30, "the worker has left them")

    def test_ten_years_ahead_from_the_start(self):
        self.cluster.kill("mira.worker")
        with self.faults.on("clock", f"+{TEN_YEARS_MS}", writers=("mira.worker",)):
            self.start_again("mira")
            wait_for(lambda: self.clock_is("off", "mira.worker"), 20, "mira has noticed")
            begun = time.time()
            claimed = len(self.events("mira.worker", type="JobStarted"))
            self.work("years", 12)
            self.work("years-on-mira", 3, node="mira", retry={"max": 1, "backoff_s": 0})
            self.wait_once()
            self.assertEqual(len(self.events("mira.worker", type="JobStarted")), claimed)
            future = [event for event in self.events("mira.worker") if event["hlc_ms"] > (begun + 86_400) * 1000]
            self.assertTrue(future, "its own words bear its own clock")
            for writer in ("nova.worker", "orin.worker", f"{COORDINATOR_NODE}.coord"):
                latest = max(event["hlc_ms"] for event in self.events(writer))
                self.assertLess(latest, time.time() * 1000 + MAX_SKEW_MS + 1000, f"{writer} is not drawn along")
                self.in_order(writer)
            here = self.only_mira("years")
        wait_for(lambda: self.clock_is("ok", "mira.worker"), 20, "mira is trusted again")
        self.wait_state(here, "succeeded")
        self.wait_once()
        self.in_order("mira.worker")


if __name__ == "__main__":
    unittest.main()
