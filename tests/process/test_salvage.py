"""reeve-log on damaged files: it tells file, offset and reason, goes on with the other logs, and shows what is behind
the damage only when asked, each gap marked."""

import json
import random
import shutil
import unittest

from harness import BINARIES, Cluster, ClusterCase, command

HEADER_PAGE = 4096
DAMAGED, WHOLE = "nova.worker", "nova.coord"


class Salvage(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova",))
        cluster.start_all()
        cluster.wait_serving("nova")
        return cluster

    counts = None  # events of each writer in the whole logs

    def make_logs(self):
        """Once for all tests: the daemons write them and are stopped."""
        self.wait_over(self.submit(*[command("/bin/echo", f"job {n}") for n in range(10)]))
        self.cluster.wait_equal_cuts()
        self.cluster.stop_daemons()
        type(self).whole = self.cluster.state("nova") / "log"
        type(self).counts = {writer: len(self.events(self.whole, writer)) for writer in (DAMAGED, WHOLE)}

    def setUp(self):
        if self.counts is None:
            self.make_logs()
        self.copy = self.directory / "copy"
        shutil.copytree(self.whole, self.copy)
        self.addCleanup(shutil.rmtree, self.copy)
        self.segment = sorted((self.copy / DAMAGED).glob("*.rlog"))[0]

    def spoil(self, at, length=1):
        spoilt = bytearray(self.segment.read_bytes())
        for offset in range(at, at + length):
            spoilt[offset] ^= 0x55
        self.segment.write_bytes(spoilt)

    def log(self, *words, status):
        done = self.cluster.run("log", *words)
        self.assertEqual(done.returncode, status, done.stdout[-2000:] + done.stderr)
        return done

    def events(self, path, writer, *words, status=0):
        done = self.log("show", path, "--writer", writer, "--json", *words, status=status)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def batches(self):
        """(offset, length) of each batch of the segment, by its headers."""
        raw, at, out = self.segment.read_bytes(), HEADER_PAGE, []
        while raw[at:at + 4] == b"RVB1":
            length = int.from_bytes(raw[at + 8:at + 12], "little")
            out.append((at, length))
            at += length
        return out

    def test_without_it_reading_stops_at_the_damage_and_the_other_logs_go_on(self):
        at, _ = self.batches()[3]
        self.spoil(at + 40)
        done = self.log("show", self.copy, "--json", status=10)
        seen = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(sum(one["writer"] == WHOLE for one in seen), self.counts[WHOLE])
        self.assertLess(sum(one["writer"] == DAMAGED for one in seen), self.counts[DAMAGED])
        self.assertNotIn("gap", [one["type"] for one in seen])
        self.assertRegex(done.stderr, rf"{self.segment.name} at offset {at}: .+")
        for verb in ("verify", "stats"):
            done = self.log(verb, self.copy, status=10)
            self.assertRegex(done.stdout, rf"{self.segment.name} at offset {at}: .+")
        self.assertRegex(self.log("verify", self.copy, status=10).stdout, rf"ok +{WHOLE}")
        self.log("export", self.copy, status=10)

    def test_a_gap_is_marked_and_what_is_behind_it_is_shown(self):
        at, length = self.batches()[3]
        self.spoil(at + 10)
        seen = self.events(self.copy, DAMAGED, "--salvage", status=10)
        gap, = [one for one in seen if one["type"] == "gap"]
        self.assertEqual({key: gap[key] for key in ("writer", "file", "from_offset", "to_offset")},
                         {"writer": DAMAGED, "file": str(self.segment), "from_offset": at, "to_offset": at + length})
        self.assertTrue(gap["reason"])
        lost = gap["to_seq"] - gap["from_seq"] + 1
        numbers = [one["seq"] for one in seen if one["type"] != "gap"]
        self.assertEqual(sorted(set(range(1, self.counts[DAMAGED] + 1)) - set(numbers)),
                         list(range(gap["from_seq"], gap["to_seq"] + 1)))
        self.assertEqual(seen.index(gap), gap["from_seq"] - 1, "it stands where the events are missing")
        text = self.log("show", self.copy, "--salvage", "--type", "JobEnded", status=10).stdout
        self.assertRegex(text, rf"(?m)^---- gap in {DAMAGED}: .*missing.*{self.segment.name} offset {at} to offset ")
        document = json.loads(self.log("verify", self.copy, "--salvage", "--json", status=10).stdout)
        by_writer = {one["writer"]: one for one in document["logs"]}
        behind = by_writer[DAMAGED]["salvage"]
        self.assertEqual(by_writer[DAMAGED]["events"] + behind["events"] + lost, self.counts[DAMAGED])
        self.assertEqual((behind["missing"], behind["gaps"]), (lost, [gap]))
        self.assertNotIn("salvage", by_writer[WHOLE])
        out = self.directory / "salvaged.jsonl"
        self.log("export", self.copy, "--salvage", "--output", out, status=10)
        exported = [json.loads(line) for line in out.read_text().splitlines()]
        self.assertIn(gap, exported)
        self.assertEqual(len(exported), sum(self.counts.values()) - lost + 1)

    def test_a_whole_log_has_no_gap(self):
        self.assertEqual(len(self.events(self.copy, DAMAGED, "--salvage")), self.counts[DAMAGED])

    def test_the_only_header_page_is_gone(self):
        self.spoil(0, HEADER_PAGE)
        alone = self.directory / "alone"
        shutil.copytree(self.copy / DAMAGED, alone / DAMAGED)
        self.addCleanup(shutil.rmtree, alone)
        # Which cluster it is, the neighbours say, or this node's configuration.
        for path in (self.copy, self.copy / DAMAGED, alone / DAMAGED, alone):
            done = self.log("show", path, "--writer", DAMAGED, status=10)
            self.assertRegex(done.stderr, rf"{self.segment.name} at offset 0: .+")
            seen = self.events(path, DAMAGED, "--salvage", status=10)
            self.assertEqual([one["type"] for one in seen].count("gap"), 1)
            self.assertEqual(len(seen) - 1, self.counts[DAMAGED], f"{path}: a header page holds no event")

    def test_a_head_of_which_no_slot_verifies_is_told(self):
        shared = self.copy / "nas"
        shutil.copytree(self.cluster.share / "log", shared)
        head, = (shared / DAMAGED).glob("*.head")
        self.assertRegex(self.log("verify", shared, status=0).stdout, rf"ok +{DAMAGED}")
        for slot in (0, 4096):
            spoilt = bytearray(head.read_bytes())
            spoilt[slot + 100] ^= 1
            head.write_bytes(spoilt)
            status = 10 if slot else 0  # one slot may always be torn: a crash while it was written
            done = self.log("verify", shared, status=status)
        self.assertRegex(done.stdout, rf"DAMAGED +{DAMAGED}(.|\n)*{head.name} at offset 0: .+")

    def test_nothing_that_lies_there_ends_it_by_a_signal(self):
        seed = random.randrange(2**32)
        chance = random.Random(seed)
        whole = self.segment.read_bytes()
        for _ in range(25):
            self.segment.write_bytes(whole)
            for _ in range(chance.randrange(1, 6)):
                at = chance.randrange(len(whole) - 64)
                self.spoil(at, chance.randrange(1, 64))
            if chance.randrange(4) == 0:
                self.segment.write_bytes(self.segment.read_bytes()[:chance.randrange(len(whole))])
            for words in (("show",), ("show", "--salvage"), ("verify", "--salvage"), ("stats",)):
                done = self.cluster.run("log", *words, self.copy, "--json")
                self.assertIn(done.returncode, (0, 10), f"seed {seed}: {words} {done.stderr[-500:]}")
                if words[0] == "show":
                    seen = [json.loads(line) for line in done.stdout.splitlines()]
                    self.assertEqual(sum(one["writer"] == WHOLE for one in seen), self.counts[WHOLE], f"seed {seed}")


if __name__ == "__main__":
    unittest.main()
