#!/usr/bin/env python3
"""Running jobs: how many a second and what each costs, how long until one starts, and what idle daemons cost; beside
a spawn loop and what one would take instead, in turn, in one session.

usage: jobs.py BINARIES [--part jobs,latency,idle] [--runs 5] [--count 5000] [--directory /dev/shm]

State, share and job files lie in DIRECTORY (on tmpfs: what is measured is not the disk). One JSON object a row.
"""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools" / "lib"))
from cluster import Cluster, wait_for
from peers import Beanstalk, TaskSpooler, cpu_ms

SLOTS = 4
TSP_COUNT = 500  # a client stays connected for each job that waits, and tsp takes a thousand


def say(**row):
    print(json.dumps(row), flush=True)


def pass_time(seconds):
    """The span is what is measured."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= end, seconds + 60, "the span")


class Reeve:
    """A cluster with the heartbeats that it has by default."""

    def __init__(self, binaries, directory, nodes, slots=SLOTS, coordinator=True):
        self.cluster = Cluster(binaries, directory, nodes=("nova", "mira", "orin", "jasper")[:nodes], slots=slots,
                               heartbeat_ms=5000, coordinator_ms=1000)
        self.directory, self.coordinator, self.nodes = pathlib.Path(directory), coordinator, nodes
        self.name = f"reeve, {nodes} node{'s' if nodes > 1 else ''} of {slots} slots"

    @staticmethod
    def missing():
        return ""

    def start(self):
        self.cluster.start_all(coordinator=self.coordinator)
        for node in self.cluster.nodes:
            self.cluster.wait_serving(node)
        self.run(20)

    def run(self, count, command="/bin/true"):
        lines = "\n".join(json.dumps({"argv": command.split()}) for _ in range(count))
        self.cluster.reeve("submit", "-f", "-", "--wait", "--wait-limit", 600, stdin=lines, timeout=660)

    def submit(self, command):
        request = json.dumps({"schema": "reeve.request/v1", "verb": "submit", "request_id": os.urandom(16).hex(),
                              "documents": [json.dumps({"argv": command.split()})]}).encode()
        path = self.directory / "nova" / "run" / "nova.worker.sock"
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(str(path))
            door.sendall(len(request).to_bytes(4, "little") + request)
            size = int.from_bytes(door.recv(4, socket.MSG_WAITALL), "little")
            answer = json.loads(door.recv(size, socket.MSG_WAITALL))
        if not answer["ok"]:
            raise SystemExit(f"refused: {answer}")

    def pids(self):
        """Daemons and supervisors, by name."""
        out = {name: process.pid for name, process in self.cluster.daemons.items()}
        for node in self.cluster.nodes:
            pid = self.cluster.supervisor_pid(node)
            if pid is not None:
                out[f"{node}.exec"] = pid
        return out

    def cpu_ms(self):
        return sum(cpu_ms(pid) for pid in self.pids().values())

    def close(self):
        self.cluster.close()


def spawn_loop(binaries, count):
    done = subprocess.run([str(binaries / "spawn_loop"), str(count), str(SLOTS)], capture_output=True, check=True)
    return json.loads(done.stdout)


def competitors(binaries, place):
    return [Reeve(binaries, place / "one", 1), Reeve(binaries, place / "four", 4, slots=1),
            Beanstalk(binaries, place / "beanstalk", SLOTS), TaskSpooler(place / "tsp", SLOTS)]


def throughput(arguments, place):
    """Jobs a second and CPU of all processes a job, each in turn."""
    rates = {}
    for one in competitors(arguments.binaries, place):
        if one.missing():
            say(part="jobs", name=one.name, not_run=one.missing())
            continue
        rates[one] = {"jobs_per_s": [], "cpu_ms_per_job": []}
    floor = {"jobs_per_s": [], "cpu_ms_per_job": []}
    for _ in range(arguments.runs):
        for key, value in spawn_loop(arguments.binaries, arguments.count).items():
            floor[key].append(value)
        for one, found in rates.items():
            # A peer of its own for each run: what ran before leaves nothing behind.
            count = TSP_COUNT if isinstance(one, TaskSpooler) else arguments.count
            one.start()
            cpu, begun = one.cpu_ms(), time.monotonic()
            one.run(count)
            found["jobs_per_s"].append(round(count / (time.monotonic() - begun), 1))
            found["cpu_ms_per_job"].append(round((one.cpu_ms() - cpu) / count, 3))
            one.close()
            shutil.rmtree(one.directory, ignore_errors=True)
            if isinstance(one, Reeve):
                one.__init__(arguments.binaries, one.directory, one.nodes, SLOTS // one.nodes)
            else:
                one.processes = [] if isinstance(one, Beanstalk) else None
    say(part="jobs", name="spawn loop (floor)", count=arguments.count, **floor)
    for one, found in rates.items():
        say(part="jobs", name=one.name, count=TSP_COUNT if isinstance(one, TaskSpooler) else arguments.count, **found)


def started_after(one, stamp, place):
    """Milliseconds from the submission to the first thing that the job does."""
    file = place / f"stamp.{os.urandom(4).hex()}"
    begun = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    one.submit(f"{stamp} {file}")
    wait_for(lambda: file.exists() and file.read_text().endswith("\n"), 30, "the job has started")
    return (int(file.read_text()) - begun) / 1e6


class Spawn:
    """The floor: the driver itself starts the program."""

    name = "posix_spawn by the driver (floor)"

    @staticmethod
    def submit(command):
        words = command.split()
        os.waitpid(os.posix_spawn(words[0], words, os.environ), 0)


def quantile(values, part):
    return round(sorted(values)[min(len(values) - 1, int(len(values) * part))], 3)


def latency(arguments, place):
    stamp = arguments.binaries / "bench_stamp"
    stamps = place / "stamps"
    stamps.mkdir()
    rows = [Spawn(), Reeve(arguments.binaries, place / "one", 1), Reeve(arguments.binaries, place / "four", 4, slots=1),
            Beanstalk(arguments.binaries, place / "beanstalk", SLOTS), TaskSpooler(place / "tsp", SLOTS)]
    found = {one: {"p50_ms": [], "p99_ms": []} for one in rows if not getattr(one, "missing", str)()}
    for one in rows:
        if one not in found:
            say(part="latency", name=one.name, not_run=one.missing())
    for one in found:
        getattr(one, "start", lambda: None)()
    for _ in range(arguments.runs):
        for one, quantiles in found.items():
            values = []
            for _ in range(arguments.samples):
                pass_time(random.uniform(0.02, 0.12))  # a fixed gap would lock to somebody's tick
                values.append(started_after(one, stamp, stamps))
            quantiles["p50_ms"].append(quantile(values, 0.5))
            quantiles["p99_ms"].append(quantile(values, 0.99))
    for one, quantiles in found.items():
        say(part="latency", name=one.name, samples=arguments.samples, **quantiles)
        getattr(one, "close", lambda: None)()


def memory_kib(pid, what="RssAnon"):
    text = pathlib.Path("/proc", str(pid), "status").read_text()
    return int(re.search(rf"^{what}:\s+(\d+)", text, re.M)[1])


def switches(pid):
    total = 0
    for task in pathlib.Path("/proc", str(pid), "task").iterdir():
        total += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", (task / "status").read_text())))
    return total


def idle(arguments, place):
    """What each daemon of four nodes costs while nothing is asked of it, fresh and with history."""
    reeve = Reeve(arguments.binaries, place / "four", 4, slots=1)
    reeve.start()
    for history in (0, arguments.count):
        if history:
            reeve.run(history)
        pass_time(5)  # what a burst leaves to be done is no idle cost
        pids = reeve.pids()
        before = {name: (cpu_ms(pid), switches(pid)) for name, pid in pids.items()}
        begun = time.monotonic()
        pass_time(arguments.seconds)
        passed = time.monotonic() - begun
        for name, pid in sorted(pids.items()):
            say(part="idle", name=name, jobs=history, seconds=round(passed, 1),
                cpu_percent=round((cpu_ms(pid) - before[name][0]) / passed / 10, 3),
                switches_per_s=round((switches(pid) - before[name][1]) / passed, 1),
                anon_mib=round(memory_kib(pid) / 1024, 1))
    reeve.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--part", default="jobs,latency,idle")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60, help="of the idle part")
    parser.add_argument("--directory", default="/dev/shm")
    arguments = parser.parse_args()
    arguments.binaries = arguments.binaries.resolve()
    for part in arguments.part.split(","):
        place = pathlib.Path(tempfile.mkdtemp(prefix="reeve-bench-", dir=arguments.directory))
        try:
            {"jobs": throughput, "latency": latency, "idle": idle}[part](arguments, place)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
