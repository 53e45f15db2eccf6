"""The NAS goes away (its directory is renamed) while jobs run, and comes back: what runs goes on, a node starts its
own submissions, nobody is blamed for a silence in which nothing could be heard, nothing runs twice (I2, I11, I12)."""

import pathlib
import time
import unittest

from harness import ClusterCase, NODES, command, wait_for

AWAY_S = 12  # longer than 18 heartbeats, after which a silent node may be declared dead
HERTZ = 100  # of the processor times in /proc


class ShareAway(ClusterCase):
    def share_is(self, state):
        documents = [self.cluster.json("status", node=node)["daemon"] for node in NODES]
        return all(isinstance(one, dict) and one["share"] == state for one in documents)

    def processor_seconds(self):
        """Of all daemons so far."""
        total = 0
        for process in self.cluster.daemons.values():
            words = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(words[11]) + int(words[12])) / HERTZ
        return total

    def test_work_goes_on_and_nobody_is_blamed(self):
        marks = self.directory / "marks"
        marks.mkdir()
        long = self.submit(*[command("/bin/sh", "-c", f"echo run >> {marks}/l{n}; sleep 6; echo whole")
                             for n in range(6)])
        for job in long:
            self.wait_state(job, "running")
        away = self.cluster.share.with_name("nas.away")
        self.cluster.share.rename(away)
        gone = time.monotonic()
        wait_for(lambda: self.share_is("away"), 20, "every daemon has noticed")
        used = self.processor_seconds()
        # Accepted here, not yet shared: and started here, for nobody else can be asked.
        node = next(node for node in NODES if self.cluster.json("status", node=node)["daemon"]["running"] < 2)
        done = self.cluster.run("submit", "--", "/bin/sh", "-c", f"echo run >> {marks}/alone", node=node)
        self.assertEqual(done.returncode, 3, done.stderr)
        job = done.stdout.strip()
        self.wait_state(job, "succeeded", node=node, seconds=15)
        wait_for(lambda: time.monotonic() > gone + AWAY_S, 30, "the share has been away for long")
        per_second = (self.processor_seconds() - used) / (AWAY_S * len(self.cluster.daemons))
        self.assertLess(per_second, 0.5, "a daemon without its share must not spin")
        self.assertFalse(self.cluster.share.exists(), "nothing may be made where the share is missing")
        away.rename(self.cluster.share)
        wait_for(lambda: self.share_is("ok"), 20, "every daemon has the share again")
        for job_id in long:
            self.assertEqual(self.wait_state(job_id, "succeeded", node="jasper")["state"], "succeeded")
            self.assertEqual(self.logs(job_id, node="jasper"), "whole\n")
        self.wait_state(job, "succeeded", node="orin")
        for mark in marks.iterdir():
            self.assertEqual(mark.read_text(), "run\n", mark)
        lost = self.cluster.reeve("log", "show", "--type", "JobLost", "--json")
        self.assertEqual(lost, "")
        after = self.submit(*[command("/bin/true") for _ in range(20)], node="orin")
        self.wait_over(after, node="nova")
        self.cluster.wait_equal_cuts()


if __name__ == "__main__":
    unittest.main()
