"""What the process tests share: a temporary directory that is kept when a test fails, and clusters in it."""

import json
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "lib"))

from cluster import COORDINATOR_NODE, Cluster, Failure, NODES, wait_for  # noqa: E402  (the path is set just above)

__all__ = ["BINARIES", "COORDINATOR_NODE", "Cluster", "ClusterCase", "Failure", "NODES", "ROOT", "command", "lines_of",
           "wait_for"]

BINARIES = pathlib.Path(os.environ.get("REEVE_BIN_DIR", ROOT / "build" / "release" / "bin"))
OVER = ("succeeded", "failed", "cancelled", "lost")


def command(*argv, **fields):
    """A job document."""
    return {"argv": list(argv), **fields}


def lines_of(documents):
    return "\n".join(json.dumps(document) for document in documents)


def copy_live(source, target):
    """A copy of a directory that is in use: the rendering moves while it is taken."""
    def copy(one, there):
        try:
            shutil.copy2(one, there)
        except FileNotFoundError:
            pass
    shutil.copytree(source, target, copy_function=copy)


class ClusterCase(unittest.TestCase):
    """One cluster for all tests of a class, made by make_cluster(); its files stay when a test failed."""

    cluster = None

    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory)
        cluster.start_all()
        for node in NODES:
            cluster.wait_serving(node)
        return cluster

    parent = None  # of its directory; the usual place for temporary files

    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="reeve-test-", dir=cls.parent))
        cls.failed = False
        cls.addClassCleanup(cls._clean)
        cls.cluster = cls.make_cluster(cls.directory / "cluster")

    @classmethod
    def _clean(cls):
        if cls.cluster is not None:
            cls.cluster.close()
        if cls.failed:
            print(f"files: {cls.directory}", file=sys.stderr)
        else:
            shutil.rmtree(cls.directory, ignore_errors=True)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors) if result else 0
        super().run(result)
        if result and len(result.failures) + len(result.errors) > before:
            type(self).failed = True

    # -- jobs ---------------------------------------------------------------------------------------

    def submit(self, *documents, node=None, **more):
        """Submits all in one request and returns their ids."""
        words = ["submit", "-f", "-", "--json"]
        for key, value in more.items():
            words += ["--" + key.replace("_", "-"), value]
        reply = json.loads(self.cluster.reeve(*words, stdin=lines_of(documents), node=node))
        return [one["job"] for one in reply["jobs"]]

    def show(self, job, node=None):
        done = self.cluster.run("job", "show", job, "--json", node=node)
        return json.loads(done.stdout) if done.returncode == 0 else {"state": "unknown"}

    def wait_state(self, job, *wanted, node=None, seconds=20):
        """Until the job is in one of these states; returns its document."""
        seen = {}

        def so():
            seen["job"] = self.show(job, node)
            return seen["job"]["state"] in wanted

        try:
            wait_for(so, seconds, f"job {job} is {' or '.join(wanted)}")
        except Failure as failure:
            raise Failure(f"{failure}; it is {json.dumps(seen['job'], indent=1)}") from None
        return seen["job"]

    def wait_over(self, jobs, node=None, seconds=60):
        return {job: self.wait_state(job, *OVER, node=node, seconds=seconds) for job in jobs}

    def logs(self, job, *words, node=None):
        return self.cluster.reeve("job", "logs", job, *words, node=node)
