"""A server that is killed or stopped while a command runs."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from tests.qdrant.node import QdrantNode

T = TypeVar("T")


@dataclass(frozen=True)
class Strike:
    """`kill` ends a server, `stop` lets it stand still, `after_s` seconds after the start of a command.

    It is back after `down_s` seconds. With None it stays down until the command has ended, and longer.
    """

    kind: Literal["kill", "stop"]
    after_s: float
    down_s: float | None

    def carry_out(self, node: QdrantNode) -> None:
        """Kill or stop the server."""
        if self.kind == "kill":
            node.kill()
        else:
            node.stop()

    def undo(self, node: QdrantNode) -> None:
        """Bring the server back, and wait until it serves."""
        if self.kind == "kill":
            node.restart()
        else:
            node.resume()
            node.wait_until_ready()

    def during(self, node: QdrantNode, command: Callable[[], T]) -> T | None:
        """The result of `command`; None if it ended before the strike. With `down_s` the server is back."""
        ended, begun = threading.Event(), threading.Event()

        def strike() -> None:
            if ended.wait(self.after_s):
                return
            begun.set()
            self.carry_out(node)
            if self.down_s is not None:
                time.sleep(self.down_s)
                self.undo(node)

        thread = threading.Thread(target=strike, name="strike")
        thread.start()
        try:
            result = command()
        finally:
            ended.set()
            thread.join()
        return result if begun.is_set() else None


def random_strike(rng: random.Random, took_s: float, *, is_long: bool) -> Strike:
    """A strike at a random moment of a command that takes `took_s` seconds."""
    kind: Literal["kill", "stop"] = rng.choice(("kill", "stop"))
    return Strike(kind, round(rng.uniform(0, took_s), 3), None if is_long else round(rng.uniform(0.1, 1.5), 2))
