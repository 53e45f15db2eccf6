"""reeve doctor on real files: each important failure is made, found under its id with evidence and what mends it, and
is gone when it is mended. Doctor itself leaves nothing behind."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import unittest

from harness import BINARIES, Cluster, ClusterCase, wait_for
from test_single import SingleNode

# What depends on the machine that runs the tests: its clock daemon, its room, its load, who runs them.
ENVIRONMENT = {"clock.ntp", "user", "config.operator", "machine.swap", "machine.memory", "limits.files",
               "limits.processes", "limits.cgroup", "limits.time", "state.space", "state.inodes", "share.space",
               "share.inodes", "state.filesystem", "share.latency", "units.reeve-worker", "units.reeve-coordinator",
               "units.reeve-exec"}
NOBODY = 65534


def may_unshare():
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


def tree_of(directory):
    """Every name below a directory."""
    return sorted(str(path.relative_to(directory)) for path in pathlib.Path(directory).rglob("*"))


class DoctorCase(ClusterCase):
    def parsed(self, done, status):
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        document = json.loads(done.stdout)
        self.assertEqual(document["schema"], "reeve.doctor/v1")
        checks = {check["id"]: check for check in document["checks"]}
        self.assertEqual(len(checks), len(document["checks"]), "ids are unique")
        for check in checks.values():
            self.assertTrue(check["evidence"], check)
            self.assertEqual(bool(check["fix"]), check["status"] in ("warn", "fail"), check)
        return checks

    def doctor(self, status=None, node=None):
        done = self.cluster.run("doctor", "--json", node=node)
        return self.parsed(done, done.returncode if status is None else status)

    def expect(self, check, status, *words):
        self.assertEqual(check["status"], status, check)
        for word in words:
            self.assertIn(word, check["evidence"] + " | " + check["fix"])

    def bad(self, checks):
        """Ids that are not right, and do not depend on the machine."""
        return {key for key, check in checks.items() if check["status"] in ("warn", "fail")} - ENVIRONMENT

    def in_namespace(self, script, *arguments):
        """Runs doctor in a mount namespace of its own, after `script`; mounts go with it."""
        words = ["unshare", "-m", "sh", "-ec", script + '\nexec "$REEVE" doctor --json', "sh", *map(str, arguments)]
        environment = dict(os.environ, REEVE_CONFIG=str(self.cluster.config(self.cluster.nodes[0])),
                           REEVE=str(BINARIES / "reeve"))
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)


class Stopped(DoctorCase):
    """A node that was made and never started: doctor needs no daemon."""

    @classmethod
    def make_cluster(cls, directory):
        return SingleNode(BINARIES, directory, nodes=("nova",), slots=2)

    def test_a_new_node_lacks_only_its_daemons(self):
        before = tree_of(self.cluster.directory)
        checks = self.doctor(status=3)
        self.assertEqual(self.bad(checks), {"daemon.nova.worker", "daemon.nova.coord"})
        self.assertEqual(tree_of(self.cluster.directory), before, "doctor leaves nothing behind")

    def test_a_bad_configuration_is_one_failed_check(self):
        bad = self.cluster.directory / "bad.toml"
        bad.write_text("node = 7\n")
        done = self.cluster.run("doctor", "--json", "--config", bad)
        checks = self.parsed(done, 1)
        self.expect(checks["config"], "fail", "bad.toml")
        self.assertEqual(len(checks), 1)

    def test_keys_that_others_may_read(self):
        self.expect(self.doctor()["config.keys"], "ok", "node.key")
        key = self.cluster.directory / "nova" / "spare.key"
        self.addCleanup(key.unlink)
        key.write_text("secret\n")
        key.chmod(0o640)
        self.expect(self.doctor(status=1)["config.keys"], "fail", "0640", f"chmod 0600 {key}")
        key.chmod(0o600)
        self.expect(self.doctor(status=3)["config.keys"], "ok")

    def test_the_operators_key_is_no_jobs_to_read(self):
        key = self.cluster.directory / "nova" / "operator.key"
        key.chmod(0o604)
        self.expect(self.doctor(status=1)["config.operator"], "fail", "operator.key", "chmod 0600")
        key.chmod(0o600)
        kept = key.with_name("elsewhere")
        key.rename(kept)
        self.addCleanup(kept.rename, key)
        self.expect(self.doctor(status=3)["config.operator"], "ok", "kept elsewhere")

    def test_a_configuration_that_anybody_may_change(self):
        config = self.cluster.config("nova")
        mode = config.stat().st_mode
        config.chmod(0o666)
        self.addCleanup(config.chmod, mode)
        self.expect(self.doctor(status=1)["config.files"], "fail", "0666", "chmod o-w")

    def test_the_share_of_another_cluster_is_not_touched(self):
        share = self.cluster.share
        kept = share.with_name("kept")
        share.rename(kept)
        self.addCleanup(kept.rename, share)
        subprocess.run([str(BINARIES / "reeve"), "init", "--cluster", str(share), "--node", "other", "--dir",
                        str(self.directory / "other")], check=True, stdout=subprocess.DEVNULL)
        self.addCleanup(shutil.rmtree, self.directory / "other")
        self.addCleanup(shutil.rmtree, share)
        before = [(path, path.stat().st_mtime_ns) for path in sorted(share.rglob("*"))]
        checks = self.doctor(status=1)
        self.expect(checks["share.identity"], "fail", "this node belongs to")
        self.expect(checks["share.writable"], "skip")
        self.assertEqual([(path, path.stat().st_mtime_ns) for path in sorted(share.rglob("*"))], before)

    def test_a_missing_mount_stays_an_empty_directory(self):
        share = self.cluster.share
        kept = share.with_name("kept")
        share.rename(kept)
        self.addCleanup(kept.rename, share)
        self.expect(self.doctor(status=1)["share.identity"], "fail", "is not there", "mkdir")
        self.assertFalse(share.exists())
        share.mkdir()
        self.addCleanup(share.rmdir)
        self.expect(self.doctor(status=1)["share.identity"], "fail", f"mount {share}")
        self.assertEqual(tree_of(share), [])

    def test_a_damaged_identity(self):
        identity = self.cluster.share / "reeve-cluster.json"
        good = identity.read_bytes()
        self.addCleanup(identity.write_bytes, good)
        identity.write_bytes(good[:10])
        self.expect(self.doctor(status=1)["share.identity"], "fail", "is not an identity file")

    def test_a_share_without_its_directories(self):
        status = self.cluster.share / "status"
        status.rmdir()
        self.addCleanup(status.mkdir)
        checks = self.doctor(status=1)
        self.expect(checks["share.tree"], "fail", "status")
        self.expect(checks["share.writable"], "fail", "status")
        self.assertFalse(status.exists(), "what is missing is told, not made")

    def test_probes_that_were_left_by_a_killed_doctor_go(self):
        status = self.cluster.share / "status"
        old, young, foreign = (status / f".doctor-{name}" for name in ("old", "young", "foreign"))
        for directory in (old, young, foreign):
            directory.mkdir()
            (directory / "a").write_text("a")
            self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        (foreign / "somebody's").write_text("kept")
        for directory in (old, foreign):
            os.utime(directory, (1, 1))
        self.doctor()
        self.assertFalse(old.exists())
        self.assertTrue((young / "a").exists())
        self.assertTrue((foreign / "somebody's").exists())

    def test_quarantine_and_marks_are_told(self):
        quarantine = self.cluster.share / "log" / "nova.worker" / "quarantine"
        quarantine.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, quarantine.parent)
        self.expect(self.doctor()["quarantine.share"], "ok")
        (quarantine / "0000000001-0000000001.rlog.00").write_text("x")
        local = self.cluster.state("nova") / "quarantine"
        local.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, self.cluster.state("nova"))
        (local / "x").write_text("x")
        checks = self.doctor(status=3)
        self.expect(checks["quarantine.share"], "warn", str(quarantine))
        self.expect(checks["quarantine.local"], "warn", str(local))

    def test_without_its_directories_nothing_is_made(self):
        run = self.cluster.directory / "nova" / "run"
        state = self.cluster.directory / "nova" / "state"
        run.rmdir()
        state.rename(state.with_name("gone"))
        self.addCleanup(lambda: state.with_name("gone").rename(state))
        self.addCleanup(run.mkdir)
        checks = self.doctor(status=1)
        self.expect(checks["state.writable"], "fail", "is not there", "install -d")
        self.expect(checks["run.directory"], "warn", "is not there")
        self.assertFalse(run.exists() or state.exists())

    def test_a_share_mounted_read_only(self):
        if not may_unshare():
            self.skipTest("no mount namespaces here")
        done = self.in_namespace('mount --bind "$1" "$1"\nmount -o remount,ro,bind "$1"', self.cluster.share)
        checks = self.parsed(done, 1)
        self.expect(checks["share.writable"], "fail", "read-only")
        self.expect(checks["share.options"], "fail", "ro")
        self.expect(checks["share.link"], "skip")
        self.expect(checks["clock.skew"], "skip")

    def test_state_on_a_read_only_or_fleeting_file_system(self):
        if not may_unshare():
            self.skipTest("no mount namespaces here")
        state = self.cluster.directory / "nova" / "state"
        done = self.in_namespace('mount --bind "$1" "$1"\nmount -o remount,ro,bind "$1"', state)
        self.expect(self.parsed(done, 1)["state.filesystem"], "fail", "read-only")
        done = self.in_namespace('mount -t tmpfs -o size=1m tmpfs "$1"', state)
        checks = self.parsed(done, 1)
        self.expect(checks["state.filesystem"], "warn", "tmpfs")
        self.expect(checks["state.space"], "fail", "1.0 MiB")

    def test_the_wrong_thing_mounted_at_the_share(self):
        if not may_unshare():
            self.skipTest("no mount namespaces here")
        done = self.in_namespace('mount -t tmpfs -o size=1m wrong-export "$1"', self.cluster.share)
        self.expect(self.parsed(done, 1)["share.identity"], "fail", "wrong-export", "tmpfs")

    def test_a_share_that_hangs_is_a_finding_and_not_a_hang(self):
        """A FUSE file system whose server never answers: what a hard mount of a dead NAS is to a process."""
        if not may_unshare() or not os.path.exists("/dev/fuse"):
            self.skipTest("no mount namespaces or no FUSE here")
        server = ("import ctypes, os, subprocess, sys\n"
                  "fuse = os.open('/dev/fuse', os.O_RDWR)\n"
                  "libc = ctypes.CDLL(None, use_errno=True)\n"
                  "data = f'fd={fuse},rootmode=40000,user_id=0,group_id=0'.encode()\n"
                  "if libc.mount(b'hung', sys.argv[1].encode(), b'fuse', 0, data) != 0: sys.exit(77)\n"
                  "done = subprocess.run([sys.argv[2], 'doctor', '--json'], timeout=50, check=False)\n"
                  "os.close(fuse)\n"
                  "sys.exit(done.returncode)\n")
        words = ["unshare", "-m", sys.executable, "-c", server, str(self.cluster.share), str(BINARIES / "reeve")]
        environment = dict(os.environ, REEVE_CONFIG=str(self.cluster.config("nova")))
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=70, check=False)
        if done.returncode == 77:
            self.skipTest("FUSE may not be mounted here")
        checks = self.parsed(done, 1)
        self.expect(checks["share.answers"], "fail", "no answer for 20 s", str(self.cluster.share))
        self.expect(checks["state.writable"], "ok")

    def test_started_as_root_it_looks_as_the_daemons_user(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        home = pathlib.Path(self.cluster.directory)
        self.directory.chmod(0o711)  # a temporary directory is closed to others
        state, share, run = home / "nova" / "state", self.cluster.share, home / "nova" / "run"
        (home / "nova").chmod(0o711)
        self.addCleanup(subprocess.run, ["chown", "-R", "0:0", str(home)], check=True)
        for owned in (state, run):
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(owned)], check=True)
        share.chmod(0o755)
        checks = self.doctor(status=1)  # the share is still root's
        self.expect(checks["share.identity"], "fail", "Permission denied", "chown")
        subprocess.run(["chmod", "-R", "o+rX", str(share)], check=True)
        checks = self.doctor(status=1)
        self.expect(checks["user"], "ok", str(NOBODY))
        self.expect(checks["state.writable"], "ok")
        self.expect(checks["share.writable"], "fail", "Permission denied")
        self.expect(checks["share.permissions"], "fail", "not writable")
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(share)], check=True)
        # In a clone below /root that user cannot start the programs either, and doctor says so.
        reached = all(place.stat().st_mode & 0o001 for place in (BINARIES, *BINARIES.resolve().parents))
        checks = self.doctor(status=3 if reached else 1)
        self.expect(checks["exec.supervisor"], "skip" if reached else "fail")
        for key in ("user", "share.writable", "share.permissions", "share.owner"):
            self.expect(checks[key], "ok")


class Pair(DoctorCase):
    """Two nodes and a coordinator, with doorbells."""

    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova", "mira"))
        cluster.start_all()
        for node in cluster.nodes:
            cluster.wait_serving(node)
        return cluster

    def wait_check(self, key, status, node="nova", seconds=20):
        seen = {}

        def so():
            seen["check"] = self.doctor(node=node).get(key, {"status": "absent"})
            return seen["check"]["status"] == status

        wait_for(so, seconds, f"{key} is {status} on {node}")
        return seen["check"]

    def test_a_whole_cluster_is_whole(self):
        other_than_share = {"nova": {"share.mount"}, "mira": {"share.mount"}}  # one machine plays them all
        for node in self.cluster.nodes:
            def whole(node=node):
                return self.bad(self.doctor(node=node)) <= other_than_share[node]

            wait_for(whole, 20, f"doctor on {node} finds nothing")
        checks = self.doctor(node="nova")
        for key in ("daemon.nova.worker", "daemon.nova.coord", "version.nova.worker", "exec.supervisor",
                    "doorbell.nova.worker", "doorbell.nova.coord", "doorbell.peers", "share.owner",
                    "share.permissions", "heartbeat.mira.worker", "heartbeat.nova.coord", "clock.mira.worker",
                    "log.nova.worker", "shared.nova.worker", "mirror.nova.worker/mira.worker",
                    "mirror.nova.coord/mira.worker", "view.nova.worker", "view.nova.coord"):
            self.expect(checks[key], "ok")
        self.assertEqual([path for path in (self.cluster.share / "status").iterdir() if path.name[0] == "."], [])

    def test_the_forms_of_the_report(self):
        lines = self.cluster.run("doctor", "--plain").stdout.splitlines()
        self.assertEqual(lines[0], "CHECK\tSTATUS\tEVIDENCE\tFIX")
        self.assertTrue(all(line.count("\t") == 3 for line in lines), lines)
        people = self.cluster.run("doctor").stdout
        self.assertRegex(people, r"(?m)^ok +daemon\.nova\.worker +answers")
        quiet = self.cluster.run("doctor", "--quiet").stdout
        self.assertNotRegex(quiet, r"(?m)^ok ")
        self.assertRegex(quiet, r"(?m)^ +mend: ")

    def test_a_silent_writer_and_one_that_said_goodbye(self):
        mira = self.cluster.daemons["mira.worker"]
        self.cluster.signal(mira.pid, signal.SIGSTOP)
        try:
            self.expect(self.wait_check("heartbeat.mira.worker", "warn"), "warn", "HEAD is", "systemctl status")
            hung = self.doctor(status=1, node="mira")
            self.expect(hung["daemon.mira.worker"], "fail", f"process {mira.pid}", "does not answer")
        finally:
            self.cluster.signal(mira.pid, signal.SIGCONT)
        self.wait_check("heartbeat.mira.worker", "ok")
        self.cluster.kill("mira.worker", signal.SIGTERM)
        try:
            wait_for(lambda: "said so" in self.doctor()["heartbeat.mira.worker"]["evidence"], 20,
                     "an orderly stop is not a silence")
            self.expect(self.doctor(node="mira")["daemon.mira.worker"], "warn", "does not run", "reeve-worker")
        finally:
            self.cluster.start("mira")
            self.cluster.wait_serving("mira")
        self.wait_check("heartbeat.mira.worker", "ok")

    def test_a_rollback_names_who_is_missing(self):
        marker = self.cluster.state("nova") / "share.rolled_back"
        self.cluster.kill("mira.worker", signal.SIGKILL)
        try:
            marker.write_text("claims wait\n")
            seen = wait_for(lambda: self.named_by_rollback(), 30, "the silent writer is named")
            self.expect(seen, "warn", "mira.worker", str(marker))
        finally:
            marker.unlink()
            self.cluster.start("mira")
            self.cluster.wait_serving("mira")
        self.assertNotIn("rollback.nova.worker", self.doctor())

    def named_by_rollback(self):
        check = self.doctor()["rollback.nova.worker"]
        return check if "not heard: mira.worker" in check["evidence"] else None

    def test_a_doorbell_that_somebody_else_holds(self):
        port = int(next(line for line in self.cluster.config("mira").read_text().splitlines()
                        if line.startswith("worker      =")).rsplit(":", 1)[1].strip('"'))
        self.cluster.kill("mira.worker", signal.SIGTERM)
        try:
            self.expect(self.doctor(node="mira")["doorbell.mira.worker"], "ok", "free")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", port))
                self.expect(self.doctor(status=1, node="mira")["doorbell.mira.worker"], "fail", "is taken", "ss -ulpn")
        finally:
            self.cluster.start("mira")
            self.cluster.wait_serving("mira")

    def test_damaged_logs_are_named(self):
        self.cluster.reeve("submit", "--wait", "--", "/bin/true")
        self.cluster.kill("nova.worker", signal.SIGTERM)
        logs = self.cluster.state("nova") / "log"
        try:
            for key, writer in (("log.nova.worker", "nova.worker"), ("mirror.nova.worker/mira.worker", "mira.worker")):
                segment = sorted((logs / writer).glob("*.rlog"))[-1]
                good = segment.read_bytes()
                segment.write_bytes(good[:8] + bytes([good[8] ^ 1]) + good[9:])  # its header
                self.expect(self.doctor(status=1)[key], "fail", segment.name, "reeve log verify")
                segment.write_bytes(good)
            checks = self.doctor()
            self.expect(checks["log.nova.worker"], "ok")
            self.assertNotEqual(checks["mirror.nova.worker/mira.worker"]["status"], "fail")
        finally:
            self.cluster.start("nova")
            self.cluster.wait_serving("nova")

    def test_files_of_another_user_in_the_share(self):
        if os.geteuid() != 0:
            self.skipTest("only root can give files away")
        status = self.cluster.share / "status" / "gone.worker.json"
        directory = self.cluster.share / "log" / "gone.worker"
        directory.mkdir()
        self.addCleanup(shutil.rmtree, directory)
        status.write_text('{"at_ms": -9223372036854775808}')
        self.addCleanup(status.unlink)
        os.chown(directory, NOBODY, NOBODY)
        os.chown(status, NOBODY, NOBODY)
        checks = self.doctor(status=3)
        self.expect(checks["share.owner"], "warn", f"gone.worker writes as {NOBODY}:{NOBODY}", "usermod")
        self.expect(checks["heartbeat.gone.worker"], "warn", "never declared")
        self.expect(checks["clock.gone.worker"], "warn", "behind the share's clock")


if __name__ == "__main__":
    unittest.main()
