"""A share that fails: read-only, full, with errors, stale handles, slow, and with replies that lie. The work goes on,
nothing is lost, nothing runs twice, and everything is shared when it is well again (I1, I2, I6, I11)."""

import itertools
import unittest

from faults import CHANGES, FaultCase, ROUND_TRIPS, worst_of
from harness import wait_for


class NasErrors(FaultCase):
    def strike(self, name, *faults, away=True):
        """Jobs that run into the fault, jobs that are submitted in it, and jobs behind it."""
        running = self.work(f"{name}-running", 3, "sleep 1.5")
        for job in running.values():
            self.wait_state(job, "running", "succeeded")
        for fault in faults:
            self.faults.put(fault)
        for fault in faults:
            wait_for(fault.met, 20, f"{name}: a daemon has met the fault")
        if away:
            wait_for(lambda: self.share_is("away"), 20, f"{name}: every daemon says that its share is away")
        self.work(f"{name}-in", 3)
        for mark in running:
            wait_for((self.marks / mark).exists, 20, "what ran goes on")
        for fault in faults:
            self.faults.drop(fault)
        wait_for(lambda: self.share_is("ok"), 20, f"{name}: every daemon has the share again")
        self.work(f"{name}-behind", 6, node="orin")
        self.wait_once()

    def on_share(self, *words, **more):
        return self.faults.on(*words, where=self.cluster.share, **more)

    def test_a_read_only_share(self):
        self.strike("erofs", self.on_share("errno", "EROFS", classes=CHANGES))

    def test_a_full_share(self):
        self.strike("enospc", self.on_share("errno", "ENOSPC", classes=CHANGES))

    def test_a_share_over_its_quota_at_the_rename(self):
        self.strike("edquot", self.on_share("errno", "EDQUOT", classes="rename"), away=False)

    def test_errors_of_the_share(self):
        self.strike("eio", self.on_share("errno", "EIO"))

    def test_some_calls_fail(self):
        self.strike("some", self.on_share("errno", "EIO", every=5), away=False)

    def test_a_write_that_fails_at_its_sync(self):
        self.strike("sync", self.on_share("errno", "EIO", classes="sync"))

    def test_an_error_that_is_told_at_the_close(self):
        self.strike("close", self.on_share("errno", "EIO", classes="close", every=2), away=False)

    def test_stale_handles(self):
        self.strike("estale", self.on_share("errno", "ESTALE", classes="open,read,stat,write,sync"))

    def test_replies_that_are_lost(self):
        """What a server that crashed makes of a call that it had carried out."""
        lies = [self.on_share("lie", "EEXIST", classes="link", every=2),
                self.on_share("lie", "ENOENT", classes="rename", every=3)]
        with lies[0], lies[1]:
            rounds = itertools.count()

            def met():
                # A node that has a free slot starts its own jobs without a claim: more until somebody had to link.
                number = next(rounds)
                self.work(f"lies{number}-", 20, node=("nova", "orin")[number % 2])
                return all(lie.met() for lie in lies)

            wait_for(met, 40, "both lies were told")
            self.wait_once()

    def test_short_reads_and_writes(self):
        with self.on_share("short", 100, classes="read,write") as short:
            self.work("short", 6)
            self.wait_once()
            self.assertTrue(short.met())


class SlowShare(FaultCase):
    """A fifth of a second for each question to the server, with the heartbeats that a real cluster has."""

    heartbeats = {"heartbeat_ms": 5000, "coordinator_ms": 1000}

    def test_work_is_slow_and_the_loop_is_not(self):
        before = {writer: self.live(writer)["loop"]["run"] for writer in self.cluster.daemons}
        with self.faults.on("delay", 200, where=self.cluster.share, classes=ROUND_TRIPS) as slow:
            self.work("slow", 3)
            self.work("too", 3, "sleep 0.5", node="orin")
            wait_for(lambda: all((self.marks / name).exists() for name in self.names), 50, "the work is done, slowly")
            self.assertTrue(slow.met(*self.cluster.daemons))
            after = {writer: self.live(writer)["loop"]["run"] for writer in self.cluster.daemons}
        for what in ("work_us", "late_us"):
            print(f"\n{what} while each call took 200 ms:")
            _, p99, most = worst_of(what, before, after)
            self.assertLess(p99, 50_000)
            self.assertLess(most, 1_000_000)
        self.wait_once()


if __name__ == "__main__":
    unittest.main()
