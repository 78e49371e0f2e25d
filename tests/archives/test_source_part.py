from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.source_part import SourcePart, parse_part
from retrieval.errors import InvalidRequest
from retrieval.records import ImageRecord, Quarantined, Study


class Records:
    """A source with the given records."""

    dataset = "own"

    def __init__(self, records: list[Study | Quarantined]) -> None:
        self._records = records

    def __iter__(self) -> Iterator[Study | Quarantined]:
        yield from self._records

    def image_count(self) -> int:
        return len(self._records)


def study(name: str) -> Study:
    return Study(name, "own", (ImageRecord(name, Path(name)),))


def quarantined(name: str) -> Quarantined:
    return Quarantined(name, "missing_file", "gone")


records = st.lists(st.text().flatmap(lambda name: st.sampled_from([study(name), quarantined(name)])), unique=True)


@given(records=records, count=st.integers(1, 9), data=st.data())
def test_every_record_falls_to_exactly_one_part_whatever_the_order(
    records: list[Study | Quarantined], count: int, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(records))
    parts = [list(SourcePart(Records(records), number, count)) for number in range(1, count + 1)]
    again = [list(SourcePart(Records(shuffled), number, count)) for number in range(1, count + 1)]
    assert sum(map(len, parts)) == len(records)
    assert set().union(*parts) == set(records)
    assert [set(part) for part in parts] == [set(part) for part in again]


def test_a_part_keeps_the_order_and_the_dataset_of_its_source() -> None:
    whole = Records([study(str(number)) for number in range(100)])
    part = SourcePart(whole, 2, 3)
    ids = [int(record.study_id) for record in part if isinstance(record, Study)]
    assert ids == sorted(ids)
    assert (part.dataset, part.name) == ("own", "2/3")


def test_parts_are_of_about_the_same_size() -> None:
    whole = Records([study(str(number)) for number in range(4000)])
    sizes = [len(list(SourcePart(whole, number, 8))) for number in range(1, 9)]
    assert max(sizes) < 1.2 * min(sizes)
    assert SourcePart(whole, 1, 8).image_count() == 500


def test_a_source_that_grows_moves_no_study_to_another_part() -> None:
    few = [study(str(number)) for number in range(50)]
    more = [study(f"new {number}") for number in range(50)]
    before = list(SourcePart(Records(few), 1, 4))
    after = list(SourcePart(Records([*more, *few]), 1, 4))
    assert [record for record in after if record in few] == before


def test_an_id_from_a_file_name_that_is_not_utf_8_falls_to_a_part() -> None:
    whole = Records([study("caf\udce9")])
    assert sum(len(list(SourcePart(whole, number, 3))) for number in (1, 2, 3)) == 1


@pytest.mark.parametrize(("number", "count"), [(0, 4), (5, 4), (-1, 4), (1, 0), (0, 0)])
def test_a_part_that_there_is_not_is_refused(number: int, count: int) -> None:
    with pytest.raises(InvalidRequest, match=f"no part {number} of {count}"):
        SourcePart(Records([]), number, count)


@pytest.mark.parametrize(("text", "part"), [("2/8", (2, 8)), (" 1/1 ", (1, 1)), ("007/100", (7, 100))])
def test_a_part_is_written_with_a_slash(text: str, part: tuple[int, int]) -> None:
    assert parse_part(text) == part


@pytest.mark.parametrize("text", ["", "2", "2/", "/8", "2/8/1", "-1/8", "2 of 8", "2.0/8", "a/b", "²/8", "1/9999999"])
def test_a_part_written_in_another_way_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"takes a part such as 2/8"):
        parse_part(text)
