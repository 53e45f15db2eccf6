"""A daemon that stands still for longer than the others wait (a paused machine, a stopped process) and goes on as if
nothing had been: it finds out what was decided meanwhile before it does anything (I2, I5)."""

import signal
import time
import unittest

from faults import FaultCase
from harness import wait_for

PAUSE_S = 20  # 40 heartbeats: the others declare dead after 18


class Pause(FaultCase):
    def test_a_paused_worker_comes_back_to_a_cluster_that_went_on_without_it(self):
        process = self.cluster.daemons["mira.worker"]
        once = self.work("once", 6, "sleep 3")  # without retry: never a second time
        for job in once.values():
            self.wait_state(job, "running", "succeeded")
        mine = [job for job in once.values() if self.show(job).get("node") == "mira"]
        self.assertTrue(mine, "mira runs some of them")
        process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            self.work("meanwhile", 20, node="orin")
            for job in mine:
                self.wait_state(job, "lost", node="nova", seconds=30)
            wait_for(lambda: time.monotonic() > stopped + PAUSE_S, 40, "mira has stood still for long")
        finally:
            process.send_signal(signal.SIGCONT)
        for job in mine:
            self.wait_state(job, "succeeded", node="nova")  # the owner's word replaces lost
        self.work("behind", 12, node="mira")
        self.wait_once()
        self.assertTrue(self.cluster.alive("mira.worker"))

    def test_a_paused_coordinator_shares_its_duties_with_nobody(self):
        process = self.cluster.daemons["nova.coord"]
        process.send_signal(signal.SIGSTOP)
        try:
            wait_for(lambda: any(self.live(f"{node}.worker").get("duties") for node in self.nodes), 20,
                     "a worker takes the duties")
            first = self.work("first", 1, node="orin")["first0"]
            self.work("then", 1, node="orin", after=[{"job": first, "on": "success"}])
            self.wait_names("first0", "then0")
        finally:
            process.send_signal(signal.SIGCONT)
        wait_for(lambda: self.live("nova.coord").get("duties"), 20, "the coordinator has them again")
        wait_for(lambda: not any(self.live(f"{node}.worker").get("duties") for node in self.nodes), 20,
                 "the worker has left them")
        self.wait_once()

    def wait_names(self, *names):
        wait_for(lambda: all((self.marks / name).exists() for name in names), 30, f"{names} have run")


if __name__ == "__main__":
    unittest.main()
