"""What packaging/ installs, checked without installing it: units, user, directories, layout; and the supervisor as
a service of its own, as the units run it."""

import gzip
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "process"))

from harness import BINARIES, ClusterCase, wait_for  # noqa: E402  (the path is set just above)
from test_single import SingleNode  # noqa: E402

BUILD = pathlib.Path(os.environ.get("REEVE_BUILD_DIR", ROOT / "build" / "release"))
UNITS = ROOT / "packaging" / "systemd"
# Ten times the exposure that systemd-analyze gives. The supervisor's is what every job runs under.
MOST_EXPOSED = {"reeve-coordinator.service": 15, "reeve-worker.service": 15, "reeve-exec.service": 20}
PROGRAMS = ("reeve", "reeve-coordinator", "reeve-exec", "reeve-log", "reeve-replay", "reeve-worker")


def need(program):
    if shutil.which(program) is None:
        raise unittest.SkipTest(f"{program} is missing; tools/setup installs it")


def call(*words):
    return subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=60, check=False)


def directives(unit):
    """{name: [values]} of a unit file."""
    found = {}
    for line in (UNITS / unit).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


class Layout(unittest.TestCase):
    """cmake --install into an empty directory."""

    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="reeve-layout-"))
        cls.addClassCleanup(shutil.rmtree, cls.root)
        done = subprocess.run(["cmake", "--install", BUILD, "--prefix", "/usr"], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, env=dict(os.environ, DESTDIR=str(cls.root)), umask=0o022,
                              timeout=100, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stdout)

    def test_what_is_installed(self):
        files = {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}
        docs = {f"usr/share/doc/reeve/{path.relative_to(ROOT)}" for path in (ROOT / "docs").rglob("*.md")}
        wanted = {f"usr/bin/{program}" for program in PROGRAMS}
        wanted |= {f"lib/systemd/system/{unit}" for unit in MOST_EXPOSED}
        wanted |= {f"usr/share/man/man{section}/{program}.{section}.gz" for program, section in
                   zip(PROGRAMS, (1, 8, 8, 1, 1, 8))}
        wanted |= {f"usr/share/doc/reeve/{name}" for name in ("README.md", "changelog.gz", "copyright")}
        wanted |= {"usr/lib/sysusers.d/reeve.conf", "usr/lib/tmpfiles.d/reeve.conf",
                   "etc/needrestart/conf.d/reeve.conf", "usr/share/lintian/overrides/reeve"}
        self.assertEqual(files, wanted | docs)

    def test_modes(self):
        for path in self.root.rglob("*"):
            mode = path.lstat().st_mode & 0o7777
            wanted = 0o755 if path.is_dir() or path.parent.name == "bin" else 0o644
            self.assertEqual(oct(mode), oct(wanted), path)

    def test_a_manual_page_says_what_the_help_says(self):
        for program in PROGRAMS:
            page = next(self.root.glob(f"usr/share/man/man*/{program}.[18].gz"))
            text = gzip.decompress(page.read_bytes()).decode()
            self.assertTrue(text.startswith(f".TH {program.upper()} "), text[:60])
            for option in re.findall(r"--[a-z-]+", call(BINARIES / program, "--help").stdout):
                self.assertIn(option.replace("-", "\\-"), text)
        pages = gzip.decompress((self.root / "usr/share/man/man1/reeve.1.gz").read_bytes()).decode()
        self.assertIn(".SH reeve job cancel", pages)

    def test_the_changelog_is_of_this_version(self):
        text = gzip.decompress((self.root / "usr/share/doc/reeve/changelog.gz").read_bytes()).decode()
        version = call(BINARIES / "reeve", "--version").stdout.strip()
        self.assertEqual("reeve " + re.match(r"reeve \(([^)]+)\)", text)[1], version)


class Units(unittest.TestCase):
    def test_exposure(self):
        need("systemd-analyze")
        for unit, most in MOST_EXPOSED.items():
            done = call("systemd-analyze", "security", "--offline=true", f"--threshold={most}", UNITS / unit)
            self.assertEqual(done.returncode, 0, done.stdout[-400:])
            self.assertIn("Overall exposure level", done.stdout)
            self.assertNotIn("ignoring", done.stdout)

    def test_the_gate_can_close(self):
        need("systemd-analyze")
        done = call("systemd-analyze", "security", "--offline=true", "--threshold=5", UNITS / "reeve-exec.service")
        self.assertNotEqual(done.returncode, 0)

    def test_every_line_is_understood(self):
        need("systemd-analyze")
        with tempfile.TemporaryDirectory() as directory:
            for unit in MOST_EXPOSED:
                text = (UNITS / unit).read_text().replace("/usr/bin/", f"{BINARIES}/")
                pathlib.Path(directory, unit).write_text(re.sub("^Documentation=.*$", "", text, flags=re.MULTILINE))
            done = call("systemd-analyze", "verify", *pathlib.Path(directory).iterdir())
            self.assertEqual([line for line in done.stdout.splitlines() if "reeve" in line], [])
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_jobs_do_not_die_with_the_worker(self):
        worker, supervisor = directives("reeve-worker.service"), directives("reeve-exec.service")
        self.assertIn("--supervisor service", worker["ExecStart"][0])
        for binding in ("PartOf", "BindsTo", "Requires", "Requisite", "StopPropagatedFrom", "PropagatesStopTo"):
            self.assertNotIn(binding, worker)
            self.assertNotIn(binding, supervisor)
        # The daemons and the jobs are one user: its shared memory must stay when a daemon stops.
        for unit in ("reeve-worker.service", "reeve-coordinator.service"):
            self.assertNotIn("RemoveIPC", directives(unit))

    def test_no_daemon_waits_for_the_share(self):
        for unit in MOST_EXPOSED:
            found = directives(unit)
            for name in ("RequiresMountsFor", "Requires", "BindsTo", "ReadWritePaths", "ReadOnlyPaths"):
                self.assertNotIn(name, found)
            # "strict" and read-only homes remount every mount below them, and hang with a hung share.
            self.assertEqual((found["ProtectSystem"], found["ProtectHome"]), (["full"], ["yes"]))

    def test_what_is_not_started_again(self):
        for unit in ("reeve-worker.service", "reeve-coordinator.service"):
            found = directives(unit)
            self.assertEqual((found["Restart"], found["RestartPreventExitStatus"]), (["on-failure"], ["2 11"]))
            self.assertEqual(found["Type"], ["notify"])


class UserAndDirectories(unittest.TestCase):
    def test_the_user_has_its_number(self):
        need("systemd-sysusers")
        if os.geteuid() != 0:
            self.skipTest("systemd-sysusers --root needs root")
        with tempfile.TemporaryDirectory() as directory:
            pathlib.Path(directory, "etc").mkdir()
            done = call("systemd-sysusers", f"--root={directory}", ROOT / "packaging" / "sysusers.d" / "reeve.conf")
            self.assertEqual(done.returncode, 0, done.stdout)
            entry = pathlib.Path(directory, "etc", "passwd").read_text()
            self.assertRegex(entry, r"(?m)^reeve:x:645:645:reeve:/var/lib/reeve:/usr/sbin/nologin$")
        self.assertIn("\nnumber=645\n", (ROOT / "packaging" / "debian" / "postinst").read_text())

    def test_directories_are_understood(self):
        need("systemd-tmpfiles")
        if os.geteuid() != 0:
            self.skipTest("systemd-tmpfiles --root needs root")
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            (root / "etc").mkdir()
            (root / "etc" / "passwd").write_text("reeve:x:645:645::/:/bin/sh\n")
            (root / "etc" / "group").write_text("reeve:x:645:\n")
            done = call("systemd-tmpfiles", f"--root={root}", "--create", ROOT / "packaging/tmpfiles.d/reeve.conf")
            self.assertEqual(done.returncode, 0, done.stdout)
            for name, mode in (("run/reeve", 0o750), ("var/lib/reeve", 0o2770), ("etc/reeve", 0o2755)):
                found = (root / name).stat()
                self.assertEqual((oct(found.st_mode & 0o7777), found.st_uid, found.st_gid), (oct(mode), 645, 645))

    def test_the_scripts_are_shell(self):
        for script in ("postinst", "prerm", "postrm"):
            done = call("sh", "-n", ROOT / "packaging" / "debian" / script)
            self.assertEqual((done.returncode, done.stdout), (0, ""))


class Kept(SingleNode):
    """A node whose supervisor somebody else keeps, as reeve-exec.service does."""

    def start(self, node, role="worker"):
        self._start(f"{node}.{role}", "--supervisor", "service")

    def start_supervisor(self):
        self._start("supervisor", "--become-supervisor")

    def _start(self, name, *words):
        with open(self._logs / f"{name}.log", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                [str(self.binaries / "reeve-worker"), "--config", str(self.config("nova")), *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)


class KeptSupervisor(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        return Kept.serving(directory)

    def test_a_supervisor_that_is_kept_by_another(self):
        cluster, log = self.cluster, self.cluster.directory / "logs" / "nova.worker.log"
        job, = self.submit({"argv": ["/bin/sh", "-c", "cat; echo done"], "stdin": "early\n"})
        wait_for(lambda: "systemctl start reeve-exec" in log.read_text(), 20, "the worker says what it waits for")
        self.assertIsNone(cluster.supervisor_pid("nova"), "the worker has started a supervisor of its own")
        self.assertEqual(self.show(job)["state"], "pending")
        cluster.start_supervisor()
        self.wait_state(job, "succeeded")
        self.assertEqual(self.logs(job), "early\ndone\n")
        self.assertEqual(cluster.supervisor_pid("nova"), cluster.daemons["supervisor"].pid)
        flag = cluster.directory / "go"
        job, = self.submit({"argv": ["/bin/sh", "-c", f"while [ ! -e {flag} ]; do sleep 0.05; done; echo survived"]})
        self.wait_state(job, "running")
        cluster.kill("nova.worker")
        cluster.start("nova")
        cluster.wait_serving("nova")
        flag.touch()
        self.assertEqual(len(self.wait_state(job, "succeeded")["attempts"]), 1)


if __name__ == "__main__":
    unittest.main()
