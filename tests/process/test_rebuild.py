"""A worker whose view is gone, or whose machine was restarted, still knows what it owes: the submission of a job that
it runs stands in another writer's log, and is read from the mirror before anything is concluded (I2, I11)."""

import os
import signal
import unittest

from harness import BINARIES, ClusterCase, Cluster, command, wait_for

SHELL = ("/bin/sh", "-c")


class Rebuild(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova", "mira"))
        config = cluster.config("mira")
        config.write_text(config.read_text().replace('roles  = ["compute"]', 'roles  = ["compute","here"]'))
        cluster.start_all(coordinator=False)
        for node in cluster.nodes:
            cluster.wait_serving(node)
        return cluster

    def run_on_mira(self, script):
        """A job without retry, submitted on nova; returns its id when mira runs it."""
        wait_for(lambda: "here" in self.cluster.reeve("nodes", node="nova"), 20, "nova knows mira's role")
        job = self.submit(command(*SHELL, script, requires={"roles": ["here"]}), node="nova")[0]
        self.wait_state(job, "running", node="nova")
        return job

    def test_an_outcome_survives_the_loss_of_the_view(self):
        gate = self.directory / "gate"
        marks = self.directory / "marks"
        job = self.run_on_mira(f"echo run >> {marks}; while ! test -e {gate}; do sleep 0.05; done; echo whole")
        self.cluster.kill("mira.worker", signal.SIGKILL)
        state = self.cluster.state("mira")
        (state / "projection.rebuild").write_text("")
        gate.write_text("")
        wait_for(lambda: not self.children(), 20, "the command has ended under its supervisor")
        self.cluster.start("mira")
        self.wait_state(job, "succeeded", node="nova")
        self.assertEqual(self.logs(job, node="nova"), "whole\n")
        self.assertEqual(marks.read_text(), "run\n")
        self.assertFalse((state / "projection.rebuild").exists())
        self.cluster.wait_equal_cuts()

    def test_what_a_restart_of_the_machine_interrupted_is_lost_and_never_runs_again(self):
        marks = self.directory / "marks-boot"
        job = self.run_on_mira(f"echo run >> {marks}; sleep 1000")
        wait_for(marks.exists, 20, "the command runs")
        self.cluster.kill("mira.worker", signal.SIGKILL)
        supervisor = self.cluster.supervisor_pid("mira")
        self.cluster.signal(supervisor, signal.SIGSTOP)  # it must not see its children die: the power is gone at once
        for child in self.children():
            self.cluster.signal(child, signal.SIGKILL)
        self.cluster.signal(supervisor, signal.SIGKILL)
        run = self.cluster.state("mira") / "run"
        (run / "boot_id").write_text("another boot")
        for leftover in (run / f"{job}.a1").iterdir():  # what was never synced is gone with the power
            leftover.unlink()
        self.cluster.start("mira")
        self.wait_state(job, "lost", node="nova")
        self.cluster.kill("mira.worker", signal.SIGKILL)
        self.cluster.start("mira")
        self.cluster.wait_serving("mira")
        after = self.submit(command("/bin/true", requires={"roles": ["here"]}), node="nova")[0]
        self.wait_state(after, "succeeded", node="nova")
        self.assertEqual(marks.read_text(), "run\n")
        self.assertEqual(self.show(job, node="nova")["state"], "lost")

    def children(self):
        """The processes that mira's supervisor runs."""
        supervisor = self.cluster.supervisor_pid("mira")
        path = f"/proc/{supervisor}/task/{supervisor}/children"
        if supervisor is None or not os.path.exists(path):
            return []
        with open(path, encoding="ascii") as file:
            return [int(word) for word in file.read().split()]


if __name__ == "__main__":
    unittest.main()
