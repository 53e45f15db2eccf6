"""A disk that fills up under a node: nothing is lost, nothing runs twice, and it goes on when there is room."""

import os
import pathlib
import subprocess
import unittest

from harness import BINARIES, ClusterCase, Failure, command, wait_for
from test_single import SingleNode


def small_disk(path):
    """A tmpfs of 6 MiB at `path`; False where this process may not mount one."""
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(path)],
                          capture_output=True, check=False)
    return done.returncode == 0


class NodeOnDisk(SingleNode):
    """Its state lies on a disk of its own."""

    def __init__(self, disk, *words, **more):
        self.disk = disk
        super().__init__(*words, **more)
        config = self.config("nova")
        lines = [f'state = "{disk}/state"' if line.startswith("state ") else line
                 for line in config.read_text().splitlines()]
        config.write_text("\n".join(lines))

    def state(self, node, role="worker"):
        return self.disk / "state" / f"{node}.{role}"


class FullDisk(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        cls.disk = cls.directory / "disk"
        if not small_disk(cls.disk):
            raise unittest.SkipTest("a small file system cannot be mounted here (needs root)")
        cls.addClassCleanup(lambda: subprocess.run(["umount", "-l", str(cls.disk)], check=False))
        cluster = NodeOnDisk(cls.disk, BINARIES, directory, nodes=("nova",), slots=2)
        cluster.start("nova")
        cluster.wait_serving("nova")
        return cluster

    def fill(self):
        with open(self.disk / "ballast", "wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass

    def test_work_goes_on_when_there_is_room_again(self):
        marks = self.directory / "marks"
        long = self.submit(command("/bin/sh", "-c", f"echo run >> {marks}; sleep 3; echo whole"))[0]
        self.wait_state(long, "running")
        self.fill()

        def refused():
            done = self.cluster.run("submit", "--", "/bin/sh", "-c", "head -c 15000 /dev/zero")
            return done if done.returncode not in (0, 3) else None

        answer = wait_for(refused, 30, "a submission is refused for want of room")
        self.assertEqual(answer.returncode, 8)
        self.assertIn("own disk takes nothing", answer.stderr)
        # The long job ends while nothing can be written: its supervisor keeps what became of it.
        wait_for(lambda: not self.runs("sleep 3"), 20, "the long command has ended")
        (self.disk / "ballast").unlink()
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


if __name__ == "__main__":
    unittest.main()
