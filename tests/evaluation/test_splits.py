"""Tables of splits."""

from pathlib import Path

import pytest

from archives.splits import read_split
from retrieval.errors import SourceError


def table(folder: Path, text: str) -> Path:
    path = folder / "splits.csv"
    path.write_text(text)
    return path


def test_a_split_is_the_studies_that_the_table_gives_it(tmp_path):
    path = table(tmp_path, "uid,split\n1,train\n2,val\n 3 , val \n")
    assert read_split(path, "val") == {"2", "3"}
    assert not read_split(path, "val") & read_split(path, "train")


def test_the_column_may_be_called_study_id_and_a_study_may_have_a_row_for_each_image(tmp_path):
    path = table(tmp_path, "\ufeffstudy_id,image,split\na,1,test\na,2,test\n")
    assert read_split(path, "test") == {"a"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("uid,split\n1,train\n1,val\n", "the study 1 is in the splits train and val"),
        ("uid,split\n1,train\n", "no split 'val'; it has: train"),
        ("uid,fold\n1,train\n", "expected the columns"),
        ("", "expected the columns"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, told):
    with pytest.raises(SourceError, match=told):
        read_split(table(tmp_path, text), "val")


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        read_split(tmp_path / "none.csv", "val")
