"""Segments that have aged become archives, on every disk and on the share, when every writer holds them and an event
has told it; what reads logs reads the same as before, also a node without mirrors and a reader that shares no code
(I7, I8)."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import unittest

from faults import FaultCase
from harness import wait_for

READER = pathlib.Path(__file__).with_name("log_reader.py")
TWO_DAYS_MS = 2 * 86_400_000
FIRST = "0000000001-0000000001.rlog"


class Aging(FaultCase):
    """Segments are archived when they are a day old, and looked for every second."""

    nodes = ("nova", "mira")

    @classmethod
    def configure(cls, cluster):
        for node in cls.nodes:
            with open(cluster.config(node), "a", encoding="utf-8") as file:
                file.write("\n[retention]\ninterval_s = 1\n")
        for _, state in [(f"{node}.{role}", cluster.state(node, role)) for node, role in
                         (("nova", "worker"), ("mira", "worker"), ("nova", "coord"))]:
            (state / "policy").mkdir(parents=True, exist_ok=True)
            (state / "policy" / "retention.toml").write_text("[archive]\nage_days = 1\n")

    def places(self):
        """Every directory that holds the log of some writer."""
        roots = [state / "log" for _, state in self.cluster.writers()] + [self.cluster.share / "log"]
        return [root / writer for root in roots for writer, _ in self.cluster.writers()]

    def forms(self):
        return {str(place.relative_to(self.directory)):
                (place / FIRST).exists() * "plain" + (place / (FIRST + ".zst")).exists() * "archive"
                for place in self.places()}

    def restart(self):
        self.cluster.stop_daemons()
        self.cluster.start_all()
        for node in self.nodes:
            self.cluster.wait_serving(node)

    def exported(self, path):
        """All events, when our reader and the other one list the same: logs grow meanwhile."""
        seen = {}

        def alike():
            seen["lines"] = self.cluster.reeve("log", "export", path).splitlines()
            done = subprocess.run([sys.executable, str(READER), str(path)], capture_output=True, text=True, check=False)
            ours, theirs = (sorted((event["writer"], event["seq"]) for event in map(json.loads, lines))
                            for lines in (seen["lines"], done.stdout.splitlines()))
            return done.returncode == 0 and ours == theirs
        wait_for(alike, 20, f"both readers list the same events of {path}")
        return seen["lines"]

    def observed(self, kind):
        lines = self.cluster.reeve("log", "export", self.cluster.state("nova")).splitlines()
        return [event for event in map(json.loads, lines) if event.get("kind") == kind]

    def plan(self, ahead_ms):
        """What `reeve retention` says of archives, by a clock that is ahead; daemons keep theirs."""
        control = self.directory / "later"
        control.mkdir(exist_ok=True)
        (control / "rules").write_text(f"1 clock +{ahead_ms} * 0 0 /\n")
        shim = self.faults.cluster.environment["nova.worker"]
        environment = dict(os.environ, **shim, REEVE_CONFIG=str(self.cluster.config("nova")))
        environment["REEVE_FAULTS"] = str(control)
        done = subprocess.run([str(self.cluster.binaries / "reeve"), "retention", "--json"], env=environment, text=True,
                              capture_output=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return next(one for one in json.loads(done.stdout)["classes"] if one["class"] == "archive")


class Archive(Aging):
    def test_what_has_aged_is_archived_and_reads_as_before(self):
        self.work("before", 6)
        wait_for(lambda: self.cluster.json("status")["jobs"].get("succeeded", 0) >= 6, 30, "all have run")
        self.restart()
        self.work("after", 3)
        wait_for(lambda: self.cluster.json("status")["jobs"].get("succeeded", 0) >= 9, 30, "all have run")
        wait_for(lambda: {event["writer"] for event in self.observed("log.mirrored")} >=
                 {writer for writer, _ in self.cluster.writers()}, 20, "everybody has told what it holds")
        wait_for(lambda: set(self.forms().values()) == {"plain"}, 20, "every mirror has the first segments")
        before = self.exported(self.cluster.share / "log")

        self.assertEqual(self.plan(0)["archives"], [], "too young")
        plan = self.plan(TWO_DAYS_MS)
        self.assertEqual(sorted((one["where"], one["name"]) for one in plan["archives"]),
                         sorted([("disk", f"{writer}/{FIRST}") for writer, _ in self.cluster.writers()]
                                + [("share", f"nova.worker/{FIRST}")]))
        self.assertEqual((plan["age_days"], plan["goes"]["items"], plan["removals"]), (1, 4, []))
        self.assertGreater(plan["there"]["items"], 4)
        self.assertEqual(set(self.forms().values()), {"plain"}, "the verb only looks")
        with self.faults.on("clock", f"+{TWO_DAYS_MS}"):
            wait_for(lambda: set(self.forms().values()) == {"archive"}, 60, f"all is archived: {self.forms()}")
        pairs = {(a, b) for a, _ in self.cluster.writers() for b, _ in self.cluster.writers()}
        wait_for(lambda: {(event["writer"], event["subject"]) for event in self.observed("log.archived")} == pairs,
                 20, "every writer has told of every log")
        details = [json.loads(event["detail"]) for event in self.observed("log.archived")]
        self.assertEqual({detail["where"] for detail in details}, {"share", "disk"})
        self.assertTrue(all(detail["archive_bytes"] < detail["plain_bytes"] for detail in details))
        self.assertEqual(self.plan(TWO_DAYS_MS)["archives"], [])
        known = set(before)
        self.assertLessEqual(known, set(self.exported(self.cluster.share / "log")))
        self.assertLessEqual(known, set(self.exported(self.cluster.state("mira") / "log")))
        self.cluster.verify_all()

        # A node whose mirrors are gone has them again from the share, and the same view.
        self.cluster.kill("mira.worker", signal.SIGTERM)
        self.cluster.forget("mira.worker")
        state = self.cluster.state("mira")
        for mirror in ("nova.worker", "nova.coord"):
            shutil.rmtree(state / "log" / mirror)
        shutil.rmtree(state / "projection")
        self.start_again("mira")
        self.cluster.wait_equal_cuts()
        self.assertLessEqual(known, set(self.exported(state / "log")))
        self.cluster.verify_all()

        # A bit of an archive is gone: found, and mended from another copy.
        mirror = state / "log" / "nova.worker"
        self.cluster.kill("nova.worker", signal.SIGTERM)
        self.cluster.forget("nova.worker")
        own = self.cluster.state("nova") / "log" / "nova.worker"
        archive = own / (FIRST + ".zst")
        content = bytearray(archive.read_bytes())
        content[-9] ^= 1
        archive.write_bytes(content)
        self.assertNotEqual(self.cluster.run("log", "verify", own).returncode, 0)
        self.start_again("nova")
        wait_for(lambda: list((own / "quarantine").glob(FIRST + ".zst.*")), 60, "the damaged archive is set aside")
        self.assertTrue((own / FIRST).exists())
        self.assertTrue((mirror / FIRST).exists(), "pulled anew, and young by the clock")
        self.cluster.wait_equal_cuts()
        self.cluster.verify_all()


class Removed(Aging):
    """All begins two days ago: who keeps the duties must not be ahead of the clock of the share."""

    @classmethod
    def configure(cls, cluster):
        super().configure(cluster)
        cls.past = cls.faults.on("clock", f"-{TWO_DAYS_MS}")
        cls.past.__enter__()

    def test_the_shared_log_of_a_removed_writer_is_archived_by_another(self):
        cluster = self.cluster
        for _ in range(2):  # two segments that another one continues
            cluster.kill("mira.worker", signal.SIGTERM)
            self.start_again("mira")
        cluster.kill("mira.worker", signal.SIGTERM)
        cluster.forget("mira.worker")
        self.past.__exit__()
        self.restart_nova()
        cluster.wait_equal_cuts()
        shared = cluster.share / "log" / "mira.worker"
        before = sorted(path.name for path in shared.glob("*.rlog"))
        self.assertEqual(len(before), 3)
        events = len(cluster.reeve("log", "export", shared).splitlines())
        cluster.reeve("node", "remove", "mira", "--force", "--reason", "its board died")
        wait_for(lambda: [path.name for path in shared.glob("*.rlog")] == before[-1:], 60,
                 "all but the last is archived")
        told = [event for event in self.observed("log.archived") if event["subject"] == "mira.worker"
                and json.loads(event["detail"])["where"] == "share"]
        self.assertEqual(len({event["writer"] for event in told}), 1, "by who keeps the duties")
        self.assertEqual(sum(json.loads(event["detail"])["segments"] for event in told), 2)
        self.assertEqual(len(cluster.reeve("log", "export", shared).splitlines()), events)
        cluster.replay("run", "--logs", cluster.share)
        cluster.verify_all()

    def restart_nova(self):
        self.cluster.stop_daemons()
        for role in ("worker", "coord"):
            self.cluster.start("nova", role)
        self.cluster.wait_serving("nova")


if __name__ == "__main__":
    unittest.main()
