"""Our preprocessing gives the same pixels as the published image processors, also on images of unusual shapes."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
from PIL import Image

from exporters.checkpoints.transformers_checkpoint import preprocessing_of
from exporters.parity import PIXELS_MAX_ABS, default_images
from retrieval.errors import ImageTooLarge
from retrieval.imaging.model_input import Preprocessing
from retrieval.imaging.preprocess import ImagePreprocessor

HF_DIR = Path(__file__).parents[3] / "shared" / "hf"
INDIANA_DIR = Path(os.environ.get("CXR_INDIANA_DIR", Path(__file__).parents[3] / "shared" / "indiana"))
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

# The published settings, for machines without the files themselves.
CLIP = {
    "feature_extractor_type": "CLIPFeatureExtractor",
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
    "resample": 3,
    "size": 224,
}
SIGLIP = {
    "image_processor_type": "SiglipImageProcessor",
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": 224, "width": 224},
}
SETTINGS = {
    "clip": CLIP,
    "siglip": SIGLIP,
    "siglip-384": SIGLIP | {"size": {"height": 384, "width": 384}},
    "medsiglip-448": SIGLIP | {"size": {"height": 448, "width": 448}},
    "siglip2-bilinear": SIGLIP | {"resample": 2},
    "clip-odd": CLIP | {"size": 225, "crop_size": 225},
}
PUBLISHED = (
    "flaviagiammarino__pubmed-clip-vit-base-patch32",
    "google__siglip-base-patch16-224",
    "google__siglip-so400m-patch14-384",
)


@functools.cache
def images_of_all_shapes() -> list[Image.Image]:
    # Methods of centring and rounding differ at sizes one off the target and at odd differences.
    sizes = ((224, 224), (225, 224), (224, 227), (226, 225), (229, 300), (448, 447), (1, 1), (3, 500), (1025, 513))
    generator = np.random.default_rng(3)
    plain = [Image.fromarray(generator.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    return default_images() + plain


def load_processor(folder: Path, backend: str = "pil"):
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(folder, backend=backend)


def reference_pixels(processor, image: Image.Image) -> np.ndarray:
    return np.asarray(processor(images=[image.convert("RGB")], return_tensors="np")["pixel_values"])[0]


def assert_equal_pixels(processor, images: list[Image.Image]) -> None:
    ours = ImagePreprocessor(preprocessing_of(processor))
    for image in images:
        expected = reference_pixels(processor, image)
        np.testing.assert_allclose(ours(image), expected, rtol=0, atol=PIXELS_MAX_ABS, err_msg=str(image.size))


@pytest.mark.parametrize("name", SETTINGS)
def test_pixels_equal_the_transformers_processor(name, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(SETTINGS[name]))
    assert_equal_pixels(load_processor(tmp_path), images_of_all_shapes())


@pytest.mark.parametrize("name", PUBLISHED)
def test_pixels_equal_the_published_processor(name):
    folder = HF_DIR / name
    if not folder.is_dir():
        pytest.skip(f"no published configuration files at {HF_DIR}")
    assert_equal_pixels(load_processor(folder), images_of_all_shapes())


def test_pixels_of_radiographs_equal_the_reference(tmp_path):
    files = sorted((INDIANA_DIR / "images").glob("*"))[:40:4] if INDIANA_DIR.is_dir() else []
    if not files:
        pytest.skip(f"no Indiana images at {INDIANA_DIR}")
    from retrieval.imaging.decoder_pool import read_image

    images = [read_image(path)[0] for path in files]
    for name in ("clip", "siglip"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "preprocessor_config.json").write_text(json.dumps(SETTINGS[name]))
        assert_equal_pixels(load_processor(folder), images)


@pytest.mark.parametrize(
    ("sizes", "at_least", "at_most"), [("smooth", 0.9, 2.2), ("noise", 15, 30)], ids=["smooth", "noise"]
)
def test_the_torchvision_processor_differs_from_the_reference(sizes, at_least, at_most, tmp_path):
    # The default of transformers 5 is the torchvision processor. It rounds differently, by at most two grey levels on
    # smooth images and about twenty on white noise, so the PIL processor is the reference.
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(SIGLIP))
    reference, other = load_processor(tmp_path), load_processor(tmp_path, "torchvision")
    smooth = len(default_images())
    largest = 0.0
    for image in images_of_all_shapes()[:smooth] if sizes == "smooth" else images_of_all_shapes()[smooth:]:
        theirs = np.asarray(other(images=[image.convert("RGB")], return_tensors="pt")["pixel_values"])[0]
        largest = max(largest, float(np.abs(theirs - reference_pixels(reference, image)).max()) * 255 * 0.5)
    assert at_least < largest < at_most


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [64, 225])
@pytest.mark.parametrize(
    ("theirs", "ours"), [("shortest", "shortest_side_crop"), ("squash", "stretch"), ("longest", "longest_side_pad")]
)
def test_pixels_equal_the_open_clip_transform(theirs, ours, size, interpolation):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform = image_transform_v2(
        PreprocessCfg(size=size, resize_mode=theirs, interpolation=interpolation, fill_color=7), is_train=False
    )
    settings = Preprocessing(
        mode=ours,
        size=size,
        interpolation=interpolation,
        mean=tuple(CLIP_MEAN),
        std=tuple(CLIP_STD),
        pad_value=7,
        crop="round",
    )
    preprocess = ImagePreprocessor(settings)
    for image in images_of_all_shapes():
        if theirs == "longest" and max(image.size) / min(image.size) > 2 * size:
            continue  # open_clip rounds the short side to 0 pixels and fails
        # RGB, because the reference fills the border of a grey image in one channel only.
        expected = transform(image.convert("RGB")).numpy()
        np.testing.assert_allclose(preprocess(image), expected, rtol=0, atol=PIXELS_MAX_ABS, err_msg=str(image.size))


def test_padding_to_a_square_centres_the_image_on_the_pad_value():
    settings = Preprocessing(
        mode="pad_square", size=64, interpolation="nearest", mean=(0, 0, 0), std=(1, 1, 1), pad_value=51
    )
    pixels = ImagePreprocessor(settings)(Image.new("L", (64, 32), 255))
    np.testing.assert_allclose(pixels[:, :16], 0.2, atol=1e-6)
    np.testing.assert_allclose(pixels[:, 16:48], 1.0, atol=1e-6)
    np.testing.assert_allclose(pixels[:, 48:], 0.2, atol=1e-6)


@pytest.mark.parametrize("mode", ["shortest_side_crop", "pad_square"])
def test_a_strip_that_would_fill_the_memory_is_refused(mode):
    settings = Preprocessing(mode=mode, size=224, interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(ImageTooLarge, match="too elongated"):
        ImagePreprocessor(settings)(Image.new("L", (1, 100_000)))


@pytest.mark.parametrize("mode", ["stretch", "shortest_side_crop", "pad_square", "longest_side_pad"])
def test_a_grey_image_gives_the_pixels_of_its_three_equal_channels(mode):
    settings = Preprocessing(
        mode=mode, size=96, interpolation="bicubic", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), pad_value=17
    )
    preprocess = ImagePreprocessor(settings)
    grey = Image.fromarray(np.random.default_rng(3).integers(0, 256, (211, 150), dtype=np.uint8))
    assert grey.mode == "L"
    np.testing.assert_array_equal(preprocess(grey), preprocess(grey.convert("RGB")))
