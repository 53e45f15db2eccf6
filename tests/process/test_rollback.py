"""The share is put back to an older copy under a live cluster: every writer notices and shares again, nobody claims
before all have, nothing is lost and nothing runs twice (I2, I6)."""

import shutil
import unittest

from harness import ClusterCase, NODES, command, wait_for


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


if __name__ == "__main__":
    unittest.main()
