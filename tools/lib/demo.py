"""The demo: a cluster of four nodes and a coordinator on one machine, with one directory as the NAS.

Runs real jobs, kills a worker under its job and the coordinator for good, and then proves what is left: every
job ended as it should, nothing ran twice, and a replay of the logs from nothing gives every live writer's
digest. Exit status 0 only when all of it was so.

usage: demo.py BINARIES [--keep] [--directory DIR]
"""

import argparse
import json
import pathlib
import shutil
import signal
import sys
import tempfile
import time

from cluster import Cluster, Failure, NODES, wait_for

OVER = ("succeeded", "failed", "cancelled", "lost")
BIG_FILES = 8  # of /usr/bin, hashed


class Demo:
    """One run. Each step prints what it shows and raises Failure when it was not so."""

    def __init__(self, cluster, directory):
        self.cluster = cluster
        self.directory = directory
        self.started = time.monotonic()
        self.expected = {}  # job name -> (state, what its output must hold)
        self.checks = []

    def say(self, text):
        print(f"[{time.monotonic() - self.started:5.1f} s] {text}", flush=True)

    def passed(self, text):
        self.checks.append(text)
        self.say(f"ok: {text}")

    # -- jobs ---------------------------------------------------------------------------------------

    def job(self, name, argv, state="succeeded", holds="", **fields):
        """A document, remembered with how it must end."""
        self.expected[name] = (state, holds)
        return {"name": name, "argv": argv, **fields}

    def submit(self, documents, node="nova"):
        lines = "\n".join(json.dumps(document) for document in documents)
        reply = json.loads(self.cluster.reeve("submit", "-f", "-", "--json", stdin=lines, node=node))
        return [one["job"] for one in reply["jobs"]]

    def first_jobs(self):
        """Hash, sort and compress real files of this machine; sleep, fail, time out, retry."""
        shell = ["/bin/sh", "-c"]
        packages = "/var/lib/dpkg/status"
        flag = self.directory / "second-time"
        programs = sorted(pathlib.Path("/usr/bin").iterdir(), key=lambda path: -path.stat().st_size)
        jobs = [self.job(f"hash-{path.name}", ["/usr/bin/sha256sum", str(path)], holds=str(path), priority="low")
                for path in programs[:BIG_FILES]]
        jobs += [self.job(f"sort-{n}", [*shell, f"sort -k{n} {packages} | tail -n 3"]) for n in range(1, 5)]
        jobs += [self.job(f"compress-{n}", ["/bin/gzip", f"-{n}", "-c", packages]) for n in (1, 6, 9)]
        jobs += [self.job(f"sleep-{n}", ["/bin/sleep", f"0.{n}"]) for n in range(1, 6)]
        jobs += [
            self.job("urgent", ["/bin/echo", "first in line"], holds="first in line", priority="critical"),
            self.job("fails", [*shell, "echo it went wrong >&2; exit 3"], state="failed"),
            self.job("too-slow", ["/bin/sleep", "60"], state="failed", timeout_s=1, grace_s=1),
            self.job("no-such-program", ["/nonexistent/program"], state="failed"),
            self.job("second-try", [*shell, f"test -e {flag} && echo good || {{ touch {flag}; exit 1; }}"],
                     holds="good", retry={"max": 2, "backoff_s": 1}),
        ]
        return jobs

    def chain(self):
        """Jobs that wait for others, each naming the one before by its id."""
        first = self.submit([self.job("chain-1", ["/bin/echo", "one"], holds="one")])[0]
        second = self.submit([self.job("chain-2", ["/bin/echo", "two"], holds="two",
                                       after=[{"job": first, "on": "success"}])], node="mira")[0]
        broken = self.submit([self.job("chain-broken", ["/bin/false"], state="failed",
                                       after=[{"job": second, "on": "success"}])], node="orin")[0]
        self.submit([
            self.job("chain-mend", ["/bin/echo", "mending"], holds="mending",
                     after=[{"job": broken, "on": "failure"}]),
            self.job("chain-never", ["/bin/echo", "never"], state="cancelled",
                     after=[{"job": broken, "on": "success"}]),
        ], node="jasper")

    def drop_by_hand(self):
        incoming = self.cluster.share / "queue" / "incoming"
        document = self.job("dropped", ["/bin/echo", "dropped by hand"], holds="dropped by hand")
        (incoming / "by-hand.json").write_text(json.dumps(document))
        (incoming / "bad.json").write_text('{"argv": ["/bin/true"], "colour": "red"}')

    # -- steps --------------------------------------------------------------------------------------

    def start(self):
        self.cluster.start_all()
        for node in NODES:
            self.cluster.wait_serving(node)
        wait_for(lambda: self.live_workers() == len(NODES), 20, "all workers are live")
        print(self.cluster.reeve("nodes"), end="")
        self.passed("four workers and a coordinator are up, one directory between them")

    def live_workers(self, node="nova"):
        nodes = self.cluster.json("nodes", node=node)["nodes"]
        return sum(one["role"] == "worker" and one["state"] == "live" for one in nodes)

    def submit_everything(self):
        self.submit(self.first_jobs())
        self.chain()
        self.drop_by_hand()
        self.say(f"{len(self.expected)} jobs submitted through four nodes, one of them a dropped file")

    def kill_worker_under_its_job(self):
        """The job goes on under its supervisor, and its outcome is told to the worker's next run."""
        marks = self.directory / "marks"
        self.submit([self.job("survivor", ["/bin/sh", "-c", f"echo $REEVE_ATTEMPT >> {marks}; sleep 3; echo whole"],
                              holds="whole")], node="jasper")
        job = wait_for(lambda: self.running("survivor"), 20, "the survivor runs")
        writer = f"{job['node']}.worker"
        self.cluster.kill(writer, signal.SIGKILL)
        self.say(f"killed {writer} (SIGKILL) while it runs job {job['job']}")
        wait_for(lambda: self.live_workers(self.other(job["node"])) == len(NODES) - 1, 20, f"{writer} is missed")
        self.cluster.start(job["node"])
        self.say(f"started {writer} again")
        self.wait_over()
        if marks.read_text().splitlines() != [f"{job['job']}.a1"]:
            raise Failure(f"the survivor ran more than once: {marks.read_text()}")
        self.passed("a job outlived the death of its worker, ran once, and its outcome is known")

    def running(self, name):
        for job in self.jobs():
            if job.get("name") == name and job["state"] == "running":
                return job
        return None

    @staticmethod
    def other(node):
        return next(one for one in NODES if one != node)

    def kill_coordinator(self):
        self.cluster.kill("nova.coord", signal.SIGKILL)
        self.say("killed the coordinator for good; more work is submitted, also work that waits for other work")
        self.submit([self.job(f"leaderless-{n}", ["/bin/sh", "-c", f"echo {n}; sleep 0.1"], holds=str(n))
                     for n in range(20)], node="mira")
        first = self.submit([self.job("leaderless-first", ["/bin/true"])], node="orin")[0]
        self.submit([self.job("leaderless-then", ["/bin/echo", "then"], holds="then", after=[{"job": first}])],
                    node="jasper")
        self.wait_over()
        self.passed("work starts, ends and is followed by other work with no coordinator alive")

    def jobs(self, node="orin"):
        return self.cluster.json("jobs", "--limit", 10000, node=node)["jobs"]

    def wait_over(self):
        shown = {}

        def over():
            jobs = self.jobs()
            totals = {}
            for job in jobs:
                totals[job["state"]] = totals.get(job["state"], 0) + 1
            text = ", ".join(f"{count} {state}" for state, count in sorted(totals.items()))
            if text != shown.get("text"):
                shown["text"] = text
                self.say(f"jobs: {text}")
            return len(jobs) == len(self.expected) and all(job["state"] in OVER for job in jobs)

        wait_for(over, 40, f"all {len(self.expected)} jobs are over")

    # -- what is left -------------------------------------------------------------------------------

    def check_jobs(self):
        by_name = {job["name"]: job for job in self.jobs()}
        for name, (state, holds) in self.expected.items():
            job = by_name.get(name)
            if job is None or job["state"] != state:
                raise Failure(f"{name} should have {state}: {job}")
            if holds and holds not in self.cluster.reeve("job", "logs", job["job"], node="jasper"):
                raise Failure(f"{name} printed something else than '{holds}'")
        packed = self.cluster.json("job", "show", by_name["compress-9"]["job"])["attempts"][-1]["finished"]
        shared = list((self.cluster.share / "results").glob(f"*/{by_name['compress-9']['job']}/a1/stdout"))
        if len(shared) != 1:
            raise Failure(f"the large output of compress-9 is not in results/: {packed}")
        refused = self.cluster.share / "queue" / "rejected" / "bad.json.reason.txt"
        if "/colour" not in refused.read_text():
            raise Failure(f"{refused} does not name the field")
        self.passed(f"all {len(self.expected)} jobs ended as they should; the bad file was refused by field")

    def check_replay(self):
        cut, digest = self.cluster.wait_equal_cuts()
        self.passed(f"each writer's digest is what its own logs give at its own cut (cut {cut})")
        from_share = self.cluster.replay("run", "--logs", self.cluster.share)
        if from_share["digest"] != digest:
            raise Failure(f"a replay of the shared logs gives {from_share['digest']}, the writers {digest}")
        self.passed(f"a replay of the shared logs from nothing gives the same: {digest}, "
                    f"{from_share['events']} events in {from_share['seconds']:.2f} s")

    def run(self):
        self.start()
        self.submit_everything()
        self.kill_worker_under_its_job()
        self.kill_coordinator()
        self.check_jobs()
        # The dead coordinator's view stands still at its last cut: it is compared there, not here.
        self.cluster.verify_all()
        self.cluster.forget("nova.coord")
        self.check_replay()
        print(self.cluster.reeve("status", node="mira"), end="")


def summary(demo, failure):
    print()
    for check in demo.checks:
        print(f"  ok  {check}")
    if failure is not None:
        print(f"  NO  {failure}")
    print(f"\n{'all of it was so' if failure is None else 'FAILED'}, in {time.monotonic() - demo.started:.0f} s")


def tell_how_to_look(cluster):
    config = cluster.config("mira")
    print(f"\nIt still runs. Look at it:\n  export REEVE_CONFIG={config} PATH={cluster.binaries.resolve()}:$PATH\n"
          "  reeve status;  reeve jobs;  reeve nodes;  reeve log tail;  reeve replay until -10s --jobs\n"
          f"  ls {cluster.share}/queue/*\n"
          f"End it:\n  pkill -f {cluster.directory}")


def main():
    parser = argparse.ArgumentParser(prog="tools/demo")
    parser.add_argument("binaries")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running and say how to look at it")
    parser.add_argument("--directory", help="keep the cluster's files here (must not exist)")
    arguments = parser.parse_args()
    if arguments.directory:
        directory = pathlib.Path(arguments.directory).resolve()
        directory.mkdir(parents=True)
    else:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="reeve-demo-"))
    cluster = Cluster(arguments.binaries, directory / "cluster")
    demo = Demo(cluster, directory)
    failure = None
    try:
        demo.run()
    except Failure as problem:
        failure = problem
    finally:
        if not arguments.keep:
            cluster.close()
    summary(demo, failure)
    if arguments.keep:
        tell_how_to_look(cluster)
    elif failure is not None:
        print(f"files: {directory}")
    elif not arguments.directory:
        shutil.rmtree(directory)
    return 0 if failure is None else 1


if __name__ == "__main__":
    sys.exit(main())
