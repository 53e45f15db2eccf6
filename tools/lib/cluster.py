"""A real cluster on one machine: the daemons' own binaries, one directory as the NAS, one state directory
a node. Used by the demo and by the process tests. Nothing here sleeps to wait: wait_for polls a condition
with a deadline and says what it waited for."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

NODES = ("nova", "mira", "orin", "jasper")
COORDINATOR_NODE = "nova"


class Failure(Exception):
    """A check that did not hold; its text is what a person reads."""


def wait_for(condition, seconds, what, every=0.05):
    """Polls until condition() is truthy and returns that value; raises Failure after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"not within {seconds} s: {what}")
        time.sleep(every)


def free_udp_ports(count):
    """Ports that were free a moment ago; all held at once so that they differ."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """Owns the processes that it starts; close() ends them all."""

    def __init__(self, binaries, directory, nodes=NODES, slots=2, heartbeat_ms=500, coordinator_ms=250,
                 incoming="allow", doorbells=True):
        self.binaries = pathlib.Path(binaries)
        self.directory = pathlib.Path(directory)
        self.nodes = tuple(nodes)  # the first one has the operator's key
        self.daemons = {}  # writer name -> Popen
        self.environment = {}  # writer name -> what its process gets besides ours
        self.share = self.directory / "nas"
        self.doorbells = doorbells
        self._logs = self.directory / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._init_nodes(slots, heartbeat_ms, coordinator_ms, incoming)
        for node in self.nodes:
            with open(self.config(node), "a", encoding="utf-8") as config:
                config.write("\n[log]\nreserve_mb = 64\nballast_mb = 1\n")  # many clusters share one disk

    def _init_nodes(self, slots, heartbeat_ms, coordinator_ms, incoming):
        ports = free_udp_ports(len(self.nodes) + 1)
        bells = [f"127.0.0.1:{port}" for port in ports]
        code = None
        for index, node in enumerate(self.nodes):
            begin = ["init", "--name", "home"] if code is None else ["join", code]
            command = [self.binaries / "reeve", *begin, "--json", "--cluster", self.share, "--node", node,
                       "--dir", self.directory / node, "--slots", str(slots), "--role", "compute",
                       "--incoming", incoming, "--heartbeat-ms", str(heartbeat_ms),
                       "--coordinator-heartbeat-ms", str(coordinator_ms)]
            if node == COORDINATOR_NODE:
                command += ["--coordinator"]
            if self.doorbells:
                command += ["--worker-bell", bells[index]]
                command += ["--coordinator-bell", bells[-1]] if node == COORDINATOR_NODE else []
                command += [word for peer in bells if peer != bells[index] for word in ("--bell-peer", peer)]
            done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE)
            if code is None:
                code = json.loads(done.stdout)["join_code"]
            else:
                self.reeve("node", "admit", node, "--yes")

    # -- processes ----------------------------------------------------------------------------------

    def config(self, node):
        return self.directory / node / "reeve.toml"

    def state(self, node, role="worker"):
        return self.directory / node / "state" / f"{node}.{role}"

    def writers(self):
        """(writer name, state directory) of every writer that this cluster ever started."""
        return [(name, self.state(*name.split("."))) for name in sorted(self.daemons)]

    def programs(self, node):
        """Where this node's daemons are installed."""
        return self.binaries

    def start(self, node, role="worker", words=()):
        """Starts a daemon, with more words on its command line; its standard error goes to logs/<writer>.log."""
        writer = f"{node}.{role}"
        program = self.programs(node) / ("reeve-worker" if role == "worker" else "reeve-coordinator")
        with open(self._logs / f"{writer}.log", "ab") as log:
            self.daemons[writer] = subprocess.Popen([str(program), "--config", str(self.config(node)), *words],
                                                    env=dict(os.environ, **self.environment.get(writer, {})),
                                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start_all(self, coordinator=True):
        for node in self.nodes:
            self.start(node)
        if coordinator:
            self.start(COORDINATOR_NODE, "coord")

    def forget(self, writer):
        """A daemon that was ended for good is not asked any more."""
        del self.daemons[writer]

    def alive(self, writer):
        process = self.daemons.get(writer)
        return process is not None and process.poll() is None

    def kill(self, writer, how=signal.SIGKILL):
        process = self.daemons[writer]
        process.send_signal(how)
        return process.wait(timeout=20)

    def supervisor_pid(self, node):
        """The process that holds this node's attempts, or None."""
        target = str(self.state(node) / "exec")
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                words = pathlib.Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words and words[0].endswith(b"reeve-exec") and target.encode() in words:
                return int(entry)
        return None

    @staticmethod
    def signal(pid, how):
        """A process that has ended meanwhile is no error."""
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            pass

    def stop_daemons(self):
        for process in self.daemons.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.daemons.values():
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self):
        self.stop_daemons()
        for node in self.nodes:
            pid = self.supervisor_pid(node)
            if pid is not None:
                self.signal(pid, signal.SIGTERM)

    # -- the command --------------------------------------------------------------------------------

    def run(self, *words, node=None, stdin=None, timeout=60):
        """Runs `reeve` as on this node; returns the CompletedProcess, whatever its status."""
        command = [str(self.binaries / "reeve"), *map(str, words)]
        environment = dict(os.environ, REEVE_CONFIG=str(self.config(node or self.nodes[0])))
        return subprocess.run(command, env=environment, input=stdin, text=True, capture_output=True,
                              timeout=timeout, check=False)

    def reeve(self, *words, node=None, stdin=None, timeout=60):
        """Like run, but a status other than 0 is a Failure."""
        done = self.run(*words, node=node, stdin=stdin, timeout=timeout)
        if done.returncode != 0:
            raise Failure(f"reeve {' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *words, node=None):
        return json.loads(self.reeve(*words, "--json", node=node))

    def wait_serving(self, node, seconds=15):
        """Until the node's worker answers on its socket."""
        def answers():
            done = self.run("status", "--json", node=node)
            return done.returncode == 0 and isinstance(json.loads(done.stdout)["daemon"], dict)

        wait_for(answers, seconds, f"{node} answers")

    # -- what must be equal -------------------------------------------------------------------------

    def replay(self, *words, status=0):
        """Runs `reeve-replay ... --json` and returns its document; any other exit status is a Failure."""
        command = [str(self.binaries / "reeve-replay"), *map(str, words), "--json"]
        environment = dict(os.environ, REEVE_CONFIG=str(self.config(self.nodes[0])))
        done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=120, check=False)
        if done.returncode != status:
            raise Failure(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def verify_all(self):
        """Every writer's digest is what a replay of its own logs gives at its own cut (I5)."""
        found = {}
        for writer, state in self.writers():
            document = self.replay("verify", "--against", state)
            found[writer] = (document["writers"][0]["cut_name"], document["writers"][0]["digest"])
        return found

    def wait_equal_cuts(self, seconds=60):
        """Until all writers have read the same events; their digests must be equal then (I5)."""
        seen = {}

        def equal():
            seen["all"] = self.verify_all()
            return len({cut for cut, _ in seen["all"].values()}) == 1

        wait_for(equal, seconds, "every writer has read what the others wrote")
        pairs = set(seen["all"].values())
        if len(pairs) != 1:
            raise Failure(f"equal cuts with different digests: {seen['all']}")
        return pairs.pop()
