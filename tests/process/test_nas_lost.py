"""Something else stands where the share was: another cluster, an empty mount point, or a part of it that was put
back to an older state. Nothing is made or changed where it does not belong, and what is missing comes back (I2, I6)."""

import hashlib
import subprocess
import unittest

from faults import FaultCase
from harness import BINARIES, copy_live, wait_for


def contents(directory):
    """Every path below it, with the hash of a file."""
    return {str(path.relative_to(directory)):
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "directory"
            for path in sorted(directory.rglob("*"))}


class NasLost(FaultCase):
    def instead(self, name, stranger):
        """`stranger` lies where the share was, while work is submitted and done."""
        share = self.cluster.share
        home = share.with_name("nas.home")
        running = self.work(f"{name}-running", 3, "sleep 2")
        for job in running.values():
            self.wait_state(job, "running", "succeeded")
        before = contents(stranger)
        share.rename(home)
        stranger.rename(share)
        wait_for(lambda: self.share_is("away"), 20, "every daemon says that its share is away")
        alone = self.work(f"{name}-alone", 1, node="orin")
        self.wait_state(alone[f"{name}-alone0"], "succeeded", "pending", node="orin")
        for mark in running:
            wait_for((self.marks / mark).exists, 20, "what ran goes on")
        self.assertEqual(contents(share), before, "nothing is made or changed in what is not ours")
        share.rename(stranger)
        home.rename(share)
        wait_for(lambda: self.share_is("ok"), 20, "every daemon has the share again")
        self.assertEqual(contents(stranger), before)
        self.wait_once()

    def test_another_clusters_directory_is_not_touched(self):
        stranger = self.directory / "stranger"
        subprocess.run([str(BINARIES / "reeve"), "init", "--cluster", str(stranger), "--name", "other", "--node", "ada",
                        "--dir", str(self.directory / "ada")], check=True, stdout=subprocess.DEVNULL)
        self.instead("other", stranger)

    def test_an_empty_mount_point_stays_empty(self):
        empty = self.directory / "empty"
        empty.mkdir()
        self.instead("empty", empty)

    def older(self, part, name):
        """A part of the share is put back to what it was some jobs ago, under a live cluster."""
        share = self.cluster.share
        self.work(f"{name}-a", 20)
        self.wait_once()
        copy_live(share / part, self.directory / f"{part}.older")
        self.work(f"{name}-b", 20, node="mira")
        self.wait_once()
        running = self.work(f"{name}-running", 3, "sleep 2")
        for job in running.values():
            self.wait_state(job, "running", "succeeded")
        (share / part).rename(self.directory / f"{part}.newer")
        (self.directory / f"{part}.older").rename(share / part)
        self.work(f"{name}-c", 20, node="orin")
        self.wait_once()

    def test_claims_and_rendering_put_back_alone(self):
        self.older("queue", "queue")

    def test_logs_put_back_alone(self):
        self.older("log", "log")
        waits = [self.cluster.state(node) / "share.rolled_back" for node in self.nodes]
        wait_for(lambda: not any(path.exists() for path in waits), 20, "claims wait for nobody any more")
        for node in self.nodes:
            self.assertTrue(self.observed("nas.rolled_back", f"{node}.worker"))

    def test_a_lost_directory_of_claims_comes_back(self):
        self.work("claims-a", 10)
        self.wait_once()
        (self.cluster.share / "queue").rename(self.directory / "queue.gone")
        self.work("claims-b", 20)
        self.wait_once()


if __name__ == "__main__":
    unittest.main()
