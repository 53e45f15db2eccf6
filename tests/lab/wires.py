#!/usr/bin/env python3
"""The network of the lab: an Ethernet switch in a process of its own, whose cables can be cut, each way by itself.

usage: wires.py DIRECTORY MACHINE...      listens on DIRECTORY/<machine>.wire, one for each machine
Commands come on standard input, a JSON object a line, and each is answered by a line `ok`:
  {"cut": [[from, to], ...],    frames that go this way vanish from now on; replaces what was cut before
   "groups": [number, ...]}     process groups of the machines
It ends with its standard input, and ends those groups: whoever started machines may be killed, and none may stay.
Nothing of the network of the machine that it runs on is touched.
"""

import json
import os
import pathlib
import selectors
import signal
import socket
import subprocess
import sys

FRAMES_AT_ONCE = 64
LONGEST_FRAME = 65536
BUFFER = 4 << 20


def address_of(number):
    """The hardware address of the n-th machine: a local one, so that the switch need not learn."""
    return bytes([0x02, 0x72, 0x76, 0, 0, number])


class Switch:
    """One port a machine. A frame for nobody known goes to all others."""

    def __init__(self, directory, names):
        self.names = names
        self.cut = set()
        self._groups = []
        self._ports = {}  # name -> socket of the machine that is connected
        self._name_of = {address_of(number): name for number, name in enumerate(names, 1)}
        self._events = selectors.DefaultSelector()
        for name in names:
            door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            door.bind(str(directory / f"{name}.wire"))
            door.listen(4)
            self._events.register(door, selectors.EVENT_READ, (self._connect, name))
        self._events.register(sys.stdin, selectors.EVENT_READ, (self._command, None))
        self._words = b""

    def run(self):
        print("ok", flush=True)
        while True:
            for key, _ in self._events.select():
                act, name = key.data
                act(key.fileobj, name)

    def _connect(self, door, name):
        port, _ = door.accept()
        port.setblocking(False)
        port.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._leave(name)
        self._ports[name] = port
        self._events.register(port, selectors.EVENT_READ, (self._frames, name))

    def _leave(self, name):
        port = self._ports.pop(name, None)
        if port is not None:
            self._events.unregister(port)
            port.close()

    def _frames(self, port, name):
        for _ in range(FRAMES_AT_ONCE):
            try:
                frame = port.recv(LONGEST_FRAME)
            except BlockingIOError:
                return
            except OSError:
                frame = b""
            if not frame:
                if self._ports.get(name) is port:
                    self._leave(name)
                return
            self._forward(name, frame)

    def _forward(self, sender, frame):
        known = self._name_of.get(frame[:6])
        for name in [known] if known else self.names:
            if name != sender and name in self._ports and (sender, name) not in self.cut:
                try:
                    self._ports[name].send(frame)
                except OSError:
                    pass  # its buffer is full or it is gone: a switch loses frames

    def _command(self, stream, _):
        words = os.read(stream.fileno(), 65536)
        if not words:
            self._end_machines()
            sys.exit(0)
        *lines, self._words = (self._words + words).split(b"\n")
        for line in lines:
            told = json.loads(line)
            self.cut = {tuple(pair) for pair in told["cut"]}
            self._groups = told["groups"]
            print("ok", flush=True)

    def _end_machines(self):
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Wires:
    """The switch as the one who started it sees it."""

    def __init__(self, directory, names):
        self.names = tuple(names)
        self._cut = set()
        self._groups = set()
        self._process = subprocess.Popen([sys.executable, __file__, str(directory), *names], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True, start_new_session=True)
        self._answer()

    def _answer(self):
        if self._process.stdout.readline() != "ok\n":
            raise RuntimeError("the switch of the lab has died")

    def _tell(self):
        self._process.stdin.write(json.dumps({"cut": sorted(self._cut), "groups": sorted(self._groups)}) + "\n")
        self._process.stdin.flush()
        self._answer()

    def belongs(self, group):
        """A machine has been started as this process group."""
        self._groups.add(group)
        self._tell()

    def is_gone(self, group):
        self._groups.discard(group)
        self._tell()

    def cut_from(self, machine, to=None):
        """What this machine sends (to one, or to all others) arrives nowhere."""
        self._cut |= {(machine, other) for other in ([to] if to else self.names)}
        self._tell()

    def cut_to(self, machine, source=None):
        """Nothing of the others (or of one) arrives at this machine."""
        self._cut |= {(other, machine) for other in ([source] if source else self.names)}
        self._tell()

    def cut(self, machine):
        """Both ways: the cable is out."""
        self.cut_from(machine)
        self.cut_to(machine)

    def mend(self, machine):
        """All that was cut of this machine, either way."""
        self._cut = {pair for pair in self._cut if machine not in pair}
        self._tell()

    def close(self):
        self._process.stdin.close()
        self._process.wait(timeout=10)


if __name__ == "__main__":
    Switch(pathlib.Path(sys.argv[1]), sys.argv[2:]).run()
