"""The last and the best state of a training on local disk: each one file, which stands whole or not at all."""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import keras
import numpy as np

from model.history import Epoch
from pipelines.errors import DataError

STATE = "state"
Arrays = dict[str, np.ndarray]
Groups = Mapping[str, Sequence[keras.Variable]]


class State(NamedTuple):
    """Where a training stands: the epochs that are over, and of the next one the batches done, their sums and seconds.

    `sums` are the losses, the rows and the seconds in which no data was there.
    """

    history: tuple[Epoch, ...] = ()
    step: int = 0
    sums: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seconds: float = 0.0

    def to_json(self) -> str:
        return json.dumps(self._asdict() | {"history": [epoch.to_json() for epoch in self.history]})

    @classmethod
    def from_json(cls, text: str) -> "State":
        values = json.loads(text)
        history = tuple(Epoch.from_json(epoch) for epoch in values["history"])
        return cls(history, values["step"], tuple(values["sums"]), values["seconds"])


class Checkpoints:
    """`last.npz` and `best-EPOCH.npz` in a folder. A reader, a kill and a full disk find the old file or the new one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save_last(self, state: State, groups: Groups) -> None:
        """All variables, and where the training stands."""
        arrays = {name: variable.numpy() for name, variable in named(groups)}
        _write(self._last, arrays | {STATE: np.frombuffer(state.to_json().encode(), np.uint8)})

    def load_last(self, groups: Groups) -> tuple[State, Arrays] | None:
        """None where there is none. Raises DataError where the file is damaged or not of these variables."""
        if not self._last.exists():
            return None
        arrays = _read(self._last)
        state = State.from_json(arrays.pop(STATE).tobytes().decode())
        return state, _checked(arrays, groups, self._last)

    def save_best(self, epoch: int, groups: Groups) -> None:
        _write(self._best(epoch), {name: variable.numpy() for name, variable in named(groups)})

    def load_best(self, epoch: int, groups: Groups) -> Arrays:
        """Raises DataError where the file is missing, damaged or not of these variables."""
        return _checked(_read(self._best(epoch)), groups, self._best(epoch))

    def keep_best(self, epoch: int) -> None:
        """Removes the best of every other epoch: to be called when a last state stands that this one belongs to."""
        for path in self.folder.glob("best-*.npz"):
            if path != self._best(epoch):
                path.unlink(missing_ok=True)

    @property
    def _last(self) -> Path:
        return self.folder / "last.npz"

    def _best(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch}.npz"


def named(groups: Groups) -> list[tuple[str, keras.Variable]]:
    """Every variable by the name that it has in a file."""
    return [(f"{group}/{i:04d}", variable) for group, variables in groups.items() for i, variable in enumerate(variables)]


def _checked(arrays: Arrays, groups: Groups, path: Path) -> Arrays:
    ours = {name: tuple(variable.shape) for name, variable in named(groups)}
    theirs = {name: array.shape for name, array in arrays.items()}
    if ours != theirs:
        name = min(ours.items() ^ theirs.items())[0]
        raise DataError(f"{path}: of another network or optimiser (their {name} differ); take another --output")
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        np.savez(file, **cast(dict[str, Any], arrays))  # newer NumPy's types take any name for that of an option
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name too, should the power fail
    finally:
        os.close(folder)


def _read(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file.items())
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no readable checkpoint: {error}; remove the folder to train anew") from None
