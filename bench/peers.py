"""What one would run jobs with instead, driven for a comparison: each object starts, takes `count` jobs, and ends.

A peer that is not installed says so by `missing()`; nothing is left out silently.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools" / "lib"))
from cluster import wait_for

TICKS_MS = 1000 / os.sysconf("SC_CLK_TCK")


def cpu_ms(pid):
    """User and system time of a process and of its children that have ended; 0 when it is gone."""
    try:
        fields = pathlib.Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) * TICKS_MS


def children_ms():
    """User and system time of all children of this process that have ended, and of theirs."""
    times = os.times()
    return 1000 * (times.children_user + times.children_system)


def end_all(processes):
    processes = list(processes)
    for process in processes:
        process.terminate()
        process.wait(timeout=30)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Beanstalk:
    """beanstalkd with a log that is synced at each write, and four workers that hold their connections."""

    name = "beanstalkd -b -f0"

    def __init__(self, binaries, directory, slots=4):
        self.binaries, self.directory, self.slots = pathlib.Path(binaries), pathlib.Path(directory), slots
        self.processes = {}

    @staticmethod
    def missing():
        return "" if shutil.which("beanstalkd") else "beanstalkd is not installed"

    def start(self):
        port = free_port()
        self.directory.mkdir(parents=True)
        self.processes["beanstalkd"] = subprocess.Popen(["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b",
                                                         str(self.directory), "-f0"])

        def connected():
            try:
                return socket.create_connection(("127.0.0.1", port))
            except OSError:
                return None
        self.connection = wait_for(connected, 10, "beanstalkd listens")
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.connection.makefile("rb")
        for number in range(self.slots):
            self.processes[f"worker {number}"] = subprocess.Popen([str(self.binaries / "beanstalk_worker"), str(port)])
        self.deleted = self.stat("cmd-delete")

    def stat(self, name):
        self.connection.sendall(b"stats\r\n")
        size = int(self.replies.readline().split()[1])
        body = self.replies.read(size + 2).decode()
        return int(next(line for line in body.splitlines() if line.startswith(name + ":")).split()[1])

    def call(self, command):
        """One job, until the worker has deleted it."""
        body = command.encode()
        self.connection.sendall(b"put 0 0 60 %d\r\n%s\r\n" % (len(body), body))
        job = self.replies.readline().split()[1]

        def deleted():
            self.connection.sendall(b"stats-job %s\r\n" % job)
            line = self.replies.readline().split()
            if line[0] == b"OK":
                self.replies.read(int(line[1]) + 2)
            return line[0] == b"NOT_FOUND"
        wait_for(deleted, 30, "the job is deleted", every=0.0005)
        self.deleted += 1

    def run(self, count, command="/bin/true"):
        body = command.encode()
        self.connection.sendall(b"".join(b"put 0 0 60 %d\r\n%s\r\n" % (len(body), body) for _ in range(count)))
        for _ in range(count):
            self.replies.readline()
        wanted = self.deleted + count
        wait_for(lambda: self.stat("cmd-delete") >= wanted, 300, "beanstalkd has no job left")
        self.deleted = wanted

    def pids(self):
        return {name: process.pid for name, process in self.processes.items()}

    def cpu_ms(self):
        return sum(map(cpu_ms, self.pids().values()))

    def close(self):
        self.connection.close()
        end_all(self.processes.values())
        self.processes = {}


class TaskSpooler:
    """tsp with four slots: a client process a job, which detaches and waits for its turn; output not kept."""

    name = "task-spooler"
    count = 500  # of one run: a client stays connected for each job that waits, and tsp takes a thousand

    def __init__(self, binaries, directory, slots=4):
        self.binaries, self.directory, self.slots = pathlib.Path(binaries), pathlib.Path(directory), slots
        self.environment = dict(os.environ, TS_SOCKET=str(self.directory / "socket"), TMPDIR=str(self.directory),
                                TS_MAXFINISHED="1")

    @staticmethod
    def missing():
        return "" if shutil.which("tsp") else "task-spooler is not installed"

    def do(self, *words):
        return subprocess.run(list(map(str, words)), env=self.environment, capture_output=True, check=True).stdout

    def start(self):
        self.directory.mkdir(parents=True)
        self.do("tsp", "-S", self.slots)
        self.server = next(int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()
                           and str(self.directory / "socket").encode() in environment_of(entry))

    def run(self, count, command="/bin/true"):
        """The keeper ends when the last client has."""
        self.do(self.binaries / "keeper", "/bin/sh", "-c",
                f'i=0; while [ "$i" -lt {count} ]; do tsp -n {command}; i=$((i+1)); done')

    def call(self, command):
        self.do("tsp", "-nf", *command.split())

    def pids(self):
        return {"tsp": self.server}

    def cpu_ms(self):
        return cpu_ms(self.server) + children_ms()

    def close(self):
        self.do("tsp", "-K")


def environment_of(entry):
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        return b""
