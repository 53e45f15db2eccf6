"""A share that does not answer (a hard mount whose server is gone): each call on it waits. The loop of every daemon
turns on as before, what runs ends and is reported locally, and afterwards all of it is shared (I1, I2, I11, I12)."""

import contextlib
import os
import signal
import threading
import time
import unittest

from faults import FaultCase, worst_of
from harness import wait_for

HANG_S = float(os.environ.get("REEVE_HANG_S", "15"))  # 30 heartbeats: more than what makes a silent writer dead
BEFORE_S = 6


class Stream:
    """Submits three jobs at a time on one node, all the while."""

    def __init__(self, case, node):
        self.case, self.node = case, node
        self.ended = threading.Event()
        self.taken = 0
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def _run(self):
        while not self.ended.wait(0.1):
            self.case.work(f"{self.node}{self.taken}-", 3, "sleep 0.1", node=self.node)
            self.taken += 1


class NasHang(FaultCase):
    def loops(self):
        return {writer: self.live(writer)["loop"]["run"] for writer in self.cluster.daemons}

    def pass_time(self, seconds, what):
        end = time.monotonic() + seconds
        wait_for(lambda: time.monotonic() > end, seconds + 10, what)

    def test_a_hung_share_stops_nothing_local(self):
        with contextlib.ExitStack() as streams:
            for node in self.nodes:
                streams.enter_context(Stream(self, node))
            first = self.loops()
            self.pass_time(BEFORE_S, "the share is well for a while")
            second = self.loops()
            long = self.work("long", 3, "sleep 5; echo whole")
            for job in long.values():
                self.wait_state(job, "running")
            with self.faults.on("hang", where=self.cluster.share) as hang:
                begun = self.loops()
                wait_for(lambda: hang.met(*self.cluster.daemons), 20, "every daemon has met the hang")
                wait_for(lambda: self.share_is("away"), 20, "every daemon says that its share is away")
                for job in long.values():
                    owner = self.show(job)["node"]
                    self.wait_state(job, "succeeded", node=owner)  # durable in its owner's log
                    self.assertEqual(self.logs(job, node=owner), "whole\n")
                self.pass_time(HANG_S, "the share has hung for long")
                ended = self.loops()
        for what in ("work_us", "late_us"):
            print(f"\n{what} of {BEFORE_S} s before:")
            worst_of(what, first, second)
            print(f"{what} while the share hung:")
            turns, p99, most = worst_of(what, begun, ended)
            self.assertGreater(turns, HANG_S, "the loop turns at least once a second")
            self.assertLess(p99, 50_000)
            self.assertLess(most, 1_000_000)
        wait_for(lambda: self.share_is("ok"), 20, "every daemon has the share again")
        self.wait_once()
        self.assertEqual(self.cluster.reeve("log", "show", "--type", "JobLost", "--json"), "", "nobody is blamed")

    def test_what_hung_and_completes_late_does_nothing_twice(self):
        with self.faults.on("hang", where=self.cluster.share, classes="link,rename", writers=("mira.worker",)) as hang:
            self.work("late", 30)
            wait_for(lambda: hang.met("mira.worker"), 20, "a claim of mira hangs")
            self.work("later", 30, node="orin")
            names = [name for name in self.names if name.startswith("late")]
            wait_for(lambda: sum((self.marks / name).exists() for name in names) > 50, 30, "the others take the work")
        self.wait_once()

    def runs_alone(self, node):
        number = len([name for name in self.names if name.startswith("alone")])
        self.work(f"alone{number}-", 1, node=node)
        return any((self.marks / f"alone{n}-0").exists() for n in range(number + 1))

    def test_a_daemon_stops_and_starts_while_its_share_hangs(self):
        with self.faults.on("hang", where=self.cluster.share, writers=("orin.worker",)) as hang:
            wait_for(lambda: hang.met("orin.worker"), 20, "orin has met the hang")
            wait_for(lambda: self.share_is("away", writers=("orin.worker",)), 20, "orin says so")
            self.work("stays", 1, "sleep 2", node="orin")
            self.assertEqual(self.cluster.kill("orin.worker", signal.SIGTERM), 0, "it leaves its hung tasks behind")
            self.start_again("orin")
            # What is submitted before its supervisor has answered waits in line for the share.
            wait_for(lambda: self.runs_alone("orin"), 20, "orin starts alone what is submitted there")
        self.wait_once()


if __name__ == "__main__":
    unittest.main()
