"""What is too old goes from the share, by class, after an event says so; what is young, not over, the last good one
or nobody's knows nothing of it (I8)."""

import json
import os
import time
import unittest

from harness import ClusterCase, command, wait_for
from test_single import SingleNode

DAY_S = 86_400


class Retention(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        return SingleNode.serving(directory)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.share = cls.cluster.share
        cls.policy = cls.cluster.state("nova") / "policy" / "retention.toml"

    def restart(self):
        self.cluster.stop_daemons()
        config = self.cluster.config("nova")
        if "[retention]" not in config.read_text():
            with open(config, "a", encoding="utf-8") as file:
                file.write("\n[retention]\ninterval_s = 1\n")
        self.cluster.start("nova")
        self.cluster.wait_serving("nova")

    @staticmethod
    def age(path, days):
        """Everything below `path`, and itself, is so old."""
        then = time.time() - days * DAY_S
        for directory, _, files in os.walk(path, topdown=False):
            for name in files:
                os.utime(os.path.join(directory, name), (then, then))
            os.utime(directory, (then, then))
        if path.is_file():
            os.utime(path, (then, then))

    def results_of(self, job):
        return next((self.share / "results").glob(f"*/{job}"), None)

    def removals(self):
        """The details of all retention events, by class."""
        out = {}
        for line in self.cluster.reeve("log", "export", self.cluster.state("nova")).splitlines():
            event = json.loads(line)
            if event.get("kind") == "retention.removed":
                out.setdefault(event["subject"], []).append(json.loads(event["detail"]))
        return out

    def plan(self):
        document = json.loads(self.cluster.reeve("retention", "--json"))
        return {one["class"]: one for one in document["classes"]}

    def test_what_is_too_old_goes_and_nothing_else(self):
        big = "head -c 40000 /dev/zero"
        failed, fresh = self.submit(command("/bin/sh", "-c", big + "; exit 1"),
                                    command("/bin/sh", "-c", big + "; exit 2"))
        good = self.submit(command("/bin/sh", "-c", big))[0]
        self.wait_over([failed, fresh, good])
        wait_for(lambda: all(self.results_of(job) for job in (failed, fresh, good)), 20, "results are shipped")
        strangers = self.share / "results" / "notes.txt"
        strangers.write_text("mine")
        (self.share / "queue" / "incoming" / "bad.json").write_text("{")
        refused = self.share / "queue" / "rejected" / "bad.json"
        wait_for(refused.exists, 30, "the bad file is refused")
        day = self.share / "queue" / "done" / "2020-01-01"
        day.mkdir()
        (day / f"{good}.json").write_text("{}")
        quarantine = self.share / "log" / "nova.worker" / "quarantine"
        quarantine.mkdir()
        (quarantine / "0000000001-0000000001.rlog.0011223344556677").write_text("x")
        self.age(quarantine, 400)  # of its last write: how long it lies here is not known
        for path in (self.results_of(failed), self.results_of(good), strangers, refused):
            self.age(path, 40)
        self.policy.parent.mkdir()
        self.policy.write_text("[results]\nage = 3\n")
        self.restart()
        done = self.cluster.run("retention")
        self.assertEqual(done.returncode, 2)
        self.assertIn("unknown key 'results.age'; accepted here: age_days, total_gib", done.stderr)
        self.cluster.stop_daemons()
        self.assertIsNotNone(self.results_of(failed), "with a bad policy nothing goes")
        self.assertEqual(self.removals(), {})
        self.policy.unlink()
        plan = self.plan()
        self.assertEqual([one["name"].split("/")[1] for one in plan["results"]["removals"]], [failed])
        self.assertEqual(plan["results"]["goes"]["files"], 2)
        self.assertEqual(plan["results"]["kept"], {"the last good one of command:sh": 1})
        self.assertEqual([one["name"] for one in plan["rendering"]["removals"]], ["done/2020-01-01"])
        self.assertEqual(plan["rejected"]["goes"]["items"], 0, "its reason is young")
        self.assertEqual(plan["quarantine"]["goes"]["items"], 0)
        self.assertIsNotNone(self.results_of(failed), "the verb only looks")
        self.age(self.share / "queue" / "rejected" / "bad.json.reason.txt", 40)
        self.restart()
        wait_for(lambda: self.results_of(failed) is None, 60, "old results go")
        wait_for(lambda: not day.exists() and not refused.exists(), 60, "old days and refused files go")
        self.assertFalse((self.share / "queue" / "rejected" / "bad.json.reason.txt").exists())
        for job in (fresh, good):
            self.assertTrue((self.results_of(job) / "a1" / "stdout").exists())
        self.assertEqual(strangers.read_text(), "mine")
        self.assertTrue(list(quarantine.iterdir()))
        said = self.removals()
        self.assertEqual(sorted(said), ["rejected", "rendering", "results"])
        self.assertEqual([(one["files"], one["reason"]) for one in said["results"]], [(2, "older than 30 days")])
        self.assertGreater(said["results"][0]["bytes"], 40_000)
        self.assertEqual(self.plan()["results"]["goes"]["items"], 0)
        self.assertEqual(self.show(failed)["state"], "failed", "its record stays")


if __name__ == "__main__":
    unittest.main()
