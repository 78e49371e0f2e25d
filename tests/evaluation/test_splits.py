"""Tables of splits."""

from pathlib import Path

import pytest

from archives.splits import read_split
from retrieval.errors import SourceError


def table(folder: Path, text: str) -> Path:
    path = folder / "splits.csv"
    path.write_text(text)
    return path


def test_a_split_has_the_studies_that_the_table_lists(tmp_path):
    path = table(tmp_path, "uid,split\n1,train\n2,val\n 3 , val \n")
    assert read_split(path, "val") == {"2", "3"}
    assert not read_split(path, "val") & read_split(path, "train")


def test_the_column_can_be_named_study_id_and_a_study_can_have_several_rows(tmp_path):
    path = table(tmp_path, "\ufeffstudy_id,image,split\na,1,test\na,2,test\n")
    assert read_split(path, "test") == {"a"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uid,split\n1,train\n1,val\n", "the study 1 is in the splits train and val"),
        ("uid,split\n1,train\n", "no split 'val'; it has: train"),
        ("uid,fold\n1,train\n", "expected the columns"),
        ("", "expected the columns"),
    ],
)
def test_an_unusable_table_is_refused(tmp_path, text, message):
    with pytest.raises(SourceError, match=message):
        read_split(table(tmp_path, text), "val")


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        read_split(tmp_path / "none.csv", "val")
