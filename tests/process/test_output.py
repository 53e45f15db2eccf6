"""Output that outgrows the log travels while the job runs, and is whole at the end, wherever it is read."""

import datetime
import time
import unittest

from harness import BINARIES, Cluster, ClusterCase, NODES, command, wait_for

KIB = 1024
JOB_BUDGET = 4 * KIB  # bytes of all logs
IDLE_BUDGET = 10_000_000 / 86_400  # bytes a second


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


class Volume(ClusterCase):
    """What the logs grow by, against the budgets of docs/performance.md."""

    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, heartbeat_ms=5000, coordinator_ms=1000)
        cluster.start_all()
        for node in NODES:
            cluster.wait_serving(node)
        return cluster

    def bytes_of_logs(self):
        """Of all logs as one node holds them, when all nodes hold the same."""
        self.cluster.wait_equal_cuts()
        return sum(one["bytes"] for one in self.cluster.json("log", "stats", self.cluster.state("nova"))["logs"])

    def costs(self, how_many, *argv):
        """Bytes of log that one job of this command costs."""
        before = self.bytes_of_logs()
        jobs = self.submit(*[command(*argv) for _ in range(how_many)])
        self.assertEqual({one["state"] for one in self.wait_over(jobs).values()}, {"succeeded"})
        return (self.bytes_of_logs() - before) / how_many, jobs

    def test_a_job_costs_at_most_4_kib_of_log(self):
        for script in ("true", "seq 1 2000", "head -c 16384 /dev/zero; head -c 16384 /dev/zero >&2",
                       "head -c 1024 /dev/zero; head -c 1024 /dev/zero >&2"):
            with self.subTest(script):
                bytes_each, _ = self.costs(20, "/bin/sh", "-c", script)
                self.assertLess(bytes_each, JOB_BUDGET)
        bytes_each, jobs = self.costs(1, "/bin/sh", "-c", "seq 1 2000")
        self.assertLess(bytes_each, JOB_BUDGET, "one job by itself")
        self.assertEqual(self.logs(jobs[0], node="jasper"), "".join(f"{n}\n" for n in range(1, 2001)))

    def test_a_stream_of_1_kib_is_in_the_log_and_a_longer_one_is_not(self):
        for length, shipped in ((KIB, False), (KIB + 1, True)):
            _, (job,) = self.costs(1, "/bin/sh", "-c", f"head -c {length} /dev/zero | tr '\\0' x")
            self.assertEqual(self.logs(job, node="orin"), "x" * length)
            self.assertEqual(bool(list((self.cluster.share / "results").glob(f"*/{job}"))), shipped)

    def test_an_idle_day_costs_at_most_10_mb(self):
        day, before, begun = datetime.date.today(), self.bytes_of_logs(), time.monotonic()
        wait_for(lambda: time.monotonic() - begun > 15, 30, "some time in which nothing happens")
        grown, span = self.bytes_of_logs() - before, time.monotonic() - begun
        if day == datetime.date.today():  # midnight begins a segment of each log, 4 KiB, once a day
            self.assertLess(grown / span, IDLE_BUDGET)


if __name__ == "__main__":
    unittest.main()
