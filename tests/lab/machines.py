"""The machines of the lab: real Linux kernels as processes of this machine (User Mode Linux), on a switch of our own.
They need no privileges and no virtualisation. Each has the root of this machine, read only, under a layer of memory; a
disk of its own that outlives it; and a serial line over which it is asked, so that it answers without a network too."""

import ctypes
import hashlib
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools" / "lib"))

from cluster import Failure, wait_for  # noqa: E402  (the path is set just above)
from wires import Wires, address_of  # noqa: E402

__all__ = ["Done", "Failure", "Lab", "Machine", "ROOT", "cannot_run", "median", "percentile", "wait_for"]

KERNEL = "linux.uml"
MODULES = pathlib.Path("/usr/lib/uml/modules")
TOOLS = ROOT / "build" / "lab" / "tools"
NAS = "nas"
EXPORT = "/srv/export"
GRACE_S = 10  # how long a restarted server waits for those who held something; also the lease
BOOT_S = 60
PR_SET_PDEATHSIG = 1

Done = namedtuple("Done", "returncode stdout stderr")


def die_with_us():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def cannot_run():
    """Why no machine of the lab can run here, or None. A lab that is here and does not work is no such reason."""
    if not (shutil.which(KERNEL) and shutil.which("busybox") and TOOLS.exists()):
        return "its packages are not here: tools/setup --lab brings them"
    command = [KERNEL, "mem=64M", "rootfstype=hostfs", "rootflags=/", "ro", "init=/bin/false", "panic=-1", "con=null",
               "con0=null,fd:1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=environment(), timeout=60, check=False)
    if b"Linux version" not in done.stdout:
        words = done.stdout.decode(errors="replace").strip().splitlines()
        return f"the kernel does not start here: {' / '.join(words[-3:])}"
    return None


def environment():
    """The kernel keeps the memory of its machine in a file, which belongs into memory."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "TMPDIR": memory, "HOME": "/tmp"}


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values):
    return percentile(values, 0.5)


class Machine:
    """One guest. Its disk and its directory stay when it dies; boot() starts it again."""

    def __init__(self, lab, name, number, settings, memory_mb, disk_mb):
        self.name = name
        self.home = lab.directory / name
        self.disk = self.home / "disk.img"
        self.address = lab.address(number)
        self.boot_s = None
        self._lab = lab
        self._number = number
        self._memory_mb = memory_mb
        self._process = None
        self._line = None
        self._words = b""
        self._answers = {}  # command -> status
        self._commands = 0
        self.home.mkdir()
        self.write_settings(settings)
        with open(self.disk, "wb") as disk:
            disk.truncate(disk_mb << 20)
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", str(self.disk)], check=True)

    def write_settings(self, settings):
        all_of_them = {"NAME": self.name, "ADDRESS": self.address, "TOOLS": TOOLS,
                       "MODULES": next(MODULES.iterdir()), **settings}
        (self.home / "settings").write_text("".join(f"export {key}='{value}'\n" for key, value in all_of_them.items()))
        (self.home / "hosts").write_text(f"127.0.0.1 localhost\n{self._lab.hosts()}")
        (self.home / "machine-id").write_text(hashlib.md5(self.name.encode()).hexdigest() + "\n")

    # -- its life -----------------------------------------------------------------------------------

    def boot(self):
        """Starts it; wait_up says when it answers."""
        ours, its = socket.socketpair()
        control = self.home / "kernel"
        shutil.rmtree(control, ignore_errors=True)
        control.mkdir()
        hardware = ":".join(f"{byte:02x}" for byte in address_of(self._number))
        command = [KERNEL, f"umid={self.name}", f"uml_dir={control}", f"mem={self._memory_mb}M", "rootfstype=hostfs",
                   "rootflags=/", "ro", f"init={HERE / 'guest_init.sh'}", "con=null", "con0=null,fd:1", "ssl=null",
                   f"ssl0=fd:{its.fileno()},fd:{its.fileno()}", "panic=-1", "quiet", f"ubda={self.disk}",
                   f"vec0:transport=bess,dst={self._lab.directory}/{self.name}.wire,depth=128,mac={hardware}",
                   f"LAB_HOME={self.home}"]
        with open(self.home / "console", "ab") as console:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                             pass_fds=[its.fileno()], env=environment(), start_new_session=True,
                                             preexec_fn=die_with_us)
        its.close()
        self._lab.wires.belongs(self._process.pid)
        self._line, self._words = ours, b""
        self._begun = time.monotonic()

    def wait_up(self, seconds=BOOT_S):
        status = self._answer("up", seconds)
        self.boot_s = time.monotonic() - self._begun
        if status != 0:
            raise Failure(f"{self.name} could not play its role: {self._text('role.log')[-2000:]}")

    def crash(self):
        """As if its power were gone: what its disk image was given stays, its memory does not."""
        if self._process is None:
            return
        for _ in range(2):  # the kernel, and what it forked meanwhile
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()
        self._lab.wires.is_gone(self._process.pid)
        self._line.close()
        self._process = self._line = None

    def keep_logs(self):
        """What its daemons said, from its disk into its directory, for whoever looks at a failure."""
        if self._process is not None:
            try:
                self.run("cp /disk/*.log /lab/", timeout=10)
            except Failure:
                pass  # it stands still or has died

    def pause(self):
        """It stands still, and its clock with it, as far as it can tell."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self._process.pid, signal.SIGCONT)

    def keep_disk(self):
        """A copy of its disk as it is now, for put_disk_back."""
        self.check("sync")
        self.pause()
        subprocess.run(["cp", "--sparse=always", str(self.disk), f"{self.disk}.kept"], check=True)
        self.resume()

    def put_disk_back(self):
        """To the copy that was kept; it must not be running."""
        os.replace(f"{self.disk}.kept", self.disk)

    # -- what it is asked ---------------------------------------------------------------------------

    def begin(self, script, stdin=None):
        """Starts a shell script in it; the number is for finish()."""
        self._commands += 1
        number = self._commands
        (self.home / f"{number}.in").write_text(stdin or "")
        (self.home / f"{number}.sh").write_text(script + "\n")
        self._line.sendall(f"{number}\n".encode())
        return number

    def finish(self, number, timeout=60):
        status = self._answer(str(number), timeout)
        done = Done(status, self._text(f"{number}.out"), self._text(f"{number}.err"))
        for kind in ("in", "sh", "out", "err"):
            (self.home / f"{number}.{kind}").unlink()
        return done

    def run(self, script, stdin=None, timeout=60):
        return self.finish(self.begin(script, stdin), timeout)

    def check(self, script, stdin=None, timeout=60):
        """Like run, but a status other than 0 is a Failure; returns what it printed."""
        done = self.run(script, stdin, timeout)
        if done.returncode != 0:
            raise Failure(f"{self.name}: {script}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _text(self, name):
        return (self.home / name).read_text(errors="replace")

    def _answer(self, word, seconds):
        deadline = time.monotonic() + seconds
        while word not in self._answers:
            ready, _, _ = select.select([self._line], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise Failure(f"{self.name} has not answered within {seconds} s\n{self._text('console')[-1000:]}")
            words = self._line.recv(65536)
            if not words:
                raise Failure(f"{self.name} has died\n{self._text('console')[-2000:]}")
            *lines, self._words = (self._words + words).split(b"\n")
            for line in lines:
                key, _, status = line.decode(errors="replace").strip().partition(" ")
                if status.isdigit():
                    self._answers[key] = int(status)
        return self._answers.pop(word)


class Lab:
    """A NAS and its nodes, booted together; close() ends them all."""

    def __init__(self, directory, nodes, version="4.1", options="hard", disk_mb=512, memory_mb=192):
        self.directory = pathlib.Path(directory)
        self.version = version
        self.names = (NAS, *nodes)
        self.machines = {}
        self._options = options
        for number, name in enumerate(self.names, 1):
            self.machines[name] = Machine(self, name, number, self._settings(name), memory_mb, disk_mb)
        self.wires = Wires(self.directory, self.names)

    def _settings(self, name):
        """What the shell scripts of a machine are told."""
        return {"ROLE": HERE / ("nas.sh" if name == NAS else "node.sh"), "GRACE_S": GRACE_S, "NAS": self.address(1),
                "MOUNT_OPTIONS": f"vers={self.version},{self._options}",
                "EXPORT": EXPORT if self.version.startswith("3") else "/"}

    @staticmethod
    def address(number):
        return f"10.77.0.{number}"

    def hosts(self):
        return "".join(f"{self.address(number)} {name}\n" for number, name in enumerate(self.names, 1))

    def __getitem__(self, name):
        return self.machines[name]

    @property
    def nas(self):
        return self.machines[NAS]

    def nodes(self):
        return [machine for name, machine in self.machines.items() if name != NAS]

    def boot(self):
        for machine in self.machines.values():
            machine.boot()
        for machine in self.machines.values():
            machine.wait_up()

    def describe(self):
        """Kernel and mount, as a node has them."""
        found = self.nodes()[0].check("uname -r; /usr/sbin/mount.nfs -V; grep ' /share ' /proc/mounts")
        kernel, programs, mount = found.strip().splitlines()
        return f"Linux {kernel}, {programs.removeprefix('mount.nfs: ').strip('()')}, mounted {mount.split()[3]}"

    def mount(self, version):
        """The share by another version of NFS; nobody may be using it. A node that boots later mounts it so too."""
        self.version = version
        for machine in self.nodes():
            machine.write_settings(self._settings(machine.name))
            machine.check("umount /share && . /lab/settings && bash $ROLE mount")

    def close(self):
        for machine in self.machines.values():
            machine.crash()
        self.wires.close()
