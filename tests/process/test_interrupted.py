"""`reeve init`, `join`, `node admit` and `log rescue` are killed before each kind of call that changes something, in
turn, and run again: they complete, or say what stands in their way; nothing half-made is trusted (I1, I6, I9)."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import unittest

from harness import BINARIES, Cluster, ClusterCase, Failure, command, wait_for

PATIENCE = 60  # seconds for one command: none of them waits for anything
ENOUGH_BYTES = 2 << 30  # of which a daemon keeps a reserve
CHANGES = "write,sync,link,rename,meta"


def worth_dying_before(changes):
    """Numbers of changes, from 1. Of changes of one kind (the 256 directories for claims, the batches of a file) the
    first two and the last: what the others leave behind differs in a number only."""
    places = {}
    for number, change in enumerate(changes, 1):
        kind = re.sub(r"(?<=/\.tmp-)\d+-\d+|(?<=[./-])[0-9a-f]{16,}|(?<=/claims/)[0-9a-f]{2}", "*", change)
        places.setdefault(kind, []).append(number)
    return sorted({number for found in places.values() for number in (*found[:2], found[-1])})


def in_memory():
    """A file system without a disk, if it has room: a killed process loses nothing that was not synced."""
    place = pathlib.Path("/dev/shm")
    return place if os.access(place, os.W_OK) and shutil.disk_usage(place).free > ENOUGH_BYTES else None


class Killed(ClusterCase):
    """Runs commands that die before their n-th change."""

    parent = in_memory()

    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova",))
        cluster.start("nova")
        cluster.wait_serving("nova")
        return cluster

    def run_it(self, *words, rule="", config=None):
        """A CompletedProcess; `rule`: fault, argument, classes and counts of the shim, below the test's directory."""
        environment = dict(os.environ, REEVE_CONFIG=str(config or self.cluster.config("nova")))
        if rule:
            control = self.directory / "faults"
            control.mkdir(exist_ok=True)
            (control / "trace.1").unlink(missing_ok=True)
            (control / "rules").write_text(f"1 {rule} {os.path.realpath(self.directory)}\n")
            environment.update(LD_PRELOAD=str(self.cluster.binaries / "reeve_fault_shim.so"),
                               REEVE_FAULTS=str(control),
                               ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")
        try:
            return subprocess.run([str(self.cluster.binaries / "reeve"), *map(str, words)], env=environment, text=True,
                                  capture_output=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as late:
            raise Failure(f"reeve {' '.join(map(str, words))}, {rule}, hangs:\n{late.stdout}{late.stderr}") from late

    def each_change(self, prepare, words, check, least, done_before=None):
        """prepare(n), the command killed before its n-th change, the command again, check(n, place); for the changes
        that `worth_dying_before` names, and at last without dying. At least `least` of them, or nothing was tested.
        `done_before`: what it may say the second time, when the first one came to its end."""
        place = prepare(0)
        whole = self.run_it(*words(place), rule=f"trace - {CHANGES} 0 0")
        self.assertEqual(whole.returncode, 0, (whole.stdout, whole.stderr))
        changes = (self.directory / "faults" / "trace.1").read_text().splitlines()
        check(0, place)
        numbers = worth_dying_before(changes)
        self.assertGreaterEqual(len(numbers), least, changes)
        for n in numbers:
            place = prepare(n)
            with self.subTest(killed_before_change=n, change=changes[n - 1]):
                killed = self.run_it(*words(place), rule=f"die - {CHANGES} {n} 1")
                self.assertEqual(killed.returncode, -signal.SIGKILL, (killed.stdout, killed.stderr))
                again = self.run_it(*words(place))
                if again.returncode != 0 and done_before:
                    self.assertIn(done_before, again.stderr)
                else:
                    self.assertEqual(again.returncode, 0, (again.stdout, again.stderr))
                check(n, place)


def content_of(place):
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


class Init(Killed):
    def test_a_cluster_is_made_once(self):
        def check(_, place):
            config = place / "reeve.toml"
            shown = json.loads(self.run_it("key", "show", "--json", config=config).stdout)
            self.assertEqual((shown["node"], shown["serial"]), ("vega", 1))
            identity = json.loads((place / "share" / "reeve-cluster.json").read_text())
            self.assertIn(identity["cluster"], (place / "cluster.toml").read_text())
            self.assertIn(identity["operators"][0], (place / "cluster.toml").read_text())
            certificates = list((place / "share" / "members").glob("vega.*.json"))
            self.assertEqual([path.name for path in certificates], ["vega.1.json"])
            for name in ("operator.key", "state/node.key"):
                self.assertEqual((place / name).stat().st_mode & 0o777, 0o600)
            self.assertEqual([path for path in place.rglob(".*.new")], [])
            before = content_of(place)
            # What says that all is there refuses another one, and names itself; the same again changes nothing.
            for words in (("--node", "lyra"), ("--node", "vega", "--name", "other"), ("--node", "vega", "--slots", 3)):
                more = self.run_it("init", "--single", "--dir", place, *words)
                self.assertEqual(more.returncode, 6)
                self.assertIn("reeve.toml exists already", more.stderr)
            more = self.run_it("init", "--single", "--dir", place, "--node", "vega", "--json")
            self.assertEqual(json.loads(more.stdout)["join_code"], shown["join_code"])
            self.assertEqual(content_of(place), before)

        self.each_change(lambda n: self.directory / f"init{n}",
                         lambda place: ("init", "--single", "--dir", place, "--node", "vega"), check, 30)
        # And one of them lives.
        config = self.directory / "init3" / "reeve.toml"
        daemon = subprocess.Popen([str(self.cluster.binaries / "reeve-worker"), "--config", str(config)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: self.run_it("submit", "--wait", "--", "/bin/true", config=config).returncode == 0, 60,
                     "a job runs on what was interrupted")
        finally:
            daemon.terminate()
            daemon.wait(timeout=30)


class Join(Killed):
    def test_a_machine_asks_once(self):
        code = self.cluster.json("key", "show")["join_code"]

        def check(_, place):
            shown = json.loads(self.run_it("key", "show", "--json", config=place / "reeve.toml").stdout)
            self.assertEqual(shown["serial"], 0, "nobody has admitted it")
            asked = {one["node"]: one["fingerprint"] for one in self.cluster.json("node", "requests")["requests"]}
            self.assertEqual(asked["lyra"], shown["fingerprint"])
            self.assertEqual(shown["join_code"], code)
            before = content_of(place)
            for more in (("AAAA-AAAA-AAAA-AAAA", "--node", "lyra"), (code, "--node", "lyra", "--slots", 3)):
                done = self.run_it("join", "--cluster", self.cluster.share, *more, "--dir", place)
                self.assertEqual(done.returncode, 6)
                self.assertIn("reeve.toml exists already", done.stderr)
            self.assertEqual(content_of(place), before)

        self.each_change(lambda n: self.directory / f"join{n}",
                         lambda place: ("join", "--cluster", self.cluster.share, code, "--node", "lyra",
                                        "--dir", place),
                         check, 20)


class Admit(Killed):
    def test_a_serial_is_given_to_one_key(self):
        code = self.cluster.json("key", "show")["join_code"]
        members = self.cluster.share / "members"
        keys = {}

        def asks(n):
            place = self.directory / f"admit{n}"
            done = self.run_it("join", "--cluster", self.cluster.share, code, "--node", "orin", "--dir", place)
            self.assertEqual(done.returncode, 0, done.stderr)
            return place

        def check(n, place):
            shown = json.loads(self.run_it("key", "show", "--json", config=place / "reeve.toml").stdout)
            self.assertNotIn("orin", {one["node"] for one in self.cluster.json("node", "requests")["requests"]})
            found = {}
            for path in members.glob("orin.*.json"):
                document = json.loads(path.read_text())
                found[document["serial"]] = document["key"]
            for serial, key in keys.items():
                self.assertEqual(found.get(serial, key), key, f"serial {serial} was given to two keys")
            keys.update(found)
            self.assertTrue(shown["fingerprint"])
            if n % 5 == 0:  # the share forgets an admission; its serial is not given again
                (members / f"orin.{max(found)}.json").unlink()

        self.each_change(asks, lambda _: ("node", "admit", "orin", "--yes"), check, 5, "has not asked to join")


class Rescue(Killed):
    """A replaced disk that has accepted a job of its own."""

    def test_what_only_that_disk_accepted_is_said_again(self):
        cluster = self.cluster
        state = cluster.state("nova")
        self.wait_over(self.submit(command("/bin/true")))
        cluster.kill("nova.worker", signal.SIGTERM)
        old = self.directory / "old"
        shutil.copytree(state, old)
        cluster.start("nova")
        cluster.wait_serving("nova")
        self.wait_over(self.submit(command("/bin/true")))
        cluster.kill("nova.worker", signal.SIGTERM)
        shutil.rmtree(state)
        old.rename(state)
        away = cluster.share.with_name("nas.away")
        cluster.share.rename(away)
        cluster.start("nova")
        done = wait_for(self.accepted, 30, "it accepts a job alone")
        cluster.kill("nova.worker", signal.SIGTERM)
        away.rename(cluster.share)
        cluster.start("nova")
        self.assertEqual(cluster.daemons["nova.worker"].wait(timeout=30), 11)
        template = self.directory / "template"
        shutil.copytree(state, template / "state")
        shutil.copytree(cluster.share / "log", template / "log")

        def prepare(_):
            for place, name in ((state, "state"), (cluster.share / "log", "log")):
                shutil.rmtree(place)
                shutil.copytree(template / name, place)
            return state

        def check(_, place):
            self.assertFalse((place / "replaced").exists())
            self.assertFalse((place / "rescuing").exists())
            verified = self.run_it("log", "verify", place)
            self.assertEqual(verified.returncode, 0, verified.stdout)
            said = self.run_it("log", "show", "--type", "JobSubmitted", "--json", place).stdout
            self.assertIn(done, said)

        self.each_change(prepare, lambda _: ("log", "rescue", "--yes"), check, 40)

    def accepted(self):
        done = self.cluster.run("submit", "--", "/bin/echo", "alone")
        return done.stdout.strip() if done.returncode == 3 else None


if __name__ == "__main__":
    unittest.main()
