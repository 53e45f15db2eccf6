"""How long the share takes, over a real mount: from an event in the own log to the answer that says it is shared, and
from HEAD on the NAS to the same bytes on another node's disk. A report; it fails only where something is not shared at
all."""

import bisect
import unittest

from lab_cluster import HOME, LabCase, LONG, NODES, main
from machines import EXPORT, HERE, percentile

JOBS = 400 if LONG else 120
PAUSE_MS = 60
PROBE = f"python3 {HERE}/probe.py"


def words_of(printed):
    return [[float(word) for word in line.split()] for line in printed.splitlines()]


class Latency(LabCase):
    def test_times(self):
        self.take_times()
        self.cluster.stop()
        self.lab.mount("3")
        self.cluster.start_all()
        self.take_times()

    def take_times(self):
        for node in NODES:  # nothing runs: what nova's log gets is what is submitted
            self.cluster.reeve("node", "drain", node)
        self.cluster.wait_equal_cuts()
        shift = self.clock_shifts()
        directories = {"nova": (f"{self.cluster.state('nova')}/log/nova.worker", ".rlog"),
                       "mira": (f"{self.cluster.state('mira')}/log/nova.worker", ".rlog"),
                       "nas": (f"{EXPORT}/reeve/log/nova.worker", ".head")}
        watching = {name: self.lab[name].begin(f"{PROBE} watch {directory} {suffix}")
                    for name, (directory, suffix) in directories.items()}
        asked = words_of(self.lab["nova"].check(f"{PROBE} submit {HOME}/run/nova.worker.sock {JOBS} {PAUSE_MS}",
                                                timeout=JOBS * 2.5))
        self.cluster.wait_equal_cuts()
        seen = {}
        for name, number in watching.items():
            seen[name] = [moment - shift[name] for moment, in words_of(self.ended(self.lab[name], number))]
        self.tell(asked, seen, shift)
        for node in NODES:
            self.cluster.reeve("node", "undrain", node)

    def clock_shifts(self):
        """How far each machine's clock is ahead of the NAS's."""
        number = self.lab.nas.begin(f"{PROBE} clock serve")
        shift = {"nas": 0.0}
        for node in ("nova", "mira"):
            (ahead, within), = words_of(self.lab[node].check(f"{PROBE} clock ask {self.lab.nas.address}"))
            self.assertLess(within, 0.05)
            shift[node] = -ahead
        self.ended(self.lab.nas, number)
        return shift

    @staticmethod
    def ended(machine, number):
        """What a probe printed that runs until it is killed."""
        machine.check("pkill -f [p]robe.py")
        return machine.finish(number).stdout

    def tell(self, asked, seen, shift):
        self.assertEqual({int(shared) for _, _, shared in asked}, {1}, "an event was not shared within 2 s")
        shared, visible = [], []
        for begun, answered, _ in asked:
            begun, answered = begun - shift["nova"], answered - shift["nova"]
            own = first_after(seen["nova"], begun)
            head = first_after(seen["nas"], own)
            shared.append(answered - own)
            visible.append(first_after(seen["mira"], head - 0.002) - head)  # clocks are compared within about that
        for what, times in (("own log to shared", shared), ("HEAD to another node's disk", visible),
                            ("asked to answered", [answered - begun for begun, answered, _ in asked])):
            p50, p99 = (percentile(times, share) * 1000 for share in (0.5, 0.99))
            self.report(what + ("" if self.bells else ", without doorbells"),
                        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {len(times)} events")


@unittest.skipUnless(LONG, "tools/lab latency --long")
class LatencyWithoutBells(Latency):
    """Nobody is told: each node looks at the share in its own time."""

    bells = False


def first_after(moments, moment):
    at = bisect.bisect_left(moments, moment)
    if at == len(moments):
        raise AssertionError("an event was never seen")
    return moments[at]


if __name__ == "__main__":
    main()
