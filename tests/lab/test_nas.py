"""The NAS fails as machines do: it loses its power in mid-append and comes back, its server is restarted, its disk is
put back to what it was. Nothing is lost, nothing runs twice (I1, I2, I6, I11)."""

import time
import unittest

from lab_cluster import LabCase, LONG, NODES, main, wait_for

DOWN_S = 30 if LONG else 4


class NasOverNfs4(LabCase):
    def submit_everywhere(self, count, seconds=0.2):
        for node in NODES:
            self.cluster.submit(count, node, seconds)

    def wait_grown(self, than=0):
        """The time until more jobs have ended than that, as nova sees it."""
        begun = time.monotonic()
        wait_for(lambda: sum(job["state"] == "succeeded" for job in self.cluster.jobs("nova")) > than, 60,
                 f"more than {than} jobs have succeeded")
        return time.monotonic() - begun

    def test_a_crash_in_mid_append(self):
        self.submit_everywhere(12)
        self.wait_grown()
        self.lab.nas.crash()
        begun = time.monotonic()
        self.submit_everywhere(5)  # taken without the share
        wait_for(lambda: time.monotonic() > begun + DOWN_S, DOWN_S + 10, "the NAS was away")
        self.lab.nas.boot()
        self.lab.nas.wait_up()
        away = time.monotonic() - begun
        served = time.monotonic()
        self.cluster.wait_ended("mira")
        ended = time.monotonic() - served
        totals = self.cluster.check()
        self.assertEqual(totals.get("succeeded"), self.cluster.submitted)
        self.report("NAS loses its power in mid-append", f"away for {away:.1f} s, 15 jobs submitted meanwhile; all "
                                                         f"ended {ended:.1f} s after it was back: {totals}")

    @unittest.skipUnless(LONG, "tools/lab nas --long")
    def test_a_restart_of_the_server_alone(self):
        self.submit_everywhere(20)
        self.lab.nas.check("rpc.nfsd 0 && exportfs -f")
        self.submit_everywhere(5)
        self.lab.nas.check("rpc.nfsd -V 3 8")
        begun = time.monotonic()
        self.cluster.wait_ended("mira")
        ended = time.monotonic() - begun
        totals = self.cluster.check()
        self.assertEqual(totals.get("succeeded"), self.cluster.submitted)
        self.report("server restarted", f"all ended {ended:.1f} s after it served again: {totals}")

    def test_the_disk_is_put_back(self):
        """To the bytes of an earlier moment: inodes, generations and change attributes too."""
        self.submit_everywhere(6)
        self.cluster.wait_ended("nova")
        self.lab.nas.keep_disk()
        self.submit_everywhere(6)
        self.cluster.wait_ended("nova")
        self.cluster.wait_equal_cuts()
        self.lab.nas.crash()
        self.lab.nas.put_disk_back()
        self.lab.nas.boot()
        self.lab.nas.wait_up()
        begun = time.monotonic()
        for node in NODES:
            wait_for(lambda node=node: "nas.rolled_back" in self.cluster.reeve(
                "log", "show", "--writer", f"{node}.worker", node=node), 90, f"{node} has noticed")
        noticed = time.monotonic() - begun
        self.submit_everywhere(6)
        totals = self.cluster.check(180)
        self.assertEqual(totals, {"succeeded": self.cluster.submitted, "runs": self.cluster.submitted})
        self.report("NAS put back to an older state", f"every node noticed within {noticed:.1f} s of its return; "
                                                      f"{totals}")


if LONG:
    class NasOverNfs3(NasOverNfs4):
        version = "3"


if __name__ == "__main__":
    main()
