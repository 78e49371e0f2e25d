"""Concurrent requests share runs of the model and get the same vectors as alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from retrieval.catalog import Catalog
from retrieval.errors import UnreadableImage
from retrieval.model.bundle import ModelBundle, find_bundle
from retrieval.model.encoder import Encoder
from retrieval.settings import RetrievalSettings
from service.load.batching import BatchingEncoder, Tower
from tests.conftest import SIZE, write_tiny_bundle
from tests.service.load.batch_recorder import BatchRecorder, of_image, of_text, some_images

TEXTS = ["Heart", "the lungs are clear " * 3, "left pleural effusion", "no", "a small nodule right " * 5, "opacity"]


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return write_tiny_bundle(tmp_path, "tiny", seed=3)


def longest(bundle: ModelBundle) -> ModelBundle:
    """The bundle with a text tower that pads to the longest text of a batch; padding does not change the result."""
    path = bundle.path("text.onnx")
    graph = onnx.load(str(path))
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "length"
    onnx.save(graph, str(path))
    assert bundle.manifest.tokenization
    tokenization = msgspec.structs.replace(bundle.manifest.tokenization, padding="longest")
    return replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, tokenization=tokenization))


def quantized(bundle: ModelBundle) -> ModelBundle:
    """The bundle with an image tower in int8, as the exporter makes it."""
    path = bundle.path("image.onnx")
    quantize_dynamic(path, path, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul"])
    return replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, precision="int8"))


def test_the_first_request_runs_at_once_and_later_ones_form_the_next_batch(bundle: ModelBundle) -> None:
    recorder = BatchRecorder(bundle)
    recorder.encode([of_text(text) for text in TEXTS])
    assert recorder.batches == [("text", 1), ("text", len(TEXTS) - 1)]


def test_a_single_request_does_not_wait(bundle: ModelBundle) -> None:
    batches: list[tuple[Tower, int]] = []
    encoder = BatchingEncoder(bundle, device="cpu", observe=lambda tower, size, _: batches.append((tower, size)))
    encoder.encode_texts(["heart"])
    encoder.encode_images(some_images(2))
    assert batches == [("text", 1), ("image", 2)]


@pytest.mark.parametrize("arrange", [lambda bundle: bundle, longest])
def test_batched_texts_get_the_same_vectors_as_alone(
    bundle: ModelBundle, arrange: Callable[[ModelBundle], ModelBundle]
) -> None:
    bundle = arrange(bundle)
    found = BatchRecorder(bundle).encode([of_text(text) for text in TEXTS])
    alone = Encoder(bundle, device="cpu", threads=1)
    for text, embeddings in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(embeddings, alone.encode_texts([text]), atol=1e-5)


@pytest.mark.parametrize("name", ["phantom-clip", "phantom-siglip"])
def test_the_demo_models_give_the_same_vectors_in_a_batch(name: str, tmp_path: Path) -> None:
    bundle = find_bundle(name, tmp_path)
    images = [image.resize((300, 260)) for image in some_images(4)]
    calls = [of_text(text) for text in TEXTS] + [of_image(image) for image in images]
    recorder = BatchRecorder(bundle)
    found = recorder.encode(calls)
    assert max(size for _, size in recorder.batches) >= 4
    alone = Encoder(bundle, device="cpu", threads=1)
    for call, embeddings in zip(calls, found, strict=True):
        np.testing.assert_allclose(embeddings, call(alone), atol=1e-5)


def test_batched_images_get_the_same_vectors_as_alone(bundle: ModelBundle) -> None:
    images = some_images(6)
    recorder = BatchRecorder(bundle)
    found = recorder.encode([of_image(image) for image in images])
    assert recorder.batches == [("image", 1), ("image", 5)]
    alone = Encoder(bundle, device="cpu", threads=1)
    for image, embeddings in zip(images, found, strict=True):
        np.testing.assert_allclose(embeddings, alone.encode_images([image]), atol=1e-5)


def test_int8_models_run_each_request_alone_because_a_batch_would_change_the_scale(bundle: ModelBundle) -> None:
    bundle = quantized(bundle)
    images = some_images(6)
    alone = Encoder(bundle, device="cpu", threads=1)
    expected = [alone.encode_images([image]) for image in images]
    assert np.abs(alone.encode_images(images) - np.concatenate(expected)).max() > 1e-4
    recorder = BatchRecorder(bundle)
    found = recorder.encode([of_image(image) for image in images])
    assert recorder.batches == [("image", 1)] * 6
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected))


def test_a_batch_has_at_most_limit_items_and_the_rest_follow_in_order(bundle: ModelBundle) -> None:
    recorder = BatchRecorder(bundle, limit=4)
    found = recorder.encode([of_text(text) for text in TEXTS * 2])
    assert recorder.batches == [("text", 1), ("text", 4), ("text", 4), ("text", 3)]
    np.testing.assert_allclose(np.concatenate(found[:6]), np.concatenate(found[6:]), atol=1e-6)


def test_a_repeated_text_is_not_encoded_again(bundle: ModelBundle) -> None:
    batches: list[tuple[Tower, int]] = []
    encoder = BatchingEncoder(
        bundle, device="cpu", remember=2, observe=lambda tower, size, _: batches.append((tower, size))
    )
    first = encoder.encode_texts(["heart"])
    np.testing.assert_array_equal(first, Encoder(bundle, device="cpu").encode_texts(["heart"]))
    with pytest.raises(ValueError, match="read-only"):
        first += 1
    encoder.encode_texts(["lungs"])
    np.testing.assert_array_equal(encoder.encode_texts(["heart"]), first)
    assert batches == [("text", 1)] * 2
    encoder.encode_texts(["no"])  # the third text replaces "lungs", the least recent one
    encoder.encode_texts(["heart"])
    assert batches == [("text", 1)] * 3
    encoder.encode_texts(["lungs"])
    assert batches == [("text", 1)] * 4
    encoder.encode_texts(["heart", "lungs"])
    assert batches[4:] == [("text", 2)]


def test_a_cached_text_does_not_keep_its_batch_in_memory(bundle: ModelBundle) -> None:
    recorder = BatchRecorder(bundle, remember=8)
    found = recorder.encode([of_text(text) for text in TEXTS])
    assert recorder.batches == [("text", 1), ("text", len(TEXTS) - 1)]
    assert all(isinstance(embedding, np.ndarray) and embedding.base is None for embedding in found)


def test_a_text_whose_encoding_failed_is_tried_again(bundle: ModelBundle) -> None:
    encoder = BatchingEncoder(bundle, device="cpu", remember=8)
    encoder.warm_up()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder.text_session, "run", Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            encoder.encode_texts(["heart"])
    assert encoder.encode_texts(["heart"]).shape == (1, encoder.dim)


def test_a_request_larger_than_the_limit_runs_alone(bundle: ModelBundle) -> None:
    recorder = BatchRecorder(bundle, limit=2)
    found = recorder.encode([of_text("heart"), lambda encoder: encoder.encode_texts(TEXTS), of_text("no")])
    assert recorder.batches == [("text", 1), ("text", 6), ("text", 1)]
    assert isinstance(found[1], np.ndarray)
    assert found[1].shape == (6, recorder.encoder.dim)


def test_a_failing_request_does_not_fail_the_others_of_its_batch(bundle: ModelBundle) -> None:
    good = some_images(3)
    wrong = np.zeros((1, 3, SIZE + 8, SIZE), dtype=np.float32)
    calls = [*[of_image(image) for image in good], lambda encoder: encoder.encode_pixels(wrong)]
    found = BatchRecorder(bundle).encode([calls[0], calls[1], calls[3], calls[2]])
    assert isinstance(found[2], Exception)
    alone = Encoder(bundle, device="cpu", threads=1)
    for image, embeddings in zip(good, (found[0], found[1], found[3]), strict=True):
        np.testing.assert_allclose(embeddings, alone.encode_images([image]), atol=1e-5)


def test_a_damaged_upload_fails_alone(tiny_home: Path, png: bytes) -> None:
    settings = RetrievalSettings(home=tiny_home, device="cpu")
    with Catalog(settings, make_encoder=BatchingEncoder) as catalog:
        retriever = catalog.retriever()
        expected = [hit.image_id for hit in retriever.search_image(png, k=3).hits]
        results: dict[int, Any] = {}

        def search(number: int) -> None:
            try:
                results[number] = retriever.search_image(png if number % 3 else png[: len(png) // 2], k=3)
            except UnreadableImage as error:
                results[number] = error

        threads = [threading.Thread(target=search, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        for number, result in results.items():
            if number % 3:
                assert [hit.image_id for hit in result.hits] == expected
            else:
                assert result.code == "truncated_image"
        assert len(results) == 12


def test_one_thread_at_a_time_runs_the_model_for_both_towers(bundle: ModelBundle) -> None:
    encoder = BatchingEncoder(bundle, device="cpu", threads=1, limit=2)
    encoder.warm_up()
    inside, most = 0, 0
    lock = threading.Lock()

    def watch(session: Any) -> None:
        run = session.run

        def watched(*args: Any) -> Any:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.001)
            try:
                return run(*args)
            finally:
                with lock:
                    inside -= 1

        session.run = watched

    watch(encoder.image_session)
    watch(encoder.text_session)
    images = some_images(2)
    threads = [
        threading.Thread(target=lambda call=call: [call(encoder) for _ in range(50)])
        for call in (of_text("heart"), of_image(images[0]), of_text("no"), of_image(images[1]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert most == 1
