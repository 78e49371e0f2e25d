"""Which values a query accepts, and its form in JSON."""

import msgspec
import numpy as np
import pytest

from retrieval import Filters
from retrieval.errors import InvalidRequest
from retrieval.search.query import Query
from tests.retrieval.search.test_query import TEXT, case


@pytest.mark.parametrize(
    "query",
    [Query(), Query(unlike=(case("1"),)), Query(filters=Filters(view="frontal"))],
    ids=["blank", "unlike", "filters"],
)
def test_a_query_without_text_image_study_or_example_is_refused(retriever, query):
    with pytest.raises(InvalidRequest, match="the query is empty"):
        retriever.search(query)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"diversity": 1.5}, "diversity must be 0 to 1"),
        ({"candidates": 0}, "candidates must be 1 to 1,000"),
        ({"match": "fuzzy"}, "match must be one of dense, bm25, hybrid"),
        ({"collapse": "patient"}, "collapse must be one of none, study, report"),
        ({"rerank": {"image": -1.0}}, "0 to 1,000,000"),
        ({"rerank": {"image": 1e308, "mesh": 1e308}}, "0 to 1,000,000"),
        ({"rerank": {"pixels": 1.0}}, "no signal 'pixels'"),
        ({"facets": ("age",)}, "facets"),
        ({"text": 5}, "text"),
        ({"k": "5"}, r"\$\.k"),
        ({"filters": None}, "filters must be Filters, found NoneType"),
        ({"image": "case.png"}, "image must be the bytes of a file, found str"),
        ({"text": "f\udcfcr"}, "UTF-8"),
        ({"filters": Filters(dataset="\udcff")}, "UTF-8"),
        ({"filters": Filters(date_from="20240101")}, "date_from"),
        ({"filters": Filters(certainty="sure")}, "certainty"),
        ({"filters": Filters(view="oblique")}, "view"),
        ({"filters": Filters(all="Pneumothorax")}, "all"),
        ({"filters": Filters(sides=("lefft",))}, "did you mean 'left'"),
        ({"filters": Filters(none=("Opacity/lefft",))}, "did you mean 'left'"),
        ({"rerank": {"mesh": 1.0}, "text": "clear lungs"}, "no input for mesh"),
        ({"like": (case("1"),) * 21}, "at most 20"),
        ({"filters": Filters(date_from="2024-02-30")}, "date_from"),
        ({"filters": Filters(all=("Opacity/left",), certainty="either")}, "qualifiers"),
        ({"filters": Filters(absent=("Opacity/left",))}, "absent"),
    ],
)
def test_values_out_of_range_are_refused_by_name(retriever, fields, message):
    with pytest.raises(InvalidRequest, match=message):
        retriever.search(Query(**{"text": TEXT} | fields))


def test_findings_and_qualifiers_may_be_written_in_any_case(retriever):
    asked = Filters(any=("lung opacity/ LEFT", "cardiomegaly"), sides=("Left ",), severities=("MILD", "mild"))
    found = retriever.search(Query(text=TEXT, filters=asked))
    assert found.interpreted["filters"] == {
        "any": ["Lung Opacity/left", "Cardiomegaly"], "sides": ["left"], "severities": ["mild"],
    }  # fmt: skip


def test_numpy_values_are_accepted(retriever):
    plain = retriever.search(Query(text=TEXT, filters=Filters(sides=("left",)), k=3))
    study = np.array([TEXT, "left"])
    same = retriever.search(Query(text=study[0], filters=Filters(sides=(study[1],)), k=np.int64(3)))
    assert [hit.image_id for hit in same.hits] == [hit.image_id for hit in plain.hits]
    with pytest.raises(InvalidRequest, match="object is not a value"):
        retriever.search(Query(text=TEXT, study=object()))


def test_only_fields_that_can_be_counted_are_counted(retriever):
    with pytest.raises(InvalidRequest, match="no field 'age'; expected present, uncertain"):
        retriever.facet("age")


def test_a_query_is_the_same_in_json_and_python(retriever, image):
    query = Query(
        text=TEXT,
        image=image,
        study=case("1"),
        like=(case("2", "2_Frontal.png"),),
        unlike=(case("3"),),
        filters=Filters(none=("Nodule",), sides=("left",), certainty="either", has_report=True),
        match="hybrid",
        rerank={"image": 1.0, "findings": 0.5},
        diversity=0.2,
        collapse="study",
        facets=("present",),
        k=3,
    )
    again = msgspec.json.decode(msgspec.json.encode(query), type=Query)
    assert again == query
