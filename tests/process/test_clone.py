"""Two machines with one name: restored disks, lost disks, clones (I6). The one that is replaced stops with status 11,
says by whom, and stays away until a person has looked; what only it accepted is said again."""

import json
import shutil
import subprocess
import unittest

from harness import BINARIES, Cluster, ClusterCase, Failure, command, wait_for

REPLACED = 11


class Clones(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova", "mira"))
        for node in cluster.nodes:
            cluster.start(node)
            cluster.wait_serving(node)
        return cluster

    def run_one(self, node, seen=None):
        job = self.submit(command("/bin/true"), node=node)[0]
        return self.wait_state(job, "succeeded", node=seen)

    def stop(self, node):
        self.cluster.kill(f"{node}.worker", 15)

    def back(self, node):
        self.cluster.start(node)
        self.cluster.wait_serving(node)

    def log_of(self, node):
        return (self.cluster.directory / "logs" / f"{node}.worker.log").read_text()

    def ended(self, node, seconds=30):
        return self.cluster.daemons[f"{node}.worker"].wait(timeout=seconds)

    def twin(self, node, name):
        """Another machine with this node's disk and configuration, on the same share."""
        place = self.cluster.directory / name
        shutil.copytree(self.cluster.directory / node, place, ignore=shutil.ignore_patterns("*.sock"))
        config = place / "reeve.toml"
        text = config.read_text().replace(f"{self.cluster.directory / node}/", f"{place}/")
        lines = [line for line in text.splitlines() if not line.startswith(("worker      =", "peers "))]
        config.write_text("\n".join(lines) + "\n")
        return place

    def start_twin(self, node, name):
        program = self.cluster.binaries / "reeve-worker"

        log = open(self.cluster.directory / "logs" / f"{name}.log", "ab")
        self.addCleanup(log.close)
        process = subprocess.Popen([str(program), "--config", str(self.cluster.directory / name / "reeve.toml")],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(lambda: process.poll() is None and (process.terminate(), process.wait()))
        return process

    def test_a_restored_disk_adopts_what_the_share_has(self):
        self.run_one("mira")
        self.stop("mira")
        older = self.directory / "older"
        shutil.copytree(self.cluster.state("mira"), older)
        self.back("mira")
        jobs = [self.run_one("mira")["job"] for _ in range(3)]
        self.stop("mira")
        shutil.rmtree(self.cluster.state("mira"))
        older.rename(self.cluster.state("mira"))
        self.back("mira")
        self.assertIn("adopting it", self.log_of("mira"))
        for job in jobs:
            self.wait_state(job, "succeeded", node="mira")
        self.run_one("mira", seen="nova")
        self.cluster.wait_equal_cuts()

    def test_a_lost_disk_adopts_its_whole_log(self):
        job = self.run_one("mira")["job"]
        self.stop("mira")
        shutil.rmtree(self.cluster.state("mira"))
        self.back("mira")
        self.wait_state(job, "succeeded", node="mira")
        self.run_one("mira", seen="nova")
        self.cluster.wait_equal_cuts()

    def test_of_two_clones_the_first_stops_and_stays_away(self):
        self.run_one("mira")
        self.twin("mira", "twin")
        twin = self.start_twin("mira", "twin")
        self.assertEqual(self.ended("mira"), REPLACED)
        said = self.log_of("mira")
        self.assertRegex(said, r"mira.worker of incarnation \d+ was replaced: incarnation \d+ .*")
        self.assertIn(f"process {twin.pid}", said, "it says where the other one runs")
        self.cluster.start("mira")
        self.assertEqual(self.ended("mira"), REPLACED, "it does not replace the other one in its turn")
        self.assertEqual(self.cluster.run("log", "rescue", node="mira", stdin="no\n").returncode, 7)
        twin.terminate()
        self.assertEqual(twin.wait(timeout=20), 0)
        done = json.loads(self.cluster.run("log", "rescue", "--yes", "--json", node="mira").stdout)
        self.assertEqual(done["schema"], "reeve.log_rescue/v1")
        self.back("mira")
        self.run_one("mira", seen="nova")
        self.cluster.wait_equal_cuts()

    def test_what_only_the_replaced_one_accepted_is_said_again(self):
        self.run_one("mira")
        self.stop("mira")
        self.twin("mira", "old")
        self.back("mira")
        self.run_one("mira")
        self.stop("mira")
        # The old disk, on its own: it cannot see the share, takes a job, and runs it.
        away = self.cluster.share.with_name("nas.away")
        self.cluster.share.rename(away)
        old = self.start_twin("mira", "old")
        config = self.cluster.directory / "old" / "reeve.toml"
        alone = ("--config", config)
        wait_for(lambda: "running" in (self.cluster.directory / "logs" / "old.log").read_text(), 20, "it runs alone")

        def state_of(job):
            return json.loads(self.cluster.run(*alone, "job", "show", job, "--json").stdout or "{}").get("state")

        def runs_one():
            """What is taken in before its supervisor answers waits for the share: then another one is."""
            done = self.cluster.run(*alone, "submit", "--", "/bin/echo", "alone")
            job = done.stdout.strip()
            try:
                wait_for(lambda: done.returncode == 3 and state_of(job) == "succeeded", 3, "it runs")
            except Failure:
                return None
            return job

        job = wait_for(runs_one, 30, "it takes a job and runs it")
        old.terminate()
        self.assertEqual(old.wait(timeout=20), 0)
        away.rename(self.cluster.share)
        old = self.start_twin("mira", "old")
        self.assertEqual(old.wait(timeout=30), REPLACED)
        self.assertIn("only this disk has", (self.cluster.directory / "logs" / "old.log").read_text())
        # Without its mark it looks again, finds the same, and says what helps.
        self.assertEqual(self.cluster.run(*alone, "log", "resolve", "--yes").returncode, 0)
        old = self.start_twin("mira", "old")
        self.assertEqual(old.wait(timeout=30), REPLACED)
        said = (self.cluster.directory / "logs" / "old.log").read_text().splitlines()[-1]
        self.assertIn("reeve log rescue", said)
        self.assertNotIn("reeve log resolve", said)
        done = self.cluster.run(*alone, "log", "rescue", "--yes", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreaterEqual(json.loads(done.stdout)["events"], 3)
        old = self.start_twin("mira", "old")
        self.wait_state(job, "succeeded", node="nova", seconds=30)
        old.terminate()
        old.wait(timeout=20)
        # The machine itself was replaced meanwhile: it adopts what went on, and is mira again.
        self.back("mira")
        self.wait_state(job, "succeeded", node="mira")
        self.cluster.wait_equal_cuts()


class NewShare(ClusterCase):
    """The NAS is lost for good; a new, empty directory is adopted by a person."""

    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova", "mira", "orin"))
        for node in cluster.nodes:
            cluster.start(node)
            cluster.wait_serving(node)
        return cluster

    def test_everything_is_shared_again(self):
        cluster = self.cluster
        before = self.submit(*[command("/bin/true") for _ in range(10)])
        self.wait_over(before, node="mira")
        taken = cluster.run("nas", "adopt", stdin="home\n")
        self.assertEqual(taken.returncode, 6, "there is nothing to adopt")
        shutil.rmtree(cluster.share)
        wait_for(lambda: cluster.json("status")["daemon"]["share"] == "away", 20, "they have noticed")
        cluster.share.mkdir()
        self.assertEqual(cluster.run("nas", "adopt", stdin="work\n").returncode, 7, "not the cluster's name")
        self.assertEqual(list(cluster.share.iterdir()), [], "nothing is made in a directory that is nobody's")
        done = cluster.run("nas", "adopt", stdin="home\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("NO: the same file system", done.stderr)
        after = self.submit(*[command("/bin/true") for _ in range(10)], node="orin")
        self.wait_over(after, node="nova")
        _, digest = cluster.wait_equal_cuts()
        self.assertEqual(cluster.replay("run", "--logs", cluster.share)["digest"], digest)


if __name__ == "__main__":
    unittest.main()
