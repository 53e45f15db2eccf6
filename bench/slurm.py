"""Slurm as a peer: its three daemons as a cluster of one machine, in a directory, with nothing of /etc or systemd.

Tuned for many short jobs. With the defaults the end of a job is seen by a timer of 1 to 3 s; an Epilog, any, makes
the daemon of the node report it at once, and the scheduler then runs when something has happened.
"""

import os
import pathlib
import pwd
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools" / "lib"))
from cluster import wait_for
from peers import children_ms, cpu_ms, end_all, free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
CONFIGURATION = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
CredType=cred/munge
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={place}/jobs.txt
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,default_queue_depth=1000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
Epilog=/bin/true
MaxJobCount=20000
MaxArraySize=20001
MinJobAge=2
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={slots} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


class Slurm:
    """Jobs of one array; what has ended stands in the file of completed jobs."""

    name = "Slurm, tuned"
    count = 500  # of one run: it takes seconds as it is

    def __init__(self, binaries, directory, slots=4):
        self.binaries, self.directory, self.slots = pathlib.Path(binaries), pathlib.Path(directory), slots
        self.processes = {}
        self.environment = dict(os.environ, SLURM_CONF=str(self.directory / "slurm.conf"))

    @staticmethod
    def missing():
        absent = [name for name in PROGRAMS if shutil.which(name) is None]
        if absent:
            return f"{absent[0]} is not installed"
        return "" if os.geteuid() == 0 else "slurmd starts jobs as root alone"

    def start(self):
        self.directory.mkdir(parents=True)
        for name in ("state", "spool"):
            (self.directory / name).mkdir()
        key = self.directory / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        user = pwd.getpwuid(os.geteuid()).pw_name
        text = CONFIGURATION.format(host=os.uname().nodename.split(".")[0], controller_port=free_port(), user=user,
                                    node_port=free_port(), place=self.directory, slots=self.slots)
        (self.directory / "slurm.conf").write_text(text, encoding="utf-8")
        place = self.directory
        self.begin("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={place}/munge.socket",
                   f"--pid-file={place}/munge.pid", f"--log-file={place}/munge.log", f"--seed-file={place}/munge.seed")
        wait_for((place / "munge.socket").exists, 10, "munged listens")
        self.begin("slurmctld", "-D")
        self.begin("slurmd", "-D")
        wait_for(lambda: "State=IDLE" in self.command("scontrol", "show", "node"), 30, "the node is idle")
        self.run(8)

    def begin(self, program, *words):
        """Through the keeper, which counts the step daemons that slurmd detaches."""
        with open(self.directory / f"{program}.out", "ab") as out:
            self.processes[program] = subprocess.Popen([str(self.binaries / "keeper"), program, *words], stdout=out,
                                                       env=self.environment, stdin=subprocess.DEVNULL, stderr=out)

    def command(self, *words):
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False).stdout

    def ended(self):
        try:
            return (self.directory / "jobs.txt").read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def run(self, count, command="/bin/true"):
        wanted = self.ended() + count
        self.command("sbatch", f"--array=0-{count - 1}", "--output=/dev/null", f"--wrap={command}")
        wait_for(lambda: self.ended() >= wanted, 300, "Slurm has no job left")

    def call(self, command):
        """The usual client that waits."""
        self.command("srun", "--ntasks=1", *command.split())

    def pids(self):
        """The daemons themselves, by name."""
        out = {}
        for name, keeper in self.processes.items():
            children = pathlib.Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()
            out[name] = int(children[0])
        return out

    def cpu_ms(self):
        keepers = [process.pid for process in self.processes.values()]
        return sum(map(cpu_ms, [*keepers, *self.pids().values()])) + children_ms()

    def close(self):
        end_all(reversed(self.processes.values()))
        self.processes = {}
