"""A catalog of the small archive that no test of a query changes."""

import pytest

from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from tests.conftest import copy_home


@pytest.fixture(scope="module")
def home(tiny_template, tmp_path_factory):
    return copy_home(tiny_template, tmp_path_factory.mktemp("query") / "home")


@pytest.fixture(scope="module")
def retriever(home):
    with Catalog(RetrievalSettings(home=home, device="cpu")) as catalog:
        yield catalog.retriever()


@pytest.fixture(scope="module")
def image(home):
    return (home / "archive" / "images" / "3_Frontal.png").read_bytes()
