#!/usr/bin/env python3
"""The daemons of some process tests, built with a sanitizer: what it reports fails here.

usage: tests/process/under_sanitizer.py thread|address [TEST...]
Without names: the tests that use every thread of a daemon.
Builds build/tsan or build/asan when it is missing or old. A part of `tools/test --long`.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
USUAL = ("test_single.py", "test_leaderless.py", "test_membership.py", "test_share_away.py", "test_full_disk.py")
# The preset, and how its reports come to stand in files.
SANITIZERS = {
    "thread": ("tsan", {"TSAN_OPTIONS": "log_path={} halt_on_error=0 exitcode=66"}),
    "address": ("asan", {"ASAN_OPTIONS": "log_path={}:detect_leaks=1",
                         "UBSAN_OPTIONS": "log_path={}:print_stacktrace=1"}),
}
PROGRAMS = ("reeve", "reeve-worker", "reeve-coordinator", "reeve-exec", "reeve-log", "reeve-replay")


def build(preset):
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if subprocess.run(
        ["sh", "-c", "command -v ccache"], capture_output=True, check=False).returncode == 0 else []
    subprocess.run(["cmake", "--preset", preset, *launcher], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["cmake", "--build", "--preset", preset, "--target", *PROGRAMS], cwd=ROOT,
                   stdout=subprocess.DEVNULL, check=True)


def reported(reports):
    return sorted(reports.glob("report.*"))


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in SANITIZERS:
        sys.exit(__doc__)
    preset, options = SANITIZERS[sys.argv[1]]
    build(preset)
    failed = []
    with tempfile.TemporaryDirectory(prefix="reeve-sanitizer-") as kept:
        reports = pathlib.Path(kept)
        environment = dict(os.environ, REEVE_BIN_DIR=str(ROOT / "build" / preset / "bin"),
                           **{name: value.format(reports / "report") for name, value in options.items()})
        for name in sys.argv[2:] or USUAL:
            before = len(reported(reports))
            done = subprocess.run([sys.executable, "-B", str(ROOT / "tests" / "process" / name)], env=environment,
                                  capture_output=True, text=True, check=False)
            found = reported(reports)[before:]
            ended = "passed" if done.returncode == 0 else "FAILED"
            print(f"{name}: {ended}, {len(found)} reports", flush=True)
            for one in found:
                print(one.read_text(errors="replace"))
            if done.returncode != 0:
                print(done.stderr[-4000:])
            if found or done.returncode != 0:
                failed.append(name)
    if failed:
        sys.exit(f"with the {sys.argv[1]} sanitizer: {', '.join(failed)}")


if __name__ == "__main__":
    main()
