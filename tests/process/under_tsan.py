#!/usr/bin/env python3
"""The daemons of some process tests, built with ThreadSanitizer: what it reports fails here.

usage: tests/process/under_tsan.py [TEST...]       (without names: those that use every thread of a daemon)
Builds build/tsan when it is missing or old. A part of `tools/test --long`.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
USUAL = ("test_single.py", "test_leaderless.py", "test_membership.py", "test_share_away.py", "test_full_disk.py")
PROGRAMS = ("reeve", "reeve-worker", "reeve-coordinator", "reeve-exec", "reeve-log", "reeve-replay")


def build():
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if subprocess.run(
        ["sh", "-c", "command -v ccache"], capture_output=True, check=False).returncode == 0 else []
    subprocess.run(["cmake", "--preset", "tsan", *launcher], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["cmake", "--build", "--preset", "tsan", "--target", *PROGRAMS], cwd=ROOT,
                   stdout=subprocess.DEVNULL, check=True)


def races(reports):
    return sorted(reports.glob("race.*"))


def main():
    build()
    failed = []
    with tempfile.TemporaryDirectory(prefix="reeve-tsan-") as kept:
        reports = pathlib.Path(kept)
        environment = dict(os.environ, REEVE_BIN_DIR=str(ROOT / "build" / "tsan" / "bin"),
                           TSAN_OPTIONS=f"log_path={reports}/race halt_on_error=0 exitcode=66")
        for name in sys.argv[1:] or USUAL:
            before = len(races(reports))
            done = subprocess.run([sys.executable, "-B", str(ROOT / "tests" / "process" / name)], env=environment,
                                  capture_output=True, text=True, check=False)
            found = races(reports)[before:]
            ended = "passed" if done.returncode == 0 else "FAILED"
            print(f"{name}: {ended}, {len(found)} reports", flush=True)
            for one in found:
                print(one.read_text(errors="replace"))
            if done.returncode != 0:
                print(done.stderr[-4000:])
            if found or done.returncode != 0:
                failed.append(name)
    if failed:
        sys.exit(f"under ThreadSanitizer: {', '.join(failed)}")


if __name__ == "__main__":
    main()
