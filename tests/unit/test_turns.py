"""The event loop of a server's workers: who gets the next connection, and when."""

import asyncio
import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from functools import partial

import pytest

from jobs.turns import TurnsLoop

LATE = 5.0


class Worker(asyncio.Protocol):
    """Answers `ping` at once and a number after computing for so many seconds; notes when it was given a connection."""

    def __init__(self, taken: list[float]) -> None:
        self.taken = taken

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.taken.append(time.monotonic())

    def data_received(self, data: bytes) -> None:
        if data == b"ping":
            self.transport.write(b"pong")
        else:
            self.task = asyncio.get_running_loop().create_task(self.compute(float(data)))

    async def compute(self, seconds: float) -> None:
        await asyncio.to_thread(time.sleep, seconds)
        self.transport.write(b"done")


class Server:
    """One worker's loop in a thread, on a socket that may be shared."""

    def __init__(self, sock: socket.socket, **options: object) -> None:
        self.options = options
        self.loop, self.taken, self.started = TurnsLoop(), list[float](), threading.Event()
        self.thread = threading.Thread(target=self.run, args=(sock,))
        self.thread.start()
        assert self.started.wait(LATE)

    def run(self, sock: socket.socket) -> None:
        asyncio.set_event_loop(self.loop)
        worker = partial(Worker, self.taken)
        self.server = self.loop.run_until_complete(self.loop.create_server(worker, sock=sock, backlog=16, **self.options))
        self.loop.call_soon(self.started.set)
        self.loop.run_forever()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(LATE)
        assert not self.thread.is_alive()


@pytest.fixture
def workers():
    """Starts so many workers on one listening socket; gives them and its address."""
    started: list[Server] = []

    def start(count: int, **options: object) -> tuple[list[Server], tuple[str, int]]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = listening.getsockname()
            started.extend(Server(listening.dup(), **options) for _ in range(count))
        return started, address

    yield start
    for one in started:
        one.stop()


def sent(address: tuple[str, int], what: bytes) -> socket.socket:
    connection = socket.create_connection(address, LATE)
    connection.sendall(what)
    return connection


def answer(connection: socket.socket) -> bytes:
    with closing(connection):
        return connection.recv(4)


def test_the_next_is_taken_when_the_last_is_computed(workers):
    (worker,), address = workers(1)
    connections = [sent(address, b"0.05") for _ in range(3)]
    assert [answer(connection) for connection in connections] == [b"done"] * 3
    first, second, third = worker.taken
    assert second - first >= 0.05
    assert third - second >= 0.05


def test_who_is_idle_takes_it(workers):
    both, address = workers(2)
    assert {answer(connection) for connection in [sent(address, b"0.06") for _ in range(8)]} == {b"done"}
    assert min(len(worker.taken) for worker in both) >= 3


def test_a_worker_with_long_work_still_tells_that_it_lives(workers):
    _, address = workers(1)
    long = sent(address, b"2")
    began = time.monotonic()
    assert answer(sent(address, b"ping")) == b"pong"
    assert time.monotonic() - began < 1.5
    assert answer(long) == b"done"


def test_a_connection_that_asks_nothing_holds_nobody_up(workers):
    _, address = workers(1)
    silent = [sent(address, b"") for _ in range(5)]
    assert answer(sent(address, b"0")) == b"done"
    for connection in silent:
        connection.close()


def test_one_computes_at_a_time(workers):
    _, address = workers(1)
    held = [sent(address, b"ping") for _ in range(3)]  # three connections stay open
    assert [connection.recv(4) for connection in held] == [b"pong"] * 3
    began = time.monotonic()
    for connection in held:
        connection.sendall(b"0.1")
    assert [answer(connection) for connection in held] == [b"done"] * 3
    assert time.monotonic() - began >= 0.3


def test_what_is_to_be_encrypted_is_not_answered_in_the_clear(workers):
    _, address = workers(1, ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    with closing(sent(address, b"0.000000000000")) as connection, suppress(ConnectionResetError):
        assert connection.recv(4) != b"done"
