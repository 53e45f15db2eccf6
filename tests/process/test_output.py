"""Output that outgrows the log travels while the job runs, and is whole at the end, wherever it is read."""

import unittest

from harness import ClusterCase, NODES, command, wait_for


class Output(ClusterCase):
    def elsewhere(self, job):
        """A node that does not run the job."""
        document = self.wait_state(job, "running", node="nova")
        runs_on = document["attempts"][0]["starts"][0]["writer"].split(".")[0]
        return next(node for node in NODES if node != runs_on)

    def test_growing_output_is_read_from_another_node(self):
        gate = self.directory / "gate"
        script = f"seq 1 20000; while ! test -e {gate}; do sleep 0.1; done; echo end"
        job = self.submit(command("/bin/sh", "-c", script))[0]
        node = self.elsewhere(job)
        wait_for(lambda: "\n20000\n" in self.logs(job, node=node), 20, "what was printed so far is read elsewhere")
        self.assertEqual(self.show(job, node=node)["state"], "running")
        gate.write_text("")
        self.wait_state(job, "succeeded", node=node)
        wait_for(lambda: self.logs(job, node=node).endswith("\n20000\nend\n"), 10, "the rest is read elsewhere")

    def test_small_output_travels_in_the_log(self):
        jobs = self.submit(*[command("/bin/sh", "-c", f"echo out-{n}; echo err-{n} >&2") for n in range(12)])
        self.wait_over(jobs, node="jasper")
        for number, job in enumerate(jobs):
            self.assertEqual(self.logs(job, node="jasper"), f"out-{number}\n")
            self.assertEqual(self.logs(job, "--stderr", node="orin"), f"err-{number}\n")
        self.assertEqual(list((self.cluster.share / "results").glob(f"*/{jobs[0]}")), [])

    def test_follow_ends_with_the_job(self):
        job = self.submit(command("/bin/sh", "-c", "for n in 1 2 3; do echo $n; sleep 0.3; done"))[0]
        wait_for(lambda: self.show(job, node="mira")["state"] != "unknown", 10, "mira knows of the job")
        self.assertEqual(self.logs(job, "--follow", node="mira"), "1\n2\n3\n")


if __name__ == "__main__":
    unittest.main()
