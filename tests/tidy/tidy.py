#!/usr/bin/env python3
"""The house test: what the repository promises of itself, checked by reading it. Nothing is built.

usage: tidy.py [--root DIR]      exit status 1 when there is a finding
A finding is one line: `file:line: rule: what, and how to mend it`.

  table          src/README.md has a row for every module, and every row has its directory
  order          a row lists only modules of rows above it, none of a higher band; no plane lists a plane
  edge           a module includes only what its row lists, and nothing of tools, replay, tests
  link           CMake links only what the row lists, and all that is included
  system-header  of src, replay and tools only runtime and exec include system headers, Asio, spdlog
  lmdb           the LMDB store alone includes lmdb.h (and benches, as a peer)
  generated      only events includes generated headers
  clock          of src only runtime and exec read a real clock
  sleep          only runtime sleeps, and wait_for in Python; programs in tools call runtime::sleep_for
  banned-call    catch (...), system, popen, strcpy, sprintf, rand, getenv, std::thread: see CALLS
  length         function 70 lines, file 800 lines, line 100 columns (Python 120)
  pragma-once    every header has it
  dead-file      every .cc is named by a CMakeLists.txt, every header is included somewhere
  doc-path       a path that the docs name exists; so does a page of docs/ that a comment names
  doc-test       a test that a page of docs/ names behind its file is there; each row of docs/faults.md names one
  marker         no word that stands for work left undone
  workplace      no absolute path of the place where somebody works

Beyond these rules: tests may include system headers and read the environment. This directory names
what is forbidden, so `marker` and `workplace` pass it over.
"""

import argparse
import ast
import os
import pathlib
import re
import sys
from collections import namedtuple

SKIPPED_DIRECTORIES = {".git", "build", "__pycache__"}
MAP = "src/README.md"
FAULTS = "docs/faults.md"
BANDS = ("substrate", "plane", "shell")
OUTSIDE_SRC = ("tools/", "replay/", "tests/", "bench/")
LMDB_HOME = "src/projection/kv/lmdb_"
OWN_DIRECTORY = "tests/tidy/"
MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 800
MAX_PYTHON_COLUMNS = 120
MAX_CPP_COLUMNS = 100

SYSTEM_HEADER = re.compile(
    r"(sys|net|netinet|arpa|linux|boost|asio|spdlog)/.*|asio\.hpp|csignal|ctime|"
    r"(unistd|fcntl|poll|spawn|signal|time|pthread|sched|dirent|netdb|dlfcn|pwd|grp|termios|ucontext|syslog|utime)\.h")

# A call that is not allowed: where it is looked for, where it is allowed after all, and what to do instead.
Call = namedtuple("Call", "rule pattern where but mend")
CALLS = [Call(rule, re.compile(pattern, re.MULTILINE), where, but, mend) for rule, pattern, where, but, mend in (
    ("clock", r"_clock::now\b|\bgettimeofday\b|\bclock_gettime\b|(?<![\w.>])time\(\s*(nullptr|NULL|0|&\w+)\s*\)",
     ("src/",), ("src/runtime/", "src/exec/"), "take the time from env::Clock"),
    ("sleep", r"\bthis_thread::sleep_\w+|(?<![\w.>:])(::)?(usleep|nanosleep|clock_nanosleep)\b"
              r"|(^|[;{}(),=!&|]|\breturn)\s*(::)?sleep\(",
     ("",), ("src/runtime/",), "use env::Tasks::sleep_until, in a program runtime::sleep_for"),
    ("sleep", r"(?<!this_thread::)\bsleep_for\b", ("src/", "tests/"), ("src/runtime/",),
     "use env::Tasks::sleep_until, or poll the condition with a deadline"),
    ("banned-call", r"\bcatch\s*\(\s*\.{3}\s*\)", ("src/",), ("src/runtime/",), "name the type: env::Killed must pass"),
    ("banned-call", r"(?<![\w.>:])(std::|::)?(system|popen)\s*\(", ("",), (), "no shell: start an argv"),
    ("banned-call", r"(?<![\w.>:])(std::|::)?(strcpy|sprintf)\b", ("",), (), "unbounded: use std::string or fmt"),
    ("banned-call", r"(?<![\w.>:])(std::|::)?rand\s*\(", ("",), (), "use env::Entropy, in tests a seeded source"),
    ("banned-call", r"\bgetenv\b", ("src/", "replay/"), ("src/runtime/",), "read it in runtime or a tool, pass it on"),
    ("banned-call", r"\bstd::j?thread\b", ("src/", "replay/", "tools/"), ("src/runtime/", "src/exec/"),
     "tasks are made by env::Tasks"),
)]

TOKEN = re.compile(  # what is not code: comments, raw strings, strings, characters (but not the ' in 1'000)
    r"//[^\n]*|/\*.*?\*/|R\"([^()\s\\]{0,16})\(.*?\)\1\"|\"(?:\\.|[^\"\\\n])*\"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",
    re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*[<\"]([^>\"]+)[>\"]", re.MULTILINE)
ROW = re.compile(r"^\|\s*`([^`]+)`\s*\|\s*(\w+)\s*\|[^|\n]*\|([^|\n]*)\|", re.MULTILINE)
SCOPE = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b[^()]*$")
COMMAND = re.compile(r"(\w+)\s*\(([^()]*)\)")
MARKER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
WORKPLACE = re.compile(r"(?<![\w.])/work/")
DOC_PREFIX = re.compile(r"(src|tests|tools|docs|schema|replay|bench)/[\w./-]*$")

Row = namedtuple("Row", "name band includes line")


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def newlines(match):
    return "\n" * match.group().count("\n")


def code_of(text):
    """C++ without comments and with empty strings; every line stays where it was."""
    return TOKEN.sub(lambda m: ("" if m.group()[0] == "/" else '""') + newlines(m), text)


class Tree:
    """The text files below a root, read once; paths are relative to it."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.texts = {}
        for directory, names, files in os.walk(root):
            names[:] = [name for name in names if name not in SKIPPED_DIRECTORIES]
            for name in sorted(set(files) - SKIPPED_DIRECTORIES):  # `.git` is a file in a worktree
                self._read(pathlib.Path(directory, name))
        self.cpp = sorted(path for path in self.texts if path.endswith((".h", ".cc")))
        self.python = sorted(path for path, text in self.texts.items()
                             if path.endswith(".py") or re.match(r"#!.*python", text))
        self.cmake = sorted(path for path in self.texts if path.endswith("CMakeLists.txt"))
        self.code = {path: code_of(self.texts[path]) for path in self.cpp}
        self.rows = [Row(m[1], m[2], re.findall(r"`([^`]+)`", m[3]), line_of(self.texts[MAP], m.start()))
                     for m in ROW.finditer(self.texts.get(MAP, ""))]
        self.row = {row.name: row for row in self.rows}

    def _read(self, path):
        if path.is_file():
            try:
                self.texts[path.relative_to(self.root).as_posix()] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                pass  # not text

    def includes(self, path):
        """(line, name) of every include."""
        text = self.texts[path]
        return [(line_of(text, m.end()), m[1]) for m in INCLUDE.finditer(text)]

    def module_of(self, path):
        """The row that a path below src/ belongs to: projection/kv/store.h is in projection/kv."""
        parents = [str(parent) for parent in pathlib.PurePosixPath(path).parents]
        return next((parent for parent in parents if parent in self.row), None)

    def sources(self):
        """(path, module) of the files below src/; a file without a row is left to rule_table."""
        for path in self.cpp:
            if path.startswith("src/") and self.module_of(path[4:]):
                yield path, self.module_of(path[4:])

    def commands(self, *names):
        """(path, match of the arguments) of these commands in every CMakeLists.txt below src/."""
        for path in self.cmake:
            if path.startswith("src/"):
                for m in COMMAND.finditer(re.sub(r"#.*", "", self.texts[path])):
                    if m[1] in names:
                        yield path, m

    def links(self):
        """(CMakeLists.txt, line, module, linked module) of the libraries below src/."""
        home = {m[2].split()[0].removeprefix("reeve_"): self.module_of(path[4:])
                for path, m in self.commands("reeve_module", "add_library")}
        for path, m in self.commands("reeve_module", "target_link_libraries"):
            for library in re.finditer(r"reeve::(\w+)", m[2]):
                line = line_of(m.string, m.start(2) + library.start())
                yield path, line, self.module_of(path[4:]), home.get(library[1])


# ---- the map -----------------------------------------------------------------------------------------


def rule_table(tree):
    if not tree.rows:
        yield MAP, 1, "table", "has no table of modules: | `module` | band | what it owns | may include |"
    with_files = {os.path.dirname(path) for path in tree.cpp + tree.cmake if path.startswith("src/")}
    for directory in sorted(with_files - {"src"}):
        if not tree.module_of(directory[4:] + "/x"):
            yield directory, 1, "table", f"no row in {MAP}: add one, with its band and what it may include"
    for path in tree.cmake:
        name = os.path.dirname(path)[4:]
        if path.startswith("src/") and name and name not in tree.row and tree.module_of(path[4:]):
            yield path, 1, "table", f"a library of its own without a row in {MAP}: add one"
    for row in tree.rows:
        if "src/" + row.name not in with_files:
            yield MAP, row.line, "table", f"`{row.name}` has no directory with sources: remove the row"


def rule_order(tree):
    above = []
    for row in tree.rows:
        if row.band not in BANDS:
            yield MAP, row.line, "order", f"band `{row.band}`: say one of {', '.join(BANDS)}"
            continue
        for name in row.includes:
            if name not in above:
                yield MAP, row.line, "order", f"`{row.name}` lists `{name}`, which is no row above it: turn it round"
            elif row.band == "plane" and tree.row[name].band == "plane":
                yield MAP, row.line, "order", f"plane `{row.name}` lists plane `{name}`: they meet in events and views"
            elif BANDS.index(tree.row[name].band) > BANDS.index(row.band):
                yield MAP, row.line, "order", f"`{row.name}` ({row.band}) lists `{name}` of a higher band"
        above.append(row.name)


def rule_edge(tree):
    for path, module in tree.sources():
        for line, name in tree.includes(path):
            target = tree.module_of(name)
            if name.startswith(OUTSIDE_SRC):
                yield path, line, "edge", f"includes {name}: src stands alone, move what it needs into src"
            elif target and target != module and target not in tree.row[module].includes:
                yield path, line, "edge", f"`{module}` includes {name}, its row in {MAP} does not: do without"


def rule_link(tree):
    linked = {}
    for path, line, module, target in tree.links():
        linked.setdefault(module, set()).add(target)
        if module and target and target != module and target not in tree.row[module].includes:
            yield path, line, "link", f"`{module}` links `{target}`, its row in {MAP} lacks it: drop the link"
    for path, module in tree.sources():
        for line, name in tree.includes(path):
            target = tree.module_of(name)
            if target and target not in reachable(linked, module):
                yield path, line, "link", f"includes {name}, but `{module}` does not link `{target}`: add it to DEPS"


def reachable(linked, module):
    seen, left = set(), [module]
    while left:
        one = left.pop()
        if one not in seen:
            seen.add(one)
            left.extend(linked.get(one, ()))
    return seen


# ---- includes and calls ------------------------------------------------------------------------------


def rule_system_header(tree):
    for path in tree.cpp:
        if path.startswith(("src/runtime/", "src/exec/")) or not path.startswith(("src/", "replay/", "tools/")):
            continue
        for line, name in tree.includes(path):
            if SYSTEM_HEADER.fullmatch(name):
                yield path, line, "system-header", f"<{name}> belongs to runtime and exec: go through env or runtime"


def rule_one_home(tree):
    for path in tree.cpp:
        for line, name in tree.includes(path):
            if name == "lmdb.h" and not path.startswith((LMDB_HOME, "bench/")):
                yield path, line, "lmdb", f"only {LMDB_HOME}* includes lmdb.h: use kv::Store"
            if name.endswith("_generated.h") and not path.startswith("src/events/"):
                yield path, line, "generated", f"only src/events includes {name}: use events/events.h"


def rule_calls(tree):
    for call in CALLS:
        for path in tree.cpp:
            if path.startswith(call.where) and not path.startswith(call.but):
                for m in call.pattern.finditer(tree.code[path]):
                    yield path, line_of(tree.code[path], m.end()), call.rule, f"`{m[0].strip()}`: {call.mend}"


def rule_python_sleep(tree):
    for path in tree.python:
        for line in sleeps(ast.parse(tree.texts[path], path), inside=""):
            yield path, line, "sleep", "time.sleep outside wait_for: poll the condition with a deadline"


def sleeps(node, inside):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and ast.unparse(child.func) in ("time.sleep", "sleep") and inside != "wait_for":
            yield child.lineno
        yield from sleeps(child, getattr(child, "name", inside) if isinstance(child, ast.FunctionDef) else inside)


# ---- size --------------------------------------------------------------------------------------------


def rule_function_length(tree):
    for path in tree.cpp:
        for first, last in blocks(DIRECTIVE.sub(newlines, tree.code[path])):
            yield from too_long(path, first, last)
    for path in tree.python:
        for node in ast.walk(ast.parse(tree.texts[path], path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield from too_long(path, node.lineno, node.end_lineno)


def too_long(path, first, last):
    if last - first + 1 > MAX_FUNCTION_LINES:
        yield path, first, "length", f"function of {last - first + 1} lines: at most {MAX_FUNCTION_LINES}, split it"


def blocks(code):
    """(first, last) line of every outermost {} that is neither namespace, type nor table: the functions."""
    scopes = []  # of each open brace: does it hold declarations?
    head = 0  # where the current declaration starts
    for m in re.finditer(r"[{};]", code):
        outermost = all(scopes)
        if m[0] == "{":
            text = code[head:m.start()]
            if outermost:
                first = line_of(code, head + len(text) - len(text.lstrip()))
                table = text.rstrip().endswith("=")
            scopes.append(outermost and bool(SCOPE.search(text)))
        elif m[0] == "}" and scopes:
            scopes.pop()
            if all(scopes) and not outermost and not table:
                yield first, line_of(code, m.start())
        if all(scopes):
            head = m.end()


def rule_file_length(tree):
    for path in tree.cpp + tree.python:
        lines = tree.texts[path].splitlines()
        if len(lines) > MAX_FILE_LINES:
            yield path, len(lines), "length", f"file of {len(lines)} lines: at most {MAX_FILE_LINES}, split it"
        for number, line in enumerate(lines, 1):
            most = MAX_PYTHON_COLUMNS if path in tree.python else MAX_CPP_COLUMNS
            if len(line) > most:
                yield path, number, "length", f"line of {len(line)} columns: at most {most}, wrap it"


# ---- files, docs, words ------------------------------------------------------------------------------


def rule_pragma_once(tree):
    for path in tree.cpp:
        if path.endswith(".h") and not re.search(r"^#pragma once$", tree.texts[path], re.MULTILINE):
            yield path, 1, "pragma-once", "header without `#pragma once`: add it as the first line"


def rule_dead_file(tree):
    used = set()
    for path in tree.cmake:
        for name in re.findall(r"[\w./-]+\.(?:cc|h)\b", re.sub(r"#.*", "", tree.texts[path])):
            used.add(os.path.normpath(os.path.join(os.path.dirname(path), name.lstrip("/"))))
    for path in tree.cpp:
        for _, name in tree.includes(path):
            used.update((name, "src/" + name, os.path.normpath(os.path.join(os.path.dirname(path), name))))
    for path in tree.cpp:
        if path not in used:
            how = "no file includes it" if path.endswith(".h") else "no CMakeLists.txt names it"
            yield path, 1, "dead-file", f"{how}: build it or remove it"


def rule_doc_path(tree):
    for path, text in tree.texts.items():
        if path in ("README.md", "CONTRIBUTING.md", MAP) or path.startswith("docs/") and path.endswith(".md"):
            for at, name, target in named_paths(path, text):
                if not (tree.root / target).exists():
                    yield path, line_of(text, at), "doc-path", f"{name} does not exist: mend the page or the name"
    for path in tree.cpp:
        for m in re.finditer(r"\bdocs/[\w/.-]+\.md\b", tree.texts[path]):
            if m[0] not in tree.texts:
                line = line_of(tree.texts[path], m.start())
                yield path, line, "doc-path", f"{m[0]} does not exist: write the page or drop the name"


def rule_doc_test(tree):
    for path, text in tree.texts.items():
        if path.startswith("docs/") and path.endswith(".md"):
            for m in re.finditer(r"^\| \d+ \|(?!.*`tests/).*", text if path == FAULTS else "", re.MULTILINE):
                yield path, line_of(text, m.start()), "doc-test", "a fault without a test: name it, or list it as open"
            for line, file, name in named_tests(text):
                if file in tree.texts and name not in tests_of(file, tree.texts[file]):
                    yield path, line, "doc-test", f"{file} has no test {name}: mend the page or write the test"


def named_tests(text):
    """(line, file, Suite.test) of each test that is named behind a file below tests/, in its paragraph or table row."""
    file = None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("|") or line.startswith("- "):
            file = None
        for m in re.finditer(r"`(tests/[\w/]+\.(?:cc|py))`|(?<![\w`./])([A-Z]\w*\.(?:[A-Z]|test_)\w*)", line):
            file = m[1] or file
            if m[2] and file:
                yield number, file, m[2]


def tests_of(path, text):
    if path.endswith(".cc"):
        return {f"{suite}.{name}" for suite, name in re.findall(r"\bTEST(?:_F|_P)?\((\w+),\s*(\w+)\)", text)}
    return {f"{one.name}.{test.name}" for one in ast.walk(ast.parse(text, path)) if isinstance(one, ast.ClassDef)
            for test in one.body if isinstance(test, ast.FunctionDef)}


def named_paths(path, text):
    """(position, as written, relative to the root) of the repository paths in backticks and in links."""
    for span in re.finditer(r"`([^`\n]+)`", text):
        for word in span[1].split():
            word = re.sub(r"[:#]\S*$", "", word).rstrip(".,;)")
            if DOC_PREFIX.match(word):
                yield span.start(), word, word
    for link in re.finditer(r"\]\(([^)\s#]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:|/", link[1]):
            yield link.start(), link[1], os.path.normpath(os.path.join(os.path.dirname(path), link[1]))


def rule_words(tree):
    for path, text in tree.texts.items():
        if path.startswith(OWN_DIRECTORY):
            continue
        for m in MARKER.finditer(text):
            yield path, line_of(text, m.start()), "marker", f"{m[0]}: do it, or say what is absent and why"
        for m in WORKPLACE.finditer(text):
            yield path, line_of(text, m.start()), "workplace", f"{m[0]}...: name the path relative to the repository"


RULES = (rule_table, rule_order, rule_edge, rule_link, rule_system_header, rule_one_home, rule_calls, rule_python_sleep,
         rule_function_length, rule_file_length, rule_pragma_once, rule_dead_file, rule_doc_path,
         rule_doc_test, rule_words)


def findings(tree):
    found = sorted(finding for rule in RULES for finding in rule(tree))
    return [f"{path}:{line}: {rule}: {what}" for path, line, rule, what in found]


def main():
    parser = argparse.ArgumentParser(description="checks what the repository promises of itself")
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2], help="the repository")
    tree = Tree(parser.parse_args().root)
    found = findings(tree)
    print("\n".join(found + [f"tidy: {len(found)} findings; {len(tree.cpp)} C++ files"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
