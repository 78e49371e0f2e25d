import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from retrieval.errors import BundleError, DeviceUnavailable, InvalidRequest
from retrieval.model import encoder as encoder_module
from retrieval.model.encoder import Encoder
from retrieval.model.session import OrtSession, resolve_device
from tests.conftest import DIM, write_tiny_bundle


@pytest.fixture
def encoder(tmp_path):
    return Encoder(write_tiny_bundle(tmp_path, "tiny", seed=3), device="cpu", threads=1)


def test_embeddings_are_unit_vectors_and_do_not_depend_on_the_batch(encoder):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (40, 50), dtype=np.uint8)) for _ in range(5)]
    together = encoder.encode_images(images)
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    assert together.shape == (5, DIM)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_texts_are_encoded_in_order_across_batches(encoder):
    texts = [f"{'heart ' * (n % 4)}clear" for n in range(70)]
    np.testing.assert_allclose(
        encoder.encode_texts(texts)[[3, 40, 69]], encoder.encode_texts([texts[3], texts[40], texts[69]])
    )


def test_empty_input_gives_empty_output(encoder):
    assert encoder.encode_images([]).shape == (0, DIM)
    assert encoder.encode_texts([]).shape == (0, DIM)


def test_threads_that_encode_at_the_same_time_share_one_session_per_tower(encoder, monkeypatch):
    opened = []

    def open_slowly(path, **options):
        opened.append(path.name)
        time.sleep(0.05)
        return OrtSession(path, **options)

    monkeypatch.setattr(encoder_module, "OrtSession", open_slowly)
    start = threading.Barrier(8)

    def encode(number):
        start.wait()
        return encoder.encode_texts(["heart"]) if number % 2 else encoder.encode_images([Image.new("L", (8, 8))])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(encode, range(8)))
    assert sorted(opened) == ["image.onnx", "text.onnx"]


def test_a_session_that_could_not_open_is_opened_at_the_next_call(encoder, monkeypatch):
    def fail(path, **options):
        raise BundleError("the file is busy")

    with monkeypatch.context() as patch:
        patch.setattr(encoder_module, "OrtSession", fail)
        with pytest.raises(BundleError, match="busy"):
            encoder.encode_texts(["heart"])
    assert encoder.encode_texts(["heart"]).shape == (1, DIM)


def test_cuda_without_cuda_is_an_error_and_never_the_cpu(encoder):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(DeviceUnavailable, match="gpu"):
        OrtSession(encoder.bundle.path("image.onnx"), device="cuda")
    assert resolve_device("auto") == "cpu"


def test_a_cuda_provider_that_does_not_start_is_an_error_for_cuda_and_the_cpu_for_auto(encoder, monkeypatch):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    # A CUDA build on a machine without a driver: the provider is listed, and dropped with a warning at start.
    real = onnxruntime.InferenceSession

    def start(path, sess_options, providers):
        return real(path, sess_options=sess_options, providers=[name for name in providers if isinstance(name, str)])

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    path = encoder.bundle.path("image.onnx")
    with pytest.raises(DeviceUnavailable, match="driver"):
        OrtSession(path, device="cuda")
    assert OrtSession(path, device="auto").device == "cpu"


def test_an_unknown_device_is_refused():
    with pytest.raises(InvalidRequest, match="tpu"):
        resolve_device("tpu")


def test_a_file_that_is_not_a_graph_is_named(tmp_path):
    path = tmp_path / "image.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"image\.onnx"):
        OrtSession(path, device="cpu")
