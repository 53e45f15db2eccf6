"""A cluster of two machines that share a directory, installed word by word as docs/installation.md says under "A
cluster": two systems, each with systemd as PID 1, and one directory of this machine as their NAS."""

import json
import os

from cluster import Failure, wait_for
from debian_root import Container, copied
from package_system import Installed, check

NAS = "/mnt/nas/reeve"
# The share is a local file system in which another node has logs; doorbells are a choice, and not taken here.
NOT_AS_IN_A_HOUSE = {"share.mount", "doorbell.peers"}
FIRST, OTHER = "nova", "mira"


def machine(base, work, name):
    """A fresh system of this name, in which the NAS is mounted."""
    root = copied(base, work / name)
    (root / "etc" / "hostname").write_text(f"{name}\n")
    return Container(root, "systemd", {"/mnt/nas": work / "export"})


def exported(work):
    """The directory on the NAS: install -d -o 645 -g 645 -m 2770."""
    directory = work / "export" / "reeve"
    directory.mkdir(parents=True)
    os.chown(directory, 645, 645)
    directory.chmod(0o2770)
    return directory


def two_nodes(base, work, packages):
    share = exported(work)
    containers = []
    try:
        for name in (FIRST, OTHER):
            containers.append(machine(base, work, name))
        first, other = (Installed(container, packages) for container in containers)
        for one in (first, other):
            one.run("apt-get", "update", "-q")
            one.put(packages[0])
        make(first, other, share)
        keys_are_kept(first, other)
        upgrade_under_a_job(first, other, packages[1])
        remove(first, other)
    finally:
        for container in containers:
            container.close()


def make(first, other, share):
    said = first.run("reeve", "init", "--cluster", NAS, "--coordinator")
    join = next(line for line in said.splitlines() if "reeve join" in line).split()
    check(join[:4] == ["reeve", "join", "--cluster", NAS], "init says how the others join")
    said = other.run(*join, "--role", "press")
    fingerprint = said.splitlines()[1].strip()
    said = first.run("sh", "-c", f"echo {OTHER} | reeve node admit {OTHER}")
    check(fingerprint in said and f"node {OTHER} is admitted" in said, "admitted, by its name and the key it shows")
    for one in (first, other):
        one.run("systemctl", "enable", "--now", "reeve-worker")
    first.run("systemctl", "enable", "--now", "reeve-coordinator")
    for one in (first, other):
        wait_for(lambda one=one: nodes(one) == {FIRST, OTHER}, 30, "both machines know both")
    check(True, "both machines know both")
    foreign = [path for path in share.rglob("*") if path.lstat().st_uid != 645]
    check(foreign == [], "everything on the share belongs to the daemons' user, though root made the cluster")
    for one in (first, other):
        one.check_doctor(NOT_AS_IN_A_HOUSE)


def nodes(installed):
    said = installed.run("reeve", "nodes", "--json", status=None)
    return {one["node"] for one in json.loads(said)["nodes"]} if said.startswith("{") else set()


def keys_are_kept(first, other):
    """No job and no daemon's user reads the operator's key; root uses it, wherever it is kept."""
    job = first.submit("! cat /etc/reeve/operator.key && ! cat /var/lib/reeve/node.key || exit 15; hostname", "--role",
                       "press")
    first.wait_state(job, "succeeded")
    check(first.run("reeve", "job", "logs", job).endswith(f"{OTHER}\n"), "a job ran on the other, its output is here")
    key = "/etc/reeve/operator.key"
    check(first.run("stat", "-c", "%a %u", key) == "600 0\n", "the operator's key is root's")
    said = first.run("runuser", "-u", "reeve", "--", "reeve", "node", "admit", OTHER, status=None)
    check("Permission denied" in said and "as root" in said, "the daemons' user admits nobody, and is told who does")
    first.run("mv", key, "/root/operator.key")
    first.run("systemctl", "restart", "reeve-worker", "reeve-coordinator")
    first.wait_serving()
    first.check_doctor(NOT_AS_IN_A_HOUSE)
    policy = 'printf "[results]\\nage_days = 20\\n" > /tmp/policy/retention.toml'
    first.run("sh", "-c", f"mkdir -p /tmp/policy && {policy}")
    said = first.run("reeve", "policy", "apply", "/tmp/policy", status=None)
    check("No such file" in said and "--operator-key" in said, "without it nothing is signed, and it says how")
    first.run("reeve", "policy", "apply", "/tmp/policy", "--operator-key", "/root/operator.key")
    wait_for(lambda: json.loads(other.run("reeve", "policy", "show", "--json"))["version"] == 1, 30,
             "the policy reaches the other machine")
    check(True, "daemons run without the operator's key; with it elsewhere a policy is signed, and reaches all")


def upgrade_under_a_job(first, other, package):
    job = first.submit(f"while [ ! -e {NAS}/go ]; do sleep 0.1; done; echo survived", "--role", "press")
    first.wait_state(job, "running")
    other.run("systemctl", "restart", "reeve-worker")
    said = other.put(package)
    check("their supervisor is left alone" in said, "the other one is upgraded while a job runs on it")
    (first.container.root.parent / "export" / "reeve" / "go").touch()
    attempts = first.wait_state(job, "succeeded")["attempts"]
    check(first.run("reeve", "job", "logs", job) == "survived\n" and len(attempts) == 1,
          "the job went on, in one attempt, and is reported here")
    first.put(package)
    for one in (first, other):
        one.wait_serving()
        one.check_doctor(NOT_AS_IN_A_HOUSE)


def remove(first, other):
    said = first.run("reeve", "node", "remove", OTHER, "--operator-key", "/root/operator.key", status=6)
    check("is not gone" in said, "a machine that is alive is not removed")
    other.run("systemctl", "disable", "--now", "reeve-worker", "reeve-exec")

    def removed():
        nonlocal said
        said = first.run("reeve", "node", "remove", OTHER, "--reason", "sold", "--operator-key", "/root/operator.key",
                         status=None)
        return "is removed" in said

    try:
        wait_for(removed, 30, "stopped, it is removed")
    except Failure as failure:
        raise Failure(f"{failure}: {said}") from failure
    check(True, "stopped, it is removed")
    other.run("systemctl", "start", "reeve-worker", status=None)
    wait_for(lambda: other.run("systemctl", "show", "--property", "ExecMainStatus", "--value",
                               "reeve-worker.service").strip() == "11", 30, "started again, it stays away")
    check(True, "started again by mistake, it stays away")
    first.run("reeve", "submit", "--wait", "--", "/bin/true")
    check(True, "the first works on alone")
    other.run("apt-get", "purge", "-y", "-q", "reeve")
    root = other.container.root
    check(not (root / "etc/reeve").exists() and (root / "var/lib/reeve/node.key").exists(),
          "purged, a machine without the operator's key keeps its logs alone")
