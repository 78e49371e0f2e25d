"""Shared fixtures: tiny real bundles, a small archive, and a home with both."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.normalizers import Lowercase

from archives.indiana import IndianaSource
from exporters.bundle_writer import write_bundle, write_manifest
from ingest.worker import Worker
from retrieval.imaging.model_input import Preprocessing
from retrieval.index.edge.index import EdgeIndex
from retrieval.model.bundle import ModelBundle, Parity, Tokenization
from retrieval.model.encoder import Encoder

SIZE, DIM, LENGTH = 32, 16, 12
WORDS = [
    *("chest", "heart", "lungs", "clear", "normal", "enlarged", "effusion", "pleural", "left"),
    *("right", "small", "large", "no", "pneumothorax", "nodule", "opacity", "cardiomegaly"),
    *("mild", "the", "is", "are", "a", "of", "and", "with"),
]

# MeSH, Problems, findings and impression of the studies in the archive; they repeat after the last.
CASES = (
    ("normal", "normal", "The heart is normal. The lungs are clear.", "Normal chest."),
    ("Cardiomegaly/mild", "Cardiomegaly", "Heart mild enlarged.", "Mild cardiomegaly."),
    ("Pleural Effusion/left/small", "Pleural Effusion", "Small left pleural effusion.", "Effusion left."),
    (
        "Cardiomegaly/borderline;Nodule/lung",
        "Cardiomegaly;Nodule",
        "Nodule right.",
        "Small nodule <script>alert(1)</script>",
    ),
    ("No Indexing", "No Indexing", "", ""),
    ("Cardiomegaly;Pleural Effusion/right", "Cardiomegaly;Pleural Effusion", "Large effusion right.", ""),
    ("Opacity/lung/base/left", "Opacity", "Opacity left.", "Left opacity, no effusion."),
)


pytest_plugins = ("tests.qdrant.fixtures",)  # real servers, one set for each session
_TESTS = Path(__file__).parent
_MEMORY = Path("/dev/shm")
_NEEDED_BYTES = 12e9
_PREFIX = "cxr-tests-"


def pytest_configure(config: pytest.Config) -> None:
    """Put temporary folders into memory if it has room, because a new collection takes seconds on a disk.

    `--basetemp` sets another folder, which keeps the files of failed tests.
    """
    if config.getoption("basetemp") is not None or not _MEMORY.is_dir():  # xdist gives its processes a basetemp
        return
    for left in _MEMORY.glob(f"{_PREFIX}*"):
        if not psutil.pid_exists(int(left.name.removeprefix(_PREFIX))):
            shutil.rmtree(left, ignore_errors=True)
    if shutil.disk_usage(_MEMORY).free > _NEEDED_BYTES:
        config.option.basetemp = _memory_folder()


# Folders and files that take over 10 s, the longest first. They begin first, so that no process has to wait for one at the
# end, and `make test-quick` leaves them out.
_SLOW = (
    "recovery",
    "exporters",
    "service/api/test_upload_fuzz.py",
    "service/load",
    "evaluation",
    "contract",
    "congruence",
    "archives/test_phantom",
    "ingest",
    "cxr",
    "retrieval/test_index_address.py",
    "service/api/test_hostile_images.py",
    "retrieval/imaging/test_decoders.py",
    "architecture/test_telemetry.py",
    "service/experiments/test_experiments.py",
    "service/experiments/test_stored_searches.py",
    "service/api/test_unavailable_files.py",
    "service/test_serve.py",
    "service/access/test_auth.py",
    "parity",
)


def _slow_rank(path: Path) -> int:
    """The place of a file in `_SLOW`; its length for a file that is not slow."""
    name = path.relative_to(_TESTS).as_posix()
    return next((number for number, slow in enumerate(_SLOW) if name.startswith(slow)), len(_SLOW))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import slow files when no slow test is wanted: they load torch, which takes half a minute."""
    is_slow = collection_path.is_relative_to(_TESTS) and _slow_rank(collection_path) < len(_SLOW)
    return True if is_slow and "not slow" in config.option.markexpr else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests, and put them first."""
    rank = {item: _slow_rank(item.path) for item in items}
    for item in items:
        if rank[item] < len(_SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=rank.__getitem__)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Free the memory."""
    if config.getoption("basetemp") == _memory_folder():
        shutil.rmtree(_memory_folder(), ignore_errors=True)


def _memory_folder() -> Path:
    return _MEMORY / f"{_PREFIX}{os.getpid()}"


def write_tiny_bundle(models_dir: Path, name: str, *, seed: int) -> ModelBundle:
    """A bundle with two linear towers: pooled pixels (4 x 4) and summed words, both projected to `DIM` and normalised."""
    rng = np.random.default_rng(seed)
    tokenizer = Tokenizer(
        models.WordLevel({"[PAD]": 0, "[UNK]": 1, **{w: n + 2 for n, w in enumerate(WORDS)}}, "[UNK]")
    )
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    target = models_dir / name
    with write_bundle(target) as folder:
        pooled = helper.make_node("AveragePool", ["pixel_values"], ["p"], kernel_shape=[8, 8], strides=[8, 8])
        flat = helper.make_node("Flatten", ["p"], ["f"])
        weights = rng.standard_normal((48, DIM)).astype(np.float32)
        _write_tower(
            folder / "image.onnx", [pooled, flat], "f", weights, "pixel_values", [3, SIZE, SIZE], "image_embeds"
        )
        table = np.vstack([np.zeros((1, DIM)), rng.standard_normal((len(WORDS) + 1, DIM))]).astype(np.float32)
        gather = helper.make_node("Gather", ["table", "input_ids"], ["g"])
        summed = helper.make_node("ReduceSum", ["g", "axis"], ["s"], keepdims=0)
        extra = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axis")]
        eye = (np.eye(DIM) + 0.01).astype(np.float32)
        _write_tower(folder / "text.onnx", [gather, summed], "s", eye, "input_ids", [LENGTH], "text_embeds", extra)
        tokenizer.save(str(folder / "tokenizer.json"))
        parity = Parity(
            images=0, texts=0, image_cosine_mean=1, image_cosine_min=1, text_cosine_mean=1, text_cosine_min=1,
            pixels_max_abs=0, token_ids_equal=True,
        )  # fmt: skip
        write_manifest(
            folder,
            {
                "name": name,
                "family": "clip",
                "source": "tests",
                "revision": None,
                "licence": "Apache-2.0",
                "dim": DIM,
                "precision": "fp32",
                "preprocessing": Preprocessing(
                    mode="stretch", size=SIZE, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
                ),
                "tokenization": Tokenization(context_length=LENGTH),
                "logit_scale": 1.0,
                "logit_bias": None,
                "parity": parity,
                "exporter": {},
                "created_at": "2026-01-01T00:00:00+00:00",
            },
        )
    return ModelBundle.load(target)


def _write_tower(path, nodes, last, weights, input_name, shape, output_name, extra=()):
    kind = TensorProto.FLOAT if input_name == "pixel_values" else TensorProto.INT64
    nodes = [
        *nodes,
        helper.make_node("MatMul", [last, "w"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["b"]),
        helper.make_node("LpNormalization", ["b"], [output_name], axis=-1, p=2),
    ]
    bias = np.full((1, weights.shape[1]), 1e-3, dtype=np.float32)
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info(input_name, kind, ["batch", *shape])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["batch", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "bias"), *extra],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))


def write_archive(folder: Path, studies: int = 14, *, seed: int = 0) -> dict[str, Path]:
    """An archive in the Indiana format: `studies` studies from `CASES`, most with two views, with random smooth images."""
    rng = np.random.default_rng(seed)
    images = folder / "images"
    images.mkdir(parents=True)
    reports = [["uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression"]]
    projections = [["uid", "filename", "projection"]]
    for number in range(studies):
        mesh, problems, findings, impression = CASES[number % len(CASES)]
        reports.append([str(number), mesh, problems, "Chest", "Cough.", "None.", findings, impression])
        for view in ("Frontal", "Lateral") if number % 4 else ("Frontal",):
            name = f"{number}_{view}.png"
            coarse = Image.fromarray(rng.integers(0, 255, (6, 6), dtype=np.uint8))
            coarse.resize((48, 40), Image.Resampling.BICUBIC).save(images / name)
            projections.append([str(number), name, view])
    paths = {"reports_csv": folder / "reports.csv", "projections_csv": folder / "projections.csv"}
    for path, rows in zip(paths.values(), (reports, projections), strict=True):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return paths | {"images_dir": images}


@pytest.fixture
def archive(tmp_path: Path) -> dict[str, Path]:
    """The three paths of an archive in the Indiana format: 14 studies, 24 images."""
    return write_archive(tmp_path / "archive")


@pytest.fixture(scope="session")
def tiny_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the bundles `tiny-a` and `tiny-b`, both ingested. Tests copy it and never open it."""
    home = tmp_path_factory.mktemp("new")
    archive = write_archive(home / "archive")
    index = EdgeIndex(home / "index")
    for seed, name in enumerate(("tiny-a", "tiny-b")):
        encoder = Encoder(write_tiny_bundle(home / "models", name, seed=seed), device="cpu", threads=1)
        Worker(encoder, index, media_dir=home / "media").run(IndianaSource(**archive))
    index.close()
    template = copy_home(home, tmp_path_factory.mktemp("template") / "home")
    shutil.rmtree(home)
    return template


def copy_home(source: Path, target: Path) -> Path:
    """Copy a home without the zeros in its files: Edge reserves 240 MB for a collection of a few points."""
    shutil.copytree(source, target, copy_function=_copy_sparse)
    return target


def _copy_sparse(source: str, target: str, block_bytes: int = 1 << 16) -> None:
    with open(source, "rb", buffering=0) as reader, open(target, "wb", buffering=0) as writer:
        size = os.fstat(reader.fileno()).st_size
        for start, end in _extents(reader.fileno(), size):
            reader.seek(start)
            for position in range(start, end, block_bytes):
                block = reader.read(min(block_bytes, end - position))
                if block.count(0) < len(block):
                    writer.seek(position)
                    writer.write(block)
        writer.truncate(size)


def _extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each part of an open file that holds data; the whole file if the system does not report holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
            end = os.lseek(file, start, os.SEEK_HOLE)
        except AttributeError:
            start, end = end, size
        except OSError:  # the rest is a hole
            return
        yield start, end


@pytest.fixture
def tiny_home(tiny_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of `tiny_template` that the test may change. `CXR_HOME` names it, and `tiny-a` is active."""
    home = copy_home(tiny_template, tmp_path / "home")
    for name in ("CXR_INDEX", "CXR_DEVICE", "CXR_INDEX_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CXR_HOME", str(home))
    yield home
    shutil.rmtree(home, ignore_errors=True)
