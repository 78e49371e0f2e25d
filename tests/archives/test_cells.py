from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.tables.cells import CellTable, as_ids, as_text
from retrieval.errors import MissingExtra, SourceError


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.txt", "t.csv.gz", "t.tsv", "t.tab", "t.TSV", "t.tsv.gz"])
def test_commas_or_tabs_go_by_the_suffix_and_cells_stay_as_they_are_written(tmp_path: Path, name: str) -> None:
    text = 'a,b\n 007 ,"x\ny"\nN,12.0\n'
    if "t" in Path(name.removesuffix(".gz")).suffix.lower()[:2] and "txt" not in name:
        text = text.replace(",", "\t")
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    table = CellTable(tmp_path / name)
    assert table.columns == ["a", "b"]
    assert list(table.rows(["b", "a", "b"])) == [("x\ny", "007", "x\ny"), ("12.0", "N", "12.0")]


def test_numbers_and_gaps_of_parquet_come_out_as_one_would_type_them(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "whole": pd.array([12, None, 2**60 + 1], dtype="Int64"),
            "float": [12.0, float("nan"), 0.5],
            "text": [" a ", None, "12.0"],
            "list": [["Nodule", "Mass"], None, []],
            "kind": pd.Categorical(["PA", None, "PA"]),
            "flag": [True, False, None],
            "date": pd.to_datetime(["2024-01-02", None, "2024-01-02"]),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    rows = list(CellTable(tmp_path / "t.parquet").rows(["whole", "float", "text", "list", "kind", "flag"]))
    assert rows == [
        ("12", "12", "a", "Nodule;Mass", "PA", "True"),
        ("", "", "", "", "", "False"),
        ("1152921504606846977", "0.5", "12.0", "", "PA", ""),
    ]
    assert [row[0][:10] for row in CellTable(tmp_path / "t.parquet").rows(["date"])] == ["2024-01-02", "", "2024-01-02"]


def test_parquet_is_recognised_by_its_content(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").rename(tmp_path / "t.csv")
    assert list(CellTable(tmp_path / "t.csv").rows(["a"])) == [("1",)]


def test_an_index_column_of_a_parquet_table_is_read(tmp_path: Path) -> None:
    pd.DataFrame({"image": ["a.png"], "case": [7]}).set_index("image").to_parquet(tmp_path / "t.parquet")
    table = CellTable(tmp_path / "t.parquet")
    assert set(table.columns) == {"image", "case"}
    assert list(table.rows(["image", "case"])) == [("a.png", "7")]


@pytest.mark.parametrize(
    ("value", "text"),
    [(b" a ", "a"), (float("inf"), "inf"), (-3.0, "-3"), (1.5, "1.5"), (None, ""), (pd.NA, ""), (pd.NaT, ""), (0, "0")],
)
def test_single_values(value: object, text: str) -> None:
    assert as_text(value) == text


def test_parquet_without_the_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match=r"cxr-retrieval\[parquet\]"):
        CellTable(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.parquet", b"PAR1 cut short", "not a Parquet file"),
        ("t.parquet", b"image\na.png\n", "not a Parquet file"),
        ("t.csv", b"", "header row"),
        ("t.csv", b"a\n\xff\x81\n", "UTF-8"),
        ("t.csv", b"\xff\xfeabc\n\n", "not utf-16"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9], "cannot be read"),
        ("t.csv.gz", b"a,b\n1,2\n", "cannot be read"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=says) as caught:
        CellTable(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["gone.csv", "gone.parquet"])
def test_a_table_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=f"{name} does not exist"):
        CellTable(tmp_path / name)


def test_a_damaged_parquet_file_is_named_when_its_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": [f"text {n}" for n in range(1000)]}).to_parquet(path, compression="gzip")
    data = bytearray(path.read_bytes())
    data[50:1500] = bytes(1450)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"t\.parquet"):
        list(CellTable(path).rows(["a"]))


def test_rows_longer_than_the_header_shift_no_column(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("uid,split\n1,train,\n2,val,\n")
    with pytest.raises(SourceError, match="more cells than its header"):
        list(CellTable(table).rows(["uid", "split"]))


@pytest.mark.parametrize("text", ['a,b\n1,"2\n3,4\n', 'a,b\n0,0\n1,2\n"', 'a,"b\n1,2\n'])
def test_a_quote_that_is_never_closed_swallows_no_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SourceError, match="not closed"):
        list(CellTable(tmp_path / "t.csv").rows(["a"]))


MISSING = (
    "nan",
    "None",
    "NULL",
    "N/A",
    "NA",
    "<NA>",
    "NaT",
    "#N/A",
    "-",
    "--",
    "",
    "null",
    "n.a.",
    "\\N",
    "#VALUE!",
    "(null)",
)


@given(
    st.sampled_from(MISSING),
    st.sampled_from([str.lower, str.upper, str.title, str]),
    st.text(" \t\n\u00a0\u200b\u2003\ufeff", max_size=3),
    st.text(" \t\u00a0\u202f", max_size=3),
    st.sampled_from(["", '"', "'", "“"]),
)
def test_every_spelling_of_a_missing_value_is_missing(
    word: str, case: Callable[[str], str], before: str, after: str, quote: str
) -> None:
    assert as_text(f"{before}{quote}{case(word)}{quote}{after}") == ""


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "007",
        "Nan Smith",
        "none seen",
        "No",
        "N",
        "normal",
        "NAD",
        "nano",
        "a-b",
        "N/A fields",
        "false",
        "-5",
        "1.0",
    ],
)
def test_words_that_only_look_like_missing_values_stay(text: str) -> None:
    assert as_text(f"\u00a0{text} ") == text


@given(st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N"]), min_size=1))
def test_text_stays_but_for_white_space_at_its_ends(text: str) -> None:
    assert as_text(f" {text}\t") in (text, "")
    assert as_text(f"x {text} y") == f"x {text} y"


@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        (["12.0", "", "7.0"], ["12", "", "7"]),
        (["12.0", "A7"], ["12.0", "A7"]),
        (["12.0", "7"], ["12.0", "7"]),
        (["007", "7"], ["007", "7"]),
        (["007.0"], ["007"]),
        (["1.5", "2.0"], ["1.5", "2.0"]),
        (["", ""], ["", ""]),
    ],
)
def test_ids_that_pandas_made_floats_are_whole_again(cells: list[str], ids: list[str]) -> None:
    assert as_ids(cells) == ids


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT, np.nan, b" NaN ", ["nan", None], [], "<NA>"])
def test_missing_values_of_every_type_are_missing(value: object) -> None:
    assert as_text(value) == ""
