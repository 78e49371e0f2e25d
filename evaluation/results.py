"""What an evaluation writes down: its protocol, each figure with interval and chance, and what it was measured on."""

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
    """Everything that must be equal for two evaluations to be compared.

    `version` rises whenever a rule that this record does not hold changes. `smallest` is the number of studies a finding
    needs to be judged; `queries` the most queries of one task, or of one finding; `depth` the length of a ranking;
    `texts` a hash of the prompts and probes.
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
        """Sixteen hexadecimal digits that differ where any field does."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A measure with its 95 % interval, what chance alone would give, and how many queries and findings it rests on.

    Not a number (`null` in JSON) where nothing could be judged.
    """

    value: float | None
    low: float | None
    high: float | None
    chance: float | None
    n: int
    findings: int | None = None

    @property
    def lift(self) -> float | None:
        """The value over chance."""
        return self.value / self.chance if self.value is not None and self.chance else None


class TaskResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one system (a model, or a baseline) reached in one task.

    `marks` says what to mind when reading it. `by_finding` holds estimates of `P@10` and `AP` by finding. The headline
    measure is kept in the form that a paired test needs: of pairs `values`, what each study of `units` adds to it; of
    labels `draws`, its value in each draw of the studies (None where undefined).
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
    """Histograms of cosines of related and unrelated pairs on the same `edges`, as shares that add up to 1."""

    edges: list[float]
    related: list[float]
    unrelated: list[float]


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of single calls: median and 95th percentile of `n`."""

    p50_ms: float
    p95_ms: float
    n: int


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """What the ingests of a collection took, as they recorded it: images encoded, seconds of wall time."""

    images: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Encoded images over wall time."""
        return self.images / self.seconds if self.seconds else 0.0


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs. None where it could not be measured, and `notes` says why.

    `query` searches for a stored study, whose vectors are known, so no model runs; `text_query` includes the text tower.
    `peak_memory_bytes` is that of the whole process up to the end of these measurements, both towers open and searched.
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
    """One query that denies something: what its first `k` hits hold of it, with and without what the words deny as a filter.

    Shares are 0..1; `chance` is the share of images in the collection with the denied finding.
    """

    text: str
    denied: list[str]
    k: int
    share_denied: float
    share_denied_uninterpreted: float
    chance: float


class AnnRecall(msgspec.Struct, frozen=True, kw_only=True):
    """Share of the exact `k` nearest images that the engine finds, by k: mean over `n` stored images as queries."""

    n: int
    recall: dict[str, float]


class ExampleHit(msgspec.Struct, frozen=True, kw_only=True):
    """One hit of an example query."""

    study_id: str
    image_sha256: str
    score: float
    findings: list[str]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """An example query and its first hits. `query_sha256` is the image that was searched by; empty for a text."""

    title: str
    query_sha256: str = ""
    hits: list[ExampleHit] = []


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """What was judged: the images of one split and view. `fingerprint` is equal for the same images, reports and labels."""

    fingerprint: str
    datasets: list[str]
    images: int
    studies: int
    report_groups: int
    unlabelled: int
    findings: dict[str, int]
    collection_images: int


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model, measured. `results` holds the model's own row of each task first, then the baselines."""

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
        """The result of `system` (None: of the model) in `task`."""
        wanted = system or self.model
        return next((row for row in self.results if (row.task, row.system) == (task, wanted)), None)

    def estimate(self, task: str, measure: str, system: str | None = None) -> Estimate | None:
        """One figure, if it was measured."""
        row = self.row(task, system)
        return row.measures.get(measure) if row else None


class PairedTest(msgspec.Struct, frozen=True, kw_only=True):
    """A difference between two models: `better` less `worse`, its interval, and p as it is and after Holm's correction.

    `method` says how p was found: by `randomisation` of studies, or from the spread of a paired `bootstrap`.
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
    """Evaluations side by side, the paired tests between them and the verdict they support."""

    format: Literal[1] = 1
    evaluations: list[Evaluation]
    tests: list[PairedTest]
    verdict: list[str]


def number(value: float) -> float | None:
    """`value`, rounded for a file, or None where it is not a number."""
    return None if math.isnan(value) else round(float(value), 6)


def read_evaluation(content: bytes, name: str) -> Evaluation:
    """The evaluation in a file that `cxr evaluate --out` wrote.

    Raises:
        InvalidRequest: it is none, or of a form this version does not know.
    """
    try:
        return msgspec.json.decode(content, type=Evaluation)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"{name} is no evaluation that this version can read: {error}") from error


def to_document(record: msgspec.Struct) -> Any:
    """A record as plain values."""
    return msgspec.to_builtins(record)
