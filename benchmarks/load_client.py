"""Sends searches over kept-alive connections and times them, with little CPU since it shares the cores."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_STAGE = re.compile(rb"([\w-]+);dur=([\d.]+)")


@dataclass
class Answers:
    """Latency, stages (of status 200 only) and status codes of all answers, and the content of 429 answers."""

    elapsed_ms: list[float] = field(default_factory=list)
    stages_ms: list[dict[str, float]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    retry_after: int = 0
    seconds: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Number of requests, rate of successful ones, errors, and percentiles of latency."""
        good = self.statuses[200]
        p50, p95, p99 = np.percentile(self.elapsed_ms, [50, 95, 99]) if self.elapsed_ms else (0.0, 0.0, 0.0)
        return {
            "requests": self.statuses.total(),
            "errors": self.statuses.total() - good,
            "requests_per_s": round(good / self.seconds, 1),
            **{name: round(float(value), 2) for name, value in (("p50_ms", p50), ("p95_ms", p95), ("p99_ms", p99))},
        }

    def without(self, stage: str) -> list[float]:
        """Latency of each successful answer at the client, minus the server's time for `stage`, in milliseconds."""
        return [whole - stages.get(stage, 0.0) for whole, stages in zip(self.elapsed_ms, self.stages_ms, strict=True)]


def send(port: int, bodies: Sequence[dict[str, Any]], *, clients: int, requests: int) -> Answers:
    """Send `requests` searches to `/v1/search` from `clients` in parallel; each client cycles through `bodies`."""
    payloads = [json.dumps(body).encode() for body in bodies]
    return asyncio.run(_send(port, payloads, clients, requests))


async def _send(port: int, payloads: Sequence[bytes], clients: int, requests: int) -> Answers:
    answers = Answers()
    todo = iter(itertools.islice(itertools.cycle(payloads), requests))
    started = time.perf_counter()
    await asyncio.gather(*(_client(port, todo, answers) for _ in range(clients)))
    answers.seconds = time.perf_counter() - started
    return answers


async def _client(port: int, todo: Any, answers: Answers) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for payload in todo:
            start = time.perf_counter()
            writer.write(
                b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(payload), payload)
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = re.search(rb"content-length: (\d+)", head)
            assert length, head
            await reader.readexactly(int(length[1]))
            elapsed = (time.perf_counter() - start) * 1000
            status = int(head.split(b" ", 2)[1])
            answers.statuses[status] += 1
            if status == 200:
                answers.elapsed_ms.append(elapsed)
                answers.stages_ms.append({name.decode(): float(ms) for name, ms in _STAGE.findall(head)})
            elif b"retry-after: " in head:
                answers.retry_after += 1
    finally:
        writer.close()
