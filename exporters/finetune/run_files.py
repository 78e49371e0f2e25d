"""Files of a training run: the best checkpoint, its history, and the state from which a killed run resumes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save_file
from torch import nn

from exporters.finetune.settings import FinetuneSettings
from exporters.finetune.validation import Validation
from retrieval.atomic_files import replace_file, replace_folder
from retrieval.errors import TrainingError

HISTORY = "history.json"
CURVE = "curve.png"
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ckpt", "*.onnx", "*.index.json")


class EpochRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch of the history."""

    epoch: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float
    seconds: float
    """Training time so far, with validation and with the time before a resume."""
    best: bool
    validation: Validation


class RunState(msgspec.Struct, kw_only=True):
    """State of a run after its last whole epoch."""

    epoch: int = 0
    seconds: float = 0.0
    best_score: float = -1.0
    best_epoch: int = 0
    history: list[EpochRecord] = []


class RunStore:
    """The folders of one run: `out` for whole checkpoints, and a hidden one beside it for the state."""

    def __init__(self, out: Path, fingerprint: str) -> None:
        self.out = out
        self.fingerprint = fingerprint
        self.folder = out.parent / f".{out.name}.training"
        self.start = self.folder / "start"
        self._state = self.folder / "state.pt"

    @property
    def resumable(self) -> bool:
        """Whether there is the state of a killed run."""
        return self._state.is_file()

    def begin(self) -> None:
        """Make an empty folder for the state of a new run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def save_state(self, run: RunState, tensors: dict[str, Any]) -> None:
        """Replace the saved state atomically."""
        header = {"fingerprint": self.fingerprint, "run": msgspec.json.encode(run)}
        with replace_file(self._state) as file:
            torch.save(header | {"tensors": tensors}, file)

    def load_state(self) -> tuple[RunState, dict[str, Any]]:
        """The state of a killed run.

        Raises:
            TrainingError: the state is damaged, or belongs to other settings or data.
        """
        try:
            saved = torch.load(self._state, map_location="cpu", weights_only=True)
            fingerprint, tensors = saved["fingerprint"], saved["tensors"]
            run = msgspec.json.decode(saved["run"], type=RunState)
        except Exception as error:  # torch.load raises many kinds
            raise TrainingError(
                f"{self._state} cannot be read ({type(error).__name__}); delete {self.folder} to start again"
            ) from error
        if fingerprint != self.fingerprint:
            raise TrainingError(
                f"{self.folder} holds a killed run with other settings or other data; "
                "repeat its command to resume it, or delete that folder to start again"
            )
        return run, tensors

    def save_checkpoint(self, model: nn.Module, source: Path, run: RunState) -> None:
        """Replace `out` atomically by the current model and the small files of `source`."""
        with replace_folder(self.out) as draft:
            shutil.copytree(source, draft, ignore=shutil.ignore_patterns(*_WEIGHTS, ".*"), dirs_exist_ok=True)
            _write_weights(model, draft)
            self.write_history(run, draft)

    def write_history(self, run: RunState, folder: Path | None = None) -> None:
        """Write all epochs so far into `folder`; the checkpoint if None."""
        with replace_file((folder or self.out) / HISTORY) as file:
            file.write(msgspec.json.format(msgspec.json.encode({"epochs": run.history}), indent=2) + b"\n")

    def finish(self) -> None:
        """Remove the state after the end of the run."""
        shutil.rmtree(self.folder, ignore_errors=True)


def fingerprint_of(settings: FinetuneSettings, groups: Sequence[str]) -> str:
    """Hash of a run's settings and of the report groups of its training images. A state is resumed only if it is equal."""
    # More time or another number of threads may be given to the same run.
    same = msgspec.structs.replace(settings, time_limit_min=None, threads=0)
    listing = msgspec.json.encode((same, list(groups)))
    return hashlib.sha256(listing).hexdigest()[:16]


def _write_weights(model: nn.Module, folder: Path) -> None:
    if (folder / "open_clip_config.json").is_file():
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(tensors, folder / "open_clip_model.safetensors")
    else:
        model.save_pretrained(folder)  # type: ignore[operator]  # a transformers PreTrainedModel
