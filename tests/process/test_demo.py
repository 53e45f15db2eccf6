"""The demo itself, and its logs read by log_reader.py, which was written from docs/formats/eventlog.md alone and
shares no code with the project: it must list the same events as `reeve log export` does."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from harness import BINARIES, ROOT

READER = pathlib.Path(__file__).with_name("log_reader.py")


class Demo(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="reeve-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.done = subprocess.run([sys.executable, str(ROOT / "tools" / "lib" / "demo.py"), str(BINARIES),
                                   "--directory", str(cls.directory / "demo")],
                                  capture_output=True, text=True, timeout=170, check=False)

    def test_it_succeeds_and_leaves_nothing_running(self):
        self.assertEqual(self.done.returncode, 0, self.done.stdout + self.done.stderr)
        self.assertIn("all of it was so", self.done.stdout)
        left = subprocess.run(["pgrep", "-f", str(self.directory)], capture_output=True, text=True, check=False)
        self.assertEqual(left.stdout, "")

    def test_an_independent_reader_lists_the_same_events(self):
        share = self.directory / "demo" / "cluster" / "nas" / "log"
        mine = subprocess.run([sys.executable, str(READER), str(share)], capture_output=True, text=True, check=False)
        self.assertEqual(mine.returncode, 0, mine.stderr)
        theirs = subprocess.run([str(BINARIES / "reeve-log"), "export", str(share)], capture_output=True, text=True,
                                check=True)
        self.assertEqual(self.by_writer(mine.stdout), self.by_writer(theirs.stdout))

    def test_the_reader_is_short(self):
        self.assertLessEqual(len(READER.read_text().splitlines()), 42)

    def test_the_reader_tells_damage(self):
        copy = self.directory / "copy"
        shutil.copytree(self.directory / "demo" / "cluster" / "nas" / "log", copy)
        segment = max(copy.glob("*/*.rlog"), key=lambda path: path.stat().st_size)
        content = bytearray(segment.read_bytes())
        content[4096 + 300] ^= 1
        segment.write_bytes(content)
        done = subprocess.run([sys.executable, str(READER), str(copy)], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(segment.name, done.stderr)

    @staticmethod
    def by_writer(lines):
        found = {}
        for line in lines.splitlines():
            event = json.loads(line)
            job, attempt = event.get("job"), event.get("attempt")
            if isinstance(attempt, str):  # the export writes an attempt as <job>.a<k>
                job, attempt = attempt.split(".a")
            found.setdefault(event["writer"], []).append(
                (event["seq"], event["hlc"], event["type"], job, attempt and int(attempt)))
        return {writer: sorted(events) for writer, events in found.items()}


if __name__ == "__main__":
    unittest.main()
