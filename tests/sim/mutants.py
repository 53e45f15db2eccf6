#!/usr/bin/env python3
"""The simulator is tested: deliberate bugs are compiled in one at a time, and each must be caught.

usage: tools/mutants [NAME...] [--check] [--list] [--tree DIR]
  --check     only looks that each still has its place in the code: builds nothing
  --tree DIR  where the copy of the tree is kept, with a build directory of its own (build/mutants)

The bugs stand in tests/sim/mutants.toml. Prints for each how many seeds were needed and the violation that told of it.
Exit 1 when one was not caught.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def mutants():
    with open(ROOT / "tests/sim/mutants.toml", "rb") as file:
        return tomllib.load(file)["mutant"]


def misplaced(mutant):
    """Why the bug cannot be compiled in any more; empty when it can."""
    path = ROOT / mutant["file"]
    if not path.exists():
        return f"{mutant['file']} is gone"
    count = path.read_text().count(mutant["old"])
    return "" if count == 1 else f"its place stands {count} times in {mutant['file']}"


class Tree:
    """A copy of the tree, in which the bugs are compiled in."""

    def __init__(self, root):
        self.root = root
        self.bin = root / "build" / "release" / "bin"

    def copy(self):
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                                capture_output=True, text=True)
        for name in listed.stdout.splitlines():
            source, target = ROOT / name, self.root / name
            if not source.is_file():
                continue
            content = source.read_bytes()
            if not target.exists() or target.read_bytes() != content:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                target.chmod(source.stat().st_mode)

    def configure(self):
        launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
        subprocess.run(["cmake", "--preset", "release", *launcher], cwd=self.root, check=True,
                       stdout=subprocess.DEVNULL)

    def build(self, target):
        done = subprocess.run(["cmake", "--build", "--preset", "release", "--target", target], cwd=self.root,
                              capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"error: the mutated tree does not build\n{done.stdout[-4000:]}{done.stderr}")


def hunt(tree, mutant):
    """(caught, what was seen) of the mutated build."""
    if "test" in mutant:
        program, *arguments = mutant["test"].split()
        tree.build(program)
        done = subprocess.run([tree.bin / program, *arguments], capture_output=True, text=True)
        failed = [line for line in done.stdout.splitlines() if line.startswith("[  FAILED  ]")]
        return done.returncode != 0 and bool(failed), f"{arguments[-1].split('=')[-1]}" if failed else "its test passed"
    tree.build("reeve-sim")
    left_out = [word for name in mutant.get("without", []) for word in ("--without", name)]
    done = subprocess.run([tree.bin / "reeve-sim", "--seeds", str(mutant["seeds"]), "--until-violated", *left_out],
                          capture_output=True, text=True)
    runs = [line for line in done.stdout.splitlines() if line.startswith("seed ")]
    said = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    shown = [line for line in said if line.startswith(mutant["shows"])]
    if done.returncode == 1 and said:
        return bool(shown), f"seed {len(runs)} of {mutant['seeds']}: {(shown or said)[0]}"
    if done.returncode == 0:
        return False, f"{len(runs)} seeds held"
    return False, f"the simulator ended with {done.returncode}: {done.stderr[-500:]}"


def run(tree, mutant):
    place = tree.root / mutant["file"]
    sound = place.read_text()
    begun = time.monotonic()
    place.write_text(sound.replace(mutant["old"], mutant["new"]))
    try:
        caught, seen = hunt(tree, mutant)
    finally:
        place.write_text(sound)
    print(f"{'caught' if caught else 'MISSED'}  {mutant['name']:28} {mutant['breaks']:4}  {seen[:170]}"
          f"  ({time.monotonic() - begun:.0f} s)", flush=True)
    return caught


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--tree", type=pathlib.Path, default=ROOT / "build" / "mutants")
    options = parser.parse_args()
    known = mutants()
    unknown = set(options.names) - {m["name"] for m in known}
    if unknown:
        sys.exit(f"error: no such bug: {', '.join(sorted(unknown))}\n  fix: tools/mutants --list")
    chosen = [m for m in known if not options.names or m["name"] in options.names]
    if options.list:
        for mutant in chosen:
            print(f"{mutant['name']:28} {mutant['breaks']:4}  {mutant['tells']}")
        return 0
    lost = [f"{m['name']}: {misplaced(m)}" for m in chosen if misplaced(m)]
    if lost:
        print("\n".join(lost), file=sys.stderr)
        return 1
    if options.check:
        print(f"{len(chosen)} deliberate bugs have their place")
        return 0
    tree = Tree(options.tree.resolve())
    tree.copy()
    tree.configure()
    missed = [m["name"] for m in chosen if not run(tree, m)]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} caught" + (f"; missed: {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
