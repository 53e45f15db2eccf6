"""A cluster of reeve in the lab: its daemons run on machines of their own, which mount the share from a real NFS
server. What a test says of it in the end is what the kill test says (tests/process/kill_test.py), and that the
independent reader of the logs (tests/process/log_reader.py) finds nothing wrong, on the NAS and on every node."""

import json
import os
import pathlib
import shlex
import shutil
import signal
import sys
import tempfile
import time
import unittest

from machines import COMMAND_S, EXPORT, ROOT, Failure, Lab, cannot_run, memory, wait_for

sys.path.insert(0, str(ROOT / "tests" / "process"))

from cluster import Cluster  # noqa: E402  (machines set the path of it)
from kill_test import check_runs  # noqa: E402  (the path is set just above)

__all__ = ["BINARIES", "Failure", "LONG", "LabCase", "LabCluster", "NODES", "main", "wait_for"]

NODES = ("nova", "mira", "orin")
BINARIES = pathlib.Path(os.environ.get("REEVE_BIN_DIR", ROOT / "build" / "release" / "bin"))
LOG_READER = ROOT / "tests" / "process" / "log_reader.py"
SHARE = "/share/reeve"  # on a node; on the NAS below EXPORT
HOME = "/disk/reeve"
OUT = "/disk/out"  # where commands write down that they ran
OVER = ("succeeded", "failed", "cancelled", "lost")
SKIPPED = 77  # what ctest takes for: not run
LONG = os.environ.get("REEVE_LAB_LONG") == "1"


def document(index, seconds=0.0):
    """As in the kill test, odd jobs are retried whatever happens to them; even ones must not run twice. What a
    command writes down must outlive its machine."""
    mark = f"{OUT}/k{index}"
    job = {"name": f"k{index}", "timeout_s": 120,
           "argv": ["/bin/sh", "-c", f'echo "$REEVE_ATTEMPT $REEVE_NODE" >>{mark}; sync {mark}; sleep {seconds}']}
    if index % 2:
        job["retry"] = {"max": 20, "backoff_s": 0, "on": ["failed", "timeout", "lost"]}
        job["on_partition"] = "finish"
    return job


class LabCluster(Cluster):
    """The daemons' own binaries on the nodes of a lab; the first node also has the coordinator."""

    def __init__(self, lab, bells=True, heartbeat_ms=500, slots=2):  # its base would put all of it on this machine
        self.lab = lab
        self._bells = bells
        self.binaries = BINARIES
        self.nodes = tuple(machine.name for machine in lab.nodes())
        self.daemons = {}  # writer name -> process number on its node
        self.submitted = 0
        self._init_nodes(slots, heartbeat_ms, heartbeat_ms // 2, "allow")

    def _init_nodes(self, slots, heartbeat_ms, coordinator_ms, incoming):
        bells = {f"{node}.worker": f"{self.lab[node].address}:7411" for node in self.nodes}
        bells[f"{self.nodes[0]}.coord"] = f"{self.lab[self.nodes[0]].address}:7412"
        code = None
        for node in self.nodes:
            begin = ["init", "--name", "home"] if code is None else ["join", code]
            words = [self.binaries / "reeve", *begin, "--json", "--cluster", SHARE, "--node", node, "--dir", HOME,
                     "--slots", slots, "--role", "compute", "--incoming", incoming, "--heartbeat-ms", heartbeat_ms,
                     "--coordinator-heartbeat-ms", coordinator_ms, "--worker-bell", bells[f"{node}.worker"]]
            if code is None:
                words += ["--coordinator", "--coordinator-bell", bells[f"{node}.coord"]]
            for writer, bell in bells.items():
                if self._bells and not writer.startswith(f"{node}."):
                    words += ["--bell-peer", bell]
            printed = self.lab[node].check(f"mkdir -p {OUT}; {shlex.join(map(str, words))}")
            if code is None:
                code = json.loads(printed)["join_code"]
            else:
                self.reeve("node", "admit", node, "--yes")
            self.lab[node].check(f"printf '\\n[log]\\nreserve_mb = 64\\nballast_mb = 1\\n' >>{HOME}/reeve.toml && sync")

    # -- processes, on their machines -----------------------------------------------------------------

    def config(self, node):
        return f"{HOME}/reeve.toml"

    def state(self, node, role="worker"):
        return f"{HOME}/state/{node}.{role}"

    def start(self, node, role="worker", words=()):
        writer = f"{node}.{role}"
        program = self.binaries / ("reeve-worker" if role == "worker" else "reeve-coordinator")
        command = shlex.join([str(program), "--config", self.config(node), *words])
        self.daemons[writer] = int(self.lab[node].check(f"{command} </dev/null >>/disk/{writer}.log 2>&1 & echo $!"))

    def start_all(self, coordinator=True):
        for node in self.nodes:
            self.start(node)
        if coordinator:
            self.start(self.nodes[0], "coord")
        for node in self.nodes:
            self.wait_serving(node, 90)

    def start_again(self, node):
        """The daemons of a machine that has booted anew."""
        for writer in list(self.daemons):
            if writer.startswith(f"{node}."):
                self.start(*writer.split("."))
        self.wait_serving(node, 90)

    def alive(self, writer):
        node, _ = writer.split(".")
        return self.lab[node].run(f"kill -0 {self.daemons[writer]}").returncode == 0

    def kill(self, writer, how=signal.SIGKILL):
        node, _ = writer.split(".")
        self.lab[node].check(f"kill -{int(how)} {self.daemons[writer]}")

    def stop(self):
        """All daemons and supervisors have ended, and nobody uses the share."""
        for writer in self.daemons:
            self.kill(writer, signal.SIGTERM)
        for machine in self.lab.nodes():
            machine.check("for _ in $(seq 300); do pidof reeve-worker reeve-coordinator || break; sleep 0.1; done; "
                          "pkill -x reeve-exec || true")  # none is left where no job ran

    def close(self):
        """Its machines end with the lab."""

    # -- the command ----------------------------------------------------------------------------------

    def run(self, *words, node=None, stdin=None, timeout=COMMAND_S):
        command = shlex.join([str(self.binaries / "reeve"), *map(str, words)])
        machine = self.lab[node or self.nodes[0]]
        return machine.run(f"REEVE_CONFIG={self.config(node)} {command}", stdin, timeout)

    def verify_all(self):
        found = {}
        command = f"REEVE_CONFIG={self.config(None)} {self.binaries}/reeve-replay verify --json --against"
        for writer, printed in self._at_each(lambda state: f"{command} {state}").items():
            document = json.loads(printed)
            found[writer] = (document["writers"][0]["cut_name"], document["writers"][0]["digest"])
        return found

    def _at_each(self, script):
        """What it prints where each writer lives, given its state directory; on all nodes at once."""
        begun = {}
        for writer, state in self.writers():
            machine = self.lab[writer.split(".")[0]]
            begun[writer] = (machine, machine.begin(script(state)))
        done = {writer: machine.finish(number) for writer, (machine, number) in begun.items()}
        for writer, one in done.items():
            if one.returncode != 0:
                raise Failure(f"{writer}: {one.stdout}{one.stderr}")
        return {writer: one.stdout for writer, one in done.items()}

    # -- jobs, and what must be true of them ------------------------------------------------------------

    def submit(self, count, node, seconds=0.0):
        """More jobs, numbered on; repeated under one request id until the node has taken them (I1)."""
        first = self.submitted
        lines = "\n".join(json.dumps(document(index, seconds)) for index in range(first, first + count))
        self.submitted += count

        def taken():
            return self.run("submit", "-f", "-", "--request-id", f"batch-{first}", stdin=lines,
                            node=node).returncode in (0, 3)

        wait_for(taken, 120, f"{count} jobs are taken by {node}")

    def jobs(self, node, after_s=0.0):
        """As the node sees them; later, for whoever asks again and again: starting a program costs a machine much."""
        command = f"REEVE_CONFIG={self.config(node)} {self.binaries}/reeve jobs --limit 100000 --json"
        done = self.lab[node].run(f"sleep {after_s}; {command}")
        return json.loads(done.stdout)["jobs"] if done.returncode == 0 else []

    def wait_ended(self, node, seconds=180):
        seen = {}

        def ended():
            seen["jobs"] = self.jobs(node, 0.5 if seen else 0.0)
            return len(seen["jobs"]) == self.submitted and all(job["state"] in OVER for job in seen["jobs"])

        try:
            wait_for(ended, seconds, f"every job has ended, as {node} sees it")
        except Failure as failure:
            left = [job for job in seen["jobs"] if job["state"] not in OVER]
            raise Failure(f"{failure}: {len(seen['jobs'])} of {self.submitted} known, open: {left[:5]}") from None
        return seen["jobs"]

    def runs(self, directory):
        """What commands wrote down on all nodes, in one directory of this machine."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for machine in self.lab.nodes():
            for line in machine.check(f"cd {OUT} && grep -r '' . || true").splitlines():  # none: nothing ran
                name, _, words = line.partition(":")
                with open(directory / pathlib.Path(name).name, "a", encoding="utf-8") as file:
                    file.write(words + "\n")
        return directory

    def check(self, seconds=180):
        """Every job ended, none ran twice, views are equal, logs are whole (I1, I2, I3, I5). Returns counts."""
        for node in self.nodes:
            self.wait_ended(node, seconds)
        self.wait_equal_cuts(120)
        totals = check_runs(self.runs(self.lab.directory / "out"), self.jobs(self.nodes[0]))
        self.lab.nas.check(f"python3 {LOG_READER} {EXPORT}/reeve/log >/dev/null")
        if LONG:
            self._at_each(lambda state: f"python3 {LOG_READER} {state}/log >/dev/null")
        return dict(totals)


class LabCase(unittest.TestCase):
    """A lab with a cluster on it for all tests of a class. Its files stay when a test failed."""

    version = "4.1"
    options = "hard"
    with_cluster = True
    bells = True

    @classmethod
    def setUpClass(cls):
        cls.failed = False
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="reeve-lab-", dir=memory()))
        begun = time.monotonic()
        cls.lab = Lab(cls.directory, NODES, cls.version, cls.options)
        cls.addClassCleanup(cls._clean)
        try:
            cls.lab.boot()
            cls.report("boot", f"NAS and {len(NODES)} nodes up in {time.monotonic() - begun:.1f} s; "
                               f"{cls.lab.describe()}")
            if cls.with_cluster:
                cls.cluster = LabCluster(cls.lab, cls.bells)
                cls.cluster.start_all()
        except Exception:
            cls.failed = True
            raise

    @classmethod
    def _clean(cls):
        if cls.failed:
            for machine in cls.lab.machines.values():
                machine.keep_logs()
        cls.lab.close()
        if cls.failed:
            for machine in cls.lab.machines.values():
                machine.drop_disk()  # of a failure only what was said is kept: the rest is memory
            print(f"files: {cls.directory}", file=sys.stderr)
        else:
            shutil.rmtree(cls.directory, ignore_errors=True)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors) if result else 0
        super().run(result)
        if result and len(result.failures) + len(result.errors) > before:
            type(self).failed = True

    @classmethod
    def report(cls, what, outcome):
        """A row of the report of tools/lab."""
        print(f"NFS {cls.lab.version}, {what}: {outcome}", flush=True)
        if "REEVE_LAB_REPORT" in os.environ:
            with open(os.environ["REEVE_LAB_REPORT"], "a", encoding="utf-8") as report:
                report.write(json.dumps({"version": cls.lab.version, "what": what, "outcome": outcome}) + "\n")


def main():
    """What each test script ends with: nothing runs where the lab cannot."""
    why_not = cannot_run()
    if why_not:
        print(f"THE LAB DID NOT RUN: {why_not}")
        sys.exit(SKIPPED)
    unittest.main(module="__main__")
