"""What tools/package-test asks of a system in which the package is installed."""

import json
import shutil

from cluster import Failure, wait_for

PROGRAMS = ("reeve", "reeve-coordinator", "reeve-exec", "reeve-log", "reeve-replay", "reeve-worker")
UNITS = ("reeve-worker", "reeve-coordinator", "reeve-exec")
# Ten times the exposure that systemd-analyze may give. The supervisor's is what every job runs under.
MOST_EXPOSED = {"reeve-coordinator": 15, "reeve-worker": 15, "reeve-exec": 20}
# What doctor says of the machine that runs this test, and not of what is installed.
OF_THE_MACHINE = {"clock.ntp", "machine.swap", "machine.memory", "state.space", "state.inodes", "share.space",
                  "share.inodes", "share.latency", "limits.processes", "state.filesystem"}


def check(holds, what):
    if not holds:
        raise Failure(what)
    print(f"  ok  {what}", flush=True)


def show(installed, unit, what):
    return installed.run("systemctl", "show", "--property", what, "--value", f"{unit}.service").strip()


class Installed:
    """The package in a container."""

    def __init__(self, container, packages):
        self.container = container
        self.packages = packages
        for package in packages:
            shutil.copy(package, container.root / "root" / package.name)

    def run(self, *words, **more):
        return self.container.run(*words, **more)

    def put(self, package):
        return self.container.install(f"/root/{package.name}")

    def submit(self, script, *options, status=0):
        said = self.run("reeve", "submit", "--json", "--timeout", "600", *options, "--", "/bin/sh", "-c", script,
                        status=status)
        return json.loads(said[said.index("{"):])["jobs"][0]["job"]

    def job(self, job):
        return json.loads(self.run("reeve", "job", "show", job, "--json"))

    def wait_state(self, job, *states):
        """Its document in that state: a moment later another daemon's view, one event behind, may be read."""
        def found():
            document = self.job(job)
            return document if document["state"] in states else None

        return wait_for(found, 30, f"job {job} is {' or '.join(states)}")

    def wait_serving(self):
        wait_for(lambda: "CLUSTER" not in self.run("reeve", "status", status=None) and
                 self.run("reeve", "status", "--json", status=None).startswith("{"), 30, "the worker answers")

    def long_job(self):
        """A job that runs until end_long_job."""
        (self.container.root / "var/lib/reeve/go").unlink(missing_ok=True)
        job = self.submit("while [ ! -e /var/lib/reeve/go ]; do sleep 0.1; done; echo survived")
        self.wait_state(job, "running")
        return job

    def end_long_job(self, job, what):
        check(self.job(job)["state"] == "running", f"{what}: the job still runs")
        (self.container.root / "var/lib/reeve/go").touch()
        attempts = self.wait_state(job, "succeeded")["attempts"]
        check(self.run("reeve", "job", "logs", job) == "survived\n" and len(attempts) == 1,
              f"{what}: it succeeded, in one attempt")

    def supervisor(self):
        return self.run("pgrep", "-x", "reeve-exec", status=None).split()

    def check_files(self):
        modes = self.run("stat", "-c", "%n %a %u:%g", "/etc/reeve", "/run/reeve", "/var/lib/reeve").splitlines()
        check(modes == ["/etc/reeve 2755 645:645", "/run/reeve 750 645:645", "/var/lib/reeve 2770 645:645"],
              "directories: " + ", ".join(modes))
        for program in PROGRAMS:
            self.run(program, "--help")
        check(True, "every program starts with the libraries that the package depends on")

    def check_exposure(self):
        """Of the units as this systemd has loaded them."""
        said = []
        for unit, most in MOST_EXPOSED.items():
            analysed = self.run("systemd-analyze", "security", "--no-pager", f"--threshold={most}", f"{unit}.service")
            said.append(analysed.strip().splitlines()[-1].split("for ", 1)[1])
        check(len(said) == len(UNITS), "exposure: " + ", ".join(said))

    def check_doctor(self, known):
        """It finds nothing but `known`: what this test does not have as a real machine has it."""
        def whole():
            nonlocal found
            document = json.loads(self.run("reeve", "doctor", "--json", status=None))
            found = [one for one in document["checks"] if one["status"] in ("warn", "fail") and
                     one["id"] not in known | OF_THE_MACHINE]
            return not found and document

        found = None
        try:
            document = wait_for(whole, 60, "reeve doctor finds nothing")
        except Failure as failure:
            raise Failure(f"{failure}: {json.dumps(found, indent=1)}") from failure
        check(True, f"reeve doctor: {len(document['checks'])} checks, and nothing to mend")

    def check_purged(self):
        said = self.run("apt-get", "remove", "-y", "-q", "reeve")
        check(not (self.container.root / "usr/bin/reeve").exists() and
              (self.container.root / "etc/reeve/reeve.toml").exists(), "removed: programs gone, configuration kept")
        said = self.run("apt-get", "purge", "-y", "-q", "reeve")
        check("rm -r /var/lib/reeve" in said, "purged: it says that the logs are kept, and how to remove them")
        ours = ("(", "-name", "*reeve*", "-o", "-path", "/etc/reeve/*", ")")
        left = self.run("find", "/", "-xdev", *ours, "-not", "-path", "/var/lib/reeve/*", "-not", "-path", "/root/*",
                        "-not", "-path", "/tmp/*").split()
        check(sorted(left) == ["/etc/reeve", "/etc/reeve/operator.key", "/var/lib/reeve"],
              f"left are: {', '.join(left)}, and the user")
        check("/etc/reeve/operator.key is kept" in said, "purged: it says that the operator's key is kept")
        self.run("sh", "-c", "rm -r /var/lib/reeve /etc/reeve && deluser --quiet --system reeve")
        check("reeve" not in self.run("cat", "/etc/passwd", "/etc/group"), "what it says removes the rest")
