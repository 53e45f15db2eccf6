#!/usr/bin/env python3
"""What was released is never changed: each schema of schema/released against schema/events.fbs.

Two checks, because neither sees all. `flatc --conform` (2.0.8) finds a field with another type, offset or default
and a value of the union with another number. It does not find a field or a member of the union that is gone, one
that was renamed or replaced under its number, another file identifier or root. compare() reads the schemas and finds
those. Both are shown to fail: a check that cannot fail proves nothing."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLATC = os.environ.get("FLATC", "flatc")
TODAY = ROOT / "schema" / "events.fbs"
RELEASED = sorted((ROOT / "schema" / "released").glob("*/events.fbs"), key=lambda path: int(path.parent.name))


def parse(text):
    """{"Table.3": "name:type", "Payload.5": "JobOffered", "root": ..., "identifier": ...}"""
    text = re.sub(r"//[^\n]*", "", text)
    out = {}
    for name, body in re.findall(r"\btable\s+(\w+)\s*\{([^}]*)\}", text):
        for field, kind, attributes in re.findall(r"(\w+)\s*:\s*([^;(]+?)\s*\(([^)]*)\)\s*;", body):
            number = re.fullmatch(r"id:\s*(\d+)", attributes.strip())
            if number is None:
                raise ValueError(f"{name}.{field}: only an explicit id is used here, not '{attributes}'")
            key = f"{name}.{int(number[1])}"
            if key in out:
                raise ValueError(f"{key} stands twice")
            out[key] = f"{field}:{kind}"
        if len(re.findall(r";", body)) != len([key for key in out if key.startswith(name + ".")]):
            raise ValueError(f"table {name}: a field without an explicit id")
    for name, body in re.findall(r"\bunion\s+(\w+)\s*\{([^}]*)\}", text):
        for member in filter(None, (one.strip() for one in body.split(","))):
            found = re.fullmatch(r"(\w+)\s*=\s*(\d+)", member)
            if found is None:
                raise ValueError(f"union {name}: '{member}' has no explicit number")
            out[f"{name}.{int(found[2])}"] = found[1]
    out["root"] = re.search(r"\broot_type\s+(\w+)", text)[1]
    out["identifier"] = re.search(r'\bfile_identifier\s+"(\w+)"', text)[1]
    return out


def compare(old, new):
    """What the new schema has lost or changed."""
    before, now = parse(old), parse(new)
    return [f"{key} was {value}, is {now.get(key, 'gone')}" for key, value in before.items() if now.get(key) != value]


def conforms(old, new):
    """flatc's own word: the empty text, or its complaint."""
    with tempfile.TemporaryDirectory(prefix="reeve-schema-") as directory:
        paths = []
        for name, text in (("old.fbs", old), ("new.fbs", new)):
            path = pathlib.Path(directory, name)
            path.write_text(text)
            paths.append(str(path))
        done = subprocess.run([FLATC, "--conform", *paths], capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or "refused"


def changed(before, after):
    text = TODAY.read_text()
    if text.count(before) != 1:
        raise AssertionError(f"the schema does not hold this once: {before!r}")
    return text.replace(before, after)


class Released(unittest.TestCase):
    def test_there_is_one_for_each_level_that_was_released(self):
        self.assertEqual([int(path.parent.name) for path in RELEASED], list(range(1, len(RELEASED) + 1)))
        self.assertTrue(RELEASED)

    def test_todays_schema_still_says_all_that_was_released(self):
        for path in RELEASED:
            with self.subTest(released=path.parent.name):
                self.assertEqual(compare(path.read_text(), TODAY.read_text()), [])
                self.assertEqual(conforms(path.read_text(), TODAY.read_text()), "")

    def test_each_release_grew_out_of_the_one_before(self):
        for older, newer in zip(RELEASED, RELEASED[1:]):
            self.assertEqual(compare(older.read_text(), newer.read_text()), [])

    def test_a_type_has_the_level_in_which_it_was_first_released(self):
        """The third column of `types` in codec.cc; what stands in no released schema is of a later level."""
        codec = (ROOT / "src/events/codec.cc").read_text()
        levels = {name: int(level or 1) for name, level in
                  re.findall(r'\{"(\w+)", &read_payload<[^>]*>(?:, (\d+))?\}', codec)}
        members = {key: value for key, value in parse(TODAY.read_text()).items() if key.startswith("Payload.")}
        self.assertEqual(list(levels), [members[f"Payload.{number}"] for number in range(1, len(members) + 1)])
        for name, level in levels.items():
            first = next((int(path.parent.name) for path in RELEASED
                          if name in parse(path.read_text()).values()), len(RELEASED) + 1)
            self.assertEqual(level, first, f"{name}: the level of its entry in src/events/codec.cc")


class TheChecksCanFail(unittest.TestCase):
    """Each change of today's schema that must not happen, and which of the two checks finds it."""

    def both(self, before, after):
        text = changed(before, after)
        return bool(compare(TODAY.read_text(), text)), bool(conforms(TODAY.read_text(), text))

    def test_growing_is_allowed(self):
        last = re.search(r"  (\w+) = (\d+)\n\}", TODAY.read_text())
        grown = changed(last[0], f"  {last[1]} = {last[2]},\n  Later = {int(last[2]) + 1}\n}}")
        grown = grown.replace("union Payload", "table Later {\n  a:uint (id: 0);\n}\n\nunion Payload", 1)
        grown = grown.replace("  digest:string (id: 1);\n", "  digest:string (id: 1);\n  more:string (id: 2);\n", 1)
        self.assertEqual(compare(TODAY.read_text(), grown), [])
        self.assertEqual(conforms(TODAY.read_text(), grown), "")

    def test_a_reused_id(self):
        self.assertEqual(self.both("  running:uint (id: 2);\n  load_milli:uint (id: 3);",
                                   "  running:uint (id: 3);\n  load_milli:uint (id: 2);"), (True, True))

    def test_a_renumbered_member_of_the_union(self):
        self.assertEqual(self.both("  SwitchSet = 13,\n  NodeHealth = 14,", "  NodeHealth = 13,\n  SwitchSet = 14,"),
                         (True, True))

    def test_a_type_of_the_same_size(self):
        self.assertEqual(self.both("  slots:uint (id: 5);", "  slots:int (id: 5);"), (True, True))

    def test_a_default(self):
        self.assertEqual(self.both("  slots:uint (id: 5);", "  slots:uint = 7 (id: 5);"), (True, True))

    def test_a_removed_field(self):
        self.assertEqual(self.both("  disk_free_mb:ulong (id: 5);\n", ""), (True, False))

    def test_a_removed_member_of_the_union(self):
        self.assertEqual(self.both("  SwitchSet = 13,\n", ""), (True, False))

    def test_another_table_under_a_number_of_the_union(self):
        self.assertEqual(self.both("  DigestTaken = 16", "  OfferScore = 16"), (True, False))

    def test_another_name_under_an_id(self):
        self.assertEqual(self.both("  load_milli:uint (id: 3);", "  load:uint (id: 3);"), (True, False))

    def test_another_identifier_or_root(self):
        self.assertEqual(self.both('file_identifier "RVE1"', 'file_identifier "RVE2"'), (True, False))
        self.assertEqual(self.both("root_type Event", "root_type NodeStopped"), (True, False))

    def test_a_field_without_an_id_is_refused(self):
        with self.assertRaises(ValueError):
            parse(changed("  cut:string (id: 0);\n  digest:string (id: 1);", "  cut:string;\n  digest:string;"))


if __name__ == "__main__":
    unittest.main()
