"""Who belongs to a cluster: a machine joins with the right code only, waits until an operator admits it, and its log is
read from then on; a log that an operator's certificate does not cover is not (trust, I6, I9)."""

import json
import os
import shutil
import subprocess
import unittest

from faults import FaultCase
from harness import BINARIES, Cluster, ClusterCase, command, wait_for


class Membership(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova", "mira"))
        config = cluster.config("mira")
        config.write_text(config.read_text().replace('roles  = ["compute"]', 'roles  = ["compute","here"]'))
        cluster.start("nova")
        cluster.wait_serving("nova")
        return cluster

    def join(self, node, code, *more):
        return self.cluster.run("join", "--cluster", self.cluster.share, code, "--node", node, "--dir",
                                self.cluster.directory / node, "--heartbeat-ms", "500", "--json", *more)

    def code(self):
        return self.cluster.json("key", "show")["join_code"]

    def known(self, node="nova"):
        return {one["writer"] for one in self.cluster.json("nodes", node=node)["nodes"]}

    def test_a_wrong_code_joins_nothing(self):
        done = self.join("stranger", "0000-0000-0000-0000")
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn("not that of the cluster", done.stderr)
        self.assertFalse((self.cluster.directory / "stranger").exists())

    def test_a_share_that_lies_about_its_operators_is_not_believed(self):
        code = self.code()
        identity = self.cluster.share / "reeve-cluster.json"
        whole = identity.read_text()
        document = json.loads(whole)
        document["operators"] = ["ed25519:" + "ab" * 32]
        identity.write_text(json.dumps(document))
        try:
            self.assertEqual(self.join("victim", code).returncode, 4)
        finally:
            identity.write_text(whole)

    def test_a_daemon_waits_to_be_admitted_and_is_read_then(self):
        cluster = self.cluster
        self.assertEqual(self.join("orin", self.code().lower().replace("-", "")).returncode, 0)
        cluster.start("orin")
        log = cluster.directory / "logs" / "orin.worker.log"
        wait_for(lambda: "waiting" in log.read_text(), 10, "it says that it waits")
        self.assertTrue(cluster.alive("orin.worker"))
        self.assertFalse((cluster.share / "log" / "orin.worker").exists(), "it writes nothing before")
        refused = cluster.run("node", "admit", "orin", stdin="yes\n")
        self.assertEqual(refused.returncode, 7, "the name was not typed")
        shown = json.loads(cluster.run("key", "show", "--json", node="orin").stdout)
        asked = {one["node"]: one["fingerprint"] for one in cluster.json("node", "requests")["requests"]}
        self.assertEqual(asked.get("orin"), shown["fingerprint"])
        cluster.reeve("node", "admit", "orin", stdin="orin\n")
        cluster.wait_serving("orin")
        wait_for(lambda: "orin.worker" in self.known(), 15, "its log is read")
        job = self.submit(command("/bin/true"), node="orin")[0]
        self.wait_state(job, "succeeded", node="nova")

    def test_only_a_pinned_operator_admits(self):
        other = Cluster(BINARIES, self.directory / "other", nodes=("vega",))
        self.assertEqual(self.join("lyra", self.code()).returncode, 0)
        key = other.directory / "vega" / "operator.key"
        done = self.cluster.run("node", "admit", "lyra", "--yes", "--operator-key", key)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn("not the key of an operator", done.stderr)

    def test_a_log_without_a_valid_certificate_is_not_read(self):
        """A foreign daemon wrote it under our cluster's number, and signed it well: for its own operator."""
        other = Cluster(BINARIES, self.directory / "forger", nodes=("vega",))
        path = other.directory / "vega" / "cluster.toml"
        ours = (self.cluster.directory / "nova" / "cluster.toml").read_text()
        own_keys = next(line for line in path.read_text().splitlines() if line.startswith("operators"))
        path.write_text("\n".join(own_keys if line.startswith("operators") else line
                                  for line in ours.splitlines()) + "\n")
        identity = other.share / "reeve-cluster.json"
        document = json.loads(identity.read_text())
        document["cluster"] = json.loads((self.cluster.share / "reeve-cluster.json").read_text())["cluster"]
        identity.write_text(json.dumps(document))
        done = other.run("key", "show", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        code = json.loads(done.stdout)["join_code"]
        joined = other.run("join", "--cluster", other.share, code, "--node", "vega2", "--dir",
                           other.directory / "vega2", "--heartbeat-ms", "500")
        self.assertEqual(joined.returncode, 0, joined.stderr)
        other.reeve("node", "admit", "vega2", "--yes")
        other.start("vega2")
        other.wait_serving("vega2")
        forged = other.share / "log" / "vega2.worker"
        wait_for(lambda: list(forged.glob("*.head")), 10, "it has shared its log")
        shutil.copytree(forged, self.cluster.share / "log" / "vega2.worker")
        log = self.cluster.directory / "logs" / "nova.worker.log"
        done = self.cluster.run("log", "verify", self.cluster.share)
        self.assertEqual(done.returncode, 10, done.stdout)
        self.assertIn("no pinned operator", done.stdout)
        # One of another cluster, whose name comes first, does not decide of which cluster the logs are.
        stranger = Cluster(BINARIES, self.directory / "stranger", nodes=("abel",))
        stranger.start("abel")
        stranger.wait_serving("abel")
        wait_for(lambda: list((stranger.share / "log" / "abel.worker").glob("*.head")), 10, "it has shared its log")
        shutil.copytree(stranger.share / "log" / "abel.worker", self.cluster.share / "log" / "abel.worker")
        stranger.close()
        done = self.cluster.replay("run", "--logs", self.cluster.share, status=3)
        self.assertEqual([one["writer"] for one in done["left_out"]], ["abel.worker", "vega2.worker"])
        self.assertIn("no pinned operator", done["left_out"][1]["reason"])
        self.assertGreater(done["events"], 0)
        self.assertIn("nova.worker", done["cut"])
        self.assertNotIn("vega2.worker", done["cut"])
        text = subprocess.run([str(BINARIES / "reeve-replay"), "run", "--logs", str(self.cluster.share)],
                              env=dict(os.environ, REEVE_CONFIG=str(self.cluster.config("nova"))), text=True,
                              capture_output=True, timeout=60, check=False)
        self.assertEqual(text.returncode, 3)
        self.assertIn("log/vega2.worker is left out: ", text.stderr)
        self.cluster.replay("verify", "--against", self.cluster.state("nova"), "--logs", self.cluster.share)
        shutil.rmtree(self.cluster.share / "log" / "abel.worker")
        job = self.submit(command("/bin/true"))[0]
        self.wait_state(job, "succeeded")
        self.assertNotIn("vega2.worker", self.known())
        self.assertNotIn("vega2.worker incarnation", log.read_text())
        other.close()

    def test_a_key_is_rotated_and_the_log_goes_on(self):
        cluster = self.cluster
        cluster.start("mira")
        cluster.wait_serving("mira")
        before = cluster.json("key", "show", node="mira")
        self.assertEqual(before["serial"], 1)
        cluster.reeve("key", "rotate", node="mira")
        cluster.reeve("node", "admit", "mira", "--yes")
        cluster.kill("mira.worker", 15)
        cluster.start("mira")
        cluster.wait_serving("mira")
        after = cluster.json("key", "show", node="mira")
        self.assertEqual(after["serial"], 2)
        self.assertNotEqual(after["fingerprint"], before["fingerprint"])
        job = self.submit(command("/bin/true"), node="mira")[0]
        self.wait_state(job, "succeeded", node="nova")
        cluster.reeve("log", "verify")

    def test_z_a_removed_node_is_read_to_its_end_and_waited_for_by_nobody(self):
        cluster = self.cluster
        if not cluster.alive("mira.worker"):
            cluster.start("mira")
            cluster.wait_serving("mira")
        alive = cluster.run("node", "remove", "mira")
        self.assertEqual(alive.returncode, 6, alive.stdout + alive.stderr)
        self.assertIn("is live", alive.stderr)
        job = self.submit(command("/bin/sleep", "600", requires={"roles": ["here"]}), node="mira")[0]
        self.wait_state(job, "running", node="nova")
        cluster.kill("mira.worker")
        removed = cluster.json("node", "remove", "mira", "--force", "--reason", "its board died")
        removed_at = {one["writer"]: one["last_seq"] for one in removed["writers"]}
        self.assertIn("mira.worker", removed_at)
        self.wait_state(job, "lost", node="nova", seconds=30)
        after = self.submit(command("/bin/true"), node="nova")[0]
        self.wait_state(after, "succeeded", node="nova")
        # Its daemon, started again by somebody who did not know, reads so and stays away.
        cluster.start("mira")
        self.assertEqual(cluster.daemons["mira.worker"].wait(timeout=30), 11)
        cluster.start("mira")
        self.assertEqual(cluster.daemons["mira.worker"].wait(timeout=30), 11)
        log = (cluster.directory / "logs" / "mira.worker.log").read_text()
        self.assertIn("removed from the cluster", log)
        cluster.forget("mira.worker")
        verified = cluster.replay("verify", "--against", cluster.state("nova"))
        self.assertTrue(verified["writers"][0]["digest"])
        for logs in (cluster.state("nova"), cluster.state("mira")):  # the share holds an impostor's log, too
            replayed = cluster.replay("run", "--logs", logs)["cut"]["mira.worker"]["seq"]
            self.assertEqual(replayed, removed_at["mira.worker"], f"{logs}: read to its end, and no further")

    def test_zz_a_removed_node_is_admitted_again_and_goes_on(self):
        """Behind the test before it: mira is removed, and has tried to start since."""
        cluster = self.cluster
        refused = cluster.run("submit", "--role", "here", "--", "/bin/true")
        self.assertEqual(refused.returncode, 2, "no node that is left has that role")
        said = (cluster.directory / "logs" / "mira.worker.log").read_text()
        self.assertIn("reeve log resolve", said.splitlines()[-1], "it says how to have it back")
        cluster.reeve("key", "rotate", node="mira")
        cluster.reeve("node", "admit", "mira", "--yes")
        cluster.reeve("log", "resolve", "--yes", node="mira")
        cluster.start("mira")
        cluster.wait_serving("mira")

        def taken():
            done = cluster.run("submit", "--role", "here", "--", "/bin/true")
            return done.stdout.strip() if done.returncode == 0 else None

        job = wait_for(taken, 20, "its role counts again")
        self.wait_state(job, "succeeded", node="nova")
        own = self.submit(command("/bin/true"), node="mira")[0]
        self.wait_state(own, "succeeded", node="nova")
        for writer in list(cluster.daemons):  # who had read further than the end has ended, to fold again
            if not cluster.alive(writer):
                cluster.start(*writer.split("."))
        cluster.wait_equal_cuts()

    def test_a_lost_state_directory_is_joined_again(self):
        """/etc/reeve was kept: the node asks with another key, and has its log back from the share."""
        cluster = self.cluster
        first = json.loads(self.join("vesta", self.code()).stdout)["fingerprint"]
        again = self.join("vesta", self.code())
        self.assertEqual(json.loads(again.stdout)["fingerprint"], first, "a repetition asks for nothing else")
        cluster.reeve("node", "admit", "vesta", "--yes")
        cluster.start("vesta")
        cluster.wait_serving("vesta")
        job = self.submit(command("/bin/true"), node="vesta")[0]
        self.wait_state(job, "succeeded", node="nova")
        cluster.kill("vesta.worker", 15)
        shutil.rmtree(cluster.directory / "vesta" / "state")
        cluster.start("vesta")
        self.assertEqual(cluster.daemons["vesta.worker"].wait(timeout=20), 2)
        log = (cluster.directory / "logs" / "vesta.worker.log").read_text()
        self.assertIn("reeve join again", log.splitlines()[-1])
        other = self.join("vesta", self.code(), "--label", "x=y")
        self.assertEqual(other.returncode, 6)
        self.assertIn("with the options of the first time", other.stderr)
        done = self.join("vesta", self.code())
        self.assertEqual(done.returncode, 0, done.stderr)
        second = json.loads(done.stdout)["fingerprint"]
        self.assertNotEqual(second, first)
        admitted = cluster.json("node", "admit", "vesta", "--yes")
        self.assertEqual((admitted["fingerprint"], admitted["serial"]), (second, 2))
        cluster.start("vesta")
        cluster.wait_serving("vesta")
        self.wait_state(job, "succeeded", node="vesta")
        after = self.submit(command("/bin/true"), node="vesta")[0]
        self.wait_state(after, "succeeded", node="nova")

    def test_a_policy_is_signed_and_reaches_every_node(self):
        cluster = self.cluster
        policy = self.directory / "policy"
        policy.mkdir(exist_ok=True)
        (policy / "retention.toml").write_text("# nothing yet\n")
        without = cluster.run("policy", "apply", policy, "--operator-key", self.directory / "none.key")
        self.assertEqual(without.returncode, 5, without.stderr)
        cluster.reeve("policy", "apply", policy)
        shown = cluster.json("policy", "show")
        self.assertEqual(shown["version"], 1)
        self.assertEqual(shown["files"], {"retention.toml": "# nothing yet\n"})
        kept = cluster.state("nova") / "policy" / "retention.toml"
        wait_for(kept.exists, 10, "it lies on the node as a file")
        (policy / "../escape.toml").write_text("x")
        (policy / "other.toml").write_text("x")
        refused = cluster.run("policy", "apply", policy)
        self.assertEqual(refused.returncode, 2, refused.stderr)


class RemovedCoordinator(FaultCase):
    nodes = ("nova", "mira")

    def test_what_goes_on_to_write_in_its_name_keeps_no_duties(self):
        """It cannot read that it was removed, and shows signs of life: those of nobody (I11)."""
        cluster = self.cluster
        others = cluster.share / "log" / "mira.worker"
        with self.faults.on("errno", "EIO", where=others, classes="open,read", writers=("nova.coord",)) as fault:
            wait_for(lambda: fault.met("nova.coord"), 10, "it reads no other log")
            key = cluster.directory / "nova" / "operator.key"
            cluster.reeve("node", "remove", "nova", "--force", "--operator-key", key, node="mira")
            wait_for(lambda: self.live("mira.worker").get("duties"), 20, "the worker that is left has the duties")
            self.assertTrue(cluster.alive("nova.coord"), "it goes on")
            seen = self.live("mira.worker")["writers"]["nova.coord"]
            self.assertEqual((seen["state"], seen["removed"]), ("dead", True))
            self.assertLess(seen["silent_ms"], 3000, "its HEAD moves")
            first = self.submit(command("/bin/true"), node="mira")[0]
            then = self.submit(command("/bin/true", after=[{"job": first, "on": "success"}]), node="mira")[0]
            self.wait_state(then, "succeeded", node="mira")
        wait_for(lambda: not cluster.alive("nova.coord"), 20, "it reads of its removal, and ends")


if __name__ == "__main__":
    unittest.main()
