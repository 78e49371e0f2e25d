"""`--pad-square`: images become squares with black margins before the processor's own resize."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from exporters.checkpoints.load import load_checkpoint
from exporters.export import export_model
from exporters.parity import PIXELS_MAX_ABS, default_images
from exporters.square_padding import with_square_padding
from retrieval.errors import ExportError
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder


def test_padded_pixels_are_those_of_a_square_that_pillow_pads(checkpoint_folder):
    stretched = load_checkpoint(checkpoint_folder("siglip-unigram"))
    padded = with_square_padding(stretched)
    ours = ImagePreprocessor(padded.preprocessing)
    for image in default_images():
        side = max(image.size)
        square = Image.new("RGB", (side, side))
        square.paste(image.convert("RGB"), ((side - image.width) // 2, (side - image.height) // 2))
        expected = stretched.reference_pixels([square])
        np.testing.assert_allclose(ours.batch([image]), expected, rtol=0, atol=PIXELS_MAX_ABS)
        np.testing.assert_allclose(padded.reference_pixels([image]), expected, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("copied_graphs")
def test_a_padded_export_passes_parity_and_is_another_bundle(checkpoint_folder, exported, tmp_path):
    stretched = exported("siglip-unigram")
    padded = export_model(name="padded", source=checkpoint_folder("siglip-unigram"), out_dir=tmp_path, pad_square=True)
    assert padded.bundle_id != stretched.bundle_id
    assert ModelBundle.load(padded.folder).manifest.preprocessing.mode == "pad_square"
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 90, 3), dtype=np.uint8))
    square = wide.crop((0, 0, 20, 20))
    one, other = (Encoder(ModelBundle.load(each.folder), device="cpu") for each in (stretched, padded))
    assert float((one.encode_images([wide]) @ other.encode_images([wide]).T).item()) < 0.9999
    np.testing.assert_allclose(one.encode_images([square]), other.encode_images([square]), atol=1e-6)


def test_padding_is_refused_for_a_processor_that_crops(checkpoint_folder, tmp_path):
    with pytest.raises(ExportError, match="--pad-square is for models whose processor stretches"):
        export_model(name="clip", source=checkpoint_folder("clip"), out_dir=tmp_path, pad_square=True)
    assert list(tmp_path.iterdir()) == []
