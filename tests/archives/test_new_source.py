from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from PIL import Image

import archives
from ingest.worker import Worker
from retrieval.index.edge.index import EdgeIndex
from retrieval.model.encoder import Encoder
from tests.conftest import write_tiny_bundle

CASES = """\
{"case": "7", "files": ["7/pa.png", "7/lat.png", "7/gone.png"], "findings": "Lungs clear."}
{"case": "8", "files": ["8/scan.png", "../8.png"], "findings": ""}
"""


def example() -> dict[str, Any]:
    """The names defined by the example in the docstring of the package."""
    lines = (archives.__doc__ or "").splitlines()
    code = [line for line in lines if not line or line.startswith("    ")]
    namespace: dict[str, Any] = {}
    exec(compile(textwrap.dedent("\n".join(code)), "docstring", "exec"), namespace)
    return namespace


def test_the_source_that_the_documentation_shows_is_ingested(tmp_path: Path) -> None:
    for number, name in enumerate(("7/pa.png", "7/lat.png", "8/scan.png")):
        (tmp_path / "archive" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").rotate(90 * number).save(tmp_path / "archive" / name)
    cases = tmp_path / "archive" / "cases.jsonl"
    cases.write_text(CASES)
    source = example()["JsonLinesSource"](cases)
    encoder = Encoder(write_tiny_bundle(tmp_path / "models", "tiny", seed=0), device="cpu", threads=1)
    index = EdgeIndex(tmp_path / "index")
    try:
        summary = Worker(encoder, index).run(source)
        points = list(index.open("cxr_tiny").scroll(limit=9))
    finally:
        index.close()
    assert source.image_count() == 5
    assert {(p.payload["study_id"], p.payload["view"], p.payload["findings"]) for p in points} == {
        ("7", "frontal", "Lungs clear."),
        ("7", "lateral", "Lungs clear."),
        ("8", "unknown", ""),
    }
    assert {(item.file, item.code) for item in summary.quarantined} == {
        ("7/gone.png", "missing_file"),
        ("../8.png", "path_outside"),
    }
