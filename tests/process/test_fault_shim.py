"""The library that injects faults does what the fault tests believe it does, and reaches every call that matters."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from harness import BINARIES, wait_for

SHIM = BINARIES / "reeve_fault_shim.so"
PROGRAMS = ("reeve-worker", "reeve-coordinator", "reeve-exec")
FILE_CALL = re.compile(r"(open|openat|creat|read|pread|readv|preadv|write|pwrite|writev|pwritev|fsync|fdatasync|msync|"
                       r"sync_file_range|link|linkat|symlink|rename|renameat|renameat2|unlink|unlinkat|mkdir|mkdirat|"
                       r"rmdir|opendir|readdir|[lf]?stat|fstatat|statx|f?statvfs|f?truncate|posix_fallocate|fallocate|"
                       r"copy_file_range|sendfile|close|clock_gettime|gettimeofday|time)(64)?")
OUT_OF_REACH = {"msync"}  # of a mapped store, which the view is not


def symbols(path, kind):
    done = subprocess.run(["nm", "-D", kind, str(path)], capture_output=True, text=True, check=True)
    return {line.split()[-1].split("@")[0] for line in done.stdout.splitlines() if line}


def lmdb():
    """The library that the view is stored with."""
    done = subprocess.run(["ldd", str(BINARIES / "reeve-worker")], capture_output=True, text=True, check=True)
    return re.search(r"liblmdb\S* => (\S+)", done.stdout)[1]


class Shim(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="reeve-shim-")
        self.addCleanup(holder.cleanup)
        self.control = pathlib.Path(holder.name)
        self.data = self.control / "data"
        self.data.mkdir()
        (self.data / "file").write_text("whole")

    def rule(self, *words):
        (self.control / "rules.new").write_text(" ".join(words) + "\n")
        (self.control / "rules.new").rename(self.control / "rules")

    def start(self, program):
        environment = dict(os.environ, LD_PRELOAD=str(SHIM), REEVE_FAULTS=str(self.control),
                           ASAN_OPTIONS="verify_asan_link_order=0")
        code = f"import os, errno, time\nd = {str(self.data)!r}\n{program}"
        return subprocess.Popen([sys.executable, "-S", "-c", code], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def outcome(self, program):
        process = self.start(program)
        return process.communicate(timeout=20)[0].strip()

    def test_every_file_call_of_the_programs_is_reached(self):
        covered = symbols(SHIM, "--defined-only")
        for program in (*PROGRAMS, lmdb()):
            calls = {name for name in symbols(BINARIES / program, "--undefined-only") if FILE_CALL.fullmatch(name)}
            self.assertGreater(len(calls), 5)
            self.assertEqual(calls - covered - OUT_OF_REACH, set(), program)

    def test_without_a_rule_every_call_passes(self):
        self.assertEqual(self.outcome("print(open(d + '/file').read())"), "whole")

    def test_an_error_is_given_instead_of_the_call(self):
        self.rule("7 errno EIO link 0 0", str(self.data))
        program = """
for name in 'a', 'b':
    try:
        os.link(d + '/file', d + '/' + name)
    except OSError as e:
        print(errno.errorcode[e.errno], os.path.exists(d + '/' + name))"""
        self.assertEqual(self.outcome(program), "EIO False\nEIO False")
        self.assertTrue((self.control / "hit.7").exists())

    def test_a_lost_reply_is_an_error_after_the_call(self):
        self.rule("1 lie ENOENT rename 0 0", str(self.data))
        program = """
try:
    os.rename(d + '/file', d + '/other')
except OSError as e:
    print(errno.errorcode[e.errno], os.path.exists(d + '/other'))"""
        self.assertEqual(self.outcome(program), "ENOENT True")

    def test_a_rule_is_limited_to_its_prefix_its_class_and_its_times(self):
        program = """
for path in d, os.path.dirname(d), d, d:
    try:
        os.close(os.open(path + '/new', os.O_CREAT | os.O_RDWR))
        print('ok')
    except OSError as e:
        print(errno.errorcode[e.errno])"""
        self.rule("1 errno ENOSPC meta 0 2", str(self.data))
        self.assertEqual(self.outcome(program), "ENOSPC\nok\nENOSPC\nok")
        self.rule("2 errno ENOSPC meta 2 0", str(self.data))
        self.assertEqual(self.outcome(program), "ok\nok\nENOSPC\nok")
        self.rule("3 errno ENOSPC sync 0 0", str(self.data))
        self.assertEqual(self.outcome(program), "ok\nok\nok\nok")

    def test_calls_are_named_in_their_order(self):
        self.rule("3 trace - meta,write 0 0", str(self.data))
        program = """
os.mkdir(d + '/new')
print(open(d + '/file').read())
with open(d + '/new/one', 'w') as f:
    f.write('x')
os.unlink(d + '/new/one')"""
        self.assertEqual(self.outcome(program), "whole")
        lines = [line.replace(os.path.realpath(self.data), "D").replace(str(self.data), "D")
                 for line in (self.control / "trace.3").read_text().splitlines()]
        self.assertEqual(lines, ["meta D/new", "meta D/new/one", "write D/new/one", "meta D/new/one"])

    def test_a_call_that_hangs_is_made_when_the_rule_is_gone(self):
        self.rule("1 hang - read 0 0", str(self.data))
        process = self.start("print(open(d + '/file').read())")
        wait_for((self.control / "hit.1").exists, 20, "the call hangs")
        self.assertIsNone(process.poll())
        (self.control / "rules").unlink()
        self.assertEqual(process.communicate(timeout=20)[0].strip(), "whole")

    def test_the_wall_clock_is_bent_and_the_other_is_not(self):
        program = "a = time.monotonic(); t = time.time(); time.sleep(0.05); print(int(t), time.time() == t, " \
                  "0.04 < time.monotonic() - a < 10)"
        now = int(self.outcome(program).split()[0])
        self.rule("1 clock -3600000 * 0 0 /")
        words = self.outcome(program).split()
        self.assertAlmostEqual(int(words[0]), now - 3600, delta=60)
        self.assertEqual(words[1:], ["False", "True"])
        self.rule("2 clock freeze * 0 0 /")
        self.assertEqual(self.outcome(program).split()[1:], ["True", "True"])

    def test_a_rule_that_is_not_understood_ends_the_process(self):
        self.rule("1 errno EIO wirte 0 0 /")
        process = self.start("print('passed')")
        self.assertIn("bad rule", process.communicate(timeout=20)[0])
        self.assertNotEqual(process.returncode, 0)


if __name__ == "__main__":
    unittest.main()
