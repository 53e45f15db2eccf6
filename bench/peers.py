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


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Beanstalk:
    """beanstalkd with a log that is synced at each write, and four workers that hold their connections."""

    name = "beanstalkd -b -f0"

    def __init__(self, binaries, directory, slots=4):
        self.binaries, self.directory, self.slots = pathlib.Path(binaries), pathlib.Path(directory), slots
        self.processes = []

    def missing(self):
        return "" if shutil.which("beanstalkd") else "beanstalkd is not installed"

    def start(self):
        port = free_port()
        self.directory.mkdir(parents=True)
        self.processes.append(subprocess.Popen(["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b",
                                                str(self.directory), "-f0"]))

        def connected():
            try:
                return socket.create_connection(("127.0.0.1", port))
            except OSError:
                return None
        self.connection = wait_for(connected, 10, "beanstalkd listens")
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.connection.makefile("rb")
        for _ in range(self.slots):
            self.processes.append(subprocess.Popen([str(self.binaries / "beanstalk_worker"), str(port)]))
        self.deleted = self.stat("cmd-delete")

    def stat(self, name):
        self.connection.sendall(b"stats\r\n")
        size = int(self.replies.readline().split()[1])
        body = self.replies.read(size + 2).decode()
        return int(next(line for line in body.splitlines() if line.startswith(name + ":")).split()[1])

    def submit(self, command):
        body = command.encode()
        self.connection.sendall(b"put 0 0 60 %d\r\n%s\r\n" % (len(body), body))
        return self.replies.readline()

    def run(self, count, command="/bin/true"):
        body = command.encode()
        self.connection.sendall(b"".join(b"put 0 0 60 %d\r\n%s\r\n" % (len(body), body) for _ in range(count)))
        for _ in range(count):
            self.replies.readline()
        wanted = self.deleted + count
        wait_for(lambda: self.stat("cmd-delete") >= wanted, 300, "beanstalkd has no job left")
        self.deleted = wanted

    def cpu_ms(self):
        return sum(cpu_ms(process.pid) for process in self.processes)

    def close(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=10)


class TaskSpooler:
    """tsp with four slots: a client process a job, output not kept."""

    name = "task-spooler"

    def __init__(self, directory, slots=4):
        self.directory, self.slots = pathlib.Path(directory), slots
        self.environment = dict(os.environ, TS_SOCKET=str(self.directory / "socket"), TMPDIR=str(self.directory),
                                TS_MAXFINISHED="1")

    def missing(self):
        return "" if shutil.which("tsp") else "task-spooler is not installed"

    def tsp(self, *words):
        return subprocess.run(["tsp", *words], env=self.environment, capture_output=True, text=True, check=True).stdout

    def start(self):
        self.directory.mkdir(parents=True)
        self.tsp("-S", str(self.slots))

    def submit(self, command):
        return self.tsp("-n", *command.split())

    def run(self, count, command="/bin/true"):
        for _ in range(count):
            self.submit(command)
        wait_for(lambda: "running" not in self.tsp() and "queued" not in self.tsp(), 60, "tsp has no job left")

    def server(self):
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit() and str(self.directory / "socket").encode() in environment_of(entry):
                return int(entry.name)
        return None

    def cpu_ms(self):
        """The clients are children of this process."""
        times = os.times()
        server = self.server()
        return (cpu_ms(server) if server else 0) + 1000 * (times.children_user + times.children_system)

    def close(self):
        self.tsp("-K")


def environment_of(entry):
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        return b""
