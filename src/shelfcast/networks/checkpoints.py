"""Weights on disk: one `.npz` of plain arrays, a JSON beside it, a digest that ties the two. No pickle.

Written to a temporary file and renamed, so a killed process leaves the earlier file whole. Arrays are stored from the
CPU, so a network trained on a GPU loads where there is none.
"""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shelfcast.errors import StoreError

WEIGHTS = "weights.npz"
TRAINING = "training.npz"
_COUNTERS = "counters"
_AGAIN = "Run `shelfcast fit` again."


def arrays_of(module: nn.Module) -> dict[str, NDArray[Any]]:
    """Parameters and buffers by name, on the CPU."""
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def pack(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Arrays as the bytes of an `.npz`, the same for the same arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def digest(content: bytes) -> str:
    """16 hex digits that change when the bytes do."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write whole or not at all. Raises OSError."""
    staging = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(staging, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staging.rename(path)
    finally:
        staging.unlink(missing_ok=True)


def save_weights(folder: Path, arrays: dict[str, NDArray[Any]]) -> str:
    """Write `weights.npz` and return its digest. Raises OSError."""
    content = pack(arrays)
    write_bytes(folder / WEIGHTS, content)
    return digest(content)


def load_weights(folder: Path, expected: str) -> dict[str, NDArray[Any]]:
    """Arrays of `weights.npz`; StoreError where it is not what its digest says: cut short, or of another model."""
    try:
        content = (folder / WEIGHTS).read_bytes()
        if digest(content) != expected:
            raise StoreError(f"expected the weights of this model in {folder / WEIGHTS}; got other content. {_AGAIN}")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise StoreError(f"expected weights in {folder / WEIGHTS}; got: {error}. {_AGAIN}") from error


def put_weights(module: nn.Module, arrays: dict[str, NDArray[Any]], where: Path) -> None:
    """Copy arrays into a module of the same shapes; StoreError where they are of another one."""
    own = module.state_dict()
    if set(own) != set(arrays) or any(tuple(own[name].shape) != arrays[name].shape for name in own):
        raise StoreError(f"expected weights of this network in {where}; got those of another. {_AGAIN}")
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})


# ---- the state of a run


def write_state(folder: Path, arrays: dict[str, NDArray[Any]], counters: dict[str, Any]) -> None:
    """The whole state of a run in one file. Raises StoreError where it cannot be written."""
    text = np.frombuffer(json.dumps(counters).encode(), dtype=np.uint8)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / TRAINING, pack(arrays | {_COUNTERS: text}))
    except OSError as error:
        raise StoreError(f"cannot write a checkpoint to {folder}: {error}. Choose a writable folder.") from error


def read_state(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """Inverse of `write_state`; None where there is none. One that cannot be read is a StoreError."""
    path = folder / TRAINING
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        counters: dict[str, Any] = json.loads(arrays.pop(_COUNTERS).tobytes())
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise StoreError(f"expected a checkpoint in {path}; got: {error}. Remove the file to begin anew.") from error
    return arrays, counters
