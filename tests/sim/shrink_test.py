"""tools/sim --shrink: of a seed that fails, less and less; the command that it names last fails in the same way (I2).

usage: shrink_test.py DIRECTORY (of reeve-sim)

What fails is a modelled supervisor that errs on purpose (--mistake). The first seed that shows it is taken, so that
another schedule of the same faults changes nothing here.
"""

import pathlib
import re
import subprocess
import sys
import unittest

SIM = pathlib.Path(sys.argv.pop(1)) / "reeve-sim"
JOBS, SECONDS = 12, 60
MISTAKE = ["--mistake", "runs-again"]
# Small to begin with, for each try is a run of its own; without what breaks another rule when it meets others.
LEFT_OUT = ["--without", "lost-disks", "--without", "clones", "--without", "rollbacks"]
GIVEN = [*LEFT_OUT, "--jobs", str(JOBS), "--trouble", str(SECONDS)]
FIRST = ["--seeds", "20", "--until-violated", "--processes", "1"]


def run(*arguments):
    return subprocess.run([SIM, *arguments], capture_output=True, text=True, timeout=300)


def number_after(option, arguments):
    return int(arguments[arguments.index(option) + 1])


class Shrink(unittest.TestCase):
    def test_what_is_left_fails_still_and_is_smaller(self):
        found = run(*MISTAKE, *GIVEN, *FIRST, "--shrink")
        self.assertEqual(found.returncode, 1, found.stdout + found.stderr)
        self.assertIn("looking for less that ends with I2:", found.stdout)
        self.assertIn("fails still", found.stdout)
        self.assertIn(": holds\n", found.stdout, "what the failure needs is not left out")
        last = found.stdout.splitlines()[-1]
        named = re.fullmatch(r"shortest found: tools/sim --story (.*)", last)
        self.assertIsNotNone(named, found.stdout)
        left = named.group(1).split()
        self.assertIn("runs-again", left)
        less = (left.count("--without") - GIVEN.count("--without"), JOBS - number_after("--jobs", left),
                SECONDS - number_after("--trouble", left))
        self.assertTrue(all(one >= 0 for one in less), last)
        self.assertGreater(sum(less), 0, last)
        again = run(*left)
        self.assertEqual(again.returncode, 1, again.stdout)
        self.assertRegex(again.stdout, r"(?m)^  I2: ", last)
        print(f"{less[0]} classes, {less[1]} jobs and {less[2]} s fewer: {last}")
        self.check_sound(left)

    def check_sound(self, left):
        """It is the mistake that fails there."""
        at = left.index("--mistake")
        sound = run(*left[:at], *left[at + 2:])
        self.assertEqual(sound.returncode, 0, sound.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
