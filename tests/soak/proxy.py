"""A TCP proxy that misbehaves: `proxy.py PORT SEED SECONDS`, about every SECONDS, until its stdin ends.

Prints its own port. Each time it either resets all connections, or holds all bytes back for a while, or drops
everything from then on and closes the connections a little later. At its end it prints how often it did what.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter

# Seconds for which bytes are held back, and for which a cut connection stays open.
STALL, CUT = 1.0, 1.0


class Proxy:
    """Forwards to one port of this machine."""

    def __init__(self, port: int, seed: int, seconds: float) -> None:
        self._port, self._seconds = port, seconds
        self._random = random.Random(seed)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._dropping = False
        self._writers: set[asyncio.StreamWriter] = set()
        self.done: Counter[str] = Counter()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._port)
        ends = {writer, there}
        self._writers |= ends
        await asyncio.gather(self._pump(reader, there), self._pump(there_reader, writer))
        self._writers -= ends

    async def misbehave(self) -> None:
        """One fault after the other."""
        while True:
            await asyncio.sleep(self._seconds * self._random.uniform(0.5, 1.5))
            fault = self._random.choice(["reset", "stall", "cut"])
            self.done[fault] += 1
            if fault == "stall":
                self._flowing.clear()
                await asyncio.sleep(STALL)
                self._flowing.set()
                continue
            if fault == "cut":
                self._dropping = True
                await asyncio.sleep(CUT)
            for writer in list(self._writers):
                # Closed with a reset.
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            self._dropping = False

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flowing.wait()
                if not self._dropping:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


async def main() -> None:
    """Forward until stdin ends."""
    port, seed, seconds = sys.argv[1:]
    proxy = Proxy(int(port), int(seed), float(seconds))
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    faults = asyncio.create_task(proxy.misbehave())
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    faults.cancel()
    print(json.dumps(proxy.done), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
