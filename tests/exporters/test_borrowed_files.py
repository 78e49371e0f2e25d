"""A checkpoint without a tokenizer or image processor takes them from the repository that the registry names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exporters.checkpoints.load import load_checkpoint
from exporters.export import ExportSummary, export_model
from exporters.registry import REGISTRY, Lender
from retrieval.errors import ExportError
from retrieval.model.bundle import BorrowedFiles, ModelBundle

HF_DIR = Path(__file__).parents[3] / "shared" / "hf"
KIND = "siglip-sentencepiece"
COMMIT = "7" * 40
LENDER = Lender(
    source="owner/siglip",
    revision=COMMIT,
    tokenizer=("spiece.model", "tokenizer.json", "tokenizer_config.json"),
    processor=("preprocessor_config.json",),
)
SMALL_FILES = ("spiece.model", "tokenizer_config.json", "preprocessor_config.json")


@pytest.fixture
def bare(checkpoint_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A checkpoint of config and weights only, as MedSigLIP is published."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(checkpoint_folder(KIND) / name, folder)
    return folder


@pytest.fixture
def lent(checkpoint_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lender's folder in the hub's cache, whose image processor is of half the size."""
    folder = tmp_path / "cache" / COMMIT
    folder.mkdir(parents=True)
    for name in SMALL_FILES:
        shutil.copy(checkpoint_folder(KIND) / name, folder)
    edit(folder / "preprocessor_config.json", size={"height": 24, "width": 24})

    def fetch(source: str, names: tuple[str, ...], revision: str, *, offline: bool) -> Path:
        assert (source, revision) == (LENDER.source, COMMIT)
        return folder

    monkeypatch.setattr("exporters.checkpoints.borrowing.fetch_files", fetch)
    return folder


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_borrowed_tokenizer_gives_the_ids_of_a_complete_checkpoint(bare, lent, checkpoint_folder):
    complete = load_checkpoint(checkpoint_folder(KIND))
    checkpoint = load_checkpoint(bare, lender=LENDER)
    text = ["Mild cardiomegaly; no effusion."]
    assert (
        checkpoint.reference_tokens(text)["input_ids"].tolist() == complete.reference_tokens(text)["input_ids"].tolist()
    )
    assert checkpoint.tokenization == complete.tokenization


def test_the_image_size_comes_from_the_models_config_not_from_the_borrowed_processor(bare, lent, checkpoint_folder):
    complete = load_checkpoint(checkpoint_folder(KIND))
    assert load_checkpoint(bare, lender=LENDER).preprocessing == complete.preprocessing
    assert complete.preprocessing.size == 48


@pytest.mark.usefixtures("lent")
def test_the_manifest_records_what_was_borrowed_from_where(
    bare: Path, tmp_path: Path, exported: Callable[[str], ExportSummary], monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_graphs(_checkpoint: object, folder: Path, _progress: object) -> None:
        for name in ("image.onnx", "text.onnx"):
            shutil.copy(exported(KIND).folder / name, folder / name)

    exported(KIND)
    monkeypatch.setattr("exporters.export.write_graphs", copy_graphs)
    checkpoint = load_checkpoint(bare, lender=LENDER)
    monkeypatch.setattr("exporters.export.load_checkpoint", lambda *_, **__: checkpoint)
    summary = export_model(name="bare", source=bare, out_dir=tmp_path / "models")
    assert ModelBundle.load(summary.folder).manifest.borrowed == (
        BorrowedFiles(source="owner/siglip", revision=COMMIT, files=SMALL_FILES),
    )
    assert ModelBundle.load(exported(KIND).folder).manifest.borrowed == ()


@pytest.mark.usefixtures("lent")
def test_files_of_the_checkpoint_itself_are_not_replaced(bare: Path, checkpoint_folder: Callable[[str], Path]) -> None:
    for name in ("spiece.model", "tokenizer_config.json"):
        shutil.copy(checkpoint_folder(KIND) / name, bare)
    borrowed = load_checkpoint(bare, lender=LENDER).borrowed
    assert [record.files for record in borrowed] == [("preprocessor_config.json",)]


@pytest.mark.parametrize("rows", [80, 100])
def test_a_borrowed_tokenizer_that_does_not_fill_the_embedding_is_refused(rows, lent, tmp_path):
    from transformers import SiglipConfig, SiglipModel

    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config=tower | {"vocab_size": rows, "max_position_embeddings": 16},
        vision_config=tower | {"image_size": 48, "patch_size": 16},
    )
    SiglipModel(config).save_pretrained(tmp_path / "other")
    with pytest.raises(ExportError, match=f"borrowed from owner/siglip has 90 tokens.* has {rows} rows"):
        load_checkpoint(tmp_path / "other", lender=LENDER)


def test_an_own_tokenizer_with_more_tokens_than_the_embedding_is_refused(checkpoint_folder, tmp_path):
    folder = Path(shutil.copytree(checkpoint_folder("clip"), tmp_path / "copy"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["radiograph-only-token"] = len(vocabulary)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ExportError, match="belong to different models"):
        load_checkpoint(folder)


def test_a_borrowed_processor_that_crops_is_refused(bare, lent, checkpoint_folder):
    shutil.copy(checkpoint_folder("clip") / "preprocessor_config.json", lent)
    with pytest.raises(ExportError, match="that of owner/siglip crops"):
        load_checkpoint(bare, lender=LENDER)


def test_an_own_processor_that_contradicts_the_config_is_refused_and_not_replaced(bare, lent):
    shutil.copy(lent / "preprocessor_config.json", bare)
    with pytest.raises(ExportError, match="gives 24 pixels, the model takes 48"):
        load_checkpoint(bare, lender=LENDER)


def test_a_local_folder_does_not_ask_the_hub_and_says_which_files_to_copy(bare):
    with pytest.raises(ExportError, match=r"has no image processor; copy preprocessor_config\.json from owner/siglip"):
        load_checkpoint(bare, lender=LENDER)


@pytest.mark.parametrize("key", ["medsiglip", "medsiglip-448"])
def test_medsiglip_borrows_from_the_siglip_whose_tokenizer_it_was_trained_with(key):
    assert REGISTRY[key].lender.source == REGISTRY["siglip"].source
    assert len(REGISTRY[key].lender.revision) == 40


@pytest.mark.skipif(not HF_DIR.is_dir(), reason=f"no published configuration files at {HF_DIR}")
def test_the_published_small_files_fit_a_model_of_the_published_sizes(tmp_path, monkeypatch):
    from transformers import SiglipConfig, SiglipModel

    config = json.loads((HF_DIR / "google__medsiglip-448" / "config.assembled.json").read_text())
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    config["text_config"] |= small | {"projection_size": 16}
    config["vision_config"] |= small
    SiglipModel(SiglipConfig(**config)).save_pretrained(tmp_path / "medsiglip")
    lender = HF_DIR / "google__siglip-base-patch16-224"
    monkeypatch.setattr("exporters.checkpoints.borrowing.fetch_files", lambda *_, **__: lender)
    checkpoint = load_checkpoint(tmp_path / "medsiglip", lender=REGISTRY["medsiglip-448"].lender)
    assert (checkpoint.preprocessing.size, checkpoint.preprocessing.mode) == (448, "stretch")
    assert (checkpoint.tokenization.context_length, checkpoint.tokenization.pad_id) == (64, 1)
    assert checkpoint.tokenization.normalization == "siglip"
