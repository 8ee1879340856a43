"""The world around this machine, played by a network namespace: nothing real is asked.

One pair of devices leads to it; its addresses stand for public ones, private ones and those
where clouds keep metadata. Everywhere the same servers listen: HTTP says WELCOME, DNS knows
NAMES. The addresses are documentation's where that does, so that nothing real is hidden.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HOST = "203.0.113.1"
"""This machine's, as the public network sees it."""
PUBLIC = ("203.0.113.10", "198.51.100.10")
PRIVATE = ("10.213.7.10", "172.31.213.10", "192.168.213.10", "100.64.213.10", "198.18.213.10")
METADATA = ("169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192")
PORT = 8088
WELCOME = b"welcome"
NAMES = {"public.example": PUBLIC[0], "rebound.example": PRIVATE[0]}
"""What the name server at each of these addresses knows."""

_NAME = f"fxo{os.getpid()}"
_SERVERS = """
import socket, struct, sys, threading
port, welcome, names = int(sys.argv[1]), sys.argv[2].encode(), dict(
    pair.split("=") for pair in sys.argv[3].split(",")
)

def answer(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind = struct.unpack(">H", query[at + 1 : at + 3])[0]
    address = names.get(".".join(labels).lower()) if kind == 1 else None
    code = 0 if ".".join(labels).lower() in names else 3
    head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, 1 if address else 0, 0, 0)
    record = b""
    if address:
        record = b"\\xc0\\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(address)
    return head + query[12 : at + 5] + record

def resolve():
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.bind(("0.0.0.0", 53))
    ready.release()
    while True:
        query, client = asked.recvfrom(512)
        asked.sendto(answer(query), client)

def greet():
    listener = socket.create_server(("0.0.0.0", port))
    ready.release()
    while True:
        client, _ = listener.accept()
        client.sendall(welcome)
        client.close()

ready = threading.Semaphore(0)
threads = [threading.Thread(target=each, daemon=True) for each in (resolve, greet)]
[each.start() for each in threads]
[ready.acquire() for _ in threads]
print("ready", flush=True)
sys.stdin.read()
"""


def possible() -> bool:
    """Whether this process may make devices and namespaces."""
    return os.geteuid() == 0 and Path("/proc/self/ns/net").exists()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def elsewhere() -> Iterator[list[str]]:
    """What runs a command where this machine's network, and Docker's firewall, is not: as in a
    container."""
    name = f"{_NAME}e"
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        yield ["ip", "netns", "exec", name]
    finally:
        ip("netns", "del", name)


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """The world is there until the block ends."""
    device, peer = f"{_NAME}a", f"{_NAME}b"
    with contextlib.ExitStack() as stack:
        ip("netns", "add", _NAME)
        stack.callback(ip, "netns", "del", _NAME)
        ip("link", "add", device, "type", "veth", "peer", "name", peer, "netns", _NAME)
        # removed with its peer, which is removed with its namespace
        ip("addr", "add", f"{HOST}/32", "dev", device)
        ip("link", "set", device, "up")
        inside = ("-n", _NAME)
        ip(*inside, "link", "set", "lo", "up")
        for address in (*PUBLIC, *PRIVATE, *METADATA):
            ip(*inside, "addr", "add", f"{address}/32", "dev", peer)
        ip(*inside, "link", "set", peer, "up")
        ip(*inside, "route", "add", "default", "dev", peer)
        for address in (*PUBLIC, *PRIVATE, *METADATA):
            ip("route", "add", f"{address}/32", "dev", device, "src", HOST)
        names = ",".join(f"{name}={address}" for name, address in NAMES.items())
        command = ["ip", "netns", "exec", _NAME, sys.executable, "-c", _SERVERS]
        servers = subprocess.Popen(
            [*command, str(PORT), WELCOME.decode(), names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        stack.enter_context(servers)
        stdin, stdout = servers.stdin, servers.stdout
        assert stdin is not None, "a pipe was asked for"
        assert stdout is not None, "a pipe was asked for"
        stack.callback(stdin.close)
        assert stdout.readline() == b"ready\n", "the servers listen"
        yield
