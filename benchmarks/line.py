"""A slow line: a relay on loopback with a delay and a rate, for what needs no root.

    python benchmarks/line.py HOST PORT [--milliseconds 20] [--megabits 1000]

prints its own port, then relays until its standard input ends. Each direction delays bytes by half
of the round trip and passes them at the rate, for all connections together. The relay has no
packets: there is no loss and no slow start, and connecting takes one round trip.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import suppress

_PIECE = 64 * 1024
_BUFFERED = 256  # pieces in transit: more than the rate times the delay


class Direction:
    """All bytes that go one way."""

    def __init__(self, delay_s: float, bytes_per_s: float) -> None:
        self._delay, self._rate = delay_s, bytes_per_s
        self._free = 0.0  # when the line has passed what it was given

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection's bytes."""
        clock = asyncio.get_running_loop().time
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_BUFFERED)

        async def deliver() -> None:
            while True:
                due, piece = await queue.get()
                if (wait := due - clock()) > 0.0005:
                    await asyncio.sleep(wait)
                if not piece:
                    return
                writer.write(piece)
                await writer.drain()

        delivery = asyncio.create_task(deliver())
        try:
            while True:
                piece = await reader.read(_PIECE)
                self._free = max(self._free, clock()) + len(piece) / self._rate
                await queue.put((self._free + self._delay, piece))
                if not piece:
                    break
                if (ahead := self._free - clock()) > 0.005:  # the line is full
                    await asyncio.sleep(ahead)
            await delivery
        except OSError:
            pass
        finally:
            delivery.cancel()
            writer.close()


async def serve(host: str, port: int, delay_s: float, bytes_per_s: float) -> None:
    """Relay until standard input ends."""
    there, back = Direction(delay_s / 2, bytes_per_s), Direction(delay_s / 2, bytes_per_s)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(delay_s)
        upstream_reader, upstream_writer = await asyncio.open_connection(host, port)
        with suppress(asyncio.CancelledError):  # the relay ends; asyncio would print a traceback
            await asyncio.gather(
                there.relay(reader, upstream_writer), back.relay(upstream_reader, writer)
            )

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=_PIECE)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--milliseconds", type=float, default=20)
    parser.add_argument("--megabits", type=float, default=1000)
    options = parser.parse_args()
    asyncio.run(
        serve(
            options.host,
            options.port,
            options.milliseconds / 1000,
            options.megabits * 1e6 / 8,
        )
    )
