"""A disk that fills up under a node: nothing is lost, nothing runs twice, and it goes on when there is room.
With a ballast what has run is in the log although there is none."""

import os
import pathlib
import shutil
import subprocess
import unittest

from harness import BINARIES, ClusterCase, Failure, command, wait_for
from test_single import SingleNode


MIB = 1024 * 1024


def small_disk(path, mib=6):
    """A tmpfs of so many MiB at `path`; False where this process may not mount one."""
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", str(path)],
                          capture_output=True, check=False)
    return done.returncode == 0


class NodeOnDisk(SingleNode):
    """Its state lies on a disk of its own."""

    def __init__(self, disk, *words, reserve_mb=0, ballast_mb=0, **more):
        self.disk = disk
        super().__init__(*words, **more)
        config = self.config("nova")
        replaced = {"state ": f'state = "{disk}/state"', "reserve_mb ": f"reserve_mb = {reserve_mb}",
                    "ballast_mb ": f"ballast_mb = {ballast_mb}",
                    "heartbeat_ms ": f"heartbeat_ms = {more.get('heartbeat_ms', 500)}"}
        lines = [next((new for start, new in replaced.items() if line.startswith(start)), line)
                 for line in config.read_text().splitlines()]
        config.write_text("\n".join(lines))
        (disk / "state").mkdir()
        for name in ("node.key", "node.cert"):
            shutil.copy(self.directory / "nova" / "state" / name, disk / "state" / name)

    def state(self, node, role="worker"):
        return self.disk / "state" / f"{node}.{role}"


class DiskCase(ClusterCase):
    disk_mib = 6
    reserve_mb = 0
    ballast_mb = 0
    heartbeat_ms = 500

    @classmethod
    def make_cluster(cls, directory):
        cls.disk = cls.directory / "disk"
        if not small_disk(cls.disk, cls.disk_mib):
            raise unittest.SkipTest("a small file system cannot be mounted here (needs root)")
        cls.addClassCleanup(lambda: subprocess.run(["umount", "-l", str(cls.disk)], check=False))
        cluster = NodeOnDisk(cls.disk, BINARIES, directory, nodes=("nova",), slots=2, reserve_mb=cls.reserve_mb,
                             ballast_mb=cls.ballast_mb, heartbeat_ms=cls.heartbeat_ms)
        cluster.start("nova")
        cluster.wait_serving("nova")
        return cluster

    def fill(self):
        with open(self.disk / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass

    def refusal(self):
        """A submission, when it is refused."""
        done = self.cluster.run("submit", "--", "/bin/sh", "-c", "head -c 15000 /dev/zero")
        return done if done.returncode not in (0, 3) else None


class FullDisk(DiskCase):
    """Without a reserve."""

    def test_work_goes_on_when_there_is_room_again(self):
        marks = self.directory / "marks"
        long = self.submit(command("/bin/sh", "-c", f"echo run >> {marks}; sleep 3; echo whole"))[0]
        self.wait_state(long, "running")
        self.fill()
        answer = wait_for(self.refusal, 30, "a submission is refused for want of room")
        self.assertEqual(answer.returncode, 8)
        self.assertIn("own disk takes nothing", answer.stderr)
        # The long job ends while nothing can be written: its supervisor keeps what became of it.
        wait_for(lambda: not self.runs("sleep 3"), 20, "the long command has ended")
        (self.disk / "filler").unlink()
        self.wait_state(long, "succeeded")
        self.assertEqual(self.logs(long), "whole\n")
        self.assertEqual(marks.read_text(), "run\n")
        self.assertEqual(self.cluster.run("submit", "--wait", "--", "/bin/true").returncode, 0)
        state = self.cluster.state("nova")
        self.cluster.replay("verify", "--against", state)
        self.assertEqual(self.cluster.run("log", "verify", state).returncode, 0)

    @staticmethod
    def runs(words):
        for entry in os.listdir("/proc"):
            try:
                line = pathlib.Path("/proc", entry, "cmdline").read_bytes() if entry.isdigit() else b""
            except OSError:
                continue
            if words.encode() in line.replace(b"\0", b" "):
                return True
        return False


class Ballast(DiskCase):
    """With one, and with heartbeats so frequent that the tags of HEAD are used up within seconds."""

    disk_mib = 24
    reserve_mb = 8
    ballast_mb = 2
    heartbeat_ms = 60

    def setUp(self):
        self.ballast = self.cluster.state("nova") / "log.ballast"
        wait_for(lambda: (self.space()["ballast"], self.space()["level"]) == ("held", "ample"), 60,
                 "the ballast is made")

    def tearDown(self):
        (self.disk / "filler").unlink(missing_ok=True)

    def space(self):
        return self.cluster.json("status")["daemon"]["disk"]

    def released(self):
        """How often the log says that the ballast was released."""
        done = self.cluster.run("log", "export", self.cluster.state("nova"))
        return sum('"disk.ballast_released"' in line for line in done.stdout.splitlines())

    def test_outcomes_are_written_to_the_last(self):
        found = self.ballast.stat()
        self.assertEqual(found.st_size, self.ballast_mb * MIB)
        self.assertGreaterEqual(found.st_blocks * 512, found.st_size, "a ballast with holes holds no room")
        before = self.released()
        marks = self.directory / "marks"
        gate = self.directory / "gate"
        waiting = command("/bin/sh", "-c", f"echo run >> {marks}; until [ -e {gate} ]; do sleep 0.1; done; echo whole")
        jobs = self.submit(waiting, waiting)
        for job in jobs:
            self.wait_state(job, "running")
        self.fill()
        answer = wait_for(self.refusal, 30, "a submission is refused for want of room")
        self.assertEqual(answer.returncode, 8)
        self.assertIn("nearly full", answer.stderr)
        self.assertIn("fix:", answer.stderr)
        gate.touch()
        for job in jobs:
            self.wait_state(job, "succeeded")
            self.assertEqual(self.logs(job), "whole\n")
        self.assertTrue((self.disk / "filler").exists())
        self.assertFalse(self.ballast.exists())
        self.assertEqual(marks.read_text(), "run\n" * 2)
        wait_for(lambda: self.released() == before + 1, 20, "the log says that the ballast was released")
        space = self.space()
        self.assertEqual((space["level"], space["ballast"]), ("refusing", "released"))
        self.assertIn("disk: refusing", self.cluster.reeve("status"))
        self.goes_on()

    def test_heads_go_on_on_a_full_disk(self):
        """Each 64 of them need a write on the own disk: that takes the ballast, not the node's life."""
        before = self.released()
        self.fill()
        wait_for(lambda: not self.ballast.exists(), 30, "the ballast is released for the tags of HEAD")
        wait_for(lambda: self.released() == before + 1, 20, "the log says that the ballast was released")
        wait_for(lambda: self.cluster.json("status")["daemon"]["share"] == "ok", 20, "HEAD is written again")
        self.goes_on()

    def test_a_start_on_a_full_disk_takes_the_ballast(self):
        before = self.released()
        self.cluster.stop_daemons()
        self.fill()
        self.cluster.start("nova")
        self.cluster.wait_serving("nova")
        self.assertFalse(self.ballast.exists())
        wait_for(lambda: self.released() == before + 1, 20, "the log says that the ballast was released")
        self.assertEqual(self.refusal().returncode, 8)
        self.goes_on()

    def goes_on(self):
        (self.disk / "filler").unlink()
        wait_for(lambda: self.space()["level"] == "ample", 20, "the room is seen")
        self.assertEqual(self.cluster.run("submit", "--wait", "--", "/bin/true").returncode, 0)
        wait_for(lambda: self.space()["ballast"] == "held", 60, "the ballast is made again")
        self.assertEqual(self.ballast.stat().st_size, self.ballast_mb * MIB)
        self.assertEqual(self.cluster.run("log", "verify", self.cluster.state("nova")).returncode, 0)


if __name__ == "__main__":
    unittest.main()
