"""The documents of an evaluation: protocol, results with interval and chance, data, cost, and the comparison."""

from __future__ import annotations

import hashlib
import math
from typing import Any, Literal

import msgspec

from retrieval.errors import InvalidRequest
from retrieval.records import View

Vocabulary = Literal["chexpert", "heads"]
Judge = Literal["indexing", "text", "present"]


class Protocol(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rules of an evaluation. Only evaluations with equal protocols are comparable.

    `version` increases when a rule changes that has no field here. `judged_by` is the source of the labels. `smallest` is
    the minimum number of studies of a finding; `queries` the maximum number of queries per task, or per finding; `depth`
    the length of a ranking; `texts` a hash of the prompts and probes.
    """

    version: Literal[1] = 1
    view: View | None = "frontal"
    report_text: str = "mean of the stored findings and impression vectors"
    dedupe: str = "the query's whole study, and images with the SHA-256 of the query"
    ties: str = "by id"
    vocabulary: Vocabulary = "chexpert"
    judged_by: Judge = "present"
    split: str | None = None
    smallest: int = 5
    queries: int = 500
    depth: int = 1000
    resamples: int = 1000
    seed: int = 0
    texts: str = ""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any field."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A measure with its 95 % interval, its chance level, and the number of queries and findings it is based on.

    A value is None (`null` in JSON) if there was nothing to evaluate.
    """

    value: float | None
    low: float | None
    high: float | None
    chance: float | None
    n: int
    findings: int | None = None

    @property
    def lift(self) -> float | None:
        """The value divided by chance."""
        return self.value / self.chance if self.value is not None and self.chance else None


class TaskResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one system (a model or a baseline) in one task.

    `marks` are caveats. `by_finding` holds estimates of `P@10` and `AP` by finding. The rest is the headline measure as a
    paired test needs it: in tasks of exact pairs, `values` are the contributions of the studies in `units`; in tasks that
    labels judge, `draws` are the values in each resample of the studies (None if undefined).
    """

    task: str
    system: str
    gallery: int
    queries: int
    measures: dict[str, Estimate] = {}
    by_finding: dict[str, dict[str, Estimate]] = {}
    marks: list[str] = []
    units: list[str] = []
    values: list[float] = []
    draws: list[float | None] = []


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Histograms of cosines of related and unrelated pairs with the same `edges`, as shares that add up to 1."""

    edges: list[float]
    related: list[float]
    unrelated: list[float]


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of single calls: median and 95th percentile of `n` calls."""

    p50_ms: float
    p95_ms: float
    n: int


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of the ingests of a collection, from the ledger: images encoded, seconds of wall time."""

    images: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Encoded images divided by wall time."""
        return self.images / self.seconds if self.seconds else 0.0


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of a model. A field is None if it could not be measured; `notes` says why.

    `query` searches for a stored study, whose vectors are known, so no model runs. `text_query` includes the text tower.
    `peak_memory_bytes` is the peak of the whole process with both towers loaded, after encoding and searching.
    """

    device: str
    threads: int
    encode_image: Times | None = None
    encode_text: Times | None = None
    query: Times | None = None
    query_reranked: Times | None = None
    text_query: Times | None = None
    index_bytes: int | None = None
    bundle_bytes: int | None = None
    peak_memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    build: Build | None = None
    notes: list[str] = []


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A query that negates findings: the share of its first `k` hits that have them, with and without interpretation.

    With interpretation the negation is a filter. Shares are 0..1. `chance` is the share of images in the collection with a
    negated finding.
    """

    text: str
    denied: list[str]
    k: int
    share_denied: float
    share_denied_uninterpreted: float
    chance: float


class AnnRecall(msgspec.Struct, frozen=True, kw_only=True):
    """Share of the exact `k` nearest images that the engine finds, by k; mean over `n` stored images as queries."""

    n: int
    recall: dict[str, float]


class ExampleHit(msgspec.Struct, frozen=True, kw_only=True):
    """One hit of an example query."""

    study_id: str
    image_sha256: str
    score: float
    findings: list[str]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """An example query and its first hits. `query_sha256` identifies the query image; empty for a text."""

    title: str
    query_sha256: str = ""
    hits: list[ExampleHit] = []


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """The evaluated images: those of one split and view. The `fingerprint` changes with images, reports and labels."""

    fingerprint: str
    datasets: list[str]
    images: int
    studies: int
    report_groups: int
    unlabelled: int
    findings: dict[str, int]
    collection_images: int


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The evaluation of one model. In `results` the row of the model comes first in each task, then the baselines."""

    format: Literal[1] = 1
    model: str
    bundle_id: str
    source: str
    precision: str
    dim: int
    protocol: Protocol
    data: Data
    versions: dict[str, str]
    machine: str
    measured_at: str
    results: list[TaskResult]
    ann: AnnRecall | None = None
    probes: list[Probe] = []
    distributions: dict[str, Distribution] = {}
    resources: Resources | None = None
    examples: list[Example] = []

    def row(self, task: str, system: str | None = None) -> TaskResult | None:
        """The result of `system` (None: the model) in `task`."""
        wanted = system or self.model
        return next((row for row in self.results if (row.task, row.system) == (task, wanted)), None)

    def estimate(self, task: str, measure: str, system: str | None = None) -> Estimate | None:
        """One figure; None if it was not measured."""
        row = self.row(task, system)
        return row.measures.get(measure) if row else None


class PairedTest(msgspec.Struct, frozen=True, kw_only=True):
    """The difference `better` minus `worse` of two models, with its interval, p, and p after Holm's correction.

    `method` is `randomisation` of studies, or a paired `bootstrap`.
    """

    task: str
    measure: str
    better: str
    worse: str
    difference: float
    low: float
    high: float
    method: Literal["randomisation", "bootstrap"]
    p: float
    p_corrected: float

    @property
    def is_shown(self) -> bool:
        """Whether the difference is significant at 5 % after correction."""
        return self.p_corrected < 0.05


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Evaluations, the paired tests between them, and the verdict that these support."""

    format: Literal[1] = 1
    evaluations: list[Evaluation]
    tests: list[PairedTest]
    verdict: list[str]


def number(value: float) -> float | None:
    """`value` rounded to 6 decimals; None for NaN."""
    return None if math.isnan(value) else round(float(value), 6)


def read_evaluation(content: bytes, name: str) -> Evaluation:
    """The evaluation in a document that `cxr evaluate --out` wrote; `name` is the file.

    Raises:
        InvalidRequest: the document is not an evaluation, or its format is unknown.
    """
    try:
        return msgspec.json.decode(content, type=Evaluation)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"{name} is not an evaluation that this version can read: {error}") from error


def to_document(struct: msgspec.Struct) -> Any:
    """A document as plain values, for JSON."""
    return msgspec.to_builtins(struct)
