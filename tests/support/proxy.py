"""A Unix socket in front of a Docker Engine's, which a test can take away and bring back."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Self

from sandbox.settings import Settings


class EngineProxy:
    """The engine at an address of its own; other tests and instances keep theirs."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix://{path}"
        self._path = path
        self._target = Settings.load().docker_host.removeprefix("unix://")
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._silent = False

    def start(self) -> Self:
        """The engine answers."""
        return self._listen(silent=False)

    def fall_silent(self) -> Self:
        """The engine's socket accepts connections, and that is all."""
        return self._listen(silent=True)

    def stop(self) -> None:
        """There is no engine any more."""
        with self._lock:
            listener, self._listener = self._listener, None
            left = {*self._open, *([listener] if listener else [])}
        for end in left:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if listener:
            listener.close()
            self._path.unlink()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listen(self, *, silent: bool) -> Self:
        self.stop()
        self._silent = silent
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as engine:
            with self._lock:
                self._open |= {client, engine}
            if not self._silent:
                engine.connect(self._target)
                back = threading.Thread(target=_pump, args=(engine, client), daemon=True)
                back.start()
                _pump(client, engine)
                back.join()
            else:
                client.recv(1)
                while client.recv(65536):
                    pass
            with self._lock:
                self._open -= {client, engine}


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
