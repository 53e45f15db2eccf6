"""Upgrades: today's daemons go on with a state that an earlier level wrote, and raise the level when all know it; one
that meets what only a later build knows does no harm and says why; machines are upgraded one by one under load, and
nothing is lost and nothing runs twice (I1, I2, I5)."""

import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import unittest

from harness import BINARIES, Cluster, ClusterCase, NODES, OVER, ROOT, command, lines_of, wait_for

GOLDEN = ROOT / "tests" / "golden" / "1"
KEY_FILL = {"nova": 1, "mira": 2}  # the seeds of the golden keys: 32 such bytes
PKCS8 = bytes.fromhex("302e020100300506032b657004220420")  # an Ed25519 key: this, then the seed


def pem(fill):
    text = base64.b64encode(PKCS8 + bytes([fill]) * 32).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"


class GoldenCluster(Cluster):
    """Two machines whose keys, logs and share are those of the golden log; no daemon runs yet."""

    def __init__(self, directory):
        super().__init__(BINARIES, directory, nodes=("nova", "mira"))
        cluster, operator = (GOLDEN / "cluster.txt").read_text().split()
        identity = self.share / "reeve-cluster.json"
        document = json.loads(identity.read_text())
        document.update(cluster=cluster, operators=[operator])
        identity.write_text(json.dumps(document))
        for node, fill in KEY_FILL.items():
            home = self.directory / node
            (home / "cluster.toml").write_text(f'id = "{cluster}"\nname = "home"\noperators = ["{operator}"]\n')
            (home / "state" / "node.key").write_text(pem(fill))
            shutil.copy(GOLDEN / f"{node}.certificate.json", home / "state" / "node.cert")
        logs = GOLDEN / "logs"
        for writer in ("nova.worker", "nova.coord", "mira.worker"):
            node, role = writer.split(".")
            shutil.copytree(logs / writer, self.state(node, role) / "log" / writer,
                            ignore=shutil.ignore_patterns("*.head"))
            # The machine was not booted since: without this, its disk would count as lost.
            run = self.state(node, role) / "run"
            run.mkdir(parents=True, exist_ok=True)
            (run / "boot_id").write_text(pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip())
            if writer != "nova.worker":  # it was killed before it had shared its last words
                shutil.copytree(logs / writer, self.share / "log" / writer)
                shutil.copytree(logs / writer, self.state("nova") / "log" / writer)


def make_future(log, what):
    subprocess.run([str(BINARIES / "make_future"), str(log), what], check=True)


class GoldenCase(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        return GoldenCluster(directory)

    def status(self, node="nova"):
        done = self.cluster.run("status", "--json", node=node)
        return json.loads(done.stdout)["daemon"] if done.returncode == 0 else {}

    def exported(self, node="nova"):
        done = self.cluster.run("log", "export", self.cluster.state(node))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def health(self, node="nova"):
        return self.cluster.json("node", "show", node)["health"]["state"]


class AnOldState(GoldenCase):
    def test_old_jobs_are_known_new_ones_run_and_the_level_waits_for_everybody(self):
        cluster = self.cluster
        recorded = json.loads((GOLDEN / "jobs.json").read_text())
        cluster.start("nova")
        cluster.start("nova", "coord")
        cluster.wait_serving("nova")
        states = {job["job"]: job["state"] for job in cluster.json("jobs", "--limit", "100")["jobs"]}
        self.assertEqual(set(states), set(recorded))
        for job, state in recorded.items():
            if state in OVER:
                self.assertEqual(states[job], state)
        self.assertEqual(self.logs("01K742SG010000000000000001"), "golden\n", "its output lies in the old log")
        for job, state in recorded.items():
            if state == "pending":
                self.wait_state(job, "succeeded")
                self.assertRegex(self.logs(job), r"golden \d\n")
        # Its start stands in the log, its local claim was never taken: nothing of it ran, so it is given back.
        interrupted = [job for job, state in recorded.items() if state == "running"]
        for job in interrupted:
            self.assertEqual(self.wait_state(job, "succeeded", "lost")["state"], "succeeded")
            self.assertEqual(self.logs(job), "golden 7\n")
        job = self.submit(command("/bin/echo", "today"))[0]
        self.wait_state(job, "succeeded")
        self.assertEqual(cluster.json("nodes")["nodes"][0]["level"], 1, "mira.worker has not said what it knows now")
        self.assertEqual(self.status()["cluster_level"], 1)
        self.assertGreater(self.status()["level"], 1)
        cluster.verify_all()

        cluster.start("mira")
        cluster.wait_serving("mira")
        wait_for(lambda: self.status("mira").get("cluster_level") == self.status()["level"], 15,
                 "every writer knows the level, and it is raised")
        raised = [event for event in self.exported() if event["type"] == "LevelRaised"]
        self.assertEqual({event["level"] for event in raised}, {self.status()["level"]})
        job = self.submit(command("/bin/echo", "both"), node="mira")[0]
        self.wait_state(job, "succeeded", node="nova")
        cluster.wait_equal_cuts()
        exported = self.exported()
        golden = [json.loads(line) for line in (GOLDEN / "export.jsonl").read_text().splitlines()]
        self.assertEqual([event for event in exported if event["hlc"] <= golden[-1]["hlc"]], golden,
                         "the old part of the log is what it was")
        done = cluster.run("log", "verify", cluster.share)
        self.assertEqual(done.returncode, 0, done.stdout)


class AMistakenRaise(GoldenCase):
    """mira.worker raised the level above what the others know: by mistake, or because somebody wants them to stop."""

    def test_nobody_is_stopped_by_it(self):
        cluster = self.cluster
        cluster.start("nova")
        cluster.start("nova", "coord")
        cluster.wait_serving("nova")
        kept = [cluster.state("nova", role) / "level" for role in ("worker", "coord")]
        wait_for(lambda: all(path.exists() for path in kept), 15, "the level is known")
        make_future(cluster.share / "log" / "mira.worker", "level")
        wait_for(lambda: [event for event in self.exported() if event["type"] == "LevelRaised"], 15, "it is read")
        wait_for(lambda: self.status().get("cluster_level") == self.status()["level"], 15, "as far as all know it")
        job = self.submit(command("/bin/true"))[0]
        self.wait_state(job, "succeeded")
        self.assertIn("is not heeded", (cluster.directory / "logs" / "nova.worker.log").read_text())


class ALaterLevel(GoldenCase):
    """The cluster is at a level far above what this build knows: the machine had a later build before, or none."""

    def test_a_build_below_the_level_claims_nothing_and_says_why(self):
        cluster = self.cluster
        make_future(cluster.share / "log" / "mira.worker", "level")
        for role in ("worker", "coord"):
            cluster.state("nova", role).mkdir(parents=True, exist_ok=True)
            (cluster.state("nova", role) / "level").write_text("9\n")
        cluster.start("nova")
        cluster.start("nova", "coord")
        cluster.wait_serving("nova")
        wait_for(lambda: self.status().get("cluster_level") == 9, 15, "the level is read")
        wait_for(lambda: "level" in self.health(), 15, "health says so")
        self.assertRegex(self.health(), r"knows level \d+, the cluster is at level 9.*upgrade reeve on this node")
        job = self.submit(command("/bin/true"))[0]
        # What is pending since the golden day and what comes today both wait, with the reason.
        waiting = [job, "01K742SG080000000000000008"]
        for one in waiting:
            wait_for(lambda one=one: "level" in self.why(one), 15, "job why names the level")
        self.assertFalse(self.status()["duties"])
        self.assertTrue(all(self.show(one)["state"] == "pending" for one in waiting))
        # An older node does not lower it, also after a restart.
        cluster.kill("nova.worker", signal.SIGTERM)
        cluster.start("nova")
        cluster.wait_serving("nova")
        wait_for(lambda: self.status().get("cluster_level") == 9, 15, "the level is read again")
        exported = self.exported()
        own = [event for event in exported if event["writer"] == "nova.worker" and event["hlc_ms"] > 1_770_000_000_000]
        self.assertFalse([event for event in own if event["type"] in ("LevelRaised", "JobStarted", "JobEnded")])
        self.assertEqual(len([event for event in exported if event["type"] == "Unknown(200)"]), 1, "it is mirrored")
        cluster.verify_all()

    def why(self, job):
        return self.cluster.json("job", "why", job)["reason"]


class ALaterFrame(GoldenCase):
    """mira.worker writes event frames of a version that this build does not know."""

    def test_it_is_not_called_corrupt_and_is_read_after_an_upgrade(self):
        cluster = self.cluster
        shared = cluster.share / "log" / "mira.worker"
        before = cluster.directory / "mira-before"
        shutil.copytree(shared, before)
        make_future(shared, "frame")
        cluster.start("nova")
        cluster.wait_serving("nova")
        told = wait_for(lambda: [event for event in self.exported() if event["type"] == "Observation"
                                 and event["kind"] == "log.unsupported"], 15, "it is told")
        self.assertEqual(told[0]["subject"], "mira.worker")
        self.assertRegex(told[0]["detail"], r"\.rlog at offset \d+: .*does not know; upgrade reeve on this node")
        self.assertFalse([event for event in self.exported() if event.get("kind") == "log.corrupt"
                          and event["hlc_ms"] > 1_770_000_000_000])
        self.assertFalse((shared / "quarantine").exists())
        self.assertFalse([path for path in self.cluster.directory.rglob("quarantine")])
        # The batches before it are read; a claim asks for every log, so what needs one waits.
        job = self.submit(command("/bin/true", dedupe="needs a claim"))[0]
        wait_for(lambda: self.status()["shared_seq"] == self.status()["accepted_seq"], 15, "it is shared")
        self.assertEqual(self.show(job)["state"], "pending")
        self.assertIn("mira.worker", self.status()["writers"])
        self.assertFalse(self.status()["writers"]["mira.worker"]["caught_up"])
        self.assertIn("upgrade", self.status()["writers"]["mira.worker"]["error"])
        # The upgrade: the next build can read that frame. Here the frame is one that this build can read.
        cluster.kill("nova.worker", signal.SIGTERM)
        shutil.rmtree(shared)
        shutil.copytree(before, shared)
        make_future(shared, "event")
        cluster.start("nova")
        cluster.wait_serving("nova")
        wait_for(lambda: self.status()["writers"].get("mira.worker", {}).get("caught_up"), 15, "it is read on")
        self.wait_state(job, "succeeded")
        self.assertEqual(len([event for event in self.exported() if event["type"] == "Unknown(200)"]), 1)
        cluster.verify_all()


class ALaterOwnLog(GoldenCase):
    """mira was put back to this build after a later one had written frames that it does not know."""

    def test_it_does_not_start_and_changes_nothing(self):
        log = self.cluster.state("mira") / "log" / "mira.worker"
        make_future(log, "frame")
        before = {path.name: path.read_bytes() for path in log.glob("*.rlog")}
        self.cluster.start("mira")
        self.assertEqual(self.cluster.daemons["mira.worker"].wait(timeout=20), 2)
        said = (self.cluster.directory / "logs" / "mira.worker.log").read_text()
        self.assertRegex(said, r"\.rlog at offset \d+: .*does not know")
        self.assertIn("a later build wrote this node's own log", said)
        self.assertEqual({path.name: path.read_bytes() for path in log.glob("*.rlog")}, before)


class InstalledCluster(Cluster):
    """Each machine has programs of its own, replaced as a package manager does: by rename, while they run."""

    PROGRAMS = ("reeve-worker", "reeve-coordinator", "reeve-exec")
    NEW, OLD = b"\x000.1.0\x00", b"\x000.0.9\x00"

    def __init__(self, directory):
        super().__init__(BINARIES, directory)
        self.old = self.directory / "old"
        self.old.mkdir()
        for name in self.PROGRAMS:
            content = (BINARIES / name).read_bytes()
            if name != "reeve-exec":  # the same code under the version before, so that it can be told apart
                assert content.count(self.NEW) == 1, f"{name} holds its version {content.count(self.NEW)} times"
                content = content.replace(self.NEW, self.OLD)
            (self.old / name).write_bytes(content)
            (self.old / name).chmod(0o755)
        for node in self.nodes:
            self.programs(node).mkdir()
            self.install(node, self.old)

    def programs(self, node):
        return self.directory / f"bin-{node}"

    def install(self, node, source):
        for name in self.PROGRAMS:
            new = self.programs(node) / f"{name}.new"
            try:
                os.link(source / name, new)
            except OSError:  # another file system
                shutil.copy2(source / name, new)
            os.rename(new, self.programs(node) / name)

    def upgrade(self, node):
        self.install(node, BINARIES)
        for writer in [one for one in self.daemons if one.split(".")[0] == node]:
            self.kill(writer, signal.SIGTERM)
            self.start(*writer.split("."))
        self.wait_serving(node)


class OneByOne(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        cluster = InstalledCluster(directory)
        cluster.start_all()
        for node in NODES:
            cluster.wait_serving(node)
        return cluster

    def document(self, index):
        """Appends one line to a file of its own; every second is long enough to see its worker go."""
        seconds = 3 if index % 2 == 0 else 0.2
        return command("/bin/sh", "-c", f'echo "$REEVE_ATTEMPT $REEVE_NODE" >> {self.out}/u{index}; sleep {seconds}; '
                       f"echo end >> {self.out}/u{index}", name=f"u{index}")

    def submit_some(self, count, node):
        documents = [self.document(index) for index in range(self.submitted, self.submitted + count)]
        self.submitted += count
        done = self.cluster.run("submit", "-f", "-", "--json", stdin=lines_of(documents), node=node)
        self.assertIn(done.returncode, (0, 3), done.stderr)

    def running_on(self, node):
        jobs = self.cluster.json("jobs", "--limit", "1000", node=node)["jobs"]
        return {job["name"] for job in jobs if job["state"] == "running" and job.get("node") == node
                and int(job["name"][1:]) % 2 == 0}

    def test_nothing_is_lost_and_nothing_runs_twice(self):
        cluster = self.cluster
        self.out = self.directory / "out"
        self.out.mkdir()
        self.submitted = 0
        survived = 0
        for turn, node in enumerate(NODES):
            self.submit_some(16, NODES[(turn + 1) % len(NODES)])
            before = wait_for(lambda node=node: self.running_on(node), 20, f"a long job runs on {node}")
            supervisor = cluster.supervisor_pid(node)
            self.assertIsNotNone(supervisor)
            cluster.upgrade(node)
            self.submit_some(8, node)
            self.assertEqual(cluster.supervisor_pid(node), supervisor, "the old supervisor serves the new worker")
            self.assertIn("(deleted)", os.readlink(f"/proc/{supervisor}/exe"), "it is of the old package")
            still = [name for name in before if "end" not in (self.out / name).read_text()]
            survived += len(still)
            self.versions_are({one: "0.1.0" if NODES.index(one) <= turn else "0.0.9" for one in NODES})
        self.assertGreater(survived, 0, "no job outlived the upgrade of its worker: the test proves nothing")

        def over():
            jobs = cluster.json("jobs", "--limit", "1000")["jobs"]
            return jobs if len(jobs) == self.submitted and all(job["state"] in OVER for job in jobs) else None

        jobs = wait_for(over, 90, "every job is over")
        for job in jobs:
            lines = (self.out / job["name"]).read_text().splitlines()
            self.assertEqual((job["state"], len(lines)), ("succeeded", 2), f"{job}: {lines}")
        cluster.wait_equal_cuts()
        levels = {node: cluster.json("status", node=node)["daemon"]["cluster_level"] for node in NODES}
        self.assertEqual(set(levels.values()), {cluster.json("status")["daemon"]["level"]})

    def versions_are(self, wanted):
        def so():
            nodes = self.cluster.json("nodes")["nodes"]
            return {one["node"]: one["version"] for one in nodes if one["role"] == "worker"} == wanted

        wait_for(so, 15, f"the versions are {wanted}")


if __name__ == "__main__":
    unittest.main()
