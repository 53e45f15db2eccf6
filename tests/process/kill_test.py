#!/usr/bin/env python3
"""Kill test: four workers and a coordinator, 500 jobs that each append one line to a file of their own, and
a SIGKILL of a random daemon or supervisor every second while they run.

What must hold afterwards (I1, I2, I3, I5): every job ended or waits for a person as `lost`; no attempt ran
twice; a job without retry ran at most once, and exactly once unless it is lost; every writer's digest is what
a replay of its logs gives at its own cut, and writers at equal cuts have equal digests.

usage: kill_test.py BINARIES [--jobs N] [--seed N] [--keep]
"""

import argparse
import collections
import json
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "lib"))
from cluster import COORDINATOR_NODE, Cluster, Failure, NODES, wait_for

BATCH = 50
SECONDS_TO_END = 180
LONG_ABSENCE_S = 12  # longer than 18 heartbeats: the others declare what ran there lost


def document(index, out):
    """Odd jobs are retried whatever happens to them; even ones must not run twice."""
    job = {
        "name": f"k{index}",
        "argv": ["/bin/sh", "-c", f'echo "$REEVE_ATTEMPT $REEVE_NODE" >> {out}/k{index}; sleep 0.{index % 4}'],
        "timeout_s": 60,
    }
    if index % 2:
        job["retry"] = {"max": 20, "backoff_s": 0, "on": ["failed", "timeout", "lost"]}
        job["on_partition"] = "finish"
    return json.dumps(job)


class Chaos:
    """Kills one process each second and starts what died. Decides by the seed alone."""

    def __init__(self, cluster, seed):
        self.cluster = cluster
        self.random = random.Random(seed)
        self.kills = collections.Counter()
        self._restart_at = {}  # writer -> moment
        self._next = time.monotonic() + 1
        self._long_absence_due = True

    def step(self):
        now = time.monotonic()
        for writer, moment in list(self._restart_at.items()):
            if now >= moment:
                del self._restart_at[writer]
                self.cluster.start(*writer.split("."))
        if now >= self._next:
            self._next = now + 1
            self._kill_one(now)

    def _kill_one(self, now):
        writers = [f"{node}.worker" for node in NODES] + [f"{COORDINATOR_NODE}.coord"]
        victim = self.random.choice(writers + [f"{node}.exec" for node in NODES])
        node, role = victim.split(".")
        if role == "exec":
            pid = self.cluster.supervisor_pid(node)
            if pid is not None:
                self.cluster.signal(pid, signal.SIGKILL)
                self.kills["supervisor"] += 1
        elif self.cluster.alive(victim):
            self.cluster.kill(victim)
            self.kills[role] += 1
            absence = self.random.uniform(0, 1.5)
            if role == "worker" and self._long_absence_due and sum(self.kills.values()) > 5:
                self._long_absence_due = False
                absence = LONG_ABSENCE_S
            self._restart_at[victim] = now + absence

    def settle(self):
        """All daemons up again."""
        for writer in self._restart_at:
            self.cluster.start(*writer.split("."))
        self._restart_at.clear()


def submit_all(cluster, chaos, documents):
    """In batches, each through a random node, repeated under one request id until somebody took it (I1)."""
    for number, first in enumerate(range(0, len(documents), BATCH)):
        batch = "\n".join(documents[first:first + BATCH])
        node = chaos.random.choice(NODES)

        def taken(batch=batch, number=number, node=node):
            chaos.step()
            done = cluster.run("submit", "-f", "-", "--request-id", f"batch-{number}",
                               stdin=batch, node=node)
            return done.returncode in (0, 3)

        wait_for(taken, 60, f"batch {number} is taken by {node}")


def states(cluster, node):
    done = cluster.run("jobs", "--limit", "100000", "--json", node=node)
    return json.loads(done.stdout)["jobs"] if done.returncode == 0 else None


def wait_until_ended(cluster, chaos, count):
    over = ("succeeded", "failed", "cancelled", "lost")
    seen = {}

    def ended():
        chaos.step()
        seen["jobs"] = states(cluster, "nova") or []
        return len(seen["jobs"]) == count and all(job["state"] in over for job in seen["jobs"])

    try:
        wait_for(ended, SECONDS_TO_END, "every job ended")
    except Failure as failure:
        left = [job for job in seen["jobs"] if job["state"] not in over]
        raise Failure(f"{failure}: {len(seen['jobs'])} of {count} known, open: {json.dumps(left[:5], indent=1)}")


def check_runs(out, jobs):
    """The files that the commands themselves wrote against what the cluster says."""
    totals = collections.Counter()
    for job in jobs:
        path = out / job["name"]
        lines = path.read_text().splitlines() if path.exists() else []
        attempts = [line.split()[0] for line in lines]
        if len(set(attempts)) != len(attempts):
            raise Failure(f"{job['name']}: an attempt ran twice: {lines}")
        retried = int(job["name"][1:]) % 2 == 1
        if not retried and len(attempts) > 1:
            raise Failure(f"{job['name']} has no retry and ran {len(attempts)} times: {lines}")
        if job["state"] == "succeeded" and not attempts:
            raise Failure(f"{job['name']} is said to have succeeded and never ran")
        if job["state"] not in (("succeeded",) if retried else ("succeeded", "lost")):
            raise Failure(f"{job['name']} ended as {job['state']}: {job}")
        totals[job["state"]] += 1
        totals["runs"] += len(attempts)
    return totals


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--keep", action="store_true", help="leave the directory behind")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="reeve-kill-"))
    out = directory / "out"
    out.mkdir()
    cluster = Cluster(arguments.binaries, directory / "cluster")
    good = False
    try:
        cluster.start_all()
        for node in NODES:
            cluster.wait_serving(node)
        chaos = Chaos(cluster, arguments.seed)
        submit_all(cluster, chaos, [document(index, out) for index in range(arguments.jobs)])
        wait_until_ended(cluster, chaos, arguments.jobs)
        chaos.settle()
        for node in NODES:
            cluster.wait_serving(node)
        cut, digest = cluster.wait_equal_cuts()
        wait_until_ended(cluster, chaos_off(), arguments.jobs)
        totals = check_runs(out, states(cluster, "nova"))
        cluster.verify_all()
        print(f"kills {dict(chaos.kills)}; {dict(totals)}; cut {cut}, digest {digest} on every writer")
        good = True
    except Failure as failure:
        print(f"FAILED (seed {arguments.seed}): {failure}\nlogs: {directory}", file=sys.stderr)
    finally:
        cluster.close()
    if good and not arguments.keep:
        shutil.rmtree(directory)
    return 0 if good else 1


def chaos_off():
    """A Chaos that does nothing any more."""
    class Off:
        def step(self):
            pass
    return Off()


if __name__ == "__main__":
    sys.exit(main())
