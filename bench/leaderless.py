#!/usr/bin/env python3
"""How much slower is the cluster without a coordinator? Rounds of equal work, alternately with a coordinator and
without one, in one session on one machine; prints each round and the ratio of the medians.

usage: leaderless.py BINARIES [--jobs 200] [--rounds 5] [--command /bin/true]
"""

import argparse
import json
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools" / "lib"))
from cluster import Cluster, NODES, wait_for


def round_of_work(cluster, jobs, command):
    """Jobs a second, from the submission on one node until that node knows that the last one is over."""
    lines = "\n".join(json.dumps({"argv": command}) for _ in range(jobs))
    begun = time.monotonic()
    cluster.reeve("submit", "-f", "-", "--wait", "--wait-limit", 120, stdin=lines, node="mira", timeout=150)
    return jobs / (time.monotonic() - begun)


def coordinator_is(cluster, live):
    def so():
        return cluster.json("status", node="mira")["daemon"]["coordinator_live"] is live
    wait_for(so, 30, f"coordinator live: {live}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--command", nargs="+", default=["/bin/true"])
    arguments = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="reeve-bench-"))
    cluster = Cluster(arguments.binaries, directory / "cluster")
    rates = {True: [], False: []}
    try:
        cluster.start_all(coordinator=False)
        for node in NODES:
            cluster.wait_serving(node)
        round_of_work(cluster, arguments.jobs, arguments.command)  # warms caches and statistics
        for _ in range(arguments.rounds):
            cluster.start("nova", "coord")
            coordinator_is(cluster, True)
            rates[True].append(round_of_work(cluster, arguments.jobs, arguments.command))
            cluster.kill("nova.coord", signal.SIGTERM)
            coordinator_is(cluster, False)
            rates[False].append(round_of_work(cluster, arguments.jobs, arguments.command))
    finally:
        cluster.close()
        shutil.rmtree(directory)
    for live, name in ((True, "with a coordinator"), (False, "without")):
        print(f"{name:20} {' '.join(f'{rate:7.1f}' for rate in rates[live])}  jobs/s, "
              f"median {statistics.median(rates[live]):.1f}")
    print(f"ratio of the medians {statistics.median(rates[False]) / statistics.median(rates[True]):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
