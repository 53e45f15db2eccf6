#!/usr/bin/env python3
"""Installs, upgrades and removes the Debian package in a fresh Debian 12, as root: in the foreground without
systemd, with systemd as PID 1, and as a cluster of two. A job runs while the package is upgraded, and while daemons
are restarted and killed; it has to survive. Needs the network (packages of Debian), some minutes, and 2 GB in the
directory.

usage: tools/package-test [--cache DIR] [--keep] [--without-systemd]
Exit status: 0 all of it held, 1 something did not, 2 this machine cannot run it.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time

from cluster import Failure, wait_for
from debian_root import Container, copied, debootstrapped, run
from package_cluster import two_nodes
from package_system import UNITS, Installed, check, show

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "release"
CONFINED = """grep -q 'NoNewPrivs:.1' /proc/self/status && grep -q 'Seccomp:.2' /proc/self/status || exit 10
grep -q reeve-exec.service /proc/self/cgroup || exit 11
! touch /usr/bin/x && ! touch /etc/reeve/x && ! unshare -U true || exit 12
[ "$(id -u):$(id -g):$(umask)" = 645:645:0007 ] || exit 13
touch "$(pwd)/here" /tmp/x /var/lib/reeve/share/results/x && rm /var/lib/reeve/share/results/x || exit 14
! cat /etc/reeve/operator.key && ! cat /var/lib/reeve/node.key || exit 15"""


# Mounts a FUSE file system at argv[1] and answers nothing, so that whoever looks into it hangs.
UNSERVED = """import ctypes, os, signal, sys
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"unserved", sys.argv[1].encode(), b"fuse", 0, options) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
signal.pause()
"""


# ---- the packages -------------------------------------------------------------------------------------


def built_packages(work):
    """Two packages of the same build: of its own version, and of a higher one."""
    run("cmake", "--preset", "release", cwd=ROOT)
    run("cmake", "--build", "--preset", "release", "--target", "programs", "package_files", cwd=ROOT, timeout=3600)
    version = re.search(r"VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text().split("project(", 1)[1])[1]
    packages = []
    for number in (version, version + ".1"):
        run("cpack", "-D", f"CPACK_PACKAGE_VERSION={number}", "-B", work / "packages", cwd=BUILD)
        packages += (work / "packages").glob(f"reeve_{number}_*.deb")
    check(len(packages) == 2, "two packages: " + ", ".join(package.name for package in packages))
    return packages


def lint(base, cache, package):
    root = cache / "lint"
    if not root.exists():
        unfinished = copied(base, cache / "lint.unfinished")
        container = Container(unfinished, "none")
        try:
            container.run("apt-get", "update", "-q", timeout=300)
            container.install("lintian")
        finally:
            container.close()
        unfinished.rename(root)
    shutil.copy(package, root / "tmp" / package.name)
    container = Container(root, "none")
    try:
        said = container.run("runuser", "-u", "nobody", "--", "lintian", "--fail-on", "none", f"/tmp/{package.name}")
    finally:
        container.close()
    (root / "tmp" / package.name).unlink()
    tags = [line for line in said.splitlines() if re.match(r"[EW]: ", line)]
    print("\n".join("      " + tag for tag in tags), end="\n" if tags else "")
    errors = sum(tag.startswith("E: ") for tag in tags)
    check(errors == 0, f"lintian: no error, {len(tags)} warnings")


# ---- without systemd ------------------------------------------------------------------------------------


def number_taken(installed, package):
    """The number of the user belongs to another: the package is not configured, and says what to do."""
    installed.run("useradd", "--uid", "645", "--user-group", "other")
    said = installed.run("apt-get", "install", "-y", "-q", "--no-install-recommends", f"/root/{package.name}",
                         status=100, timeout=900)
    check("belongs to other already" in said and "groupadd --system" in said, "number taken: refused, with a way out")
    installed.run("userdel", "other")
    installed.run("dpkg", "--configure", "reeve")


def foreground(installed):
    """No systemd runs: whoever keeps the worker is somebody else."""
    container, (first, second) = installed.container, installed.packages
    installed.run("apt-get", "update", "-q")
    container.install("procps")
    number_taken(installed, first)
    installed.check_files()
    installed.run("reeve", "init", "--single", "--node", "nova")
    modes = installed.run("stat", "-c", "%a %U:%G", "/var/lib/reeve/share/queue/incoming", "/etc/reeve/reeve.toml",
                          "/etc/reeve/operator.key").split("\n")
    check(modes[:2] == ["2770 reeve:reeve", "640 reeve:reeve"], "init by root: reeve owns it, the group may submit")
    check(modes[2].startswith("600 root:"), "but the operator's key, which is root's alone")
    worker = container.start("runuser", "-u", "reeve", "--", "reeve-worker")
    installed.wait_serving()
    hello = installed.submit("echo hello; id -un; ! cat /etc/reeve/operator.key")
    installed.wait_state(hello, "succeeded")
    check(installed.run("reeve", "job", "logs", hello).startswith("hello\nreeve\n"),
          "a job runs, as the user reeve, and does not read the operator's key")
    job, supervisor = installed.long_job(), installed.supervisor()
    installed.put(second)
    installed.run("pkill", "-x", "reeve-worker")
    check(worker.wait(timeout=30) == 0, "told to stop, the worker ends with 0")
    worker = container.start("runuser", "-u", "reeve", "--", "reeve-worker")
    installed.wait_serving()
    check(installed.supervisor() == supervisor, "upgraded, and the worker restarted: the same supervisor")
    installed.end_long_job(job, "upgrade in the foreground")
    installed.run("pkill", "-x", "reeve-worker")
    worker.wait(timeout=30)
    installed.run("pkill", "-x", "reeve-exec")
    installed.check_purged()


# ---- with systemd -------------------------------------------------------------------------------------


def under_systemd(installed):
    first, second = installed.packages
    installed.put(first)
    check(all(show(installed, unit, "ActiveState") == "inactive" for unit in UNITS), "nothing starts unconfigured")
    installed.run("reeve", "init", "--single", "--node", "nova")
    installed.run("systemctl", "enable", "--now", "reeve-worker", "reeve-coordinator")
    installed.wait_serving()
    check(all(show(installed, unit, "ActiveState") == "active" for unit in UNITS), "three units are active (notify)")
    job = installed.submit(CONFINED)
    found = installed.wait_state(job, "succeeded", "failed")
    if found["state"] != "succeeded":
        raise Failure(f"the job that tests its confinement: {json.dumps(found, indent=1)}")
    check(True, "a job runs in reeve-exec.service, confined, writes where it may, and reads no key")
    installed.check_exposure()
    installed.check_doctor(set())
    survive(installed, second)
    stop_and_kill(installed)


def survive(installed, second):
    job, supervisor = installed.long_job(), installed.supervisor()
    worker = show(installed, "reeve-worker", "MainPID")
    installed.run("systemctl", "restart", "reeve-worker", "reeve-coordinator")
    said = installed.put(second)
    check("their supervisor is left alone" in said, "upgraded while a job runs")
    check(show(installed, "reeve-worker", "MainPID") != worker, "the worker is the new one")
    installed.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "reeve-worker")
    wait_for(lambda: show(installed, "reeve-worker", "NRestarts") == "1", 30, "the killed worker is restarted")
    installed.wait_serving()
    check(installed.supervisor() == supervisor, "restarted, upgraded, killed: the same supervisor")
    installed.end_long_job(job, "upgrade under systemd")
    installed.run("dpkg", "-i", f"/root/{second.name}")
    check(installed.supervisor() not in ([], supervisor), "upgraded without a job: a new supervisor")
    installed.wait_serving()


def stop_and_kill(installed):
    job = installed.long_job()
    installed.run("systemctl", "stop", "reeve-exec")
    installed.wait_state(job, "failed")
    check(installed.supervisor() == [], "supervisor stopped: its job is stopped, and the worker starts none by itself")
    installed.run("systemctl", "start", "reeve-exec")
    job = installed.long_job()
    installed.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "reeve-exec")
    installed.wait_state(job, "lost", "failed")
    check(installed.run("pgrep", "-f", "reeve/go", status=None) == "", "supervisor killed: nothing of its job is left")
    wait_for(installed.supervisor, 30, "the killed supervisor is restarted")


def hung_share(installed):
    """The share hangs (a file system that nobody serves): all units are started again, and a job runs."""
    share = installed.container.root / "var/lib/reeve/share"
    server = installed.container.host_python(UNSERVED, share)
    try:
        wait_for(lambda: "unserved" in installed.run("cat", "/proc/mounts"), 20, "the share is replaced")
        installed.run("timeout", "--signal=KILL", "3", "stat", "/var/lib/reeve/share/x", status=-9)
        installed.run("systemctl", "restart", *UNITS, timeout=120)
        check(all(show(installed, unit, "ActiveState") == "active" for unit in UNITS), "started with a hung share")
        job = installed.submit("echo alone", status=3)  # taken, not yet shared
        wait_for(lambda: installed.run("reeve", "job", "logs", job, status=None) == "alone\n", 30, "a job runs alone")
        check(True, "with a hung share a job runs")
    finally:
        server.kill()
        server.wait()
    installed.run("umount", "--lazy", "/var/lib/reeve/share")
    installed.run("systemctl", "restart", *UNITS, timeout=120)
    wait_for(lambda: "share ok" in installed.run("reeve", "status", status=None), 60, "the share is back")
    installed.wait_state(job, "succeeded")
    check(True, "the share is back: the job is told to the others")


def go_down(installed):
    """With a job running; returns the job."""
    job = installed.long_job()
    begun = time.monotonic()
    installed.run("systemctl", "poweroff", "--no-block")
    installed.container.wait_end(90)
    check(True, f"down with a job running, in {time.monotonic() - begun:.0f} s")
    return job


def up_again(installed, job):
    installed.wait_serving()
    installed.run("systemctl", "is-active", "reeve-worker", "reeve-coordinator", "reeve-exec")
    found = installed.wait_state(job, "failed")
    check(found["reason"].startswith("stopped"), f"up again: the daemons run, the job was {found['reason']}")
    installed.run("reeve", "submit", "--wait", "--", "/bin/true")
    check(True, "jobs run again")


def with_systemd(root, packages):
    container = Container(root, "systemd")
    try:
        installed = Installed(container, packages)
        under_systemd(installed)
        hung_share(installed)
        job = go_down(installed)
    finally:
        container.close()
    container = Container(root, "systemd")
    try:
        installed = Installed(container, packages)
        up_again(installed, job)
        installed.check_purged()
        check(installed.supervisor() == [] and installed.run("pgrep", "-x", "reeve-worker", status=None) == "",
              "no process is left")
    finally:
        container.close()


def test(options, work):
    cache = pathlib.Path(options.cache).resolve() if options.cache else work
    cache.mkdir(parents=True, exist_ok=True)
    packages = built_packages(work)
    base = debootstrapped(cache / "base")
    lint(base, cache, packages[0])
    root = copied(base, work / "root")
    print("in the foreground, without systemd", flush=True)
    container = Container(root, "none")
    try:
        foreground(Installed(container, packages))
    finally:
        container.close()
    if options.without_systemd:
        print("with systemd as PID 1: left out, as asked")
        return
    print("with systemd as PID 1", flush=True)
    with_systemd(root, packages)
    print("a cluster of two", flush=True)
    two_nodes(root, work, packages)


def main():
    parser = argparse.ArgumentParser(description="installs, upgrades and removes the Debian package in a fresh Debian")
    parser.add_argument("--cache", help="keeps the fresh systems here for the next time (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keeps the directory of this run")
    parser.add_argument("--without-systemd", action="store_true", help="leaves out what needs systemd as PID 1")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("error: tools/package-test makes namespaces and a chroot\n  fix: run it as root", file=sys.stderr)
        return 2
    begun = time.monotonic()
    work = pathlib.Path(tempfile.mkdtemp(prefix="reeve-package-"))
    try:
        test(options, work)
    except Failure as failure:
        print(f"FAILED: {failure}\nfiles: {work}", file=sys.stderr)
        return 1
    if options.keep:
        print(f"files: {work}")
    else:
        shutil.rmtree(work)
    print(f"the package held, in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
