"""Loads the training pairs of studies into memory: images as uint8 at the model's size, texts by sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import RetrievalError, TrainingError
from retrieval.imaging.decoder_pool import read_image
from retrieval.imaging.model_input import Preprocessing
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.progress import NoProgress, Progress
from retrieval.records import ImageRecord, Quarantined, Report, Study

# Not after "1.", because impressions are numbered.
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\b\d\.)\s+(?=\S)")
_NUMBERING = re.compile(r"^\s*\d+\.\s")
_WORD = re.compile(r"[a-z0-9]+")
# Indexing terms that do not describe the image.
_NO_TERMS = {"no indexing", "technical quality of image unsatisfactory"}


@dataclass(frozen=True, slots=True)
class TrainingText:
    """A text and its statements: the normalized sentences or terms that it consists of."""

    text: str
    statements: frozenset[str]


@dataclass(frozen=True)
class StudyText:
    """The text of one study in parts."""

    report_group: str
    findings: tuple[str, ...]
    impression: tuple[str, ...]
    terms: tuple[str, ...]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """Findings, then impression."""
        return self.findings + self.impression

    @cached_property
    def statements(self) -> frozenset[str]:
        """All that is true of the study: its normalized sentences and terms, and its report group."""
        return frozenset([*map(normalize, self.sentences), *map(_term_statement, self.terms), self.report_group])

    @cached_property
    def full_report(self) -> TrainingText:
        """The whole report; its statement is its report group."""
        return TrainingText(" ".join(self.sentences), frozenset([self.report_group]))

    def from_sentences(self, sentences: tuple[str, ...]) -> TrainingText:
        """A text of some of the sentences."""
        return TrainingText(" ".join(sentences), frozenset(map(normalize, sentences)))

    def from_terms(self, terms: tuple[str, ...]) -> TrainingText:
        """A text of some of the terms, as users type them."""
        return TrainingText(", ".join(term.lower() for term in terms), frozenset(map(_term_statement, terms)))


@dataclass(frozen=True)
class PairSet:
    """Images and texts of studies that have both.

    `images` is uint8 [N, C, S, S], resized by the model's preprocessing; C is 1 if all images are grey.
    `study` maps image to study, int64 [N].
    """

    images: NDArray[np.uint8]
    study: NDArray[np.int64]
    texts: tuple[StudyText, ...]
    skipped: tuple[Quarantined, ...]

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def image_groups(self) -> list[str]:
        """Report group of each image."""
        return [self.texts[index].report_group for index in self.study]


def load_pairs(
    studies: Iterable[Study],
    preprocessing: Preprocessing,
    *,
    views: Literal["frontal", "all"],
    set_name: str,
    progress: Progress | None = None,
    workers: int = 4,
) -> PairSet:
    """The pairs of all studies with images and report text. Unreadable images are skipped and listed.

    Args:
        studies: The studies of one split.
        preprocessing: Preprocessing of the model.
        views: `frontal` leaves other views out.
        set_name: Name of the set in errors, such as "training".
        progress: Receives the number of decoded images.
        workers: Threads that decode.

    Raises:
        TrainingError: no study has both an image and report text, or all reports say the same.
    """
    progress = progress or NoProgress()
    chosen: list[tuple[StudyText, list[ImageRecord]]] = []
    for study in studies:
        images = [image for image in study.images if views == "all" or image.view == views]
        if images and study.report.group:
            chosen.append((split_text(study), images))
    images_to_read = [(index, image) for index, (_, images) in enumerate(chosen) for image in images]
    pixels: list[NDArray[np.uint8]] = []
    owners: list[int] = []
    skipped: list[Quarantined] = []
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda each: _pixels(each[1], ImagePreprocessor(preprocessing)), images_to_read)
        for done, ((owner, image), result) in enumerate(zip(images_to_read, results, strict=True), start=1):
            if isinstance(result, RetrievalError):
                skipped.append(Quarantined.because(image.path.name, result))
            else:
                pixels.append(result)
                owners.append(owner)
            progress(done, len(images_to_read))
    _require_pairs(set_name, views, owners, [text for text, _ in chosen], len(skipped))
    return PairSet(
        images=_stack(pixels),
        study=np.array(owners, dtype=np.int64),
        texts=tuple(text for text, _ in chosen),
        skipped=tuple(skipped),
    )


def split_text(study: Study) -> StudyText:
    """The text of `study` by sentence, with its indexing terms."""
    return StudyText(
        report_group=study.report.group,
        findings=_sentences(study.report.findings),
        impression=_sentences(study.report.impression),
        terms=_terms(study.problems),
    )


def report_text(report: Report) -> str:
    """The text of a whole report: findings, then impression, with single spaces."""
    return " ".join((*_sentences(report.findings), *_sentences(report.impression)))


def find_shared_texts(studies: Sequence[StudyText], texts: Sequence[TrainingText]) -> NDArray[np.bool_]:
    """Bool [B, B]: true where study i has all statements of text j."""
    return np.array([[text.statements <= study.statements for text in texts] for study in studies], dtype=bool)


def normalize(sentence: str) -> str:
    """The words of a sentence in lower case, without spacing, punctuation and list number."""
    return " ".join(_WORD.findall(_NUMBERING.sub("", sentence.lower())))


def _term_statement(term: str) -> str:
    # Marked, because a sentence can consist of the same words.
    return f"term: {normalize(term)}"


def _sentences(section: str) -> tuple[str, ...]:
    parts = (" ".join(part.split()) for part in _SENTENCE_END.split(section.strip()))
    return tuple(part for part in parts if _WORD.search(part.lower()))


def _terms(problems: str) -> tuple[str, ...]:
    names = (" ".join(part.split("/")[0].split()) for part in problems.split(";"))
    return tuple(dict.fromkeys(name for name in names if name and name.lower() not in _NO_TERMS))


def _pixels(image: ImageRecord, preprocess: ImagePreprocessor) -> NDArray[np.uint8] | RetrievalError:
    try:
        decoded, _ = read_image(image.path)
        square = np.asarray(preprocess.resize(decoded.convert("RGB")), dtype=np.uint8)
    except RetrievalError as error:
        return error
    grey = bool((square[..., 0] == square[..., 1]).all() and (square[..., 0] == square[..., 2]).all())
    return np.ascontiguousarray((square[..., :1] if grey else square).transpose(2, 0, 1))


def _stack(pixels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    channels = max(len(image) for image in pixels)
    return np.stack([np.broadcast_to(image, (channels, *image.shape[1:])) for image in pixels])


def _require_pairs(set_name: str, views: str, owners: list[int], texts: list[StudyText], skipped: int) -> None:
    if not owners:
        view = "an image" if views == "all" else f"a {views} image"
        raise TrainingError(
            f"no {set_name} pairs: no study has both {view} and report text"
            + (f" ({skipped} images could not be read)" if skipped else "")
        )
    if len({texts[owner].report_group for owner in owners}) < 2:
        raise TrainingError(f"all {set_name} reports say the same; training needs at least two different reports")
