#!/usr/bin/env python3
"""Writes the manual page of a program from what `program --help` says, verbs included.

usage: man.py PROGRAM SECTION OUTPUT
"""

import pathlib
import re
import subprocess
import sys

SEE = {
    "reeve": ["reeve-log(1)", "reeve-replay(1)", "reeve-worker(8)"],
    "reeve-log": ["reeve(1)", "reeve-replay(1)"],
    "reeve-replay": ["reeve(1)", "reeve-log(1)"],
    "reeve-worker": ["reeve(1)", "reeve-coordinator(8)", "reeve-exec(8)"],
    "reeve-coordinator": ["reeve(1)", "reeve-worker(8)"],
    "reeve-exec": ["reeve-worker(8)"],
}
SUMMARIES = {"reeve-exec": "runs the commands of a node's attempts and outlives the worker"}


def help_of(program, *verbs):
    done = subprocess.run([str(program), *verbs, "--help"], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.replace(str(program), program.name).strip("\n")


def verbs_of(text):
    """The names below `Subcommands:`."""
    listed = re.search(r"^Subcommands:\n((?:  .*\n?)+)", text, re.MULTILINE)
    return re.findall(r"^  ([a-z][\w-]*)", listed[1], re.MULTILINE) if listed else []


def verb_pages(program, *verbs):
    """(words, help) of every verb, in the order of the help."""
    for name in verbs_of(help_of(program, *verbs)):
        yield " ".join((*verbs, name)), help_of(program, *verbs, name)
        yield from verb_pages(program, *verbs, name)


def summary_of(program, text):
    """What follows the name in the first line of the help."""
    first = SUMMARIES.get(program.name) or text.split("\n", 1)[0]
    return re.sub(rf"^{program.name}:? ", "", first).rstrip(".")


def roff(text):
    """Literal text: backslashes, hyphens, and dots and quotes at the beginning of a line."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def page(program, section):
    version = subprocess.run([str(program), "--version"], capture_output=True, text=True, timeout=60, check=False)
    text = help_of(program)
    lines = [f'.TH {program.name.upper()} {section} "" "{version.stdout.strip() or "reeve"}" "reeve"',
             ".SH NAME", f"{roff(program.name)} \\- {roff(summary_of(program, text))}",
             ".SH DESCRIPTION", ".nf", roff(text), ".fi"]
    for words, verb_help in verb_pages(program):
        lines += [f".SH {roff(program.name)} {roff(words)}", ".nf", roff(verb_help), ".fi"]
    if section != "1":
        lines += [".SH FILES", ".nf", roff("/etc/reeve/reeve.toml   configuration of this node\n"
                                           "/var/lib/reeve          logs, and what is computed from them\n"
                                           "/run/reeve              sockets"), ".fi"]
    see = [f".BR {name.replace('-', chr(92) + '-').replace('(', ' (')}" for name in SEE[program.name]]
    lines += [".SH SEE ALSO", " ,\n".join(see), ".PP", "/usr/share/doc/reeve/docs/installation.md"]
    return "\n".join(lines) + "\n"


def main():
    program, section, output = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], pathlib.Path(sys.argv[3])
    output.write_text(page(program, section), encoding="utf-8")


if __name__ == "__main__":
    main()
