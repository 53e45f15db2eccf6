"""Every rule of the door, at a running daemon: each bad document is refused with its field and reason, from the
socket and from the inbox, and the daemon serves on (I9)."""

import json
import socket
import struct
import unittest

from harness import ClusterCase, ROOT, command, wait_for
from test_single import SingleNode

FILE = ROOT / "tests" / "door" / "bad_documents.jsonl"
CASES = [json.loads(line) for line in FILE.read_text().splitlines() if line]


def raw(case, job):
    """The bytes of a case; tests/door/bad_documents_test.cc says how its line is read."""
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    text = case["document"]
    if "fill" in case:
        text = text.replace("%", case.get("with", "x") * case["fill"])
    return text.replace("$JOB", job).encode()


class Door(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        return SingleNode.serving(directory)

    def still_serves(self):
        self.assertTrue(self.cluster.alive("nova.worker"))
        self.assertEqual(self.cluster.run("submit", "--wait", "--", "/bin/true").returncode, 0)

    def socket_path(self):
        return str(self.cluster.directory / "nova" / "run" / "nova.worker.sock")

    def request(self, body, length=None):
        """One framed request, bytes in and bytes out; b"" when the daemon hung up."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(10)
            client.connect(self.socket_path())
            client.sendall(struct.pack("<I", len(body) if length is None else length) + body)
            if length is not None and length > len(body):
                client.shutdown(socket.SHUT_WR)
            header = client.recv(4, socket.MSG_WAITALL)
            return client.recv(struct.unpack("<I", header)[0], socket.MSG_WAITALL) if len(header) == 4 else b""

    def test_there_are_at_least_forty_cases_with_different_names(self):
        self.assertGreaterEqual(len({case["name"] for case in CASES}), 40)

    def test_each_is_refused_at_the_socket(self):
        job = self.submit(command("/bin/true"))[0]
        before = len(self.cluster.json("jobs", "--limit", 100000)["jobs"])
        for case in CASES:
            if "hex" in case:
                continue  # bytes that are no text cannot stand in a request; the inbox takes them
            with self.subTest(case["name"]):
                body = json.dumps({"verb": "submit", "documents": [raw(case, job).decode()]})
                error = json.loads(self.request(body.encode()))["error"]
                self.assertEqual(error["exit"], 2)
                self.assertTrue(error["message"].endswith(" was refused: " + case["field"]), error)
                self.assertIn(case["reason"], error["why"])
        self.assertEqual(len(self.cluster.json("jobs", "--limit", 100000)["jobs"]), before)
        self.still_serves()

    def test_each_is_refused_from_the_inbox(self):
        job = self.submit(command("/bin/true"))[0]
        incoming = self.cluster.share / "queue" / "incoming"
        rejected = self.cluster.share / "queue" / "rejected"
        for number, case in enumerate(CASES):
            (incoming / f"case-{number}.json").write_bytes(raw(case, job))
        reasons = [rejected / f"case-{number}.json.reason.txt" for number in range(len(CASES))]
        wait_for(lambda: all(path.exists() for path in reasons), 30, "all files are refused")
        for number, case in enumerate(CASES):
            with self.subTest(case["name"]):
                text = reasons[number].read_text(errors="replace")
                self.assertIn(case["field"], text)
                self.assertIn(case["reason"], text)
                self.assertEqual((rejected / f"case-{number}.json").read_bytes(), raw(case, job))
        self.still_serves()

    def test_only_plain_json_files_are_taken(self):
        incoming = self.cluster.share / "queue" / "incoming"
        good = json.dumps(command("/bin/echo", "taken", name="plain"))
        (incoming / ".hidden.json").write_text(good)
        (incoming / "notes.txt").write_text(good)
        (incoming / "directory.json").mkdir()
        outside = self.directory / "outside.json"
        outside.write_text(good)
        (incoming / "link.json").symlink_to(outside)
        (incoming / "plain.json").write_text(good)
        wait_for(lambda: not (incoming / "plain.json").exists(), 20, "the plain file is taken")
        self.still_serves()
        self.assertEqual(sorted(path.name for path in incoming.iterdir()),
                         [".hidden.json", "directory.json", "link.json", "notes.txt"])
        for name in (".hidden.json", "notes.txt", "link.json"):
            (incoming / name).unlink()
        (incoming / "directory.json").rmdir()

    def test_hostile_requests_harm_nothing(self):
        long = {"verb": "submit", "retry_of": "x" * 300_000, "documents": ['{"argv":["/bin/true"]}']}
        bodies = (b"", b"\0" * 64, b"[]", b"{", b'"submit"', b'{"verb": 7}', b'{"verb": "no-such"}',
                  b'{"verb": "submit"}', b'{"verb": "submit", "documents": {}}',
                  b'{"verb": "submit", "documents": [1]}', b'{"verb": "submit", "documents": []}',
                  b'{"verb": "cancel", "job": "x"}', b'{"verb": "cancel", "give_up_lost": "yes"}',
                  b'{"verb": "switch", "name": "drain/../../etc"}', json.dumps(long).encode(),
                  b"\xff\xfe" * 10, b"{" * 100_000)
        for body in bodies:
            with self.subTest(body[:40]):
                answer = self.request(body)
                reply = json.loads(answer)
                self.assertFalse(reply["ok"])
                self.assertTrue(reply["error"]["message"])
        # A frame that is announced longer than it is, and one that is longer than any is allowed to be.
        self.request(b"{}", length=1000)
        self.request(b"{}", length=0xFFFFFFFF)
        self.still_serves()

    def test_a_job_with_a_very_long_program_name_harms_no_view(self):
        job = self.submit(command("/" + "x" * 3000))[0]
        self.wait_state(job, "failed")
        self.cluster.replay("verify", "--against", self.cluster.state("nova"))


if __name__ == "__main__":
    unittest.main()
