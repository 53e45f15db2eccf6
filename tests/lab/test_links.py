"""Cables and nodes fail: a cable is out, or carries one way only; a node stands still for longer than its fence; a node
loses its power. Each job runs exactly once, or a person is asked (I1, I2, I5)."""

import time
import unittest

from lab_cluster import LabCase, LONG, NODES, main, wait_for

BROKEN_S = 60 if LONG else 13  # the others wait for 18 heartbeats of 0.5 s


class LinksOverNfs4(LabCase):
    def broken(self, what, begin, end, nodes=NODES):
        """Jobs before, while and after something is wrong; `nodes` are those that can be asked meanwhile."""
        for node in NODES:
            self.cluster.submit(6, node, 2)
        begin()
        begun = time.monotonic()
        for node in nodes:
            self.cluster.submit(6, node, 1)
        wait_for(lambda: time.monotonic() > begun + BROKEN_S, BROKEN_S + 30, f"{what} for {BROKEN_S} s")
        end()
        mended = time.monotonic()
        for node in NODES:
            self.cluster.submit(4, node)
        totals = self.cluster.check(180)
        self.assertGreater(totals.get("succeeded", 0), totals.get("lost", 0))
        self.report(what, f"for {mended - begun:.0f} s; all ended and views equal {time.monotonic() - mended:.1f} s "
                          f"later: {totals}")

    def up_again(self, node):
        self.lab[node].boot()
        self.lab[node].wait_up()
        self.cluster.start_again(node)

    def test_one_cable_is_out_and_another_carries_one_way(self):
        wires = self.lab.wires

        def begin():
            wires.cut("mira")
            wires.cut_to("orin")

        def end():
            wires.mend("mira")
            wires.mend("orin")

        self.broken("mira's cable out, orin sends and hears nothing", begin, end)

    def test_one_node_stands_still_and_another_loses_its_power(self):
        def begin():
            self.lab["orin"].pause()
            self.lab["mira"].crash()

        def end():
            self.up_again("mira")
            self.lab["orin"].resume()

        self.broken("orin stands still, mira loses its power", begin, end, ("nova",))


@unittest.skipUnless(LONG, "tools/lab links --long")
class EachByItself(LinksOverNfs4):
    def test_a_cable_that_is_out(self):
        wires = self.lab.wires
        self.broken("mira's cable out", lambda: wires.cut("mira"), lambda: wires.mend("mira"))

    def test_a_node_that_hears_nothing(self):
        wires = self.lab.wires
        self.broken("orin sends and hears nothing", lambda: wires.cut_to("orin"), lambda: wires.mend("orin"))

    def test_a_node_that_cannot_send(self):
        wires = self.lab.wires
        self.broken("mira hears and cannot send", lambda: wires.cut_from("mira"), lambda: wires.mend("mira"))

    def test_a_node_that_stands_still(self):
        orin = self.lab["orin"]
        self.broken("orin stands still", orin.pause, orin.resume, ("nova", "mira"))

    def test_a_node_that_loses_its_power(self):
        self.broken("mira loses its power", self.lab["mira"].crash, lambda: self.up_again("mira"), ("nova", "orin"))


class EachByItselfOverNfs3(EachByItself):
    version = "3"


if __name__ == "__main__":
    main()
