"""Measuring works on Python 3.14, which no longer has the syntax nodes that ir_measures parses names with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_measure_is_calculated_without_the_syntax_nodes_that_python_3_14_removed() -> None:
    code = """
import ast, json
import numpy as np
from evaluation.scoring import measure_rankings
from evaluation.tasks import LABEL_MEASURES, PAIR_MEASURES
for name in ("Num", "Str", "Bytes", "NameConstant", "Ellipsis", "__getattr__"):
    vars(ast).pop(name, None)
assert not hasattr(ast, "Num")
found = {}
for names in (PAIR_MEASURES, LABEL_MEASURES):
    found |= measure_rankings(names, [np.array([False, True, False])], [1])
print(json.dumps({name: value.tolist() for name, value in found.items()}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {name: round(value, 6) for name, (value,) in json.loads(done.stdout).items()}
    # The only relevant item is on rank 2.
    assert found == {
        **dict.fromkeys(("R@2", "R@5", "R@10", "R@20", "R@50", "R@100", "Hit@10"), 1.0),
        **dict.fromkeys(("R@1", "P@1"), 0.0),
        **dict.fromkeys(("RR", "AP"), 0.5),
        "P@5": 0.2,
        "P@10": 0.1,
        "nDCG@10": 0.63093,
    }
