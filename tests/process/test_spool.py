"""Output that waits for a share that is away stays within `worker.spool_mb`: it is cut, and says so."""

import json
import unittest

from harness import BINARIES, ClusterCase, command, wait_for
from test_single import SingleNode

MIB = 1024 * 1024


class Spool(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        cluster = SingleNode(BINARIES, directory, nodes=("nova",), slots=1)
        config = cluster.config("nova")
        config.write_text(config.read_text().replace("[worker]", "[worker]\nspool_mb = 3"))
        cluster.start("nova")
        cluster.wait_serving("nova")
        return cluster

    def stdout_of(self, job):
        """What its JobFinished says of it."""
        log = self.cluster.reeve("log", "export", self.cluster.state("nova"), "--job", job, "--type", "JobFinished")
        return json.loads(log.splitlines()[0])["stdout"]

    def daemon(self):
        return self.cluster.json("status")["daemon"]

    def run_big(self):
        done = self.cluster.run("submit", "--", "/bin/sh", "-c", f"head -c {2 * MIB} /dev/zero")
        self.assertIn(done.returncode, (0, 3), done.stderr)
        job = done.stdout.strip()
        self.wait_state(job, "succeeded", seconds=40)
        return job

    def test_what_is_spooled_is_bounded(self):
        self.submit(command("/bin/true"))
        away = self.cluster.share.with_name("share.away")
        self.cluster.share.rename(away)
        wait_for(lambda: self.daemon()["share"] == "away", 20, "the share is away")
        jobs = []
        kept = []
        for _ in range(3):
            before = self.daemon()["disk"]["spooled_bytes"]
            jobs.append(self.run_big())
            wait_for(lambda: self.daemon()["disk"]["spooled_bytes"] > before, 20, "the daemon knows what is spooled")
        run = self.cluster.state("nova") / "run"
        for job in jobs:
            stream = self.stdout_of(job)
            self.assertEqual(stream["total_bytes"], 2 * MIB)
            self.assertLess(stream["kept_bytes"], stream["total_bytes"])
            kept.append(stream["kept_bytes"])
            self.assertEqual((run / f"{job}.a1" / "out").stat().st_size, stream["kept_bytes"])
        self.assertEqual(kept[0], 3 * MIB // 2)
        self.assertGreater(kept[0], kept[1])
        self.assertGreater(kept[1], kept[2])
        self.assertLessEqual(sum(kept), 3 * MIB)
        away.rename(self.cluster.share)
        for job, size in zip(jobs, kept):
            path = self.cluster.share / "results"
            wait_for(lambda: [p.stat().st_size for p in path.glob(f"*/{job}/a1/stdout")] == [size], 60,
                     "what was kept is shipped")


if __name__ == "__main__":
    unittest.main()
