#!/usr/bin/env python3
"""Takes times in a machine of the lab, for tests/lab/test_latency.py: seconds of this machine's wall clock.

usage: probe.py submit SOCKET COUNT PAUSE_MS   jobs, one by one: a line `asked answered shared` for each
       probe.py watch DIRECTORY SUFFIX         a line for each change of a file there whose name ends so, until killed
       probe.py clock serve                    answers the next, until killed
       probe.py clock ask ADDRESS              how far that machine's clock is ahead, and within what: two numbers
"""

import ctypes
import json
import os
import select
import socket
import struct
import sys
import time

CLOCK_PORT = 7400
ROUNDS = 200
IN_MODIFY = 0x2


def submit(where, count, pause_ms):
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.connect(where)
        for index in range(int(count)):
            job = json.dumps({"name": f"timed{index}", "argv": ["/bin/true"]})
            request = json.dumps({"verb": "submit", "documents": [job]}).encode()
            asked = time.time()
            daemon.sendall(struct.pack("<I", len(request)) + request)
            size = struct.unpack("<I", daemon.recv(4, socket.MSG_WAITALL))[0]
            answer = json.loads(daemon.recv(size, socket.MSG_WAITALL))
            print(asked, time.time(), int(answer["shared"]))
            select.select([], [], [], int(pause_ms) / 1000)


def watch(directory, suffix):
    libc = ctypes.CDLL(None, use_errno=True)
    changes = libc.inotify_init1(0)
    if libc.inotify_add_watch(changes, directory.encode(), IN_MODIFY) < 0:
        raise OSError(ctypes.get_errno(), directory)
    while True:
        words, at = os.read(changes, 65536), 0
        now = time.time()
        while at < len(words):
            size = struct.unpack_from("12xI", words, at)[0]
            name = words[at + 16:at + 16 + size].rstrip(b"\0").decode()
            at += 16 + size
            if name.endswith(suffix):
                print(now, flush=True)


def clock(role, address=""):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        if role == "serve":
            peer.bind(("", CLOCK_PORT))
            while True:
                _, asker = peer.recvfrom(16)
                peer.sendto(struct.pack("<d", time.time()), asker)
        best = (0.0, 1e9)
        peer.settimeout(1)
        for _ in range(ROUNDS):
            sent = time.time()
            peer.sendto(b"?", (address, CLOCK_PORT))
            try:
                theirs = struct.unpack("<d", peer.recv(16))[0]
            except TimeoutError:
                continue
            now = time.time()
            best = min(best, (theirs - (sent + now) / 2, (now - sent) / 2), key=lambda found: found[1])
        print(*best)


if __name__ == "__main__":
    {"submit": submit, "watch": watch, "clock": clock}[sys.argv[1]](*sys.argv[2:])
