"""The registry has the models of the old comparison; restricted models need consent."""

from __future__ import annotations

import subprocess
import sys

import pytest

from exporters.registry import REGISTRY, find_entry, require_licence
from retrieval.errors import ExportError, UnknownModel


def test_the_four_models_of_the_comparison_are_there_with_their_dimensions():
    dims = {key: REGISTRY[key].dim for key in ("pubmed_clip", "biomedclip", "siglip", "medsiglip")}
    assert dims == {"pubmed_clip": 512, "biomedclip": 512, "siglip": 768, "medsiglip": 1152}


def test_keys_name_their_entries():
    assert all(key == entry.key for key, entry in REGISTRY.items())


@pytest.mark.parametrize("key", ["medsiglip-448", "xraysiglip"])
def test_a_restricted_model_needs_consent(key):
    with pytest.raises(ExportError, match="--accept-license"):
        require_licence(find_entry(key), accepted=False)
    require_licence(find_entry(key), accepted=True)


def test_an_open_model_needs_none():
    require_licence(find_entry("biomedclip"), accepted=False)


def test_the_terms_are_named():
    with pytest.raises(ExportError, match="Health AI Developer Foundations"):
        require_licence(find_entry("medsiglip-448"), accepted=False)


def test_an_unknown_key_lists_the_known_ones():
    with pytest.raises(UnknownModel, match="biomedclip"):
        find_entry("biomedclip2")


@pytest.mark.parametrize("key", REGISTRY)
def test_every_entry_is_complete(key):
    entry = REGISTRY[key]
    for text in (entry.training, entry.quality, entry.preprocessing):
        assert len(text) > 20 and text.endswith(".")
    assert entry.licence and entry.loader and "/" in entry.source
    assert entry.dim >= 512 and entry.image_size >= 224 and entry.context_length in (64, 77, 256)


def test_claims_of_the_old_comparison_are_corrected():
    assert "not siglip-large" in REGISTRY["medsiglip"].training
    assert "ROCO, not on PubMed abstracts" in REGISTRY["pubmed_clip"].training


def test_the_registry_loads_without_torch():
    code = "import sys, exporters.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
