#!/usr/bin/env python3
"""Logs that earlier builds wrote (tests/golden/<level>) are read by today's: every event as it was exported when the
level was released, every byte verified, and folded to the recorded digest. README.md beside this says how to record.

golden_test.py --record LEVEL    writes what is not recorded yet of that level; it changes no file."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BINARIES = pathlib.Path(os.environ.get("REEVE_BIN_DIR", ROOT / "build" / "release" / "bin"))
RELEASED = sorted((path for path in HERE.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
MAX_BYTES = 300 * 1024


def run(program, *words, status=0):
    done = subprocess.run([str(BINARIES / program), *map(str, words)], capture_output=True, check=False, timeout=60,
                          env=dict(os.environ, REEVE_CONFIG="/nonexistent"))
    if done.returncode != status:
        raise AssertionError(f"{program} {words}: status {done.returncode}, not {status}\n"
                             f"{done.stdout.decode()}{done.stderr.decode()}")
    return done.stdout


def replayed(logs):
    return json.loads(run("reeve-replay", "run", "--logs", logs, "--jobs", "--json"))


def sums_of(directory):
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(directory)}\n"
                   for path in sorted(directory.rglob("*")) if path.is_file())


def record(golden):
    """Writes only what is missing: what was recorded stays."""
    def once(name, content):
        path = golden / name
        if path.exists():
            print(f"{path} stands already")
            return
        path.write_bytes(content)
        print(f"{path} is recorded")

    once("export.jsonl", run("reeve-log", "export", golden / "logs"))
    found = replayed(golden / "logs")
    once("cut", (found["cut_name"] + "\n").encode())
    once(f"fold-{found['fold_version']}.digest", (found["digest"] + "\n").encode())
    once("jobs.json", (json.dumps({job["job"]: job["state"] for job in found["jobs"]}, indent=1) + "\n").encode())
    once("sha256sums", sums_of(golden / "logs").encode())


class Golden(unittest.TestCase):
    def each(self):
        self.assertTrue(RELEASED)
        for golden in RELEASED:
            with self.subTest(level=golden.name):
                yield golden

    def test_the_files_are_those_that_were_released(self):
        for golden in self.each():
            self.assertEqual(sums_of(golden / "logs"), (golden / "sha256sums").read_text())
            size = sum(path.stat().st_size for path in golden.rglob("*") if path.is_file())
            self.assertLess(size, MAX_BYTES)

    def test_every_event_reads_as_it_did(self):
        for golden in self.each():
            self.assertEqual(run("reeve-log", "export", golden / "logs").decode().splitlines(),
                             (golden / "export.jsonl").read_text().splitlines())

    def test_every_type_of_the_level_stands_in_it(self):
        for golden in self.each():
            schema = (ROOT / "schema" / "released" / golden.name / "events.fbs").read_text()
            members = set(re.findall(r"(\w+) = \d+", re.search(r"union Payload \{([^}]*)\}", schema)[1]))
            types = {json.loads(line)["type"] for line in (golden / "export.jsonl").read_text().splitlines()}
            self.assertEqual(types, members)

    def test_every_byte_verifies(self):
        for golden in self.each():
            found = json.loads(run("reeve-log", "verify", golden / "logs", "--json"))
            self.assertTrue(found["ok"], found)
            self.assertEqual({log["writer"] for log in found["logs"]}, {"nova.worker", "nova.coord", "mira.worker"})
            for log in found["logs"]:
                self.assertEqual(log["incarnation"], 2)
                self.assertGreater(len(list((golden / "logs" / log["writer"]).glob("*.rlog"))), 2)

    def test_the_torn_tail_is_there_and_is_left_out(self):
        for golden in self.each():
            last = max((golden / "logs" / "nova.worker").glob("*.rlog"))
            found = json.loads(run("reeve-log", "verify", golden / "logs", "--writer", "nova.worker", "--json"))
            self.assertLess(found["logs"][0]["end"], last.stat().st_size)
            self.assertTrue(any(last.read_bytes()[found["logs"][0]["end"]:]))

    def test_a_changed_bit_is_found(self):
        for golden in self.each():
            with tempfile.TemporaryDirectory(prefix="reeve-golden-") as directory:
                copy = pathlib.Path(directory, "logs")
                shutil.copytree(golden / "logs", copy)
                path = min((copy / "mira.worker").glob("*.rlog"))
                content = bytearray(path.read_bytes())
                content[4096 + 200] ^= 1
                path.write_bytes(content)
                run("reeve-log", "verify", copy, status=10)

    def test_the_fold_gives_the_recorded_digest(self):
        for golden in self.each():
            found = replayed(golden / "logs")
            self.assertEqual(found["cut_name"], (golden / "cut").read_text().strip())
            self.assertEqual({job["job"]: job["state"] for job in found["jobs"]},
                             json.loads((golden / "jobs.json").read_text()), "what became of each job")
            digest = golden / f"fold-{found['fold_version']}.digest"
            if not digest.exists():
                self.fail(f"the fold has version {found['fold_version']} and {digest.name} is not recorded. When the "
                          f"new fold is meant: python3 {pathlib.Path(__file__).relative_to(ROOT)} --record "
                          f"{golden.name}, look at what it wrote, and commit it")
            self.assertEqual(found["digest"], digest.read_text().strip(),
                             "the meaning of the fold has changed: raise fold_version (CONTRIBUTING.md)")

    def test_a_reader_that_was_written_from_the_page_reads_it_too(self):
        for golden in self.each():
            done = subprocess.run([sys.executable, str(ROOT / "tests/process/log_reader.py"), str(golden / "logs")],
                                  capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            key = ("writer", "seq", "type")
            seen = sorted(tuple(json.loads(line)[one] for one in key) for line in done.stdout.splitlines())
            exported = sorted(tuple(json.loads(line)[one] for one in key)
                              for line in (golden / "export.jsonl").read_text().splitlines())
            self.assertEqual(seen, exported)

    def test_the_generator_overwrites_nothing_and_makes_the_same_again(self):
        """The first level only: a later build writes the log of its own level."""
        golden = RELEASED[0]
        with tempfile.TemporaryDirectory(prefix="reeve-golden-") as directory:
            run("make_golden", directory, status=2)
            again = pathlib.Path(directory, "again")
            run("make_golden", again)
            self.assertEqual(sums_of(again / "logs"), (golden / "sha256sums").read_text(),
                             "the writer no longer makes the same bytes of the same events")
            run("make_golden", again, status=2)


class Page(unittest.TestCase):
    def test_the_example_of_the_page_is_read_by_both_readers(self):
        page = (ROOT / "docs/formats/eventlog.md").read_text().split("\n## Example\n")[1]
        segment = bytearray()
        for at, digits in re.findall(r"^([0-9a-f]{4}): ((?:[0-9a-f]{4} ?){1,8})", page, re.MULTILINE):
            segment.extend(bytes(int(at, 16) - len(segment)))
            segment.extend(bytes.fromhex(digits))
        with tempfile.TemporaryDirectory(prefix="reeve-golden-") as directory:
            log = pathlib.Path(directory, "nova.worker")
            log.mkdir()
            (log / "0000000001-0000000001.rlog").write_bytes(segment)
            found = json.loads(run("reeve-log", "verify", log, "--json"))["logs"][0]
            self.assertEqual((found["writer"], found["events"], found["end"]), ("nova.worker", 2, 0x1178))
            done = subprocess.run([sys.executable, str(ROOT / "tests/process/log_reader.py"), directory],
                                  capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            listed = [f"{one['writer']} {one['seq']} {one['time_ms']}.{one['hlc'] & 0xFFFF} {one['type']} {one['job']} "
                      f"{one['attempt']}" for one in lines]
            self.assertEqual(listed, re.findall(r"^nova\.worker \d .*$", page, re.MULTILINE))


class Future(unittest.TestCase):
    """What a later build writes behind a golden log, read by today's: kept and counted, or told as unsupported."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="reeve-golden-")
        self.addCleanup(directory.cleanup)
        self.logs = pathlib.Path(directory.name, "logs")
        shutil.copytree(RELEASED[0] / "logs", self.logs)

    def go_on(self, what):
        run("make_future", self.logs / "mira.worker", what)

    def test_an_unknown_type_is_kept_counted_and_exported_whole(self):
        before = replayed(RELEASED[0] / "logs")
        self.go_on("event")
        lines = [json.loads(line) for line in run("reeve-log", "export", self.logs).decode().splitlines()]
        unknown = [line for line in lines if line["type"] == "Unknown(200)"]
        self.assertEqual(len(unknown), 1)
        self.assertIn(b"future", bytes.fromhex(unknown[0]["flatbuffer"]))
        stats = json.loads(run("reeve-log", "stats", self.logs, "--json"))
        self.assertEqual(stats["types"]["Unknown(200)"], 1)
        after = replayed(self.logs)
        self.assertEqual(after["events"], before["events"] + 2)
        self.assertEqual(after["jobs"], before["jobs"])

    def test_an_unknown_type_changes_no_known_view(self):
        self.go_on("event")
        unknown = [json.loads(line) for line in run("reeve-log", "export", self.logs).decode().splitlines()
                   if line.find('"Unknown(200)"') > 0][0]
        whole = replayed(self.logs)
        moment = unknown["hlc_ms"] - 1  # the event behind it is the last of all
        without = json.loads(run("reeve-replay", "until", stamp(moment), "--logs", self.logs, "--json"))
        self.assertEqual(without["events"], whole["events"] - 1)
        self.assertEqual(without["digest"], whole["digest"])

    def test_a_frame_of_another_version_is_unsupported_not_corrupt(self):
        self.check_unsupported("frame", "a version that this build does not know")

    def test_a_segment_of_another_format_is_unsupported_not_corrupt(self):
        self.check_unsupported("format", "a format or hash algorithm that this build does not know")

    def test_a_log_of_another_format_alone_does_not_hide_the_others(self):
        old = list((self.logs / "mira.worker").glob("*.rlog"))
        self.go_on("format")
        for path in old:
            path.unlink()
        self.check_is_newer("a format or hash algorithm that this build does not know")

    def check_unsupported(self, what, reason):
        self.go_on(what)
        self.check_is_newer(reason)

    def check_is_newer(self, reason):
        found = json.loads(run("reeve-log", "verify", self.logs, "--json", status=10))
        logs = {log["writer"]: log for log in found["logs"]}
        self.assertFalse(logs["mira.worker"]["ok"])
        self.assertIn(reason, logs["mira.worker"]["unsupported"])
        self.assertRegex(logs["mira.worker"]["unsupported"], r"\.rlog at offset \d+")
        self.assertNotIn("damage", logs["mira.worker"])
        self.assertTrue(logs["nova.worker"]["ok"] and logs["nova.coord"]["ok"], "the others are read")
        shown = run("reeve-log", "verify", self.logs, status=10).decode()
        self.assertIn("NEWER", shown)
        self.assertNotIn("DAMAGED", shown)


def stamp(ms):
    done = subprocess.run(["date", "-u", "-d", f"@{ms / 1000:.3f}", "+%Y-%m-%dT%H:%M:%S.%3NZ"],
                          capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--record"]:
        record(HERE / sys.argv[2])
    else:
        unittest.main()
