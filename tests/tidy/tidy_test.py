#!/usr/bin/env python3
"""Proves that each rule of tidy.py can fail, and that what only looks like a violation passes.

A case is a small clean tree with something changed, and all the findings that this must give, with file and line.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import tidy  # found beside this file

MAP = """# The house

| module | band | what it owns | may include |
|---|---|---|---|
| `base` | substrate | values | |
| `events` | substrate | events | `base` |
| `projection` | substrate | rows | `base` |
| `projection/kv` | substrate | bytes | `base` |
| `control` | plane | decisions | `base`, `events` |
| `compute` | plane | attempts | `base`, `events` |
| `runtime` | shell | the world | `base` |
"""

# All of this is allowed, however much it looks like a violation.
INNOCENT = r"""// A comment may say catch (...), system("x"), { and time(nullptr).
#include "base/base.h"

#define TWICE(x) \
    do {         \
        x;       \
    } while (false)

namespace reeve::base {

constexpr long big = 1'000'000;  // it's a number
constexpr long table[] = {
""" + "    1,\n" * 100 + r"""};
const char* name = "/tmp/reeve-XXXXXX";
const char* text = R"(system("}}}"))";
const char brace = '{';

Base::Base(World& world) : a_{1}, b_{2} {
    world.sleep(5);
    world.time(nullptr);
    std::snprintf(buffer, 4, "}");
}

void World::sleep(Duration d) { tasks.sleep_until(d); }
Strand strand(operand(1), ecosystem(2));
struct View { long time(long now); };

}  // namespace reeve::base
"""

RUNTIME = """#include <unistd.h>
#include <boost/asio/write.hpp>
void sleep_for(Duration d) {
    ::usleep(1);
    try { std::thread t; } catch (...) {}
    getenv(x);
    return clock_gettime(0, 0);
}
"""

CLEAN = {
    "README.md": "`src/base`, [the house](src/README.md), `tools/setup --all`, `src/<module>`, [a](https://a.b/c)\n",
    "docs/formats/page.md": "Read by `src/base/base.cc:12`; see [the readme](../../README.md#top).\n",
    "src/README.md": MAP,
    "src/base/CMakeLists.txt": "reeve_module(base SOURCES base.cc)\n",
    "src/base/base.cc": INNOCENT,
    "src/base/base.h": "#pragma once\n// See docs/formats/page.md.\n",
    "src/compute/CMakeLists.txt": "reeve_module(compute SOURCES attempt.cc DEPS reeve::events)\n",
    "src/compute/attempt.cc": '#include "compute/attempt.h"\n',
    "src/compute/attempt.h": '#pragma once\n#include "base/base.h"\n',
    "src/control/CMakeLists.txt": "reeve_module(control SOURCES router.cc DEPS reeve::events)\n",
    "src/control/router.cc": '#include "events/codec.h"\n',
    "src/events/CMakeLists.txt": "reeve_module(events SOURCES codec.cc DEPS reeve::base)\n",
    "src/events/codec.cc": '#include "base/base.h"\n#include "events_generated.h"\n',
    "src/events/codec.h": "#pragma once\n",
    "src/projection/CMakeLists.txt": "reeve_module(projection SOURCES rows.cc DEPS reeve::base)\n",
    "src/projection/rows.cc": '#include "base/base.h"\n',
    "src/projection/kv/CMakeLists.txt": "reeve_module(kv SOURCES lmdb_store.cc DEPS reeve::base)\n",
    "src/projection/kv/lmdb_store.cc": '#include <lmdb.h>\n#include "store.h"\n',
    "src/projection/kv/store.h": "#pragma once\n",
    "src/runtime/CMakeLists.txt": "reeve_module(runtime SOURCES clock.cc DEPS reeve::base)\n",
    "src/runtime/clock.cc": RUNTIME,
    "docs/tests.md": "Proved by `tests/base_test.cc`: Base.Works, and (Base.Lasts).\n\nNo.Test of a file.\n",
    "tests/CMakeLists.txt": "reeve_test(base SOURCES base_test.cc)\n",
    "tests/base_test.cc": "#include <sys/stat.h>\nstd::thread other;\nconst char* seed = std::getenv(name);\n"
                          "TEST(Base, Works) {}\nTEST_F(Base,\n       Lasts) {}\n",
    "tests/wait.py": "import time\n\n\ndef wait_for(what):\n    time.sleep(0.1)\n",
    "tools/CMakeLists.txt": "reeve_program(reeve SOURCES main.cc)\n",
    "tools/main.cc": "void pause() { runtime::sleep_for(wait); }\n",
    "tools/setup": "#!/usr/bin/env bash\n",
}

ROUTER = "src/control/router.cc"  # one line: what is added stands in line 2
BASE_TEST = "tests/base_test.cc"  # six lines
TOOL = "tools/main.cc"  # one line
LONG = "    step();\n" * 69  # with the lines of the braces: 71


def plus(path, text):
    return {path: CLEAN[path] + text}


MAP_CASES = (
    ({"src/extra/CMakeLists.txt": "reeve_module(extra SOURCES x.cc)\n", "src/extra/x.cc": ""},
     ["src/extra:1: table: no row"]),
    ({"src/base/sub/CMakeLists.txt": "reeve_module(sub SOURCES s.cc)\n", "src/base/sub/s.cc": ""},
     ["src/base/sub/CMakeLists.txt:1: table: a library of its own"]),
    (plus("src/README.md", "| `ghost` | shell | nothing | |\n"),
     ["src/README.md:12: table: `ghost` has no directory"]),
    ({"src/README.md": MAP.replace("`runtime` | shell", "`runtime` | porch")},
     ["src/README.md:11: order: band `porch`"]),
    ({"src/README.md": MAP.replace("events | `base`", "events | `base`, `control`")},
     ["src/README.md:6: order: `events` lists `control`, which is no row above"]),
    ({"src/README.md": MAP.replace("attempts | `base`", "attempts | `base`, `control`")},
     ["src/README.md:10: order: plane `compute` lists plane `control`"]),
    ({"src/README.md": MAP.replace("`events` | substrate", "`events` | shell")},
     ["src/README.md:10: order: `compute` (plane) lists `events` of a higher band",
      "src/README.md:9: order: `control` (plane) lists `events` of a higher band"]),
    (plus(ROUTER, '#include "projection/kv/store.h"\n'),
     ["src/control/router.cc:2: edge: `control` includes projection/kv/store.h",
      "src/control/router.cc:2: link: includes projection/kv/store.h"]),
    (plus(ROUTER, '#include "compute/attempt.h"\n'),
     ["src/control/router.cc:2: edge: `control` includes compute/attempt.h",
      "src/control/router.cc:2: link: includes compute/attempt.h"]),
    ({**plus(ROUTER, '#include "tools/verbs.h"\n'), "tools/verbs.h": "#pragma once\n"},
     ["src/control/router.cc:2: edge: includes tools/verbs.h"]),
    ({"src/projection/CMakeLists.txt": "reeve_module(projection SOURCES rows.cc\n DEPS reeve::base reeve::events)\n"},
     ["src/projection/CMakeLists.txt:2: link: `projection` links `events`"]),
    ({"src/projection/CMakeLists.txt": "reeve_module(projection SOURCES rows.cc)\n"},
     ["src/projection/rows.cc:1: link: includes base/base.h, but `projection` does not link `base`"]),
)

INCLUDE_CASES = (
    (plus(ROUTER, "#include <unistd.h>\n"), ["src/control/router.cc:2: system-header: <unistd.h>"]),
    (plus(ROUTER, "#include <sys/stat.h>\n"), ["src/control/router.cc:2: system-header: <sys/stat.h>"]),
    (plus(ROUTER, "#include <spdlog/logger.h>\n"), ["src/control/router.cc:2: system-header: <spdlog/logger.h>"]),
    (plus(ROUTER, "#include <boost/asio/post.hpp>\n"), ["src/control/router.cc:2: system-header: <boost/asio/"]),
    (plus(TOOL, "#include <poll.h>\n"), ["tools/main.cc:2: system-header: <poll.h>"]),
    (plus(BASE_TEST, "#include <lmdb.h>\n"), ["tests/base_test.cc:7: lmdb: only src/projection/kv"]),
    (plus(ROUTER, '#include "events_generated.h"\n'), ["src/control/router.cc:2: generated: only src/events"]),
)

CALL_CASES = (
    (plus(ROUTER, "auto t = std::chrono::steady_clock::now();\n"), ["src/control/router.cc:2: clock:"]),
    (plus(ROUTER, "auto t = time(nullptr);\n"), ["src/control/router.cc:2: clock:"]),
    (plus(ROUTER, "int r = ::clock_gettime(0, &t);\n"), ["src/control/router.cc:2: clock:"]),
    (plus(ROUTER, "int r = gettimeofday(&t, 0);\n"), ["src/control/router.cc:2: clock:"]),
    (plus(ROUTER, "void f() { ::usleep(1); }\n"), ["src/control/router.cc:2: sleep: `::usleep`"]),
    (plus(ROUTER, "void f() { runtime::sleep_for(x); }\n"), ["src/control/router.cc:2: sleep: `sleep_for`"]),
    (plus(BASE_TEST, "void f() {\n    sleep(1);\n}\n"), ["tests/base_test.cc:8: sleep:"]),
    (plus(BASE_TEST, "void f() { std::this_thread::sleep_for(x); }\n"), ["tests/base_test.cc:7: sleep:"]),
    (plus(TOOL, "void f() { ::nanosleep(&x, nullptr); }\n"), ["tools/main.cc:2: sleep:"]),
    (plus("tests/wait.py", "\n\ndef run():\n    time.sleep(1)\n"), ["tests/wait.py:9: sleep: time.sleep"]),
    (plus(ROUTER, "void f() { try { g(); } catch (...) {} }\n"), ["src/control/router.cc:2: banned-call: `catch"]),
    (plus(BASE_TEST, 'int r = std::system("ls");\n'), ["tests/base_test.cc:7: banned-call: `std::system(`"]),
    (plus(TOOL, 'auto p = popen("ls", "r");\n'), ["tools/main.cc:2: banned-call: `popen(`"]),
    (plus(ROUTER, "void f() { strcpy(a, b); }\n"), ["src/control/router.cc:2: banned-call: `strcpy`"]),
    (plus(ROUTER, "void f() { std::sprintf(a, b); }\n"), ["src/control/router.cc:2: banned-call: `std::sprintf`"]),
    (plus(BASE_TEST, "int r = rand();\n"), ["tests/base_test.cc:7: banned-call: `rand(`"]),
    (plus(ROUTER, "auto e = std::getenv(x);\n"), ["src/control/router.cc:2: banned-call: `getenv`"]),
    (plus(TOOL, "std::thread t;\n"), ["tools/main.cc:2: banned-call: `std::thread`"]),
)

FILE_CASES = (
    (plus(ROUTER, "namespace a {\nvoid f() {\n" + LONG + "}\n}\n"),
     ["src/control/router.cc:3: length: function of 71 lines"]),
    (plus(ROUTER, "struct A {\n    A()\n        : a_{1} {\n" + LONG + "    }\n};\n"),
     ["src/control/router.cc:4: length: function of 71 lines"]),
    (plus("tests/wait.py", "\n\ndef run():\n" + LONG.replace(";", "") + "    step()\n"),
     ["tests/wait.py:8: length: function of 71 lines"]),
    (plus(ROUTER, "int a;\n" * 800), ["src/control/router.cc:801: length: file of 801 lines"]),
    (plus(ROUTER, "int " + "a" * 97 + "\n"), ["src/control/router.cc:2: length: line of 101 columns"]),
    ({"src/events/codec.h": "int x;\n"}, ["src/events/codec.h:1: pragma-once:"]),
    ({"src/events/old.cc": "", "src/events/old.h": "#pragma once\n"},
     ["src/events/old.cc:1: dead-file: no CMakeLists.txt", "src/events/old.h:1: dead-file: no file includes it"]),
    (plus("README.md", "\nIn `src/gone`.\n"), ["README.md:3: doc-path: src/gone does not exist"]),
    (plus("src/README.md", "\n`tests/gone --all` too\n"), ["src/README.md:13: doc-path: tests/gone does not exist"]),
    (plus("docs/formats/page.md", "[gone](gone.md)\n"), ["docs/formats/page.md:2: doc-path: gone.md does not exist"]),
    ({"CONTRIBUTING.md": "`tools/gone`\n"}, ["CONTRIBUTING.md:1: doc-path: tools/gone does not exist"]),
    (plus("src/events/codec.h", "// docs/gone.md\n"), ["src/events/codec.h:2: doc-path: docs/gone.md does not exist"]),
    (plus("docs/tests.md", "| `tests/base_test.cc`: Base.Breaks |\n"),
     ["docs/tests.md:4: doc-test: tests/base_test.cc has no test Base.Breaks"]),
    (plus("docs/tests.md", "`tests/wait.py`: Wait.test_it\n"), ["docs/tests.md:4: doc-test: tests/wait.py has no"]),
    ({"docs/faults.md": "| # | fault |\n|---|---|\n| 1 | `tests/base_test.cc`: Base.Lasts |\n| 2 | nobody looks |\n"},
     ["docs/faults.md:4: doc-test: a fault without a test"]),
    (plus("tools/setup", "# TODO later\n"), ["tools/setup:2: marker: TODO"]),
    (plus("README.md", "\nLies in /work/here.\n"), ["README.md:3: workplace:"]),
)


class Rules(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="reeve-tidy-")
        self.addCleanup(holder.cleanup)
        self.holder = pathlib.Path(holder.name)

    def make(self, name, changes):
        root = self.holder / name
        for path, text in {**CLEAN, **changes}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        return root

    def check(self, cases):
        for number, (changes, expected) in enumerate(cases):
            with self.subTest(expected[0]):
                found = tidy.findings(tidy.Tree(self.make(str(number), changes)))
                self.assertEqual(len(found), len(expected), found)
                for finding, start in zip(sorted(found), sorted(expected)):
                    self.assertTrue(finding.startswith(start), finding)

    def test_a_clean_tree_passes(self):
        self.assertEqual(tidy.findings(tidy.Tree(self.make("clean", {}))), [])

    def test_the_map(self):
        self.check(MAP_CASES)

    def test_a_tree_without_a_map(self):
        found = tidy.findings(tidy.Tree(self.make("bare", {"src/README.md": "# The house\n"})))
        self.assertIn("src/README.md:1: table: has no table", found[0])

    def test_includes(self):
        self.check(INCLUDE_CASES)

    def test_calls(self):
        self.check(CALL_CASES)

    def test_files(self):
        self.check(FILE_CASES)

    def test_every_rule_has_failed(self):
        documented = set(tidy.re.findall(r"^  ([a-z-]+)  ", tidy.__doc__, tidy.re.MULTILINE))
        cases = MAP_CASES + INCLUDE_CASES + CALL_CASES + FILE_CASES
        self.assertEqual({start.split(": ")[1].rstrip(":") for _, starts in cases for start in starts}, documented)

    def test_exit_status(self):
        program = pathlib.Path(tidy.__file__)
        for name, changes, status in (("clean", {}, 0), ("dirty", plus(ROUTER, "#include <poll.h>\n"), 1)):
            done = subprocess.run([sys.executable, "-B", program, "--root", self.make(name, changes)],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, status, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
