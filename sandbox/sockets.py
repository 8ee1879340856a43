"""Writing to a socket what fits in one write in one write, and copying nothing that is long."""

from __future__ import annotations

import socket

JOINED_BYTES = 64 * 2**10
"""A body up to this size is copied behind its head."""

Buffer = bytes | bytearray | memoryview


def send_all(connection: socket.socket, head: Buffer, body: Buffer = b"") -> None:
    """All of head and body; raises OSError. gevent's `sendall` alone would first ask how
    large the socket's buffer is, and take a second write for the body."""
    if len(body) <= JOINED_BYTES:
        whole = b"".join((head, body)) if body else head
        sent = connection.send(whole)
        if sent < len(whole):
            connection.sendall(memoryview(whole)[sent:])
        return
    sent = connection.sendmsg((head, body))
    if sent < len(head):
        connection.sendall(memoryview(head)[sent:])
        sent = len(head)
    if sent - len(head) < len(body):
        connection.sendall(memoryview(body)[sent - len(head) :])
