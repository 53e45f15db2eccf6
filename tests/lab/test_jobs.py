"""Jobs through three nodes over a real NFS mount: each runs exactly once, wherever it was submitted
(I1, I2, I3, I5)."""

import time

from lab_cluster import LabCase, LONG, NODES, main

A_NODE = 100 if LONG else 20


class Jobs(LabCase):
    def through_all_nodes(self):
        begun = time.monotonic()
        for node in NODES:
            self.cluster.submit(A_NODE, node)
        self.cluster.wait_ended("nova")
        seconds = time.monotonic() - begun
        totals = self.cluster.check()
        self.assertEqual(totals, {"succeeded": self.cluster.submitted, "runs": self.cluster.submitted})
        self.assertEqual({job["node"] for job in self.cluster.jobs("mira")}, set(NODES))
        self.report("jobs", f"{3 * A_NODE} through three nodes, each once, in {seconds:.1f} s; digests equal, logs "
                            "whole")

    def test_over_nfs_4_and_then_3(self):
        self.through_all_nodes()
        self.cluster.stop()
        self.lab.mount("3")
        self.cluster.start_all()
        self.through_all_nodes()


if __name__ == "__main__":
    main()
