"""Bits rot: a real cluster makes one file of every kind that it keeps, then test_rot flips ten thousand random bits
in copies of them, and the reader of each file must notice."""

import os
import pathlib
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))

from harness import BINARIES, Cluster, ClusterCase, command, wait_for  # noqa: E402  (the path is set just above)


class Rot(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova", "mira"))
        cluster.start_all()
        for node in cluster.nodes:
            cluster.wait_serving(node)
        return cluster

    def an_outcome_that_nobody_took(self):
        """The worker dies under a running job: its supervisor keeps the outcome."""
        go_on = self.directory / "go-on"
        job, = self.submit(command("/bin/sh", "-c", f"while ! test -e {go_on}; do sleep 0.05; done; echo late"))
        node = self.wait_state(job, "running")["node"]
        outcomes = self.cluster.state(node) / "exec" / "exec-outcomes"
        self.cluster.kill(f"{node}.worker")
        self.cluster.forget(f"{node}.worker")
        before = outcomes.stat().st_size
        go_on.touch()
        wait_for(lambda: outcomes.stat().st_size > before, 20, "the supervisor has recorded the outcome")

    def test_every_bit_matters(self):
        self.wait_over(self.submit(*[command("/bin/echo", f"job {n}") for n in range(20)], node="mira"))
        self.cluster.kill("mira.worker", signal.SIGTERM)  # sealed; its next run continues in another segment
        self.cluster.start("mira")
        self.cluster.wait_serving("mira")
        self.wait_over(self.submit(*[command("/bin/echo", f"again {n}") for n in range(20)], node="nova"))
        self.cluster.wait_equal_cuts()
        self.an_outcome_that_nobody_took()
        self.cluster.close()
        done = subprocess.run([str(BINARIES / "test_rot")], check=False, text=True, capture_output=True, timeout=120,
                              env=dict(os.environ, REEVE_ROT_CLUSTER=str(self.cluster.directory)))
        print(done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr[-2000:])


if __name__ == "__main__":
    unittest.main()
