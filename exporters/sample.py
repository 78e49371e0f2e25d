"""Images and texts on which a lower precision is compared with float32."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from archives.indiana import IndianaSource
from archives.phantoms import write_phantoms
from retrieval.imaging.decoder_pool import read_image
from retrieval.records import studies_of


@dataclass(frozen=True, slots=True)
class Sample:
    """Images and texts, and a `name` that says where they come from."""

    name: str
    images: Sequence[Image.Image]
    texts: Sequence[str]


def read_sample(folder: Path | None, count: int) -> Sample:
    """`count` frontal images with their reports, of the Indiana archive in `folder`, or of phantoms drawn now."""
    with tempfile.TemporaryDirectory() as drawn:
        if folder is None:
            files = write_phantoms(Path(drawn), count, seed=3)
            source = IndianaSource(files.reports_csv, files.projections_csv, files.images_dir)
        else:
            source = IndianaSource(
                folder / "indiana_reports.csv", folder / "indiana_projections.csv", folder / "images"
            )
        pairs = [
            (image, f"{study.report.findings} {study.report.impression}".strip())
            for study in studies_of(source)
            for image in study.images
            if image.view == "frontal" and study.report.group
        ]
        # Spread over the archive: neighbouring rows are often of one hospital.
        chosen = pairs[:: max(1, len(pairs) // count)][:count]
        return Sample(
            name=f"{len(chosen)} frontal images of {'drawn phantoms' if folder is None else 'the Indiana archive'}",
            images=[read_image(image.path)[0] for image, _ in chosen],
            texts=[text for _, text in chosen],
        )
