"""Changes that a cluster has confirmed, but not every read shows yet."""

from __future__ import annotations

import time
from collections.abc import Callable

_SHOWN_WITHIN_S = 5.0
_POLL_S = 0.01
# The record in an answer comes from a node that holds the first shard, and not always from the same one.
_READS = 8


def wait_until_shown(is_shown: Callable[[], bool]) -> None:
    """Wait until several reads in a row show a change of a record, alias or collection, which is confirmed; at most 5 s.

    A node of a cluster confirms such a change when it has applied it itself. Nearly half of all reads right after a patch
    showed the old record on another node, for up to 55 ms (Qdrant 1.18.3, three nodes on one machine).
    """
    ends_at = time.monotonic() + _SHOWN_WITHIN_S
    shown = 0
    while shown < _READS and time.monotonic() < ends_at:
        if is_shown():
            shown += 1
        else:
            shown = 0
            time.sleep(_POLL_S)
