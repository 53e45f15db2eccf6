"""The share is put back to an older copy under a live cluster: every writer notices and shares again, nobody claims
before all have, nothing is lost and nothing runs twice (I2, I6)."""

import json
import shutil
import unittest

from harness import BINARIES, Cluster, ClusterCase, NODES, command, wait_for


class Rollback(ClusterCase):
    def some_jobs(self, name, out):
        jobs = self.submit(*[command("/bin/sh", "-c", f"echo $REEVE_ATTEMPT >> {out}/{name}{n}", name=f"{name}{n}")
                             for n in range(40)], node="mira")
        self.wait_over(jobs, node="mira")

    def test_everything_is_shared_again_and_nothing_runs_twice(self):
        out = self.directory / "out"
        out.mkdir()
        share = self.cluster.share
        older = share.with_name("nas.older")
        self.some_jobs("a", out)
        shutil.copytree(share, older)
        self.some_jobs("b", out)
        share.rename(share.with_name("nas.newer"))
        older.rename(share)
        self.some_jobs("c", out)
        _, digest = self.cluster.wait_equal_cuts()
        runs = {path.name: path.read_text().splitlines() for path in out.iterdir()}
        self.assertEqual(len(runs), 120)
        self.assertEqual([name for name, lines in runs.items() if len(lines) != 1], [])
        states = {job["state"] for job in self.cluster.json("jobs", "--limit", 1000, node="orin")["jobs"]}
        self.assertEqual(states, {"succeeded"})
        for node in NODES:
            self.assertIn("nas.rolled_back", self.cluster.reeve("log", "show", "--writer", f"{node}.worker", node=node))
        self.assertEqual(self.cluster.replay("run", "--logs", share)["digest"], digest)
        waits = [self.cluster.state(node) / "share.rolled_back" for node in NODES]
        wait_for(lambda: not any(path.exists() for path in waits), 20, "claims wait for nobody any more")


class DeadWriter(ClusterCase):
    """One that was killed cannot share again what the share has lost: after a while the others do it for it."""

    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova", "mira", "orin"), heartbeat_ms=200)
        for node in cluster.nodes:
            cluster.start(node)
            cluster.wait_serving(node)
        return cluster

    def events_of_mira(self, where):
        done = self.cluster.run("log", "stats", where, "--writer", "mira.worker", "--json")
        logs = json.loads(done.stdout)["logs"] if done.returncode == 0 else []
        return logs[0]["events"] if logs else 0

    def test_its_log_is_shared_for_it_and_nobody_waits_for_it(self):
        cluster = self.cluster
        share = cluster.share
        older = share.with_name("nas.older")
        shutil.copytree(share, older)
        before = self.submit(*[command("/bin/true") for _ in range(10)], node="mira")
        self.wait_over(before, node="nova")
        cluster.wait_equal_cuts()
        cluster.kill("mira.worker")
        mirror = cluster.state("nova") / "log" / "mira.worker"
        known = self.events_of_mira(mirror)
        share.rename(share.with_name("nas.newer"))
        older.rename(share)
        waits = cluster.state("nova") / "share.rolled_back"
        wait_for(waits.exists, 20, "the rollback is noticed")
        wait_for(lambda: self.events_of_mira(share) >= known, 60, "its log is whole on the share again")
        self.assertTrue(list((share / "log" / "mira.worker").glob("*.head.*")))
        wait_for(lambda: not waits.exists(), 60, "claims wait for nobody any more")
        after = self.submit(*[command("/bin/true") for _ in range(10)], node="orin")
        self.wait_over(after, node="nova")
        told = "".join(cluster.reeve("log", "show", "--type", "Observation", node=node) for node in ("nova", "orin"))
        self.assertIn("log.shared_for", told)
        cluster.start("mira")
        cluster.wait_serving("mira")
        again = self.submit(command("/bin/true"), node="mira")[0]
        self.wait_state(again, "succeeded", node="nova")
        cluster.wait_equal_cuts()


if __name__ == "__main__":
    unittest.main()
