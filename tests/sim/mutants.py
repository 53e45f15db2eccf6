#!/usr/bin/env python3
"""The simulator is tested: deliberate bugs are compiled in one at a time, and each must be caught.

usage: tools/mutants [NAME...] [--check] [--list]
  --check   only looks that each still has its place in the code: builds nothing

The bugs stand in tests/sim/mutants.toml. Works on a copy of the tree below build/mutants, with a build directory of its
own. Prints for each bug how many seeds were needed and the violation that told of it. Exit 1 when one was not caught.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = ROOT / "build" / "mutants"
BUILD = TREE / "build" / "release"  # as in any tree, so that ccache knows what it sees


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


def copy_tree():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                            capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        source, target = ROOT / name, TREE / name
        if not source.is_file():
            continue
        content = source.read_bytes()
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(source.stat().st_mode)


def build(*targets):
    done = subprocess.run(["cmake", "--build", BUILD, "--target", *targets], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: the mutated tree does not build\n{done.stdout[-4000:]}{done.stderr}")


def configure():
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if any(
        os.access(pathlib.Path(p) / "ccache", os.X_OK) for p in os.environ["PATH"].split(":")) else []
    subprocess.run(["cmake", "-G", "Ninja", "-S", TREE, "-B", BUILD, "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
                    *launcher], check=True, stdout=subprocess.DEVNULL)


def hunt(mutant):
    """(caught, what was seen) of the mutated build."""
    if "test" in mutant:
        program, *arguments = mutant["test"].split()
        build(program)
        done = subprocess.run([BUILD / "bin" / program, *arguments], capture_output=True, text=True)
        failed = [line for line in done.stdout.splitlines() if line.startswith("[  FAILED  ]")]
        return done.returncode != 0 and bool(failed), f"{arguments[-1].split('=')[-1]}" if failed else "its test passed"
    build("reeve-sim")
    done = subprocess.run([BUILD / "bin" / "reeve-sim", "--seeds", str(mutant["seeds"]), "--until-violated"],
                          capture_output=True, text=True)
    runs = [line for line in done.stdout.splitlines() if line.startswith("seed ")]
    said = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    if done.returncode == 1 and said:
        return True, f"seed {len(runs)} of {mutant['seeds']}: {said[0]}"
    if done.returncode == 0:
        return False, f"{len(runs)} seeds held"
    return False, f"the simulator ended with {done.returncode}: {done.stderr[-500:]}"


def run(mutant):
    place = TREE / mutant["file"]
    sound = place.read_text()
    begun = time.monotonic()
    place.write_text(sound.replace(mutant["old"], mutant["new"]))
    try:
        caught, seen = hunt(mutant)
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
    copy_tree()
    configure()
    missed = [m["name"] for m in chosen if not run(m)]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} caught" + (f"; missed: {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
