"""The training loop: each epoch is validated, and the best one is saved."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from exporters.finetune.accumulation import accumulate_step
from exporters.finetune.augmentation import augment_images, draw_text
from exporters.finetune.data import PairSet, find_shared_texts
from exporters.finetune.losses import LOSSES
from exporters.finetune.progress import StepReport, TrainingProgress
from exporters.finetune.run_files import EpochRecord, RunState, RunStore
from exporters.finetune.settings import FinetuneSettings
from exporters.finetune.towers import TrainableModel, as_unit_range
from exporters.finetune.validation import validate
from exporters.finetune.weight_average import WeightAverage
from retrieval.errors import DeviceUnavailable, TrainingError


class Trainer:
    """One run over `train`, validated on `val`.

    All random numbers depend only on the seed and the epoch, so that a resumed run gives the same result.
    """

    def __init__(
        self,
        settings: FinetuneSettings,
        model: TrainableModel,
        source: Path,
        train: PairSet,
        val: PairSet,
        store: RunStore,
        progress: TrainingProgress,
    ) -> None:
        self.settings, self.model, self.source = settings, model, source
        self.train_pairs, self.val_pairs = train, val
        self.store, self.progress = store, progress
        self.run = RunState()
        self._loss = LOSSES[settings.loss]
        self._batch = min(settings.batch_size, len(train))
        self._steps = len(train) // self._batch
        groups = model.parameter_groups(settings.weight_decay, settings.text_rate)
        self._optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), eps=1e-6)
        self._precision = resolve_precision(settings.precision, model.device)
        self._scaler = torch.amp.GradScaler(model.device.type, enabled=self._precision is torch.float16)
        self._average = WeightAverage(model.model, settings.average)
        self._started = time.monotonic()

    def resume(self) -> None:
        """Restore the state in the store."""
        self.run, tensors = self.store.load_state()
        self.model.model.load_state_dict(tensors["model"])
        with torch.no_grad():
            self.model.logit_scale.copy_(tensors["logit_scale"])
            self.model.logit_bias.copy_(tensors["logit_bias"])
        self._optimizer.load_state_dict(tensors["optimizer"])
        self._scaler.load_state_dict(tensors["scaler"])
        self._average.load_state_dict(tensors["average"])

    def fit(self) -> RunState:
        """Train until all epochs are done, the time is over or the validation no longer improves.

        Raises:
            TrainingError: the loss is not a number, or the time was over before the first epoch ended.
        """
        self._started = time.monotonic() - self.run.seconds
        while self.run.epoch < self.settings.epochs and not self._out_of_time() and not self._out_of_patience():
            epoch = self.run.epoch + 1
            loss, rate, speed = self._train_epoch(epoch)
            with self._average.in_place():
                found = validate(self.model, self.val_pairs)
            best = found.score > self.run.best_score
            seconds = time.monotonic() - self._started
            record = EpochRecord(
                epoch=epoch,
                steps=self._steps,
                loss=loss,
                learning_rate=rate,
                images_per_second=speed,
                seconds=seconds,
                best=best,
                validation=found,
            )
            history = [*self.run.history, record]
            self.run = msgspec.structs.replace(self.run, epoch=epoch, seconds=seconds, history=history)
            if best:
                self.run = msgspec.structs.replace(self.run, best_score=found.score, best_epoch=epoch)
                with self._average.in_place():
                    self.store.save_checkpoint(self.model.model, self.source, self.run)
            self.store.save_state(self.run, self._tensors())
            self.progress.epoch(record)
        if not self.run.history:
            raise TrainingError("the time limit ended training before its first epoch; raise time_limit_min")
        self.store.write_history(self.run)
        return self.run

    def _train_epoch(self, epoch: int) -> tuple[float, float, float]:
        """Mean loss, last learning rate and images per second of one epoch."""
        torch.manual_seed(_seed(self.settings.seed, epoch))  # dropout
        self.model.train()
        losses: list[float] = []
        rate, began = 0.0, time.monotonic()
        for step, (indices, generator, rng) in enumerate(self._batches(epoch), start=1):
            if self._out_of_time() and losses:
                break
            rate = self._set_rate((epoch - 1) * self._steps + step - 1)
            loss = self._step(indices, generator, rng)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {epoch}, step {step}; lower learning_rate "
                    f"(now {self.settings.learning_rate:g}), or set precision to fp32"
                )
            losses.append(loss)
            speed = step * self._batch / (time.monotonic() - began)
            report = StepReport(epoch, self.settings.epochs, step, self._steps, loss, rate, speed)
            self.progress.step(report)
        return sum(losses) / len(losses), rate, len(losses) * self._batch / (time.monotonic() - began)

    def _step(self, indices: NDArray[np.int64], generator: torch.Generator, rng: random.Random) -> float:
        studies = [self.train_pairs.texts[owner] for owner in self.train_pairs.study[indices]]
        drawn = [draw_text(study, self.settings.texts, rng) for study in studies]
        shared = torch.from_numpy(find_shared_texts(studies, drawn)).to(self.model.device)
        images = as_unit_range(self.train_pairs.images[indices], self.model.device)
        images = augment_images(images, self.settings.images, generator)
        texts = [text.text for text in drawn]
        parts = np.array_split(np.arange(len(texts)), self.settings.accumulate)

        def embed(part: int) -> tuple[torch.Tensor, torch.Tensor]:
            with self._autocast():
                chosen = parts[part]
                return self.model.embed_images(images[chosen]), self.model.embed_texts(
                    [texts[index] for index in chosen]
                )

        def loss_of(image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
            logits = self.model.logits(image_embeds, text_embeds)
            return self._loss(logits, shared, shared_text=self.settings.shared_text)

        self._optimizer.zero_grad(set_to_none=True)
        if len(parts) == 1:
            loss = loss_of(*embed(0))
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        else:
            loss = accumulate_step(embed, len(parts), loss_of, self._scaler.scale)
        self._scaler.unscale_(self._optimizer)
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.model.clamp_temperature()
        self._average.update()
        return float(loss.detach())

    def _batches(self, epoch: int) -> Iterator[tuple[NDArray[np.int64], torch.Generator, random.Random]]:
        """Each image once, in random order. Images that do not fill the last batch are left out of this epoch."""
        seed = _seed(self.settings.seed, epoch)
        generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
        order = np.random.default_rng(seed).permutation(len(self.train_pairs))
        for start in range(0, self._steps * self._batch, self._batch):
            yield order[start : start + self._batch], generator, rng

    def _set_rate(self, step: int) -> float:
        """Set the learning rate: linear warm-up, then half a cosine to zero, by steps or time, whichever is further on."""
        total = self._steps * self.settings.epochs
        done = step / total
        if self.settings.time_limit_min is not None:
            done = max(done, (time.monotonic() - self._started) / (60 * self.settings.time_limit_min))
        rate = self.settings.learning_rate * learning_rate_factor(min(done, 1.0), step, self.settings.warmup, total)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        return rate

    def _autocast(self) -> Any:
        if self._precision is torch.float32:
            return nullcontext()
        return torch.autocast(self.model.device.type, dtype=self._precision)

    def _out_of_time(self) -> bool:
        limit = self.settings.time_limit_min
        return limit is not None and time.monotonic() - self._started >= 60 * limit

    def _out_of_patience(self) -> bool:
        return self.run.epoch - self.run.best_epoch >= self.settings.patience and self.run.epoch > 0

    def _tensors(self) -> dict[str, Any]:
        return {
            "model": self.model.model.state_dict(),
            "logit_scale": self.model.logit_scale.detach(),
            "logit_bias": self.model.logit_bias.detach(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.state_dict(),
        }


def learning_rate_factor(done: float, step: int, warmup: float, total_steps: int) -> float:
    """Share of the full learning rate, 0..1, after the share `done` of the run.

    The warm-up is counted in steps, so that a slow start does not shorten it.
    """
    rising = warmup * total_steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * max(done - warmup, 0.0) / max(1 - warmup, 1e-9)))


def resolve_device(device: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`.

    Raises:
        DeviceUnavailable: `cuda` where torch sees none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable("device=cuda, but torch finds no CUDA device; check the driver and the torch build")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type of matrix products; `auto` takes a 16-bit one with hardware support."""
    if precision == "auto":
        if device.type == "cuda":
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        else:
            read = getattr(torch.cpu, "get_capabilities", dict)  # torch 2.10 and later
            capabilities: dict[str, bool] = read()
            precision = "bf16" if capabilities.get("amx_bf16") else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _seed(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch) % 2**32
