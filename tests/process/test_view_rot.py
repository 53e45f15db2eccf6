"""The stored view rots on its disk: whatever bit changes, the daemon comes up, builds the view again from the logs and
says so; nobody reads a changed row as a true one (I5, I9)."""

import json
import random
import signal
import unittest

from harness import BINARIES, ClusterCase, Cluster, command, wait_for

PAGE = 4096
DAMAGED = 10


class ViewRot(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        cluster = Cluster(BINARIES, directory, nodes=("nova", "mira"))
        cluster.start_all(coordinator=False)
        for node in cluster.nodes:
            cluster.wait_serving(node)
        return cluster

    def setUp(self):
        self.store = self.cluster.state("mira") / "projection" / "data.mdb"
        self.kept = self.cluster.state("mira") / "projection.damaged"
        if not self.cluster.alive("mira.worker"):
            self.come_up([])

    def run_jobs(self, name, count=12):
        jobs = self.submit(*(command("/bin/echo", f"{name}-{n}", name=f"{name}-{n}") for n in range(count)),
                           node="nova")
        self.wait_over(jobs, node="nova")
        self.cluster.wait_equal_cuts()
        return jobs

    def flip(self, places):
        """Changes one bit at each place."""
        with open(self.store, "r+b") as file:
            for place in places:
                file.seek(place)
                old = file.read(1)[0]
                file.seek(place)
                file.write(bytes([old ^ (1 << random.randrange(8))]))

    def places_of(self, text):
        """Wherever these bytes stand in the file: also in pages of older commits."""
        content = self.store.read_bytes()
        found = []
        at = content.find(text)
        while at >= 0:
            found.append(at + len(text) // 2)
            at = content.find(text, at + 1)
        self.assertTrue(found, f"{text} stands nowhere in the view")
        return found

    def told(self):
        """The reasons of every view.damaged in mira's log."""
        done = self.cluster.reeve("log", "show", "--json", "--writer", "mira.worker", "--type", "Observation",
                                  node="mira")
        events = [json.loads(line) for line in done.splitlines()]
        return [event["detail"] for event in events
                if event.get("kind") == "view.damaged" and event.get("subject") == "mira.worker"]

    def starts(self):
        return (self.directory / "cluster" / "logs" / "mira.worker.log").read_text().count(" is running\n")

    def come_up(self, jobs, words=()):
        """Starts mira; until its node runs, commands still read the old view."""
        before = self.starts()
        self.cluster.start("mira", words=words)
        wait_for(lambda: self.starts() > before, 20, "mira runs")
        self.cluster.wait_serving("mira")
        self.cluster.wait_equal_cuts()
        for job in jobs:
            self.assertEqual(self.show(job, node="mira")["state"], "succeeded")
        mark = self.cluster.state("mira") / "projection.rebuild"
        wait_for(lambda: not mark.exists(), 20, "the mark is taken away when the reason is told")

    def rot_and_come_up(self, name, rot, how=signal.SIGTERM):
        """Stops mira, lets `rot` change its view, starts it; returns what it says about it."""
        jobs = self.run_jobs(name)
        before = len(self.told())
        self.cluster.kill("mira.worker", how)
        rot()
        self.come_up(jobs)
        return self.told()[before:]

    def test_a_row_that_changed_is_told_by_table_and_key(self):
        told = self.rot_and_come_up("row", lambda: self.flip(self.places_of(b"row-3")))
        self.assertEqual(len(told), 1)
        self.assertRegex(told[0], "^table (jobs|outputs), key [0-9a-f]+: the row does not match its checksum$")
        self.assertTrue((self.kept / "data.mdb").exists())

    def test_pages_of_the_store_itself(self):
        def zero(page):
            with open(self.store, "r+b") as file:
                file.seek(page * PAGE)
                file.write(bytes(PAGE))

        def cut():
            with open(self.store, "r+b") as file:
                file.truncate(5 * PAGE)

        def both_headers():
            zero(0)
            zero(1)

        def every_page_header():
            pages = self.store.stat().st_size // PAGE
            self.flip([page * PAGE + 10 for page in range(2, pages)] + [page * PAGE + 12 for page in range(2, pages)])

        def every_place_of_a_page():
            pages = self.store.stat().st_size // PAGE
            self.flip([page * PAGE + 16 + random.randrange(64) for page in range(2, pages)])

        def name_of_the_own_table():
            self.flip(self.places_of(b".store"))

        def name_of_a_table():
            self.flip(self.places_of(b"dependents"))

        for rot in (cut, both_headers, every_page_header, every_place_of_a_page, name_of_the_own_table,
                    name_of_a_table):
            with self.subTest(rot.__name__):
                told = self.rot_and_come_up(rot.__name__, rot, how=signal.SIGKILL)
                self.assertEqual(len(told), 1, told)
                self.assertTrue(told[0])

    def test_random_bits(self):
        seed = random.randrange(1 << 32)
        random.seed(seed)
        for count in (1, 5, 25, 125, 625):
            with self.subTest(bits=count, seed=seed):
                size = self.store.stat().st_size
                self.rot_and_come_up(f"bits-{count}", lambda: self.flip(random.sample(range(size), count)))

    def test_a_command_that_meets_the_damage_says_so(self):
        jobs = self.run_jobs("read")
        self.cluster.kill("mira.worker", signal.SIGTERM)
        self.flip(self.places_of(b"read-5"))
        done = self.cluster.run("jobs", "--json", node="mira")
        self.assertEqual(done.returncode, DAMAGED, done.stdout + done.stderr)
        error = json.loads(done.stderr)
        self.assertEqual((error["code"], error["exit"], error["message"]), ("corrupt", DAMAGED, "the view is damaged"))
        self.assertIn("table jobs, key", error["why"])
        self.assertIn("rebuilt at the next start of reeve-worker", error["fix"])
        self.come_up(jobs)
        self.assertEqual(self.cluster.run("jobs", "--json", node="mira").returncode, 0)

    def test_commands_on_rotten_pages_end_with_a_word_and_no_signal(self):
        jobs = self.run_jobs("fault")
        self.cluster.kill("mira.worker", signal.SIGTERM)
        whole = self.store.read_bytes()
        for _ in range(30):
            pages = len(whole) // PAGE
            self.flip([page * PAGE + 10 + random.randrange(60) for page in range(2, pages)])
            done = self.cluster.run("jobs", "--json", node="mira")
            self.assertIn(done.returncode, (0, 1, 8, DAMAGED), done.stderr)
            told = done.stderr.splitlines()[-1:]  # behind what LMDB may say first
            self.assertTrue(done.returncode == 0 or json.loads(told[0])["message"], done.stderr)
            self.store.write_bytes(whole)
        self.come_up(jobs)

    def test_a_running_daemon_ends_and_its_next_start_builds_again(self):
        jobs = self.run_jobs("live")
        self.cluster.kill("mira.worker", signal.SIGTERM)
        before = len(self.told())
        self.come_up(jobs, words=("--check-view-every", "1"))
        self.flip(self.places_of(b"live-7"))
        daemon = self.cluster.daemons["mira.worker"]
        wait_for(lambda: daemon.poll() is not None, 20, "the daemon ends")
        self.assertEqual(daemon.returncode, 1)
        mark = self.cluster.state("mira") / "projection.rebuild"
        self.assertRegex(mark.read_text(), "^table [a-z]+, key [0-9a-f]+: the row does not match its checksum$")
        self.come_up(jobs)
        self.assertEqual(len(self.told()), before + 1)

    def test_a_decision_on_a_changed_row_is_not_made(self):
        """The loop itself meets the row: somebody cancels the job of which it is."""
        job = self.submit(command("/bin/sleep", "1000", name="waits-here", not_before="2999-01-01T00:00:00Z"),
                          node="nova")[0]
        self.wait_state(job, "waiting", "pending", node="mira")
        self.flip(self.places_of(b"waits-here"))
        daemon = self.cluster.daemons["mira.worker"]
        self.cluster.run("job", "cancel", job, "--yes", node="mira")
        wait_for(lambda: daemon.poll() is not None, 20, "the daemon ends")
        self.assertEqual(daemon.returncode, 1)
        self.come_up([])
        self.cluster.reeve("job", "cancel", job, "--yes", node="mira")
        self.wait_state(job, "cancelled", node="nova")
        self.cluster.wait_equal_cuts()


if __name__ == "__main__":
    unittest.main()
