"""Queries: text, image or a stored study -> encode -> one engine request -> hits with what each signal gave."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from retrieval.bundle import ModelBundle
from retrieval.encoder import Encoder
from retrieval.errors import InvalidRequest, UnknownStudy
from retrieval.imaging.decode import decode_image, read_image
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Scored, SearchRequest, Stored
from retrieval.index.schema import DENSE_VECTORS, require_same_bundle
from retrieval.labels import Mentions, find_mentions, resolve_finding
from retrieval.rerank import QuerySides, Rerank, parts, plan, raw_signals
from retrieval.settings import Device

LIMIT_K = 100
LIMIT_TEXT = 2000
"""Characters of a query text. The towers read at most 256 tokens; more is a mistake, not a query."""

REPORT_SECTIONS = ("findings", "impression", "indication", "comparison")


@dataclass(frozen=True, slots=True)
class Hit:
    """One image found. `parts` add up to `score`; `signals` are the raw values (cosines -1..1, term shares 0..1)."""

    study_id: str
    image_id: str
    dataset: str
    view: str
    score: float
    parts: dict[str, float]
    signals: dict[str, float]
    present: list[str]
    uncertain: list[str]
    problems: list[str]
    mesh: list[str]
    report: dict[str, str]
    image_sha256: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, with the model that found them, how the query was understood, and milliseconds by stage."""

    model: str
    collection: str
    bundle_id: str
    interpreted: dict[str, Any]
    hits: list[Hit]
    timings_ms: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The document that the command line and the HTTP API give."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StudyImage:
    """An image of a stored study."""

    image_id: str
    view: str
    image_sha256: str


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A stored study with its report and labels."""

    study_id: str
    dataset: str
    images: list[StudyImage]
    present: list[str]
    uncertain: list[str]
    absent: list[str]
    problems: list[str]
    mesh: list[str]
    report: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The document that the HTTP API gives."""
        return asdict(self)


@dataclass(slots=True)
class _Stopwatch:
    """Milliseconds by stage of one query."""

    elapsed_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.elapsed_ms[name] = round((time.perf_counter() - start) * 1000, 3)


class Retriever:
    """Searches one collection with the model that built it. Safe from several threads."""

    def __init__(self, encoder: Encoder, collection: Collection) -> None:
        """Join an encoder and a collection.

        Raises:
            BundleMismatch: the collection was built by another bundle: the vectors would not be comparable.
        """
        require_same_bundle(encoder.bundle, collection.meta, collection.name)
        self.encoder = encoder
        self.collection = collection
        self.model = encoder.bundle.name
        self._on_close: Callable[[], None] = lambda: None

    @classmethod
    def open(cls, model: str | None = None, index: str | Path | None = None, device: Device | None = None) -> Retriever:
        """Open a retriever on its own; None takes the active model, and `CXR_INDEX` and `CXR_DEVICE` or their defaults.

        Raises:
            UnknownModel: no such bundle. NoCollection: nothing was ingested with it. IndexLocked: in use elsewhere.
        """
        from retrieval.catalog import Catalog  # a catalog opens retrievers, so neither can import the other first
        from retrieval.settings import RetrievalSettings

        given: dict[str, Any] = {"index": str(index) if index else None, "device": device}
        catalog = Catalog(RetrievalSettings(**{name: value for name, value in given.items() if value}))
        try:
            retriever = catalog.retriever(model)
        except BaseException:
            catalog.close()
            raise
        retriever._on_close = catalog.close
        return retriever

    def __enter__(self) -> Retriever:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the index, if this retriever was opened on its own."""
        self._on_close()

    @property
    def bundle(self) -> ModelBundle:
        """The bundle that encodes the queries."""
        return self.encoder.bundle

    def warm_up(self) -> None:
        """Open and run the sessions once."""
        self.encoder.warm_up()

    def search_text(
        self, text: str, *, filters: Filters = Filters(), k: int = 10, rerank: Rerank = "signals"
    ) -> SearchResult:
        """The `k` images nearest to a description, `text` of 1 to 2,000 characters.

        Embeddings do not understand negation, so findings that the text denies ("no effusion") become a filter;
        `interpreted` says which. Findings it names are the query's side of the MeSH and Problems signals.

        Raises:
            InvalidRequest: text, k or rerank out of range. UnknownFinding: a filter names none.
        """
        if not text.strip() or len(text) > LIMIT_TEXT:
            raise InvalidRequest(f"text must have 1 to {LIMIT_TEXT:,} characters, found {len(text):,}")
        mentions = find_mentions(text)
        narrowed = msgspec.structs.replace(
            filters, none=(*filters.none, *(head for head in mentions.denied if head not in filters.none))
        )
        watch = _Stopwatch()
        with watch.stage("encode"):
            vector = self.encoder.encode_texts([text])[0]
        sides = QuerySides(
            vectors=dict.fromkeys(DENSE_VECTORS, ("text", vector)),
            terms={"mesh": mentions.asked, "problems": mentions.asked},
        )
        return self._search(sides, narrowed, k, rerank, watch, mentions)

    def search_image(
        self,
        image: bytes | Path | Image.Image,
        *,
        filters: Filters = Filters(),
        k: int = 10,
        rerank: Rerank = "signals",
    ) -> SearchResult:
        """The `k` images nearest to an image: the bytes of a PNG, JPEG or WebP file, its path, or a decoded image.

        Raises:
            ImageError: not an image that can be used. InvalidRequest, UnknownFinding: as `search_text`.
        """
        watch = _Stopwatch()
        with watch.stage("decode"):
            if isinstance(image, Path):
                image, _ = read_image(image)
            elif isinstance(image, bytes):
                image = decode_image(image)
        with watch.stage("encode"):
            vector = self.encoder.encode_images([image])[0]
        # A dual encoder compares an image with texts too; without a text tower there are no text vectors to compare.
        names = DENSE_VECTORS if self.bundle.has_text else ("image",)
        sides = QuerySides(vectors=dict.fromkeys(names, ("image", vector)), terms={})
        return self._search(sides, filters, k, rerank, watch)

    def search_similar(
        self, study_id: str, *, filters: Filters = Filters(), k: int = 10, rerank: Rerank = "signals"
    ) -> SearchResult:
        """The `k` images most like a stored study, by its stored vectors and terms; the study itself is left out.

        A study with several images is represented by its first frontal one, or its first.

        Raises:
            UnknownStudy: the collection holds no such study. InvalidRequest: as `search_text`, or several datasets hold
                such a study and the filters name none. UnknownFinding: as `search_text`.
        """
        watch = _Stopwatch()
        with watch.stage("fetch"):
            image = _representative(self._images_of(study_id, filters.dataset, vectors=DENSE_VECTORS))
        payload = image.payload
        sides = QuerySides(
            vectors={
                name: ("image" if name == "image" else "text", image.vectors[name])
                for name in DENSE_VECTORS
                if name in image.vectors
            },
            terms={"mesh": tuple(payload["mesh"]), "problems": tuple(payload["problems"])},
        )
        others = msgspec.structs.replace(filters, exclude_studies=(*filters.exclude_studies, study_id))
        return self._search(sides, others, k, rerank, watch)

    def study(self, study_id: str, *, dataset: str | None = None) -> StudyRecord:
        """A stored study.

        Raises:
            UnknownStudy: the collection holds no such study. InvalidRequest: several datasets hold one, and none is named.
        """
        images = self._images_of(study_id, dataset)
        payload = images[0].payload
        return StudyRecord(
            study_id=study_id,
            dataset=payload["dataset"],
            images=[StudyImage(**{name: image.payload[name] for name in StudyImage.__slots__}) for image in images],
            report=_report(payload),
            **{name: payload[name] for name in ("present", "uncertain", "absent", "problems", "mesh")},
        )

    def facet(self, name: str, filters: Filters = Filters()) -> dict[str, int]:
        """Images per value of a keyword field (`present`, `view`, `dataset`, …), most frequent first."""
        return self.collection.facet(name, self._resolve(filters))

    def _search(
        self,
        sides: QuerySides,
        filters: Filters,
        k: int,
        rerank: Rerank,
        watch: _Stopwatch,
        mentions: Mentions | None = None,
    ) -> SearchResult:
        if not 1 <= k <= LIMIT_K:
            raise InvalidRequest(f"k must be 1 to {LIMIT_K}, found {k}")
        if rerank not in ("signals", "none"):
            raise InvalidRequest(f"rerank must be 'signals' or 'none', found {rerank!r}")
        resolved = self._resolve(filters)
        request = plan(
            sides, self.collection.meta.calibration, SearchRequest((), filters=resolved, limit=k), rerank=rerank
        )
        with watch.stage("search"):
            found = self.collection.search(request)
        interpreted: dict[str, Any] = {"filters": resolved.to_dict(), "weights": _weights(request), "rerank": rerank}
        if mentions is not None:
            interpreted |= {"asked": list(mentions.asked), "denied": list(mentions.denied)}
        return SearchResult(
            model=self.model,
            collection=self.collection.name,
            bundle_id=self.bundle.bundle_id,
            interpreted=interpreted,
            hits=[_to_hit(request, hit) for hit in found],
            timings_ms=watch.elapsed_ms,
        )

    def _resolve(self, filters: Filters) -> Filters:
        """The filters with every finding in the collection's own spelling."""

        @functools.cache
        def known() -> set[str]:
            return {*self.collection.facet("present"), *self.collection.facet("uncertain")}

        spelled = {
            group: tuple(dict.fromkeys(resolve_finding(name, known) for name in dict.fromkeys(getattr(filters, group))))
            for group in ("all", "any", "none")
        }
        return msgspec.structs.replace(filters, **spelled)

    def _images_of(self, study_id: str, dataset: str | None, vectors: tuple[str, ...] = ()) -> list[Stored]:
        wanted = Filters(study_id=study_id, dataset=dataset)
        images = list(self.collection.scroll(wanted, limit=LIMIT_K, vectors=vectors))
        if not images:
            raise UnknownStudy(f"no study {study_id!r} in the collection {self.collection.name}")
        datasets = sorted({image.payload["dataset"] for image in images})
        if len(datasets) > 1:
            raise InvalidRequest(f"several datasets hold a study {study_id!r}: {', '.join(datasets)}; name one of them")
        return sorted(images, key=lambda image: str(image.payload["image_id"]))


def _representative(images: list[Stored]) -> Stored:
    return next((image for image in images if image.payload["view"] == "frontal"), images[0])


def _weights(request: SearchRequest) -> dict[str, float]:
    vectors = {signal.name: round(signal.weight, 4) for signal in request.signals}
    return vectors | {overlap.name: round(overlap.weight, 4) for overlap in request.overlaps}


def _report(payload: dict[str, Any]) -> dict[str, str]:
    return {section: payload[section] for section in REPORT_SECTIONS}


def _to_hit(request: SearchRequest, hit: Scored) -> Hit:
    copied = ("study_id", "image_id", "dataset", "view", "present", "uncertain", "problems", "mesh", "image_sha256")
    return Hit(
        score=hit.score,
        parts=parts(request, hit),
        signals=raw_signals(request, hit),
        report=_report(hit.payload),
        **{name: hit.payload[name] for name in copied},
    )
