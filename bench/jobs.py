#!/usr/bin/env python3
"""Running jobs: how many a second and what each costs, how long until one starts and is over, and what idle daemons
cost; beside a spawn loop and what one would take instead, in turn, in one session.

usage: jobs.py BINARIES [--part jobs,latency,idle] [--runs 5] [--count 5000] [--directory /dev/shm]

State, share and job files lie in DIRECTORY (on tmpfs: what is measured is not the disk). One JSON object a row.
CPU is that of all processes, clients too, but not of this driver.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools" / "lib"))
from cluster import Cluster, wait_for
from peers import Beanstalk, TaskSpooler, children_ms, cpu_ms
from slurm import Slurm

SLOTS = 4
SLOW_SAMPLES = 30  # of what takes tenths of a second each
FAR = "far"  # a role of the last node alone


def say(**row):
    print(json.dumps(row), flush=True)


def pass_time(seconds):
    """The span is what is measured."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= end, seconds + 60, "the span", every=0.01)


class Reeve:
    """A cluster with the heartbeats that it has by default. far: jobs that only another node can run."""

    def __init__(self, binaries, directory, nodes=1, doorbells=True, far=False):
        self.binaries, self.directory = pathlib.Path(binaries), pathlib.Path(directory)
        self.nodes, self.slots = ("nova", "mira", "orin", "jasper")[:nodes], SLOTS // nodes
        self.doorbells, self.role = doorbells, [FAR] if far else []
        self.name = f"reeve, {nodes} node{'s' if nodes > 1 else ''} of {self.slots} slot{'s' if nodes == 1 else ''}"
        self.name += (", on another node" if far else "") + ("" if doorbells else ", no doorbells")
        self.samples = 100 if doorbells or not far else SLOW_SAMPLES

    @staticmethod
    def missing():
        return ""

    def start(self):
        self.cluster = Cluster(self.binaries, self.directory, nodes=self.nodes, slots=self.slots, heartbeat_ms=5000,
                               coordinator_ms=1000, doorbells=self.doorbells)
        if self.role:
            config = self.cluster.config(self.nodes[-1])
            config.write_text(config.read_text().replace('["compute"]', f'["compute", "{FAR}"]', 1))
        self.cluster.start_all()
        for node in self.nodes:
            self.cluster.wait_serving(node)
        self.run(20)
        wait_for(lambda: self.command("/bin/true").returncode == 0, 60, "a job of that role is taken")

    def run(self, count, command="/bin/true"):
        lines = "\n".join(json.dumps({"argv": command.split()}) for _ in range(count))
        self.cluster.reeve("submit", "-f", "-", "--wait", "--wait-limit", 600, stdin=lines, timeout=660)

    def command(self, command):
        roles = [word for role in self.role for word in ("--role", role)]
        return self.cluster.run("submit", *roles, "--wait", "--", *command.split())

    def call(self, command):
        """As a program submits that knows the daemon's socket; returns when the answer is there."""
        document = {"argv": command.split(), **({"requires": {"roles": self.role}} if self.role else {})}
        request = json.dumps({"schema": "reeve.request/v1", "verb": "submit", "request_id": os.urandom(16).hex(),
                              "documents": [json.dumps(document)]}).encode()
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(str(self.directory / "nova" / "run" / "nova.worker.sock"))
            door.sendall(len(request).to_bytes(4, "little") + request)
            size = int.from_bytes(door.recv(4, socket.MSG_WAITALL), "little")
            answer = json.loads(door.recv(size, socket.MSG_WAITALL))
        if not answer["ok"]:
            raise SystemExit(f"refused: {answer}")

    def pids(self):
        """Daemons and supervisors, by name."""
        out = {name: process.pid for name, process in self.cluster.daemons.items()}
        for node in self.nodes:
            pid = self.cluster.supervisor_pid(node)
            if pid is not None:
                out[f"{node}.exec"] = pid
        return out

    def cpu_ms(self):
        return sum(cpu_ms(pid) for pid in self.pids().values()) + children_ms()

    def close(self):
        self.cluster.close()


class ByCommand:
    """The same cluster as its user meets it: `reeve submit --wait`."""

    def __init__(self, reeve):
        self.reeve, self.samples, self.name = reeve, reeve.samples, f"{reeve.name}, reeve submit --wait"

    def call(self, command):
        done = self.reeve.command(command)
        if done.returncode != 0:
            raise SystemExit(f"{self.name}: {done.stderr}")


class Spawn:
    """The floor: the driver itself starts the program, and waits for it."""

    name = "posix_spawn by the driver (floor)"

    @staticmethod
    def call(command):
        words = command.split()
        os.waitpid(os.posix_spawn(words[0], words, os.environ), 0)


@contextlib.contextmanager
def started(*everyone):
    """All of them, and ended again whatever happens."""
    with contextlib.ExitStack() as stack:
        for one in everyone:
            stack.callback(one.close)
            one.start()
        yield


def spawn_loop(binaries, count):
    done = subprocess.run([str(binaries / "spawn_loop"), str(count), str(SLOTS)], capture_output=True, check=True)
    return json.loads(done.stdout)


def present(part, everyone):
    """Those that are installed; the others are told as not run."""
    for one in everyone:
        if one.missing():
            say(part=part, name=one.name, not_run=one.missing())
    return [one for one in everyone if not one.missing()]


def peers(binaries, place):
    return [Beanstalk(binaries, place / "beanstalk", SLOTS), TaskSpooler(binaries, place / "tsp", SLOTS),
            Slurm(binaries, place / "slurm", SLOTS)]


def throughput_of(one, count):
    """One run, of a new instance: what ran before leaves nothing behind."""
    with started(one):
        cpu, clients, begun = one.cpu_ms(), children_ms(), time.monotonic()
        one.run(count)
        seconds = time.monotonic() - begun
        found = {"jobs_per_s": round(count / seconds, 1), "cpu_ms_per_job": round((one.cpu_ms() - cpu) / count, 3),
                 "clients_cpu_ms_per_job": round((children_ms() - clients) / count, 3)}
    shutil.rmtree(one.directory, ignore_errors=True)
    return found


def throughput(arguments, place):
    """Jobs a second and CPU of all processes a job, each in turn."""
    everyone = present("jobs", [Reeve(arguments.binaries, place / "one"), Reeve(arguments.binaries, place / "four", 4),
                                *peers(arguments.binaries, place)])
    count_of = {one: min(arguments.count, getattr(one, "count", arguments.count)) for one in everyone}
    floor, found = [], {one: [] for one in everyone}
    for _ in range(arguments.runs):
        floor.append(spawn_loop(arguments.binaries, arguments.count))
        for one in everyone:
            found[one].append(throughput_of(one, count_of[one]))

    def told(name, count, runs):
        say(part="jobs", name=name, count=count, **{key: [run[key] for run in runs] for key in runs[0]})
    told("spawn loop (floor)", arguments.count, floor)
    for one in everyone:
        told(one.name, count_of[one], found[one])


def latency_of(one, stamp, place):
    """Milliseconds from the submission to the first thing that the job does, and until the call is back."""
    file = place / f"stamp.{os.urandom(4).hex()}"
    begun = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    one.call(f"{stamp} {file}")
    back = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    wait_for(lambda: file.exists() and file.read_text().endswith("\n"), 30, "the job has started")
    return (int(file.read_text()) - begun) / 1e6, (back - begun) / 1e6


def quantile(values, part):
    return round(sorted(values)[min(len(values) - 1, int(len(values) * part))], 3)


def latency(arguments, place):
    """To start, and to the end as the caller learns it: of those whose call waits for it."""
    binaries = arguments.binaries
    one, four = Reeve(binaries, place / "one"), Reeve(binaries, place / "far", 4, far=True)
    clusters = [one, Reeve(binaries, place / "quiet", doorbells=False), four,
                Reeve(binaries, place / "quietfar", 4, doorbells=False, far=True)]
    others = present("latency", peers(binaries, place))
    rows = [Spawn(), *clusters, ByCommand(one), ByCommand(four), *others]
    with started(*clusters, *others):
        found = latencies(rows, arguments, place / "stamps")
    for row, (samples, quantiles) in found.items():
        known = {name: values for name, values in quantiles.items()
                 if not (isinstance(row, Reeve) and name.startswith("done"))}
        say(part="latency", name=row.name, samples=samples, **known)


def latencies(rows, arguments, stamps):
    """row -> (samples of a run, the quantiles of each run), in turn."""
    stamps.mkdir()
    found = {row: (min(arguments.samples, getattr(row, "samples", arguments.samples)),
                   {name: [] for name in ("p50_ms", "p99_ms", "done_p50_ms", "done_p99_ms")}) for row in rows}
    for _ in range(arguments.runs):
        for row, (samples, quantiles) in found.items():
            pairs = []
            for _ in range(samples):
                pass_time(random.uniform(0.02, 0.12))  # a fixed gap would lock to somebody's tick
                pairs.append(latency_of(row, arguments.binaries / "bench_stamp", stamps))
            for prefix, values in zip(("", "done_"), zip(*pairs)):
                quantiles[prefix + "p50_ms"].append(quantile(values, 0.5))
                quantiles[prefix + "p99_ms"].append(quantile(values, 0.99))
    return found


def memory_kib(pid, what="RssAnon"):
    text = pathlib.Path("/proc", str(pid), "status").read_text()
    return int(re.search(rf"^{what}:\s+(\d+)", text, re.M)[1])


def used(pid):
    """(milliseconds of CPU, context switches) of a process that runs, all threads."""
    cpu_ns = switches = 0
    for task in pathlib.Path("/proc", str(pid), "task").iterdir():
        cpu_ns += int((task / "schedstat").read_text().split()[0])
        switches += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", (task / "status").read_text())))
    return cpu_ns / 1e6, switches


def idle(arguments, place):
    """What each daemon of four nodes costs while nothing is asked of it, fresh and with history; and the peers'."""
    everyone = present("idle", [Reeve(arguments.binaries, place / "four", 4), *peers(arguments.binaries, place)])
    with started(*everyone):
        for history in (0, arguments.count):
            for one in everyone if history else ():
                one.run(min(history, getattr(one, "count", history)))
            pids = {name if isinstance(one, Reeve) else f"{one.name}: {name}": pid
                    for one in everyone for name, pid in one.pids().items()}
            found = {name: [] for name in pids}
            for _ in range(arguments.runs):
                pass_time(5)  # what a burst leaves to be done is no idle cost
                for name, row in idle_span(pids, arguments.seconds).items():
                    found[name].append(row)
            for name, runs in found.items():
                say(part="idle", name=name, jobs=history, seconds=arguments.seconds,
                    **{key: [run[key] for run in runs] for key in runs[0]})


def idle_span(pids, seconds):
    before, begun = {name: used(pid) for name, pid in pids.items()}, time.monotonic()
    pass_time(seconds)
    passed, out = time.monotonic() - begun, {}
    for name, pid in pids.items():
        cpu, switches = (now - then for now, then in zip(used(pid), before[name]))
        out[name] = {"cpu_ms_per_min": round(cpu / passed * 60, 2), "cpu_percent": round(cpu / passed / 10, 4),
                     "switches_per_s": round(switches / passed, 2), "anon_mib": round(memory_kib(pid) / 1024, 1)}
    return out


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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended all the same
    for part in arguments.part.split(","):
        place = pathlib.Path(tempfile.mkdtemp(prefix="reeve-bench-", dir=arguments.directory))
        try:
            {"jobs": throughput, "latency": latency, "idle": idle}[part](arguments, place)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
