"""The event loop of a server's worker, in which whoever came first is served first, by the worker that is free.

The workers of uvicorn share one listening socket, and asyncio takes every connection that waits there at once, whether the
process has work or not: one worker then queues what another could compute, and the slowest answers are several times slower
than the median. Here a worker takes the next connection when it has computed what the last one asked for. What waits does so in
the kernel's queue, which all workers draw from. `UVICORN_LOOP=jobs.turns:TurnsLoop` (uvicorn's --loop) chooses it. It stands
here since a worker that had imported `model` or `pipelines` for it would not take those in the model's own folder.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

ASKS, COMPUTES = 0.01, 0.1  # seconds: for what a new connection asks; for the computation, which may be a long one
RETRY = 1.0  # seconds, after the kernel gave none


class TurnsLoop(asyncio.SelectorEventLoop):
    """Computes one request at a time, in a thread, and takes connections one by one.

    A connection that asks for no computation (`/ping`) holds others up for 10 ms at most, and a long computation for 0.1 s, so
    that a busy worker still tells that it lives.
    """

    def __init__(self) -> None:
        super().__init__()
        self.set_default_executor(ThreadPoolExecutor(1, "compute"))
        self._asked, self._idle = asyncio.Event(), asyncio.Event()
        self._computing = 0

    def run_in_executor(self, *args: Any) -> Any:  # type: ignore[override]
        self._computing += 1
        self._idle.clear()
        self._asked.set()
        future = super().run_in_executor(*args)
        future.add_done_callback(self._computed)
        return future

    def _computed(self, future: Any) -> None:
        self._computing -= 1
        if not self._computing:
            self._idle.set()

    async def create_server(self, protocol_factory: Any, *args: Any, **options: Any) -> asyncio.Server:
        sock, backlog = options.get("sock"), options.get("backlog", 100)
        if sock is None or options.get("ssl"):  # the only worker; and a handshake would hold the others up
            return await super().create_server(protocol_factory, *args, **options)
        server = await super().create_server(protocol_factory, *args, **options | {"start_serving": False})
        sock.listen(backlog)
        self._taker = self.create_task(self._take_turns(sock, protocol_factory))
        return server

    async def _take_turns(self, sock: socket.socket, protocol_factory: Any) -> None:
        while sock.fileno() >= 0:
            try:
                connection, _ = await self.sock_accept(sock)
                self._asked.clear()
                await self.connect_accepted_socket(protocol_factory, connection)
            except OSError as error:
                if sock.fileno() >= 0:
                    self.call_exception_handler({"message": "a connection was not taken", "exception": error})
                    await asyncio.sleep(RETRY)
                continue
            if await _within(ASKS, self._asked):
                await _within(COMPUTES, self._idle)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        return await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
