"""A Debian system in a directory, entered in namespaces of its own: for tools/package-test. Needs root. All that
it mounts and starts goes with its first process."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

from cluster import Failure, wait_for

NAMESPACES = ("--mount", "--pid", "--cgroup", "--uts", "--ipc")
CGROUPS = pathlib.Path("/sys/fs/cgroup")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def run(*words, status=0, timeout=300, **more):
    """A command that has to end with this status; returns what it wrote, standard error included."""
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout, check=False, **more)
    if status is not None and done.returncode != status:
        raise Failure(f"{' '.join(map(str, words))}: status {done.returncode}, not {status}\n{done.stdout}")
    return done.stdout


def debootstrapped(directory):
    """A minimal bookworm, made once."""
    if not directory.exists():
        unfinished = directory.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        run("debootstrap", "--variant=minbase", "bookworm", unfinished, "http://deb.debian.org/debian", timeout=1800)
        unfinished.rename(directory)
    return directory


def copied(source, directory):
    """A copy of a root that may be changed."""
    shutil.rmtree(directory, ignore_errors=True)
    run("cp", "-a", "--reflink=auto", source, directory)
    shutil.copy("/etc/resolv.conf", directory / "etc" / "resolv.conf")
    return directory


class Container:
    """One life of such a system: `init` is its first process, "systemd" or "none" (which only reaps). `binds`:
    directories of this machine, by where they are seen in it."""

    def __init__(self, root, init, binds=None):
        self.root = pathlib.Path(root)
        self.group = f"reeve-package-test-{os.getpid()}-{self.root.name}"
        self._make_groups()
        self.log = open(self.root.with_suffix(f".{init}.log"), "ab")
        self.process = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--kill-child", sys.executable, __file__, str(self.root), init,
             *(f"{target}={source}" for target, source in (binds or {}).items())],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=self._enter_groups)
        try:
            self.first = wait_for(self._first_process, 20, "the container has a first process")
            if init == "systemd":
                wait_for(self._booted, 60, "systemd as PID 1 is up (or leave it out: --without-systemd)")
        except Failure:
            self.close()
            raise

    def _first_process(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        if self.process.poll() is not None:
            raise Failure(f"the container ended; see {self.log.name}")
        pid = children.read_text().split()[:1]
        ready = pid and (self.root / "ready").exists()
        return int(pid[0]) if ready else None

    def _booted(self):
        return self.run("systemctl", "is-system-running", status=None).strip() in ("running", "degraded")

    def _hierarchies(self):
        if (CGROUPS / "cgroup.procs").exists():
            return [CGROUPS]
        return [each for each in CGROUPS.iterdir() if (each / "cgroup.procs").exists() and each.name != "cpuset"]

    def _make_groups(self):
        (self.root / "ready").unlink(missing_ok=True)
        for hierarchy in self._hierarchies():
            (hierarchy / self.group).mkdir(exist_ok=True)

    def _enter_groups(self):
        for hierarchy in self._hierarchies():
            (hierarchy / self.group / "cgroup.procs").write_text(str(os.getpid()))

    def command(self, *words):
        return ["nsenter", "--target", str(self.first), *NAMESPACES, "--root", "--wd", *map(str, words)]

    def run(self, *words, status=0, timeout=300):
        return run(*self.command(*words), status=status, timeout=timeout, env=ENVIRONMENT)

    def start(self, *words):
        """A daemon in the foreground; ends with the container at the latest."""
        return subprocess.Popen(self.command(*words), env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=self.log,
                                stderr=self.log)

    def host_python(self, script, *words):
        """A program of this machine that sees the container's mounts, below its root's path here."""
        return subprocess.Popen(["nsenter", "--target", str(self.first), "--mount", sys.executable, "-c", script,
                                 *map(str, words)], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def install(self, *packages):
        return self.run("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages, timeout=900)

    def wait_end(self, seconds):
        """Until the system has gone down by itself."""
        wait_for(lambda: self.process.poll() is not None, seconds, "the system is down")

    def close(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()
        for hierarchy in self._hierarchies():
            wait_for(lambda at=hierarchy / self.group: remove_groups(at), 10, "the container's processes are gone")


def remove_groups(top):
    """Removes a tree of empty control groups; False while one is not empty."""
    for directory, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(directory)
        except OSError:
            return False
    return True


# ---- inside the namespaces ----------------------------------------------------------------------------


def mount(kind, target, *options):
    pathlib.Path(target).mkdir(exist_ok=True)
    run("mount", "-t", kind, *options, kind, target)


def make_devices(dev):
    mount("tmpfs", dev, "-o", "mode=755")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (dev / name).touch()
        run("mount", "--bind", f"/dev/{name}", dev / name)
    mount("devpts", dev / "pts", "-o", "newinstance,ptmxmode=0666")
    mount("tmpfs", dev / "shm", "-o", "mode=1777")
    (dev / "ptmx").symlink_to("pts/ptmx")


def make_mounts(root, init, binds):
    unified = (CGROUPS / "cgroup.procs").exists()
    run("mount", "--make-rprivate", "/")
    run("mount", "--bind", root, root)
    mount("proc", root / "proc")
    mount("tmpfs", root / "run", "-o", "mode=755")
    make_devices(root / "dev")
    for target, source in binds:
        (root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", source, root / target.lstrip("/"))
    if init != "systemd":
        return
    mount("sysfs", root / "sys", "-o", "ro")
    if unified:
        mount("cgroup2", root / "sys/fs/cgroup")
    else:
        mount("tmpfs", root / "sys/fs/cgroup", "-o", "mode=755")
        mount("cgroup", root / "sys/fs/cgroup/systemd", "-o", "none,name=systemd")


def main():
    root, init = pathlib.Path(sys.argv[1]), sys.argv[2]
    make_mounts(root, init, [bind.split("=", 1) for bind in sys.argv[3:]])
    (root / "ready").touch()
    os.chroot(root)
    os.chdir("/")
    if init == "systemd":
        os.execve("/lib/systemd/systemd", ["/lib/systemd/systemd"], dict(ENVIRONMENT, container="reeve-package-test"))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reaped by the kernel
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
