"""Weights on disk: one `.npz` of plain arrays, a JSON beside it, a digest that ties the two. No pickle.

Written to a temporary file and renamed, so a killed process leaves the earlier file whole. Arrays are stored from the
CPU, so a network trained on a GPU loads where there is none.
"""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shelfcast.errors import StoreError

if TYPE_CHECKING:
    from shelfcast.networks.training import Trainer

WEIGHTS = "weights.npz"
TRAINING = "training.npz"
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


def write_training(trainer: "Trainer", folder: Path, fingerprint: str) -> None:
    """The whole state of a run in one file. Raises StoreError where it cannot be written."""
    arrays = {f"network/{name}": value for name, value in arrays_of(trainer.network).items()}
    arrays |= _numbered("average", trainer.average) | _numbered("best", trainer.best_weights)
    for place, parameter in enumerate(trainer.network.parameters()):
        state = trainer.optimiser.state.get(parameter, {})
        arrays |= {f"optimiser/{place}/{name}": np.asarray(value.cpu()) for name, value in state.items()}
    counters = {
        "fingerprint": fingerprint, "step": trainer.step, "best": trainer.best, "waited": trainer.waited,
        "scores": trainer.scores,
    }  # fmt: skip
    arrays["counters"] = np.frombuffer(json.dumps(counters).encode(), dtype=np.uint8)
    arrays["losses"] = np.asarray(trainer.losses)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / TRAINING, pack(arrays))
    except OSError as error:
        raise StoreError(f"cannot write a checkpoint to {folder}: {error}. Choose a writable folder.") from error


def read_training(trainer: "Trainer", folder: Path, fingerprint: str) -> bool:
    """Go on from the checkpoint of the same run, if there is one; whether there was.

    One of other settings or data is not used, and is written over; one that cannot be read is a StoreError.
    """
    path = folder / TRAINING
    if not path.exists():
        return False
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        counters = json.loads(arrays["counters"].tobytes())
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise StoreError(f"expected a checkpoint in {path}; got: {error}. Remove the file to begin anew.") from error
    if counters["fingerprint"] != fingerprint:
        return False
    own = {name.removeprefix("network/"): value for name, value in arrays.items() if name.startswith("network/")}
    put_weights(trainer.network, own, path)
    for place, parameter in enumerate(trainer.network.parameters()):
        prefix = f"optimiser/{place}/"
        found = {n.removeprefix(prefix): torch.from_numpy(v) for n, v in arrays.items() if n.startswith(prefix)}
        trainer.optimiser.state[parameter] = {
            name: value if name == "step" else value.to(parameter.device) for name, value in found.items()
        }
    for name, target in (("average", trainer.average), ("best", trainer.best_weights)):
        for place, tensor in enumerate(target):
            tensor.copy_(torch.from_numpy(arrays[f"{name}/{place}"]))
    trainer.step, trainer.best, trainer.waited = counters["step"], counters["best"], counters["waited"]
    trainer.scores = [tuple(entry) for entry in counters["scores"]]
    trainer.losses = arrays["losses"].tolist()
    return True


def _numbered(name: str, tensors: list[Tensor]) -> dict[str, NDArray[Any]]:
    return {f"{name}/{place}": tensor.detach().cpu().numpy() for place, tensor in enumerate(tensors)}
