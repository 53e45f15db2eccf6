"""Without a coordinator one worker keeps the duties, and the next one takes them over when it dies."""

import json
import signal
import unittest

from harness import ClusterCase, NODES, command, wait_for


class Leaderless(ClusterCase):
    def duty_holders(self):
        held = []
        for node in NODES:
            if self.cluster.alive(f"{node}.worker"):
                document = self.cluster.json("status", node=node)["daemon"]
                held += [node] if isinstance(document, dict) and document["duties"] else []
        return held

    def everything_works(self, node):
        """Work that no worker could do by itself: released, retried, cancelled, dropped by hand."""
        flag = self.directory / f"flag-{node}"
        first = self.submit(command("/bin/true"), node=node)[0]
        then = self.submit(command("/bin/echo", "then", after=[{"job": first, "on": "success"}]), node=node)[0]
        never = self.submit(command("/bin/true", after=[{"job": first, "on": "failure"}]), node=node)[0]
        again = self.submit(command("/bin/sh", "-c", f"test -e {flag} || {{ touch {flag}; exit 1; }}",
                                    retry={"max": 1, "backoff_s": 0}), node=node)[0]
        held = self.submit(command("/bin/true", not_before="2200-01-01T00:00:00Z"), node=node)[0]
        self.cluster.reeve("job", "cancel", held, node=node)
        name = f"dropped-{node}"
        (self.cluster.share / "queue" / "incoming" / f"{name}.json").write_text(
            json.dumps(command("/bin/true", name=name)))
        self.wait_state(then, "succeeded", node=node)
        self.wait_state(again, "succeeded", node=node)
        self.assertIn("dependency", json.dumps(self.wait_state(never, "cancelled", node=node)))
        self.wait_state(held, "cancelled", node=node)

        def taken():
            jobs = self.cluster.json("jobs", "--limit", 1000, node=node)["jobs"]
            return any(job["name"] == name and job["state"] == "succeeded" for job in jobs)

        wait_for(taken, 30, "the dropped file became a job and ran")

    def test_duties_go_to_the_coordinator_then_to_one_worker_then_to_the_next(self):
        wait_for(lambda: self.duty_holders() == [], 20, "the coordinator keeps the duties")
        self.everything_works("mira")
        self.cluster.kill("nova.coord", signal.SIGKILL)
        first = wait_for(self.one_holder, 20, "one worker took the duties")
        self.everything_works("mira")
        self.assertEqual(self.duty_holders(), [first])
        self.cluster.kill(f"{first}.worker", signal.SIGKILL)
        second = wait_for(self.one_holder, 30, "the next worker took them over")
        self.assertNotEqual(second, first)
        self.everything_works("nova")
        self.cluster.start(first)
        self.cluster.wait_serving(first)
        self.cluster.start("nova", "coord")
        wait_for(lambda: self.duty_holders() == [], 20, "the coordinator has the duties again")
        self.cluster.wait_equal_cuts()

    def one_holder(self):
        held = self.duty_holders()
        return held[0] if len(held) == 1 else None


class PlacedByHand(ClusterCase):
    """What a job needs decides where it runs; a job that nothing can run says why."""

    def test_a_drained_node_gets_nothing_and_keeps_what_it_has(self):
        running = self.submit(command("/bin/sleep", "3"), node="orin")[0]
        node = self.wait_state(running, "running")["attempts"][0]["starts"][0]["writer"].split(".")[0]
        self.cluster.reeve("node", "drain", node, node="mira")
        wait_for(lambda: all(self.drained(node, seen_by) for seen_by in NODES), 20, "all know of the drain")
        jobs = self.submit(*[command("/bin/sh", "-c", "echo $REEVE_NODE") for _ in range(30)], node="mira")
        ran_on = {self.logs(job, node="mira").strip() for job in self.wait_over(jobs, node="mira")}
        self.assertNotIn(node, ran_on)
        self.assertGreater(len(ran_on), 1)
        self.assertEqual(self.wait_state(running, "succeeded")["state"], "succeeded")
        self.cluster.reeve("node", "undrain", node, node="mira")

    def drained(self, node, seen_by):
        nodes = self.cluster.json("nodes", node=seen_by)["nodes"]
        return any(one["node"] == node and one["role"] == "worker" and one["draining"] for one in nodes)

    def test_a_job_that_nothing_can_run_says_why(self):
        job = self.submit(command("/bin/true", requires={"cpus": 1000}))[0]
        why = wait_for(lambda: "needs 1000 cpus" in self.cluster.reeve("job", "why", job), 20, "the reason is named")
        self.assertTrue(why)
        self.assertIn("needs 1000 cpus", self.cluster.reeve("explain", job))
        self.cluster.reeve("job", "cancel", job)
        self.wait_state(job, "cancelled")


if __name__ == "__main__":
    unittest.main()
