"""Filters on every engine, against a brute-force reference in Python."""

from datetime import date

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.index.filters import Filters
from retrieval.index.search_request import SearchRequest, VectorSignal
from tests.congruence.conftest import FINDINGS, SIDES, unit_vectors

some_findings = st.lists(st.sampled_from(FINDINGS), max_size=3, unique=True).map(tuple)
some_qualified = st.lists(
    st.one_of(st.sampled_from(FINDINGS), st.builds("{}/{}".format, st.sampled_from(FINDINGS), st.sampled_from(SIDES))),
    max_size=3,
    unique=True,
).map(tuple)
some_days = st.one_of(st.none(), st.dates(date(2009, 1, 1), date(2020, 1, 1)).map(str))


def some_of(*values):
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


def any_filters(certainty, findings):
    return st.builds(
        Filters,
        all=findings,
        any=findings,
        none=some_qualified,
        absent=st.one_of(st.just(()), some_findings),
        certainty=certainty,
        sides=some_of(*SIDES, "nowhere"),
        sites=some_of("lung", "base"),
        severities=some_of("mild", "severe"),
        view=st.sampled_from([None, "frontal", "lateral", "unknown"]),
        dataset=st.sampled_from([None, "even", "odd", "nowhere"]),
        study_id=st.sampled_from([None, None, None, "study-3"]),
        date_from=some_days,
        date_to=some_days,
        has_report=st.sampled_from([None, True, False]),
        exclude_studies=some_of("study-3", "study-4"),
    )


# Only what is present is known with its qualifiers.
all_filters = st.one_of(
    any_filters(st.just("present"), some_qualified),
    any_filters(st.sampled_from(["uncertain", "either"]), some_findings),
)


def obeys(payload, filters):
    known = {
        "present": {*payload.present, *payload.qualified},
        "uncertain": set(payload.uncertain),
        "either": {*payload.present, *payload.uncertain},
    }[filters.certainty]
    return (
        known.issuperset(filters.all)
        and (not filters.any or not known.isdisjoint(filters.any))
        and {*payload.present, *payload.uncertain, *payload.qualified}.isdisjoint(filters.none)
        and set(payload.absent).issuperset(filters.absent)
        and all(
            not getattr(filters, name) or set(getattr(filters, name)) & set(getattr(payload, name))
            for name in ("sides", "sites", "severities")
        )
        and filters.view in (None, payload.view)
        and filters.dataset in (None, payload.dataset)
        and filters.study_id in (None, payload.study_id)
        and (not filters.date_from or filters.date_from <= payload.study_date)
        and (not filters.date_to or "" < payload.study_date <= filters.date_to)
        and (filters.has_report is None or filters.has_report == bool(payload.report_group))
        and payload.study_id not in filters.exclude_studies
    )


def test_the_points_make_every_condition_matter(points):
    """Each condition alone matches some points and not others; otherwise the property below would prove little."""
    for filters in (
        Filters(all=("Nodule/left",)), Filters(any=("Nodule/left", "normal")), Filters(none=("Nodule/right",)),
        Filters(absent=("Nodule",)), Filters(all=("Nodule",), certainty="uncertain"), Filters(sides=("bilateral",)),
        Filters(sites=("lung",)), Filters(severities=("mild",)), Filters(date_from="2014-01-01"),
        Filters(date_to="2014-01-01"), Filters(has_report=False),
    ):  # fmt: skip
        assert 0 < sum(obeys(point.payload, filters) for point in points) < len(points), filters


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters=all_filters)
def test_filters_select_the_same_points_as_a_python_reference_on_every_engine(both, points, filters):
    expected = {point.point_id for point in points if obeys(point.payload, filters)}
    query = VectorSignal("image", unit_vectors(1, seed=5)[0], 1.0)
    for collection in both.values():
        assert collection.count(filters) == len(expected)
        assert {stored.point_id for stored in collection.scroll(filters, limit=len(points))} == expected
        hits = collection.search(SearchRequest(signals=(query,), filters=filters, limit=len(points)))
        assert {hit.point_id for hit in hits} == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters=all_filters, seed=st.integers(0, 1000))
def test_every_engine_gives_the_same_reranked_hits(both, filters, seed):
    vectors = unit_vectors(3, seed)
    request = SearchRequest(
        signals=tuple(
            VectorSignal(name, vector, weight, zero=-0.1, one=0.8)
            for name, vector, weight in zip(("image", "findings", "impression"), vectors, (0.5, 0.3, 0.2), strict=True)
        ),
        filters=filters,
        limit=8,
        candidates=200,
    )
    edge, server = (both[name].search(request) for name in ("edge", "server"))
    assert len(edge) == len(server)
    scores = {hit.point_id: hit for hit in server}
    for hit in edge:
        if hit.point_id in scores:
            assert abs(hit.score - scores[hit.point_id].score) < 5e-3
            assert hit.payload == scores[hit.point_id].payload
            assert hit.cosines.keys() == scores[hit.point_id].cosines.keys()
    # Half precision may swap near ties at the cut; nothing else may differ.
    missing = {hit.point_id for hit in edge} ^ {hit.point_id for hit in server}
    last = min((hit.score for hit in server), default=0.0)
    assert all(abs(hit.score - last) < 1e-2 for hit in [*edge, *server] if hit.point_id in missing)
