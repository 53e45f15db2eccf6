"""A local disk that fails under a daemon: an error at a sync, at a write, no room. What was accepted stays, what was
not is refused with a reason, and work goes on in a new segment (I1, I7, I9)."""

import unittest

from faults import FaultCase
from harness import wait_for


class LocalFaults(FaultCase):
    nodes = ("nova", "mira")

    def own_log(self):
        return self.cluster.state("nova") / "log" / "nova.worker"

    def struck(self, fault):
        """A submission that meets the fault; its answer."""
        done = self.cluster.run("submit", "--", "/bin/true", node="nova")
        self.assertIn(done.returncode, (0, 3, 8), done.stderr)
        wait_for(fault.met, 20, "the daemon has met the fault")
        return done

    def well_again(self, name):
        self.work(name, 4, node="nova")
        self.wait_once()
        state = self.cluster.state("nova")
        done = self.cluster.run("log", "verify", state)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_failed_sync_is_not_believed_again(self):
        """fdatasync fails once and would succeed the next time: the kernel may have dropped the pages."""
        self.work("before-sync", 4, node="nova")
        segments = set(self.own_log().glob("*.rlog"))
        with self.faults.on("errno", "EIO", where=self.own_log(), classes="sync", times=1,
                            writers=("nova.worker",)) as fault:
            self.struck(fault)
            self.well_again("after-sync")
        self.assertTrue(set(self.own_log().glob("*.rlog")) - segments, "the log goes on in a new segment")

    def test_a_write_that_fails(self):
        with self.faults.on("errno", "EIO", where=self.own_log(), classes="write",
                            writers=("nova.worker",)) as fault:
            self.assertEqual(self.struck(fault).returncode, 8)
            running = self.work("elsewhere", 2, node="mira")
            self.assertEqual(len(running), 2)
        self.well_again("after-write")

    def test_no_room_for_the_log(self):
        long = self.work("long", 1, "sleep 2; echo whole", node="nova")["long0"]
        self.wait_state(long, "running")
        with self.faults.on("errno", "ENOSPC", where=self.cluster.state("nova"), classes="write,meta,link,rename",
                            writers=("nova.worker",)) as fault:
            answer = self.struck(fault)
            self.assertEqual(answer.returncode, 8)
            self.assertIn("own disk takes nothing", answer.stderr)
            wait_for((self.marks / "long0").exists, 20, "what runs goes on")
        self.assertEqual(self.wait_state(long, "succeeded")["state"], "succeeded")
        self.well_again("after-room")

    def test_a_view_that_cannot_be_written_is_built_again(self):
        projection = self.cluster.state("nova") / "projection"
        self.assertTrue(projection.exists())
        with self.faults.on("errno", "EIO", where=projection, classes="write", writers=("nova.worker",)):
            self.work("unfolded", 1, node="mira")
            status = wait_for(lambda: self.cluster.daemons["nova.worker"].poll(), 20, "the daemon ends")
            self.assertEqual(status, 1)
            self.assertTrue((self.cluster.state("nova") / "projection.rebuild").exists())
        self.start_again("nova")
        self.well_again("after-view")
        self.assertEqual(self.observed("log.corrupt", "nova.worker"), [], "no log is blamed for it")
        self.assertFalse((self.cluster.state("nova") / "projection.rebuild").exists())

    def test_a_mirror_that_cannot_be_written(self):
        mirror = self.cluster.state("nova") / "log" / "mira.worker"
        with self.faults.on("errno", "EIO", where=mirror, classes="write,sync", writers=("nova.worker",)) as fault:
            self.work("unseen", 4, node="mira")  # whoever runs it
            wait_for(fault.met, 20, "nova cannot store what mira shares")
        self.well_again("after-mirror")

    def test_short_and_interrupted_calls(self):
        state = self.cluster.state("nova") / "log"  # LMDB takes a short write for an error, and says so
        faults = [self.faults.on("short", 100, where=state, classes="read,write", writers=("nova.worker",)),
                  self.faults.on("errno", "EINTR", where=state, classes="read,write,sync", every=3,
                                 writers=("nova.worker",))]
        with faults[0], faults[1]:
            self.work("interrupted", 4, node="nova")
            self.wait_once()
            self.assertTrue(all(fault.met() for fault in faults))


if __name__ == "__main__":
    unittest.main()
