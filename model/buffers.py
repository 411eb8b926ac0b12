"""Memory that is used again and again: fresh memory costs a page fault for every 4 KiB, a fifth of the time to read a row."""

import math
import weakref

import numpy as np
import pyarrow as pa

ALIGNMENT = 64  # bytes: TensorFlow takes such arrays as they are and copies others


class Buffers:
    """Blocks of `size` bytes, each of which is free again when no array looks into it any more."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[memoryview] = []

    def take(self) -> np.ndarray:
        """(size,) uint8, uninitialised, at a multiple of ALIGNMENT."""
        block = self._free.pop() if self._free else np.empty(self._size + ALIGNMENT, np.uint8).data
        whole = np.frombuffer(block, np.uint8)  # what is cut from it keeps it alive
        weakref.finalize(whole, self._free.append, block).atexit = False
        start = -whole.ctypes.data % ALIGNMENT
        return whole[start : start + self._size]


def aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An uninitialised array that starts at a multiple of ALIGNMENT."""
    block = np.empty(nbytes(shape, dtype) + ALIGNMENT, np.uint8)
    return shaped(block[-block.ctypes.data % ALIGNMENT :], shape, dtype)


def shaped(block: np.ndarray, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """The first bytes of a block as an array."""
    return block[: nbytes(shape, dtype)].view(dtype).reshape(shape)


def nbytes(shape: tuple[int, ...], dtype: type) -> int:
    """The bytes of such an array."""
    return math.prod(shape) * np.dtype(dtype).itemsize


def keep_arrows_memory() -> None:
    """Lets Arrow of this process take memory from mimalloc: jemalloc, its default until version 20 or so, gives it back."""
    if pa.default_memory_pool().backend_name == "jemalloc" and "mimalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.mimalloc_memory_pool())
