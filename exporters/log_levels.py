"""Suppresses log messages of libraries below the level of errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_errors(*names: str) -> Iterator[None]:
    """Log only errors of the loggers `names` within the block; without names, of the root logger, which open_clip uses."""
    loggers = [logging.getLogger(name) for name in names or (None,)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
