"""Design of an experiment: checks that two models can be compared fairly."""

from __future__ import annotations

import re
import secrets
import time

from retrieval.catalog import Catalog
from retrieval.errors import InvalidRequest, NoCollection
from retrieval.index.schema import CollectionMeta, collection_name, require_same_bundle
from retrieval.model.bundle import ModelBundle, find_bundle
from service.experiments.entities import Experiment, Kind
from service.experiments.experiment_errors import ModelsDiffer

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SALT_BYTES = 32


def design_experiment(
    catalog: Catalog, *, name: str, kind: Kind, model_a: str, model_b: str, share: float
) -> Experiment:
    """A new experiment that may start now.

    Raises:
        InvalidRequest: the name or the share is out of range, or both models are the same.
        UnknownModel: a model is not installed. NoCollection: a model has no collection.
        BundleMismatch: a collection was built by another bundle.
        ModelsDiffer: the collections differ in datasets or number of images, or only one model encodes texts.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"an experiment's name has 1 to 64 letters, digits, dots, hyphens and underscores; found {name!r}"
        )
    if not 0 < share < 100:
        raise InvalidRequest(f"the share of the second model must be above 0 and below 100 per cent; found {share}")
    if model_a == model_b:
        raise InvalidRequest(f"an experiment compares two models; found {model_a} twice")
    (first, held_a), (second, held_b) = _open(catalog, model_a), _open(catalog, model_b)
    for meta in (held_a, held_b):
        if not meta.complete:
            raise ModelsDiffer(
                f"the collection of {meta.model} is incomplete; run `cxr ingest` with it again, which skips indexed images"
            )
    if held_a.counts != held_b.counts:
        raise ModelsDiffer(
            f"the collections hold different images: {model_a} {_describe(held_a)}, {model_b} {_describe(held_b)}; "
            "run `cxr ingest` on the same archives with both"
        )
    if first.has_text != second.has_text:
        without = model_b if first.has_text else model_a
        raise ModelsDiffer(
            f"{without} does not encode texts and the other model does, so they cannot answer the same searches"
        )
    return Experiment(name, kind, model_a, model_b, share, secrets.token_bytes(_SALT_BYTES), time.time())


def _open(catalog: Catalog, model: str) -> tuple[ModelBundle, CollectionMeta]:
    bundle = find_bundle(model, catalog.settings.models_dir)
    name = collection_name(model)
    meta = catalog.index.collections().get(name)
    if meta is None:
        raise NoCollection(
            f"the model {model} has no collection in {catalog.index.location}; run `cxr ingest` with it",
            public=f"the model {model} has no collection; run `cxr ingest` with it",
        )
    require_same_bundle(bundle, meta, name)
    return bundle, meta


def _describe(meta: CollectionMeta) -> str:
    return ", ".join(f"{count:,} of {dataset}" for dataset, count in sorted(meta.counts.items())) or "none"
