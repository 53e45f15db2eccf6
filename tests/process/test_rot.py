"""A bit changes in the files of a live cluster: it is told with file and offset, nobody believes it, and every other
daemon goes on. What repairs it is asked for in a class of its own."""

import json
import re
import signal
import unittest

from harness import BINARIES, Cluster, ClusterCase, command, wait_for

HEADER_PAGE = 4096


def flip(file, at):
    """In place: the file stays the one that others have open."""
    with open(file, "r+b") as opened:
        opened.seek(at)
        byte, = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte ^ 1]))


def used_bytes(file):
    """Up to the last byte that is not zero: an owner sizes its live file ahead."""
    return len(file.read_bytes().rstrip(b"\0"))


def last_segment(directory):
    return sorted(directory.glob("*.rlog"))[-1]


class RotCase(ClusterCase):
    """Two nodes and a coordinator on nova. Every test leaves the cluster whole and running."""

    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova", "mira"))
        cluster.start_all()
        for node in cluster.nodes:
            cluster.wait_serving(node)
        return cluster

    def setUp(self):
        self.run_jobs("nova")
        self.cluster.wait_equal_cuts()

    def run_jobs(self, node, count=10):
        self.wait_over(self.submit(*[command("/bin/echo", f"job {n}") for n in range(count)], node=node), node=node)

    def stop(self, node):
        self.cluster.kill(f"{node}.worker", signal.SIGTERM)

    def start(self, node):
        """Until it says that it runs: the command answers from the view while no daemon does."""
        started = self.daemon_log(f"{node}.worker").count("is running")
        self.cluster.start(node)
        wait_for(lambda: self.daemon_log(f"{node}.worker").count("is running") > started, 20, f"{node} is running")
        self.cluster.wait_serving(node)

    def mirror(self, node, writer):
        return self.cluster.state(node) / "log" / writer

    def daemon_log(self, writer):
        return (self.cluster.directory / "logs" / f"{writer}.log").read_text()

    def observations(self, node, kind, detail):
        """Those of this kind in the node's own log whose detail matches."""
        done = self.cluster.run("log", "show", "--type", "Observation", "--writer", f"{node}.worker", "--json",
                                node=node)
        seen = [json.loads(line) for line in done.stdout.splitlines()]
        return [one for one in seen if one["kind"] == kind and re.search(detail, one["detail"])]

    def wait_told(self, node, file, kind="log.corrupt"):
        """Until the node has written into its log that this file is damaged, and at which offset."""
        return wait_for(lambda: self.observations(node, kind, rf"{re.escape(file.name)}.* at offset \d+"), 20,
                        f"{node} tells of {file.name}")

    def wait_whole(self, node):
        """Until every log that this node holds verifies."""
        wait_for(lambda: self.cluster.run("log", "verify", self.cluster.state(node)).returncode == 0, 30,
                 f"the logs of {node} are whole")

    def all_alive(self):
        self.assertEqual([writer for writer in self.cluster.daemons if not self.cluster.alive(writer)], [])

    def spoil_what_nova_has_not_pulled(self):
        """A flip in the shared copy of mira's log, where nova must still read it."""
        self.stop("nova")
        self.run_jobs("mira")
        shared = last_segment(self.cluster.share / "log" / "mira.worker")
        mirrored = self.mirror("nova", "mira.worker") / shared.name
        at = (used_bytes(mirrored) if mirrored.exists() else HEADER_PAGE) + 200
        wait_for(lambda: used_bytes(shared) > at, 20, "mira has shared what it wrote")
        flip(shared, at)
        self.start("nova")
        return shared


class Rot(RotCase):
    def test_flips_in_what_a_node_remembers_of_itself_are_told_and_passed_over(self):
        self.stop("mira")
        own = self.mirror("mira", "mira.worker")
        before = json.loads((own / "incarnation.json").read_text())["incarnation"]
        flip(own / "incarnation.json", (own / "incarnation.json").read_text().index(":") + 1)
        flip(own / "head.tags", 100)
        self.start("mira")
        self.assertIn("incarnation.json at offset 0", self.daemon_log("mira.worker"))
        wait_for(lambda: self.observations("mira", "log.head_tags_lost", "head.tags"), 20, "mira tells of its tags")
        self.assertEqual(json.loads((own / "incarnation.json").read_text())["incarnation"], before + 1)
        self.run_jobs("mira")
        self.cluster.wait_equal_cuts()
        self.all_alive()

    def test_a_flip_in_one_slot_of_head_is_mended_by_the_next_ones(self):
        head = sorted((self.cluster.share / "log" / "mira.worker").glob("*.head"))[-1]
        for at in (100, 4096 + 100):
            flip(head, at)
            self.run_jobs("mira")
            self.cluster.wait_equal_cuts()
        self.all_alive()

    def test_flips_in_both_slots_of_head_are_seen_as_a_rollback_and_it_is_shared_again(self):
        head = sorted((self.cluster.share / "log" / "mira.worker").glob("*.head"))[-1]
        told = len(self.observations("mira", "nas.rolled_back", ""))

        def seen():
            # A heartbeat may mend one slot before the other is flipped: then again.
            flip(head, 100)
            flip(head, 4096 + 100)
            return len(self.observations("mira", "nas.rolled_back", "")) > told

        wait_for(seen, 30, "mira has seen that its HEAD is gone")
        self.run_jobs("mira")
        self.cluster.wait_equal_cuts()
        self.all_alive()


class RotIsRepaired(RotCase):
    def test_a_damaged_mirror_is_repaired(self):
        self.stop("nova")
        damaged = last_segment(self.mirror("nova", "mira.worker"))
        flip(damaged, HEADER_PAGE + 200)
        self.start("nova")
        self.wait_told("nova", damaged)
        self.wait_whole("nova")
        self.run_jobs("mira")
        self.cluster.wait_equal_cuts()
        shared = self.cluster.share / "log" / "mira.worker" / damaged.name
        end = used_bytes(damaged)
        self.assertEqual(damaged.read_bytes()[:end], shared.read_bytes()[:end])
        self.assertTrue(list(damaged.parent.glob(f"quarantine/{damaged.name}.*")), "the damaged bytes are kept")
        self.all_alive()

    def test_a_damaged_own_log_is_repaired(self):
        self.stop("mira")
        damaged = last_segment(self.mirror("mira", "mira.worker"))
        whole = damaged.read_bytes()
        flip(damaged, HEADER_PAGE + 200)
        self.start("mira")
        self.assertIn(damaged.name, self.daemon_log("mira.worker"))
        self.wait_whole("mira")
        end = used_bytes(self.cluster.share / "log" / "mira.worker" / damaged.name)
        self.assertEqual(damaged.read_bytes()[:end], whole[:end])
        self.run_jobs("mira")
        self.cluster.wait_equal_cuts()
        self.all_alive()

    def test_a_damaged_shared_copy_is_repaired(self):
        """By the scrub of its owner, which runs all the time."""
        shared = self.spoil_what_nova_has_not_pulled()
        self.wait_told("nova", shared)
        wait_for(lambda: self.observations("mira", "log.quarantined", re.escape(shared.name)), 60,
                 "mira has found the damage")
        self.cluster.wait_equal_cuts()
        self.all_alive()


if __name__ == "__main__":
    unittest.main()
