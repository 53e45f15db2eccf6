#!/usr/bin/env python3
"""What the logs of a cluster grow by: in an idle day, and by a job. Measured on a real cluster of four workers and a
coordinator with the heartbeats that a cluster has by default, against the budgets 10 MB a day and 4 KiB a job.

usage: volume.py BINARIES [--minutes 5] [--jobs 200] [--command /bin/true] [--directory DIR] [--json]

The idle day is extrapolated from a span after the cluster has come to rest; what stands in that span is printed by
type (--json: one JSON object a row instead). A day has besides what a day adds once: the new segments at midnight (a
header and a seal for each writer).
"""

import argparse
import collections
import json
import pathlib
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools" / "lib"))
from cluster import Cluster, wait_for

DAY_S = 86_400
NEW_DAY_BYTES = 4096 + 64  # header and seal of a segment
IDLE_BUDGET = 10_000_000
JOB_BUDGET = 4096


def measure(cluster):
    """(bytes of all logs as one node holds them, how many events of each type)"""
    stats = cluster.json("log", "stats", cluster.state("nova"))
    return sum(one["bytes"] for one in stats["logs"]), collections.Counter(stats["types"])


def at_rest(cluster):
    """All nodes hold the same, and nothing has been added for two seconds."""
    seen = {"cut": None, "since": time.monotonic()}

    def so():
        cuts = {cluster.json("status", node=node)["cut"] for node in cluster.nodes}
        if cuts != {seen["cut"]}:
            seen.update(cut=cuts.pop() if len(cuts) == 1 else None, since=time.monotonic())
        return seen["cut"] is not None and time.monotonic() - seen["since"] > 2
    wait_for(so, 120, "the cluster is at rest")


def verdict(value, budget):
    return f"{value / budget:.0%} of the budget" + ("" if value <= budget else "  OVER")


def run_jobs(cluster, arguments):
    lines = "\n".join(json.dumps({"argv": arguments.command}) for _ in range(arguments.jobs))
    cluster.reeve("submit", "-f", "-", "--wait", "--wait-limit", 120, stdin=lines, timeout=150)
    at_rest(cluster)


def spans(cluster, arguments):
    """(bytes, events, seconds) of the idle span, (bytes, events) of the jobs"""
    run_jobs(cluster, arguments)
    (bytes_before, types_before), begun = measure(cluster), time.monotonic()
    wait_for(lambda: time.monotonic() - begun >= arguments.minutes * 60, arguments.minutes * 60 + 60, "the span")
    (bytes_idle, types_idle), seconds = measure(cluster), time.monotonic() - begun
    run_jobs(cluster, arguments)
    bytes_after, types_after = measure(cluster)
    return ((bytes_idle - bytes_before, types_idle - types_before, seconds),
            (bytes_after - bytes_idle, types_after - types_idle))


def told(events):
    return ", ".join(f"{count} {name}" for name, count in events.most_common()) or "no event"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--command", nargs="+", default=["/bin/true"])
    parser.add_argument("--directory", default=None, help="where the cluster lies (default: the temporary directory)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="reeve-bench-", dir=arguments.directory))
    cluster = Cluster(arguments.binaries, directory / "cluster", heartbeat_ms=5000, coordinator_ms=1000)
    try:
        cluster.start_all()
        for node in cluster.nodes:
            cluster.wait_serving(node)
        (idle, idle_events, span), (worked, worked_events) = spans(cluster, arguments)
        day = idle * DAY_S / span + NEW_DAY_BYTES * len(cluster.daemons)
    finally:
        cluster.close()
        shutil.rmtree(directory)
    job = worked / arguments.jobs
    if arguments.json:
        command = " ".join(arguments.command)
        for name, value, budget, events in (("an idle day", day, IDLE_BUDGET, idle_events),
                                            (f"a job of {command}", job, JOB_BUDGET, worked_events)):
            print(json.dumps({"name": name, "bytes": round(value), "budget": budget, "events": events}))
    else:
        print(f"idle: {idle} bytes in {span:.0f} s ({told(idle_events)}), so {day / 1e6:.2f} MB a day, "
              f"{verdict(day, IDLE_BUDGET)}")
        print(f"jobs: {arguments.jobs} of {' '.join(arguments.command)}: {job:.0f} bytes each "
              f"({told(worked_events)}), {verdict(job, JOB_BUDGET)}")
    return 0 if day <= IDLE_BUDGET and job <= JOB_BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
