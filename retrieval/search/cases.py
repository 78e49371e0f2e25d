"""Stored cases: their images, and the image that represents each in a query."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from retrieval.errors import InvalidRequest, UnknownStudy
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Stored
from retrieval.index.schema import DENSE_VECTORS
from retrieval.search.query import Case, Query


@dataclass(frozen=True, slots=True)
class Examples:
    """The images that represent liked and disliked cases of a query, and the points of their studies (`exclude`).

    The disliked ones have their vectors, the liked ones none: the engine looks them up by id.
    """

    like: tuple[Stored, ...] = ()
    unlike: tuple[Stored, ...] = ()
    exclude: tuple[str, ...] = ()


def find_examples(collection: Collection, query: Query) -> Examples:
    """The examples of `query`.

    Raises:
        UnknownStudy: the collection has no such study or image. InvalidRequest: as `images_of`.
    """
    exclude: list[str] = []

    def find(case: Case) -> Stored:
        case = case if case.dataset else msgspec.structs.replace(case, dataset=query.filters.dataset)
        images = images_of(collection, case)
        exclude.extend(image.point_id for image in images)
        return _representative(images, case)

    like = tuple(find(case) for case in (*((query.study,) if query.study else ()), *query.like))
    chosen = [find(case).point_id for case in query.unlike]
    held = collection.retrieve(chosen, vectors=DENSE_VECTORS) if chosen else {}
    unlike = tuple(held[point_id] for point_id in chosen if point_id in held)
    return Examples(like, unlike, tuple(dict.fromkeys(exclude)))


def images_of(collection: Collection, case: Case) -> list[Stored]:
    """The images of a study, at least one, sorted by id, without vectors.

    Raises:
        UnknownStudy: the collection has no such study. InvalidRequest: several datasets have one, and none is named.
    """
    of_study = Filters(study_id=case.study_id, dataset=case.dataset)
    images = list(collection.scroll(of_study, limit=None))
    if not images:
        where = f"dataset {case.dataset!r} of the collection" if case.dataset else "collection"
        raise UnknownStudy(f"no study {case.study_id!r} in the {where} {collection.name}")
    datasets = sorted({image.payload["dataset"] for image in images})
    if len(datasets) > 1:
        raise InvalidRequest(
            f"several datasets have a study {case.study_id!r}: {', '.join(datasets)}; name one of them"
        )
    return sorted(images, key=lambda image: str(image.payload["image_id"]))


def _representative(images: list[Stored], case: Case) -> Stored:
    """The requested image, or the first frontal one, or the first."""
    if case.image_id is None:
        return next((image for image in images if image.payload["view"] == "frontal"), images[0])
    for image in images:
        if image.payload["image_id"] == case.image_id:
            return image
    raise UnknownStudy(f"no image {case.image_id!r} in the study {case.study_id!r}")
