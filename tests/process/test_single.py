"""One machine without a NAS: the verbs, their exit statuses and documents, and the life of single jobs."""

import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import unittest

from harness import BINARIES, ClusterCase, Cluster, command, lines_of, wait_for

SHELL = ("/bin/sh", "-c")


class SingleNode(Cluster):
    """A cluster of one, made by `init --single`."""

    def _init_nodes(self, slots, heartbeat_ms, coordinator_ms, incoming):
        subprocess.run([str(self.binaries / "reeve"), "init", "--single", "--node", "nova", "--dir",
                        str(self.directory / "nova"), "--slots", str(slots), "--incoming", incoming],
                       check=True, stdout=subprocess.DEVNULL)
        self.share = self.directory / "nova" / "share"

    @classmethod
    def serving(cls, directory):
        cluster = cls(BINARIES, directory, nodes=("nova",), slots=2)
        cluster.start("nova")
        cluster.wait_serving("nova")
        return cluster


class Single(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        return SingleNode.serving(directory)

    def status_of(self, *words, stdin=None):
        return self.cluster.run(*words, stdin=stdin).returncode

    # -- init and configuration ---------------------------------------------------------------------

    def test_init_never_overwrites(self):
        directory = self.cluster.directory / "nova"
        before = (directory / "reeve.toml").read_bytes()
        self.assertEqual(self.status_of("init", "--single", "--dir", directory), 6)
        self.assertEqual((directory / "reeve.toml").read_bytes(), before)

    def test_a_bad_configuration_is_named_by_line_and_column(self):
        good = (self.cluster.directory / "nova" / "reeve.toml").read_text()
        bad = self.cluster.directory / "nova" / "bad.toml"
        for line, key in (('slots  = "two"', "worker.slots"), ("slots  = -1", "worker.slots"), ("slotz  = 2", "slotz")):
            bad.write_text(good.replace("slots  = 2", line))
            done = self.cluster.run("config", "check", "--config", bad)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertRegex(done.stderr, rf"bad\.toml:\d+:\d+: .*{key}")
            daemon = subprocess.run([str(BINARIES / "reeve-worker"), "--config", str(bad)], capture_output=True,
                                    text=True, timeout=10, check=False)
            self.assertEqual(daemon.returncode, 2)
            self.assertIn("fix:", daemon.stderr)

    def test_a_second_daemon_of_the_writer_is_refused(self):
        second = subprocess.run([str(BINARIES / "reeve-worker"), "--config", str(self.cluster.config("nova"))],
                                capture_output=True, text=True, timeout=10, check=False)
        self.assertEqual(second.returncode, 6, second.stderr)
        self.assertEqual(self.status_of("status"), 0)

    def test_doctor_finds_nothing_wrong_but_the_missing_coordinator(self):
        done = self.cluster.run("doctor", "--json")
        self.assertEqual(done.returncode, 3, done.stdout)
        checks = {check["id"]: check["status"] for check in json.loads(done.stdout)["checks"]}
        self.assertEqual(checks.pop("daemon.nova.coord"), "warn")
        self.assertNotIn("fail", checks.values(), checks)
        for key in ("config", "state.writable", "daemon.nova.worker", "exec.supervisor", "share.identity",
                    "share.writable", "share.link", "clock.skew", "log.nova.worker"):  # the rest: test_doctor.py
            self.assertEqual(checks[key], "ok", checks)

    # -- documents and statuses ---------------------------------------------------------------------

    def test_every_document_names_its_schema(self):
        job = self.submit(command("/bin/true"))[0]
        self.wait_state(job, "succeeded")
        for words in (("status",), ("jobs",), ("job", "show", job), ("job", "why", job), ("explain", job), ("nodes",),
                      ("node", "show", "nova"), ("config", "check"), ("config", "show"), ("log", "verify"),
                      ("log", "stats"), ("retention",), ("replay", "run"), ("replay", "verify"),
                      ("replay", "until", "now"), ("replay", "diff", "-1m", "now")):
            document = json.loads(self.cluster.reeve(*words, "--json"))
            self.assertRegex(document["schema"], r"^reeve\.[a-z_]+/v1$", words)

    def test_streams_are_one_object_a_line(self):
        job = self.submit(command("/bin/true"))[0]
        self.wait_state(job, "succeeded")
        for words in (("log", "show", "--json"), ("log", "export"), ("log", "tail", "--json")):
            events = [json.loads(line) for line in self.cluster.reeve(*words).splitlines()]
            self.assertGreater(len(events), 2)
            self.assertTrue(all("type" in event and "writer" in event for event in events), words)
        only = self.cluster.reeve("log", "show", "--json", "--job", job).splitlines()
        types = [json.loads(line)["type"] for line in only]
        self.assertEqual(types[0], "JobSubmitted")
        self.assertIn("JobFinished", types)

    def test_failures_have_their_status_and_say_what_why_and_how(self):
        cases = (
            (("job", "show", "01JABCDEFGHJKMNPQRSTVWXYZ0"), 5, "not_found"),
            (("job", "cancel", "01JABCDEFGHJKMNPQRSTVWXYZ0"), 5, "not_found"),
            (("node", "drain", "nobody"), 5, "not_found"),
            (("submit",), 2, "usage"),
            (("submit", "--no-such-option", "--", "/bin/true"), 2, "usage"),
            (("submit", "--priority", "urgent", "--", "/bin/true"), 2, "rejected"),
            (("replay", "until", "yesterday"), 2, "invalid"),
            (("log", "verify", "/nonexistent"), 5, "not_found"),
        )
        for words, status, code in cases:
            # Before the verb: what follows `--` belongs to the job.
            done = self.cluster.run(*words[:1], "--json", *words[1:])
            self.assertEqual(done.returncode, status, (words, done.stdout, done.stderr))
            failure = json.loads(done.stderr)
            self.assertEqual((failure["type"], failure["code"], failure["exit"]), ("error", code, status), words)
            self.assertTrue(failure["message"] and "fix" in failure, words)
            plain = self.cluster.run(*words)
            self.assertEqual(plain.returncode, status, words)
            self.assertTrue(plain.stderr.startswith("error: "), (words, plain.stderr))
            self.assertEqual(plain.stdout, "", words)

    def test_every_verb_has_an_example_in_its_help(self):
        for words in (("submit",), ("jobs",), ("job", "show"), ("job", "logs"), ("job", "why"), ("job", "cancel"),
                      ("job", "retry"), ("explain",), ("nodes",), ("node", "show"), ("node", "drain"),
                      ("node", "undrain"), ("status",), ("init",), ("doctor",), ("retention",), ("config", "check"),
                      ("config", "show"), ("log", "show"), ("log", "tail"), ("log", "export"), ("log", "verify"),
                      ("log", "stats"), ("replay", "run"), ("replay", "verify"), ("replay", "until"),
                      ("replay", "diff")):
            self.assertIn("Example:", self.cluster.reeve(*words, "--help"), words)

    # -- single jobs --------------------------------------------------------------------------------

    def test_an_option_that_may_be_given_again_leaves_the_command_alone(self):
        said = self.cluster.reeve("submit", "--json", "--env", "A=1", "--env", "B=2", "--", "/bin/sh", "-c",
                                  'echo "$A $B"')
        job = json.loads(said)["jobs"][0]["job"]
        self.wait_state(job, "succeeded")
        self.assertEqual(self.logs(job), "1 2\n")

    def test_wait_tells_success_and_failure(self):
        self.assertEqual(self.status_of("submit", "--wait", "--", "/bin/true"), 0)
        self.assertEqual(self.status_of("submit", "--wait", "--", "/bin/false"), 1)
        self.assertEqual(self.status_of("submit", "--wait", "--wait-limit", "1", "--", "/bin/sleep", "4"), 9)

    def test_a_command_gets_what_its_document_says(self):
        job = self.submit(command(*SHELL, "cat; pwd; echo $COLOUR $REEVE_NODE $REEVE_ATTEMPT; echo oops >&2",
                                  stdin="typed\n", cwd="/usr", env={"COLOUR": "red"}))[0]
        self.wait_state(job, "succeeded")
        self.assertEqual(self.logs(job), f"typed\n/usr\nred nova {job}.a1\n")
        self.assertEqual(self.logs(job, "--stderr"), "oops\n")

    def test_large_output_lies_in_results_and_is_read_back_whole(self):
        job = self.submit(command(*SHELL, "seq 1 200000"))[0]
        document = self.wait_state(job, "succeeded")
        shared = list(self.cluster.share.glob(f"results/*/{job}/a1/stdout"))
        self.assertEqual(len(shared), 1)
        wanted = "".join(f"{n}\n" for n in range(1, 200001))
        self.assertEqual(shared[0].read_text(), wanted)
        self.assertEqual(self.logs(job), wanted)
        stream = document["attempts"][0]["finished"]
        self.assertIn(hashlib.sha256(wanted.encode()).hexdigest(),
                      self.cluster.reeve("log", "show", "--json", "--job", job), stream)

    def test_output_beyond_the_cap_is_cut_and_counted(self):
        job = self.submit(command(*SHELL, "head -c 20000000 /dev/zero"))[0]
        self.wait_state(job, "succeeded", seconds=60)
        shared = next(self.cluster.share.glob(f"results/*/{job}/a1/stdout"))
        self.assertEqual(shared.stat().st_size, 16 * 1024 * 1024)
        events = [json.loads(line) for line in
                  self.cluster.reeve("log", "show", "--json", "--job", job, "--type", "JobFinished").splitlines()]
        self.assertIn("20000000", json.dumps(events))

    def test_declared_outputs_are_copied(self):
        work = self.directory / "work"
        work.mkdir(exist_ok=True)
        job = self.submit(command(*SHELL, "echo report > report.txt", cwd=str(work),
                                  outputs=["report.txt", "absent.txt"]))[0]
        self.wait_state(job, "succeeded")
        result = next(self.cluster.share.glob(f"results/*/{job}/a1"))
        self.assertEqual((result / "outputs" / "report.txt").read_text(), "report\n")
        self.assertEqual(json.loads((result / "result.json").read_text())["missing_outputs"], ["absent.txt"])

    def test_a_repeated_request_submits_once(self):
        document = command("/bin/echo", "once")
        first = self.submit(document, request_id="twice")
        self.assertEqual(self.submit(document, request_id="twice"), first)

    def test_dedupe_means_one_job_ever(self):
        document = command("/bin/echo", "a", dedupe="key-1")
        first = self.submit(document)
        self.assertEqual(self.submit(document), first)
        other = lines_of([command("/bin/echo", "b", dedupe="key-1")])
        self.assertEqual(self.status_of("submit", "-f", "-", stdin=other), 6)

    def test_a_submission_is_taken_whole_or_not_at_all(self):
        before = len(self.cluster.json("jobs", "--limit", 100000)["jobs"])
        bad = lines_of([command("/bin/true"), command("/bin/true", priority="urgent")])
        done = self.cluster.run("submit", "-f", "-", stdin=bad)
        self.assertEqual(done.returncode, 2)
        self.assertIn("job 2 of the submission", done.stderr)
        self.assertIn("/priority", done.stderr)
        self.assertEqual(len(self.cluster.json("jobs", "--limit", 100000)["jobs"]), before)

    def test_a_long_file_is_taken_in_parts_and_goes_on_where_it_was_refused(self):
        count = lambda: len(self.cluster.json("jobs", "--limit", 100000)["jobs"])
        before = count()
        good = [command("/bin/true", stdin=f"{n}" + "x" * 30_000) for n in range(30)]
        done = self.cluster.run("submit", "-f", "-", stdin=lines_of([*good[:29], command("/bin/true", priority="no")]))
        self.assertEqual(done.returncode, 2)
        self.assertIn("in part 3 of 3", done.stderr)
        self.assertEqual(count() - before, 26, "two parts of 13")
        again = re.search("--request-id ([0-9a-f]+)", done.stderr)[1]
        jobs = self.submit(*good, request_id=again)
        self.assertEqual(len(set(jobs)), 30)
        self.assertEqual(count() - before, 30, "none was taken twice")

    def test_retries_are_counted_and_used_up(self):
        job = self.submit(command(*SHELL, "exit 7", retry={"max": 2, "backoff_s": 0}))[0]
        document = self.wait_state(job, "failed")
        self.assertEqual([attempt["attempt"] for attempt in document["attempts"] if "finished" in attempt], [1, 2, 3])
        self.assertIn("retries used up", json.dumps(document))

    def test_a_time_limit_ends_the_whole_group(self):
        marker = self.directory / "child"
        job = self.submit(command(*SHELL, f"sleep 300 & echo $! > {marker}; wait", timeout_s=1, grace_s=1))[0]
        document = self.wait_state(job, "failed")
        self.assertIn("timed out", json.dumps(document))
        child = int(marker.read_text())
        wait_for(lambda: not pathlib.Path(f"/proc/{child}").exists(), 10, "the child of the command is gone")

    def test_cancel_stops_what_runs(self):
        job = self.submit(command(*SHELL, "trap '' TERM; echo up; while :; do sleep 0.1; done", grace_s=1))[0]
        self.wait_state(job, "running")
        self.cluster.reeve("job", "cancel", job)
        self.wait_state(job, "cancelled")
        self.assertEqual(self.status_of("job", "cancel", job), 6)

    def test_cancel_keeps_from_starting_what_waits(self):
        job = self.submit(command("/bin/true", not_before="2200-01-01T00:00:00Z"))[0]
        self.assertEqual(self.show(job)["state"], "pending")
        self.cluster.reeve("job", "cancel", job)
        document = self.wait_state(job, "cancelled")
        self.assertFalse(any("finished" in attempt for attempt in document["attempts"]))

    def test_a_deadline_in_the_past_cancels(self):
        job = self.submit(command("/bin/true", not_before="2200-01-01T00:00:00Z", deadline="2200-01-02T00:00:00Z"))[0]
        late = self.submit(command("/bin/true", deadline="2020-01-02T00:00:00Z", after=[{"job": job, "on": "any"}]))[0]
        document = self.wait_state(late, "cancelled")
        self.assertIn("deadline", json.dumps(document))
        self.cluster.reeve("job", "cancel", job)

    def test_priority_goes_before_age(self):
        order = self.directory / "order"
        blockers = self.submit(*[command("/bin/sleep", "2") for _ in range(2)])
        for job in blockers:
            self.wait_state(job, "running")
        documents = [command(*SHELL, f"echo {name} >> {order}; sleep 0.3", priority=name, name=name)
                     for name in ("low", "low", "normal", "normal", "critical", "critical")]
        jobs = self.submit(*documents)
        self.wait_over(jobs)
        self.assertEqual(order.read_text().split(), ["critical"] * 2 + ["normal"] * 2 + ["low"] * 2)

    def test_retry_submits_a_new_job_with_changes(self):
        job = self.submit(command(*SHELL, "exit 1", dedupe="retry-me"))[0]
        self.wait_state(job, "failed")
        again = self.cluster.reeve("job", "retry", job, "--set", 'argv=["/bin/echo","better"]').strip()
        self.wait_state(again, "succeeded")
        self.assertEqual(self.logs(again), "better\n")
        self.assertIn(job, json.dumps(self.show(again)))

    def test_drained_nodes_take_nothing(self):
        self.cluster.reeve("node", "drain", "nova")
        try:
            job = self.submit(command("/bin/true"))[0]
            wait_for(lambda: "drain" in self.cluster.reeve("job", "why", job), 20, "why says that the node is drained")
            self.assertEqual(self.show(job)["state"], "pending")
        finally:
            self.cluster.reeve("node", "undrain", "nova")
        self.wait_state(job, "succeeded")


class Restart(ClusterCase):
    """What a dead daemon leaves behind: a job that runs on, a view that can be read, an inbox that fills."""

    @classmethod
    def make_cluster(cls, directory):
        return SingleNode.serving(directory)

    def names_of(self, state):
        return [job["name"] for job in self.cluster.json("jobs")["jobs"] if job["state"] == state]

    def test_a_job_outlives_its_worker(self):
        marks = self.directory / "marks"
        job = self.submit(command(*SHELL, f"echo run >> {marks}; sleep 2; echo whole"))[0]
        self.wait_state(job, "running")
        self.cluster.kill("nova.worker", signal.SIGKILL)
        self.assertEqual(self.show(job)["state"], "running")  # reading needs no daemon
        self.assertEqual(self.cluster.run("job", "cancel", job).returncode, 8)
        left = self.cluster.run("submit", "--name", "left", "--", "/bin/echo", "through the inbox")
        self.assertEqual(left.returncode, 3, left.stderr)
        self.cluster.start("nova")
        self.wait_state(job, "succeeded")
        self.assertEqual(self.logs(job), "whole\n")
        self.assertEqual(marks.read_text(), "run\n")
        wait_for(lambda: "left" in self.names_of("succeeded"), 20, "the file left in incoming/ is taken and runs")

    def test_a_lost_job_without_retry_waits_for_a_person(self):
        job = self.submit(command("/bin/sleep", "60"))[0]
        self.wait_state(job, "running")
        self.cluster.signal(self.cluster.supervisor_pid("nova"), signal.SIGKILL)
        self.wait_state(job, "lost")
        self.cluster.reeve("job", "cancel", job, "--give-up")
        self.wait_state(job, "cancelled")

    def test_the_view_is_rebuilt_when_it_is_gone(self):
        job = self.submit(command("/bin/true"))[0]
        self.wait_state(job, "succeeded")
        self.cluster.kill("nova.worker", signal.SIGTERM)
        projection = self.cluster.state("nova") / "projection"
        for file in projection.iterdir():
            file.unlink()
        self.cluster.start("nova")
        self.cluster.wait_serving("nova")
        self.wait_state(job, "succeeded")
        self.cluster.replay("verify", "--against", self.cluster.state("nova"))

    def test_a_damaged_log_is_reported_with_file_and_offset(self):
        self.wait_state(self.submit(command("/bin/true"))[0], "succeeded")
        copy = self.directory / "copy"
        subprocess.run(["cp", "-r", str(self.cluster.state("nova") / "log"), str(copy)], check=True)
        segment = sorted(copy.glob("*/*.rlog"))[0]
        damaged = bytearray(segment.read_bytes())
        damaged[4096 + 200] ^= 1
        segment.write_bytes(damaged)
        done = self.cluster.run("log", "verify", copy)
        self.assertEqual(done.returncode, 10)
        self.assertRegex(done.stdout + done.stderr, rf"{segment.name}.*(offset|at) \d+")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    unittest.main()
