"""A comparison as one HTML page. Plots and thumbnails are embedded; the page loads nothing from a network."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import msgspec
from jinja2 import Environment, PackageLoader

from evaluation.report import tables
from evaluation.report.markdown import NOTICE, render_markdown, tables_of
from evaluation.report.plots import draw_plots
from evaluation.results import Comparison, Example
from ingest.thumbnails import thumbnail_path
from retrieval.atomic_files import replace_file

Thumbnail = Callable[[str], str | None]


def write_reports(comparison: Comparison, folder: Path, media_dir: Path | None) -> list[Path]:
    """Write `comparison.json`, `.md` and `.html` into `folder`, readable for their owner only; gives their paths."""
    contents = {
        "comparison.json": msgspec.json.format(msgspec.json.encode(comparison), indent=1),
        "comparison.md": render_markdown(comparison).encode(),
        "comparison.html": render_page(comparison, media_dir).encode(),
    }
    for name, content in contents.items():
        with replace_file(folder / name) as file:  # also makes a file private that an earlier version left readable
            file.write(content)
    return [folder / name for name in contents]


def render_page(comparison: Comparison, media_dir: Path | None) -> str:
    """The page as HTML. With `media_dir` it contains thumbnails of the examples, which are images of patients."""
    environment = Environment(loader=PackageLoader("evaluation.report", "templates"), autoescape=True, trim_blocks=True)
    evaluations = comparison.evaluations
    first = evaluations[0]
    examples = {
        example.title: [_find_example(each.examples, example.title) for each in evaluations]
        for example in first.examples
    }
    return environment.get_template("comparison.html").render(
        title=" · ".join(each.model for each in evaluations),
        notice=NOTICE,
        verdict=comparison.verdict,
        protocol=tables.protocol_lines(first),
        tables=tables_of(evaluations, comparison),
        plots=draw_plots(evaluations),
        models=[each.model for each in evaluations],
        examples=examples,
        thumbnail=_thumbnail_reader(media_dir),
    )


def _find_example(examples: list[Example], title: str) -> Example:
    return next((example for example in examples if example.title == title), Example(title=title))


def _thumbnail_reader(media_dir: Path | None) -> Thumbnail:
    def thumbnail(sha256: str) -> str | None:
        """The thumbnail as a data URI; None if there is none."""
        if media_dir is None or not sha256:
            return None
        path = thumbnail_path(media_dir, sha256)
        if not path.exists():
            return None
        return "data:image/webp;base64," + base64.b64encode(path.read_bytes()).decode()

    return thumbnail
