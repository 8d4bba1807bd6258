"""A TCP relay between a client and its server: it counts the frames of RPyC that the client sends, or it is slow."""

from __future__ import annotations

import socket
import struct
import threading
import time

CHUNK = 65536

HEADER = struct.Struct("!LB")
"""Of a frame of RPyC: the length of the body, and whether it is compressed. A newline follows the body."""


class Relay:
    """Listens on ``address``, and passes on what comes to the server at ``target``, ``HOST:PORT``.

    Its threads end with their connections, and with the driver.
    """

    def __init__(self, target: str, bytes_per_second: float = 0.0) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._rate = bytes_per_second
        self.frames = 0
        """Frames from client to server so far."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with self._listener:
            client, _ = self._listener.accept()
        server = socket.create_connection(self._target)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()
        self._pass_on(client, server, True)

    def _pass_on(self, source: socket.socket, sink: socket.socket, count: bool) -> None:
        """Copies until either side hangs up."""
        counter = FrameCounter()
        due = time.monotonic()
        try:
            while data := source.recv(CHUNK):
                if count:
                    counter.feed(data)
                    self.frames = counter.frames
                if self._rate:
                    due = max(due, time.monotonic()) + len(data) / self._rate
                    time.sleep(max(0.0, due - time.monotonic()))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # The other direction ended first.
            return


class FrameCounter:
    """Counts frames in a stream of bytes."""

    def __init__(self) -> None:
        self.frames = 0
        self._head = b""
        self._rest = 0
        """Bytes left of the body and its newline."""

    def feed(self, data: bytes) -> None:
        """The next bytes of the stream."""
        while data:
            if self._rest:
                skipped = min(self._rest, len(data))
                self._rest -= skipped
                data = data[skipped:]
                continue
            wanted = HEADER.size - len(self._head)
            self._head += data[:wanted]
            data = data[wanted:]
            if len(self._head) == HEADER.size:
                self._rest = HEADER.unpack(self._head)[0] + 1
                self._head = b""
                self.frames += 1
