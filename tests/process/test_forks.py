"""A fork that is in the shared logs (I5, I6): a copy of a machine wrote on under its name, in a copy of the share, and
what it shared was put over the original. Every view is cut where the two histories part, also that of a node which saw
one of them only; the others go on; an operator decides where the log goes on, and what a side said is said again."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import unittest

from harness import BINARIES, Cluster, ClusterCase, command, copy_live, wait_for

REPLACED = 11
FOLDED_AGAIN = 1


class Forks(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova", "mira", "orin"))
        for node in cluster.nodes:
            cluster.start(node)
            cluster.wait_serving(node)
        return cluster

    def run_one(self, node, seen=None):
        job = self.submit(command("/bin/true"), node=node)[0]
        self.wait_state(job, "succeeded", node=seen)
        return job

    def back(self, node):
        self.cluster.start(node)
        self.cluster.wait_serving(node)

    def log_of(self, node):
        return (self.cluster.directory / "logs" / f"{node}.worker.log").read_text()

    def twin_of(self, node):
        """Another machine with this node's disk and configuration, on a copy of the share."""
        cluster = self.cluster
        place = cluster.directory / "twin"
        shutil.copytree(cluster.directory / node, place, ignore=shutil.ignore_patterns("*.sock"))
        copy_live(cluster.share, cluster.directory / "nas2")
        config = place / "reeve.toml"
        text = config.read_text().replace(f"{cluster.directory / node}/", f"{place}/")
        text = text.replace(str(cluster.share), str(cluster.directory / "nas2"))
        lines = [line for line in text.splitlines() if not line.startswith(("worker      =", "peers "))]
        config.write_text("\n".join(lines) + "\n")
        return place

    def run_twin(self, place):
        """One job there, on the other history; the twin is gone for good then."""
        cluster = self.cluster
        alone = ("--config", place / "reeve.toml")
        with open(cluster.directory / "logs" / "twin.log", "ab") as log:
            twin = subprocess.Popen([str(cluster.binaries / "reeve-worker"), "--config", str(place / "reeve.toml")],
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(lambda: twin.poll() is None and (twin.kill(), twin.wait()))
        wait_for(lambda: cluster.run(*alone, "submit", "--", "/bin/true").returncode in (0, 3), 20, "it serves")
        job = cluster.run(*alone, "submit", "--", "/bin/echo", "twin").stdout.strip()

        def over():
            done = cluster.run(*alone, "job", "show", job, "--json")
            return json.loads(done.stdout or "{}").get("state") == "succeeded"

        wait_for(over, 30, "the twin runs a job")
        twin.terminate()
        self.assertEqual(twin.wait(timeout=20), 0)
        for entry in os.listdir("/proc"):  # its supervisor
            try:
                words = pathlib.Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"reeve-exec") and str(place / "state" / "orin.worker" / "exec").encode() in words:
                os.kill(int(entry), signal.SIGTERM)
        return job

    def level(self, node):
        daemon = self.cluster.json("status", node=node)["daemon"]
        return daemon.get("cluster_level", 0) if isinstance(daemon, dict) else 0

    def fold_again(self, node):
        """As its unit would: it ended to fold its view again, and is started."""
        self.assertEqual(self.cluster.daemons[f"{node}.worker"].wait(timeout=60), FOLDED_AGAIN)
        self.assertIn("is folded again at the next start", self.log_of(node))
        self.back(node)

    def forks_at(self, node):
        return self.cluster.json("status", node=node)["forks"]

    def test_every_view_is_cut_and_the_log_goes_on_where_an_operator_says(self):
        cluster = self.cluster
        for node in cluster.nodes:
            wait_for(lambda node=node: self.level(node) >= 2, 30, f"{node} knows that everybody knows forks")
        before = self.run_one("orin", seen="mira")
        cluster.kill("orin.worker", signal.SIGTERM)
        place = self.twin_of("orin")
        self.back("orin")
        mine = [self.run_one("orin", seen=node) for node in ("nova", "mira")]
        cluster.kill("orin.worker", signal.SIGTERM)
        for node in ("nova", "mira"):
            self.wait_state(mine[1], "succeeded", node=node)
        other = self.run_twin(place)
        # The copy of the share comes back: whoever looks sees another history of orin.worker now.
        theirs = cluster.share / "log" / "orin.worker"
        theirs.rename(cluster.directory / "orin.worker.before")
        shutil.copytree(cluster.directory / "nas2" / "log" / "orin.worker", theirs)
        cluster.forget("orin.worker")
        for node in ("nova", "mira"):
            self.fold_again(node)
        self.cut_everywhere(before, mine, other)
        self.decided_and_said_again([*mine, other])

    def cut_everywhere(self, before, mine, other):
        cluster = self.cluster
        for node in ("nova", "mira"):
            forks = wait_for(lambda node=node: self.forks_at(node), 30, f"{node} tells the fork")
            self.assertEqual([fork["writer"] for fork in forks], ["orin.worker"])
            place = forks[0]["forks"][0]
            self.assertEqual(forks[0]["read_to"], place["seq"] - 1)
            self.assertLess(place["first"], place["second"])
            self.wait_state(before, "succeeded", node=node)
            for job in (*mine, other):
                self.assertEqual(self.show(job, node)["state"], "unknown", "neither side counts")
        self.assertEqual(self.forks_at("nova"), self.forks_at("mira"), "two observers make one fact")
        said = cluster.run("doctor", "--json").stdout
        self.assertIn("fork.nova.worker/orin.worker", said)
        self.assertIn("reeve log resolve orin.worker", said)
        for node in ("nova", "mira"):
            self.run_one(node, seen="mira" if node == "nova" else "nova")
        logs = cluster.state("mira") / "log"
        wait_for(lambda: cluster.replay("run", "--logs", logs)["digest"] == cluster.wait_equal_cuts()[1], 60,
                 "a replay of the logs alone gives the digest that both have")

    def decided_and_said_again(self, jobs):
        cluster = self.cluster
        cluster.start("orin")
        self.assertEqual(cluster.daemons["orin.worker"].wait(timeout=30), REPLACED)
        refused = cluster.run("log", "rescue", "--yes", node="orin")
        self.assertEqual(refused.returncode, 4, refused.stderr)
        self.assertIn("reeve log resolve orin.worker", refused.stderr)
        self.assertEqual(cluster.run("log", "resolve", "orin.worker", stdin="no\n").returncode, 7)
        self.assertEqual(cluster.run("log", "resolve", "mira.worker", "--yes").returncode, 6, "it has no fork")
        done = cluster.json("log", "resolve", "orin.worker", "--yes", "--reason", "the twin is gone")
        self.assertEqual(done["schema"], "reeve.log_resolve/v1")
        for node in ("nova", "mira"):
            wait_for(lambda node=node: not self.forks_at(node), 30, f"{node} knows the decision")
        done = json.loads(cluster.reeve("log", "rescue", "--yes", "--json", node="orin"))
        self.assertGreaterEqual(done["events"], len(jobs), "submitted, at least: another node may have run it")
        self.back("orin")
        for job in jobs:  # of both sides: the share held the twin's
            for node in cluster.nodes:
                self.wait_state(job, "succeeded", node=node, seconds=30)
        for node in cluster.nodes:
            self.run_one(node, seen="mira")
        cluster.wait_equal_cuts()
        for node in ("nova", "mira"):
            self.assertTrue(cluster.alive(f"{node}.worker"), "a decision takes no view back")


if __name__ == "__main__":
    unittest.main()
