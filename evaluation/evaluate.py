"""The evaluation of one model: quality from stored vectors, cost and examples from running searches."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import numpy as np

from evaluation import baselines
from evaluation.corpus import Corpus, read_collection
from evaluation.rerank_signals import rerank_scorer
from evaluation.resources import measure_resources
from evaluation.results import Build, Distribution, Evaluation, Protocol, TaskResult
from evaluation.scoring import Scorer, measure
from evaluation.search_checks import ann_recall, examples, negation_probes
from evaluation.tasks import Task, image_to_image, pair_tasks, text_to_image
from evaluation.texts import prompt_of, texts_fingerprint
from retrieval.index.interface import Index
from retrieval.index.schema import Scale
from retrieval.index.search_request import FloatArray
from retrieval.model.encoder import Encoder
from retrieval.progress import NoProgress, StageProgress, progress_of_part
from retrieval.search.rerank import WEIGHTS
from retrieval.search.retriever import Retriever

_PACKAGES = (
    "cxr-retrieval",
    "ir-measures",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "qdrant-client",
    "qdrant-edge-py",
)
_BINS = 40

CIRCULAR = "circular: the labels come from the report text that this system reads"
UNKNOWN_LABELS = "may be circular: the collection does not record whether its labels come from report text"
OWN_REPORT = "reads the report of the query"
NOT_APPLICABLE = "not applicable: an image has no text, and a report would find itself"


def evaluate(
    retriever: Retriever,
    index: Index,
    protocol: Protocol,
    *,
    studies: frozenset[str] | None = None,
    media_dir: Path,
    build: Build | None = None,
    threads: int = 0,
    progress: StageProgress = NoProgress(),
) -> Evaluation:
    """The evaluation of the model of `retriever` on its collection.

    Args:
        retriever: The model and its collection.
        index: The index of the collection.
        protocol: The rules; `judged_by` and `texts` are filled in.
        studies: Study ids of the split; None for the whole collection.
        media_dir: Folder of the thumbnails.
        build: Cost of the ingest, if it was recorded.
        threads: Threads of the model's sessions, to be recorded; 0 for one per core.
        progress: Receives the stages.

    Raises:
        InvalidRequest: there is nothing to evaluate.
    """
    progress.stage("Reading stored vectors")
    corpus = read_collection(retriever.collection, view=protocol.view, vocabulary=protocol.vocabulary, studies=studies)
    # First, so that peak memory does not include what the tasks need.
    progress.stage("Timing encoding and searching")
    resources = measure_resources(retriever, corpus, index, media_dir, build, threads)
    protocol = msgspec.structs.replace(protocol, judged_by=corpus.judged_by, texts=texts_fingerprint())
    calibration = retriever.collection.meta.calibration
    results = measure_corpus(retriever.encoder, corpus, protocol, calibration=calibration, progress=progress)
    progress.stage("Recall of the index, negation probes, examples")
    manifest = retriever.bundle.manifest
    return Evaluation(
        model=retriever.model,
        bundle_id=retriever.bundle.bundle_id,
        source=manifest.source,
        precision=manifest.precision,
        dim=manifest.dim,
        protocol=protocol,
        data=corpus.describe(retriever.collection.count()),
        versions=versions(),
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        results=results,
        ann=ann_recall(retriever, protocol),
        probes=negation_probes(retriever),
        distributions=distributions(corpus, protocol.seed),
        resources=resources,
        examples=examples(retriever, corpus),
    )


def measure_corpus(
    encoder: Encoder,
    corpus: Corpus,
    protocol: Protocol,
    *,
    calibration: Mapping[str, Scale] | None = None,
    with_baselines: bool = True,
    progress: StageProgress = NoProgress(),
) -> list[TaskResult]:
    """The results of all tasks that corpus and model allow; in each task the model, then the baselines.

    With the `calibration` of its collection, the model has a second row from image to image: reranked as the service reranks
    an uploaded image, which has no report and no terms.
    """
    results = []
    for task in all_tasks(corpus, protocol, has_text=encoder.bundle.has_text):
        systems: list[tuple[str, Scorer | None, list[str]]] = [
            (encoder.bundle.name, model_scorer(task, corpus, encoder), [])
        ]
        if task.name == "image_to_image" and calibration is not None and encoder.bundle.has_text:
            reranked = rerank_scorer(task, corpus, calibration, WEIGHTS)
            systems.append((f"{encoder.bundle.name}, reranked", reranked, _circularity(corpus)))
        if with_baselines:
            systems += _baselines(task, corpus, protocol)
        progress.stage(task.name.replace("_", " ").capitalize(), "queries")
        for number, (name, scorer, marks) in enumerate(systems):
            if scorer is None:
                results.append(
                    TaskResult(
                        task=task.name, system=name, gallery=len(task.columns), queries=0, marks=[NOT_APPLICABLE]
                    )
                )
                continue
            row = measure(
                task,
                name,
                scorer,
                protocol,
                corpus.studies,
                progress=progress_of_part(progress, number, len(systems)),
            )
            results.append(msgspec.structs.replace(row, marks=marks))
    return results


def all_tasks(corpus: Corpus, protocol: Protocol, *, has_text: bool = True) -> list[Task]:
    """The tasks of the protocol on this corpus; without a text tower, only the task from image to image."""
    tasks = pair_tasks(corpus, protocol) if has_text else []
    tasks += [task for task in [image_to_image(corpus, protocol)] if task]
    return tasks + [task for task in [text_to_image(corpus, protocol)] if task and has_text]


def model_scorer(task: Task, corpus: Corpus, encoder: Encoder) -> Scorer:
    """A scorer by cosine of stored vectors; prompts are encoded here."""
    vectors = {"image": corpus.vectors, "report": corpus.reports}
    if task.query_kind == "prompt":
        queries: FloatArray = encoder.encode_texts([prompt_of(finding) for finding in task.findings])
    else:
        queries = vectors[task.query_kind][task.rows]
    gallery = vectors[task.gallery_kind][task.columns]
    return lambda numbers: queries[numbers] @ gallery.T


def distributions(corpus: Corpus, seed: int, *, sample: int = 1000) -> dict[str, Distribution]:
    """Histograms of cosines of related and unrelated pairs: image and its report, images that share a finding."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(corpus.images))[:sample])
    images = [corpus.images[row] for row in chosen]
    different = np.array([[a.study != b.study for b in images] for a in images])
    found = {}
    has_report = corpus.has_report[chosen]
    if has_report.any():
        cosines = corpus.vectors[chosen][has_report] @ corpus.reports[chosen][has_report].T
        unrelated = different[np.ix_(has_report, has_report)]
        found["image and report"] = _histograms(np.diag(cosines), cosines[unrelated])
    cosines = corpus.vectors[chosen] @ corpus.vectors[chosen].T
    share = np.array([[bool(a.findings & b.findings) for b in images] for a in images])
    if (share & different).any() and (~share & different).any():
        found["images that share a finding"] = _histograms(cosines[share & different], cosines[~share & different])
    return found


def versions() -> dict[str, str]:
    """Versions of the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _baselines(task: Task, corpus: Corpus, protocol: Protocol) -> list[tuple[str, Scorer | None, list[str]]]:
    marks = _circularity(corpus) if task.is_of_labels else []
    own = [OWN_REPORT] if task.query_kind != "prompt" else []
    return [
        (baselines.RANDOM, baselines.random_scorer(task, protocol.seed), []),
        (baselines.BM25, baselines.bm25_scorer(task, corpus), [*own, *marks]),
        (baselines.LABELS, baselines.label_scorer(task, corpus, protocol.seed), [*own, *marks]),
    ]


def _circularity(corpus: Corpus) -> list[str]:
    """The caveat of a system that reads reports, in tasks that labels judge."""
    return {"text": [CIRCULAR], "present": [UNKNOWN_LABELS], "indexing": []}[corpus.judged_by]


def _histograms(related: FloatArray, unrelated: FloatArray) -> Distribution:
    low, high = min(related.min(), unrelated.min()), max(related.max(), unrelated.max())
    edges = np.linspace(low, high + 1e-6, _BINS + 1)

    def shares(cosines: FloatArray) -> list[float]:
        counts, _ = np.histogram(cosines, edges)
        return [round(float(share), 6) for share in counts / max(1, counts.sum())]

    return Distribution(
        edges=[round(float(edge), 6) for edge in edges], related=shares(related), unrelated=shares(unrelated)
    )
