"""Cables and nodes fail: a cable is out, or carries one way only; a node stands still for longer than its fence; a node
loses its power. Each job runs exactly once, or a person is asked (I1, I2, I5)."""

import time
import unittest

from lab_cluster import LabCase, LONG, NODES, main, wait_for

BROKEN_S = 60 if LONG else 13  # the others wait for 18 heartbeats of 0.5 s


class Links(LabCase):
    def broken(self, what, begin, end, lost=(), absent=()):
        """Jobs before, while and after something is wrong: `lost` nodes are not heard of, `absent` ones cannot even be
        asked."""
        for node in NODES:
            self.cluster.submit(6, node, 2)
        begin()
        begun = time.monotonic()
        for node in set(NODES) - set(absent):
            self.cluster.submit(6, node, 1)
        for node in set(lost) - set(absent):
            self.assertFalse(self.reaches_nas(node), f"{node} has a cable that carries both ways")
        wait_for(lambda: time.monotonic() > begun + BROKEN_S, BROKEN_S + 30, f"{what} for {BROKEN_S} s")
        states = {one["writer"]: one["state"] for one in self.cluster.json("nodes")["nodes"]}
        for node in {*lost, *absent}:
            self.assertEqual(states[f"{node}.worker"], "dead", "as nova sees it")
        end()
        mended = time.monotonic()
        for node in NODES:
            self.cluster.submit(4, node)
        totals = self.cluster.check(180)
        self.assertGreater(totals.get("succeeded", 0), totals.get("lost", 0))
        self.report(what, f"for {mended - begun:.0f} s; all ended and views equal {time.monotonic() - mended:.1f} s "
                          f"later: {totals}")

    def reaches_nas(self, node):
        return self.lab[node].run("busybox ping -c 1 -W 1 nas").returncode == 0

    def up_again(self, node):
        self.lab[node].boot()
        self.lab[node].wait_up()
        self.cluster.start_again(node)


class LinksOverNfs4(Links):
    def test_one_cable_is_out_and_another_carries_one_way(self):
        wires = self.lab.wires

        def begin():
            wires.cut("mira")
            wires.cut_to("orin")

        def end():
            wires.mend("mira")
            wires.mend("orin")

        self.broken("mira's cable out, orin sends and hears nothing", begin, end, ("mira", "orin"))

    def test_one_node_stands_still_and_another_loses_its_power(self):
        def begin():
            self.lab["orin"].pause()
            self.lab["mira"].crash()

        def end():
            self.up_again("mira")
            self.lab["orin"].resume()

        self.broken("orin stands still, mira loses its power", begin, end, absent=("mira", "orin"))


@unittest.skipUnless(LONG, "tools/lab links --long")
class EachByItself(Links):
    def test_a_cable_that_is_out(self):
        wires = self.lab.wires
        self.broken("mira's cable out", lambda: wires.cut("mira"), lambda: wires.mend("mira"), ("mira",))

    def test_a_node_that_hears_nothing(self):
        wires = self.lab.wires
        self.broken("orin sends and hears nothing", lambda: wires.cut_to("orin"), lambda: wires.mend("orin"),
                    ("orin",))

    def test_a_node_that_cannot_send(self):
        wires = self.lab.wires
        self.broken("mira hears and cannot send", lambda: wires.cut_from("mira"), lambda: wires.mend("mira"),
                    ("mira",))

    def test_a_node_that_stands_still(self):
        orin = self.lab["orin"]
        self.broken("orin stands still", orin.pause, orin.resume, absent=("orin",))

    def test_a_node_that_loses_its_power(self):
        self.broken("mira loses its power", self.lab["mira"].crash, lambda: self.up_again("mira"), absent=("mira",))


@unittest.skipUnless(LONG, "tools/lab links --long")
class LinksOverNfs3(LinksOverNfs4):
    version = "3"


if __name__ == "__main__":
    main()
