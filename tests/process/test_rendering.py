"""The directory that people read is a rendering: whatever happens to its files while jobs run changes no outcome and
is mended within a minute."""

import collections
import json
import random
import sys
import unittest

from harness import ClusterCase, command, lines_of, wait_for

FOLDERS = ("pending", "waiting", "running", "done", "failed", "cancelled")


class Saboteur:
    """Deletes, moves and overwrites rendered files; decides by the seed alone."""

    def __init__(self, queue, seed):
        self.queue = queue
        self.random = random.Random(seed)
        self.deeds = collections.Counter()

    def files(self):
        return sorted(path for folder in FOLDERS for path in (self.queue / folder).glob("**/*.json"))

    def step(self, share_of_files):
        for path in self.files():
            if self.random.random() > share_of_files:
                continue
            deed = self.random.choice(("delete", "move", "rename", "scribble"))
            try:
                if deed == "delete":
                    path.unlink()
                elif deed == "move":
                    path.rename(self.queue / self.random.choice(FOLDERS[:3]) / path.name)
                elif deed == "rename":
                    path.rename(path.with_name("renamed-" + path.name))
                else:
                    path.write_text("scribbled over")
            except FileNotFoundError:
                continue  # the daemon moved it first
            self.deeds[deed] += 1


class Rendering(ClusterCase):
    def test_sabotage_changes_nothing_and_is_mended(self):
        seed = random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}", file=sys.stderr)
        out = self.directory / "out"
        out.mkdir()
        documents = [command("/bin/sh", "-c", f"echo $REEVE_ATTEMPT >> {out}/s{n}; sleep 0.2; exit {n % 3 // 2}",
                             name=f"s{n}") for n in range(60)]
        held = self.submit(command("/bin/true", name="held", not_before="2200-01-01T00:00:00Z"))[0]
        jobs = json.loads(self.cluster.reeve("submit", "-f", "-", "--json", stdin=lines_of(documents)))["jobs"]
        saboteur = Saboteur(self.cluster.share / "queue", seed)

        def over():
            saboteur.step(0.3)
            states = collections.Counter(job["state"] for job in self.cluster.json("jobs", "--limit", 1000)["jobs"])
            return states["succeeded"] + states["failed"] == len(documents)

        wait_for(over, 60, "all jobs are over")
        saboteur.step(1.0)
        self.assertGreater(sum(saboteur.deeds.values()), 30, saboteur.deeds)
        for number, job in enumerate(jobs):
            document = self.show(job["job"])
            self.assertEqual(document["state"], "failed" if number % 3 == 2 else "succeeded")
            self.assertEqual((out / f"s{number}").read_text(), f"{job['job']}.a1\n")
        wait_for(lambda: self.rendered() == self.wanted(held), 60, "the rendering is as the view is")

    def rendered(self):
        """Which job lies where, by the names and contents of the files; strangers' files are left alone."""
        found = {}
        for folder in FOLDERS:
            for path in (self.cluster.share / "queue" / folder).glob("**/*.json"):
                if not path.name.startswith(("renamed-", ".")):
                    try:
                        found[(folder, json.loads(path.read_text())["job"])] = True
                    except (ValueError, KeyError, FileNotFoundError):
                        found[(folder, path.name)] = "scribbled, or gone while it was read"
        return found

    def wanted(self, held):
        folder_of = {"succeeded": "done", "failed": "failed", "cancelled": "cancelled"}
        jobs = self.cluster.json("jobs", "--limit", 1000)["jobs"]
        wanted = {(folder_of.get(job["state"], "pending"), job["job"]): True for job in jobs if job["job"] != held}
        return {**wanted, ("pending", held): True}


if __name__ == "__main__":
    unittest.main()
