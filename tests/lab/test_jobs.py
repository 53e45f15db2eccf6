"""Jobs through three nodes over a real NFS mount: each runs exactly once, wherever it was submitted
(I1, I2, I3, I5)."""

import time

from lab_cluster import LabCase, main


class JobsOverNfs4(LabCase):
    def test_jobs_through_all_three_nodes(self):
        begun = time.monotonic()
        for node in self.cluster.nodes:
            self.cluster.submit(40, node)
        self.cluster.wait_ended("nova")
        seconds = time.monotonic() - begun
        totals = self.cluster.check()
        self.assertEqual(totals, {"succeeded": 120, "runs": 120})
        workers = {job["node"] for job in self.cluster.jobs("mira")}
        self.assertEqual(workers, set(self.cluster.nodes))
        self.report("jobs", f"120 through three nodes, each once, in {seconds:.1f} s; digests equal, logs whole")


class JobsOverNfs3(JobsOverNfs4):
    version = "3"


if __name__ == "__main__":
    main()
