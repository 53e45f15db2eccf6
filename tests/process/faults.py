"""Faults of files and of the clock in the running daemons of a Cluster, through tests/faults/shim.c.

    faults = Faults(cluster)                      before the daemons are started
    with faults.on("hang", where=cluster.share):  all daemons, or writers=("mira.worker",)
        ...
The fault is there from the entry of the block to its end. `fault.met()`: some daemon has met it.
"""

import itertools
import json
import os
import pathlib
import socket
import struct

from harness import BINARIES, Cluster, ClusterCase, Failure, command, lines_of, wait_for

CLASSES = ("open", "read", "stat", "write", "sync", "link", "rename", "meta", "close")
ROUND_TRIPS = "open,read,write,sync,link,rename,meta"  # what a network file system asks its server for
CHANGES = "write,link,rename,meta"  # what a read-only or a full file system refuses


class Fault:
    """A rule in the control directories of its writers."""

    def __init__(self, faults, number, writers, line):
        self.faults, self.number, self.writers, self.line = faults, number, writers, line

    def __enter__(self):
        self.faults.put(self)
        return self

    def __exit__(self, *_):
        self.faults.drop(self)

    def met(self, *writers):
        """Whether each of these writers has met the fault; without any, whether some writer has."""
        marks = {writer: (self.faults.control(writer) / f"hit.{self.number}").exists() for writer in self.writers}
        return all(marks[writer] for writer in writers) if writers else any(marks.values())


class Faults:
    """One control directory a writer, so that one node can be struck and the others not."""

    def __init__(self, cluster, library=None):
        self.cluster = cluster
        self.directory = cluster.directory / "faults"
        self._numbers = itertools.count(1)
        self._active = {}  # writer -> faults
        shim = library or cluster.binaries / "reeve_fault_shim.so"
        if not shim.exists():
            raise FileNotFoundError(f"{shim}: build the target reeve_fault_shim")
        writers = [f"{node}.worker" for node in cluster.nodes] + [f"{cluster.nodes[0]}.coord"]
        for writer in writers:
            self._active[writer] = []
            self.control(writer).mkdir(parents=True)
            cluster.environment[writer] = {
                "LD_PRELOAD": str(shim), "REEVE_FAULTS": str(self.control(writer)),
                "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}

    def control(self, writer):
        return self.directory / writer

    def on(self, fault, argument="-", *, where="/", classes="*", every=0, times=0, writers=()):
        """A Fault, not switched on yet. `classes`: names of CLASSES joined by commas, or `*`."""
        assert classes == "*" or set(classes.split(",")) <= set(CLASSES), classes
        number = next(self._numbers)
        line = f"{number} {fault} {argument} {classes} {every} {times} {os.path.realpath(where)}"
        return Fault(self, number, tuple(writers) or tuple(self._active), line)

    def put(self, fault):
        for writer in fault.writers:
            self._active[writer].append(fault)
            self._write(writer)

    def drop(self, fault):
        for writer in fault.writers:
            self._active[writer].remove(fault)
            self._write(writer)

    def _write(self, writer):
        new = self.control(writer) / "rules.new"
        new.write_text("".join(fault.line + "\n" for fault in self._active[writer]))
        new.replace(pathlib.Path(self.control(writer), "rules"))


class FaultCase(ClusterCase):
    """Three nodes and a coordinator, ready to be struck. Commands write down themselves that they ran."""

    nodes = ("nova", "mira", "orin")
    heartbeats = {}  # of the cluster, when not its usual quick ones

    @classmethod
    def make_cluster(cls, directory):
        cls.marks = cls.directory / "marks"
        cls.marks.mkdir()
        cls.names = set()  # of all jobs that work() submitted and that must run once
        cluster = Cluster(BINARIES, directory, nodes=cls.nodes, **cls.heartbeats)
        cls.faults = Faults(cluster)
        cls.configure(cluster)
        cluster.start_all()
        for node in cls.nodes:
            cluster.wait_serving(node)
        wait_for(lambda: cls.share_is("ok", cluster), 20, "every daemon has the share")
        return cluster

    @classmethod
    def configure(cls, cluster):
        """What a test wants of its cluster before the daemons start."""

    @classmethod
    def live(cls, writer, cluster=None):
        return live_document(cluster or cls.cluster, writer)

    def start_again(self, node):
        """The worker, until it answers itself: `reeve status` needs no daemon."""
        self.cluster.start(node)
        wait_for(lambda: self.live(f"{node}.worker"), 20, f"{node} answers")

    @classmethod
    def share_is(cls, state, cluster=None, writers=None):
        cluster = cluster or cls.cluster
        return all(cls.live(writer, cluster).get("share") == state for writer in writers or cluster.daemons)

    def work(self, prefix, count, script="", node="nova", **fields):
        """Submits jobs, each of which leaves a line for each time that it is run; returns their ids by name."""
        documents = []
        for number in range(count):
            name = f"{prefix}{number}"
            self.assertNotIn(name, self.names)
            self.names.add(name)
            documents.append(command("/bin/sh", "-c", f"echo $REEVE_ATTEMPT >> {self.marks}/{name}; {script}",
                                     name=name, **fields))
        words = ("submit", "-f", "-", "--json", "--request-id", prefix)
        ids = []

        def taken():
            done = self.cluster.run(*words, node=node, stdin=lines_of(documents))
            if done.returncode in (0, 3):  # 3: accepted here, not yet shared
                ids.extend(job["job"] for job in json.loads(done.stdout)["jobs"])
            return ids

        wait_for(taken, 30, f"{node} takes {prefix}")
        return dict(zip((document["name"] for document in documents), ids))

    def wait_once(self, seconds=60):
        """All that was submitted has succeeded everywhere, ran once, and every view is the same (I1, I2, I5)."""
        seen = {}

        def ended():
            done = self.cluster.run("jobs", "--limit", 100000, "--json", node="mira")
            jobs = json.loads(done.stdout)["jobs"] if done.returncode == 0 else []
            seen["open"] = [job for job in jobs if job["state"] != "succeeded"]
            return self.names <= {job.get("name") for job in jobs} and not seen["open"]

        try:
            wait_for(ended, seconds, "every job has succeeded")
        except Failure as failure:
            raise Failure(f"{failure}; open: {json.dumps(seen['open'][:3], indent=1)}") from None
        self.cluster.wait_equal_cuts()
        runs = {path.name: path.read_text().splitlines() for path in self.marks.iterdir()}
        self.assertEqual(sorted(name for name in self.names if len(runs.get(name, ())) != 1), [])

    def observed(self, kind, writer, node=None):
        """The observations of this kind in the log of `writer`, as `node` has them."""
        lines = self.cluster.reeve("log", "show", "--type", "Observation", "--writer", writer, "--json",
                                   node=node or writer.split(".")[0]).splitlines()
        return [event for event in map(json.loads, lines) if event["kind"] == kind]


def live_document(cluster, writer):
    """What a daemon measures, asked at its socket (docs/formats/control.md); empty when it does not answer."""
    body = b'{"verb":"live"}'
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(5)
            peer.connect(str(cluster.directory / writer.split(".")[0] / "run" / f"{writer}.sock"))
            peer.sendall(struct.pack("<I", len(body)) + body)
            stream = peer.makefile("rb")
            (size,) = struct.unpack("<I", stream.read(4))
            return json.loads(stream.read(size))["live"]
    except (OSError, struct.error, KeyError):
        return {}


def between(before, after):
    """Turns, p99 and greatest of what was added between two histograms [[bound, count], ...], in microseconds."""
    old = dict(before)
    added = [(bound, count - old.get(bound, 0)) for bound, count in after]
    added = [(bound, count) for bound, count in added if count]
    total = sum(count for _, count in added)
    seen = 0
    for bound, count in added:
        seen += count
        if seen >= 0.99 * total:
            return total, bound, added[-1][0]
    return 0, 0, 0


def worst_of(what, before, after):
    """The least number of turns, the greatest p99 and the greatest of all of the loops of these daemons between two
    looks at loop.run of their live documents; prints all of them."""
    found = {writer: between(before[writer][what]["buckets"], after[writer][what]["buckets"]) for writer in before}
    for writer, (turns, p99, most) in sorted(found.items()):
        print(f"  {what:8} {writer:12} {turns:5} turns, p99 {p99 / 1000:.2f} ms, max {most / 1000:.2f} ms")
    turns, p99s, mosts = zip(*found.values())
    return min(turns), max(p99s), max(mosts)
