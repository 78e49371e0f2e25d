"""Measures how often an image is its own first hit among 40 phantoms after it was re-encoded in another pixel format.

    python -m benchmarks.pixel_forms

Each form of `benchmarks.image_forms` is measured in both directions, with `rerank` `visual` and both demo models: images in
that form as queries to a collection of plain 8-bit PNG, and plain images as queries to a collection in that form. A refused
image is a miss. Forms that a viewer can show should give 40 of 40.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archives.phantoms.study import draw_study
from benchmarks.image_forms import FORMS, Film, Form, encoded
from benchmarks.result_file import write_result
from ingest.worker import Worker
from retrieval.errors import RetrievalError
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.schema import collection_name
from retrieval.model.bundle import find_bundle
from retrieval.model.encoder import Encoder
from retrieval.records import ImageRecord, Study
from retrieval.search.query import Query
from retrieval.search.retriever import Retriever
from retrieval.settings import RetrievalSettings

MODELS = ("phantom-clip", "phantom-siglip")
FILMS, SEED = 40, 7


def main() -> None:
    """Measure all forms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="pixel_forms", help="name of the result file (default: %(default)s)")
    arguments = parser.parse_args()
    films = [np.asarray(draw_study(SEED, number).frontal) for number in range(FILMS)]
    found: dict[str, Any] = {name: {} for name in FORMS}
    for model in MODELS:
        encoder = Encoder(find_bundle(model, RetrievalSettings().models_dir))
        with collection_of(encoder, films, encoded) as plain:
            for name, form in FORMS.items():
                asked = find_themselves(plain, films, form) if plain else 0
                with collection_of(encoder, films, form) as other:
                    indexed = find_themselves(other, films, encoded) if other else 0
                found[name][model] = {"asked": asked, "indexed": indexed}
                print(f"{model}  {name}: asked {asked}, indexed {indexed}", flush=True)
    write_result(arguments.name, {"films": FILMS, "seed": SEED, "rerank": "visual", "first": found})


@dataclass
class Films:
    """A source with one study per film; the id is its number."""

    paths: Sequence[Path]
    dataset: str = "films"

    def __iter__(self) -> Iterator[Study]:
        for number, path in enumerate(self.paths):
            yield Study(str(number), self.dataset, (ImageRecord(path.name, path, "frontal"),))

    def image_count(self) -> int:
        """See `Source`."""
        return len(self.paths)


@contextmanager
def collection_of(encoder: Encoder, films: Sequence[Film], form: Form) -> Iterator[Retriever | None]:
    """A retriever on a new collection of `films` in `form`; None if no film could be indexed."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.img" for number in range(len(films))]
        for path, film in zip(paths, films, strict=True):
            path.write_bytes(form(film))
        index = EdgeIndex(Path(folder) / "index")
        try:
            Worker(encoder, index).run(Films(paths))
            yield Retriever(encoder, index.open(collection_name(encoder.bundle.name)))
        except RetrievalError:
            yield None
        finally:
            index.close()


def find_themselves(retriever: Retriever, films: Sequence[Film], form: Form) -> int:
    """Number of `films` that are their own first hit when the query is in `form`."""
    first = 0
    for number, film in enumerate(films):
        try:
            hits = retriever.search(Query(image=form(film), rerank="visual", k=1)).hits
        except RetrievalError:
            continue
        first += bool(hits) and hits[0].study_id == str(number)
    return first


if __name__ == "__main__":
    main()
