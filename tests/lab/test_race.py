"""Nodes that booted together and whose processes have the same numbers race for the same names (I2, I7). What reeve
claims with has one winner a name. An exclusive create need not: a client's create is known to the server by the
client's clock ticks and the number of the process, and a second one that looks the same is taken for the first, sent
again."""

import collections
import time
import unittest

from lab_cluster import BINARIES, LabCase, LONG, NODES, main, wait_for

RACER = BINARIES / "lab_racer"
NAMES = 3000 if LONG else 250
TOO_LATE = 3


class Race(LabCase):
    with_cluster = False

    def race(self, root, meanwhile=lambda: None, lead_s=4):
        """What each node says: {kind: {node: [holder of name 0, holder of name 1, ...]}}. `meanwhile` is called when
        all have begun."""
        self.lab["nova"].check(f"mkdir {root} && {RACER} {root} make {NAMES}")
        newest = [int(self.lab[node].check("exec sh -c 'echo $$'")) for node in NODES]
        start = int((time.time() + lead_s) * 1000)
        running = {node: self.lab[node].begin(f"{RACER} {root} race {NAMES} {node} {max(newest) + 60} {start}")
                   for node in NODES}
        wait_for(lambda: time.time() * 1000 > start + 1500, lead_s + 10, "the race has begun")
        meanwhile()
        done = {node: self.lab[node].finish(number, 300) for node, number in running.items()}
        if TOO_LATE in {one.returncode for one in done.values()} and lead_s < 60:
            return self.race(root + "_", meanwhile, lead_s * 3)  # names that no node has touched
        said = collections.defaultdict(lambda: {node: [""] * NAMES for node in NODES})
        for node, one in done.items():
            self.assertEqual(one.returncode, 0, one.stderr)
            for line in one.stdout.splitlines():
                kind, number, holder = line.split(" ")
                said[kind][node][int(number)] = holder
        return said

    @staticmethod
    def winners(said):
        """How many names have how many nodes that believe to have won."""
        return collections.Counter(sum(bool(said[node][i]) for node in NODES) for i in range(NAMES))

    @staticmethod
    def taken(holders):
        return ", ".join(str(count) for _, count in sorted(collections.Counter(filter(None, holders)).items()))

    def test_one_winner_a_name(self):
        for version in ("4.1", "3"):
            self.lab.mount(version)
            with self.subTest(version):
                self.look_at("race", self.race(f"/share/race{version}"))

    @unittest.skipUnless(LONG, "tools/lab race --long")
    def test_replies_are_lost_and_the_server_with_them(self):
        """What nova's calls did is not told to it; the server that did them loses its power, and with it the memory of
        whom it has answered; nova asks again."""
        wires = self.lab.wires

        def meanwhile():
            wires.cut_to("nova")
            begun = time.monotonic()
            wait_for(lambda: time.monotonic() > begun + 0.3, 5, "some replies are lost")
            self.lab.nas.crash()
            wires.mend("nova")
            self.lab.nas.boot()
            self.lab.nas.wait_up()

        for version in ("4.1", "3"):
            self.lab.mount(version)
            with self.subTest(version):
                self.look_at("race with lost replies", self.race(f"/share/lost{version}", meanwhile), lies=True)

    def look_at(self, what, said, lies=False):
        """One winner a name. Where replies were lost, one call by itself may say that nobody has it."""
        for kind in ("link", "rename", "mkdir", "excl"):
            winners = self.winners(said[kind])
            all_of_them = [holder for node in NODES for holder in said[kind][node]]
            if not lies:
                self.assertEqual(winners[0], 0, f"{kind}: a name that nobody has")
            if kind != "excl":  # looked at and not relied on
                self.assertEqual(winners[0] + winners[1], NAMES, f"{kind}: {winners}")
            self.report(f"{what} by {kind}",
                        f"{NAMES} names, equal process ids: {winners[2] + winners[3]} with more than one winner, "
                        f"{winners[0]} that nobody believes to have (taken: {self.taken(all_of_them)})")
        for kind, claimed in (("claim", "an attempt"), ("incarnation", "a run")):
            differing = [i for i in range(NAMES) if len({said[kind][node][i] for node in NODES}) != 1]
            self.assertEqual(differing, [], f"{kind}: nodes that look see the same winner")
            self.assertNotIn("nobody", said[kind]["nova"])
            self.report(f"{what} by reeve's claim of {claimed}",
                        f"{NAMES} names, equal process ids: one winner each, the same to all "
                        f"(taken: {self.taken(said[kind]['nova'])})")


if __name__ == "__main__":
    main()
