"""Losses, texts and augmentation equal values computed by hand."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters.finetune.augmentation import augment_images, draw_text
from exporters.finetune.data import find_shared_texts, load_pairs, report_text, split_text
from exporters.finetune.losses import infonce_loss, sigmoid_loss
from exporters.finetune.settings import ImageAugmentation, TextAugmentation
from exporters.finetune.word_pieces import END_ID, PAD_ID, START_ID, train_tokenizer
from retrieval.imaging.decoder_pool import read_image
from retrieval.imaging.model_input import Preprocessing
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.records import Report, Study
from tests.exporters.finetune_studies import draw_studies

NOTHING_SHARED = torch.zeros(2, 2, dtype=torch.bool)
ALL_SHARED = torch.ones(2, 2, dtype=torch.bool)
LOGITS = torch.tensor([[2.0, -1.0], [0.5, 3.0]])


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def study(findings: str, impression: str = "", problems: str = "") -> Study:
    return Study("1", "test", (), Report(findings, impression), problems=problems)


def test_sigmoid_loss_is_that_of_siglip() -> None:
    by_hand = (softplus(-2.0) + softplus(-1.0) + softplus(0.5) + softplus(-3.0)) / 2
    assert float(sigmoid_loss(LOGITS, NOTHING_SHARED, shared_text="mask")) == pytest.approx(by_hand, rel=1e-6)


def test_sigmoid_loss_drops_or_counts_shared_texts() -> None:
    masked = (softplus(-2.0) + softplus(-3.0)) / 2
    # Each text is true of both images, so their mean counts.
    positive = (softplus(-2.0) + softplus(1.0) + softplus(-0.5) + softplus(-3.0)) / 2 / 2
    assert float(sigmoid_loss(LOGITS, ALL_SHARED, shared_text="mask")) == pytest.approx(masked, rel=1e-6)
    assert float(sigmoid_loss(LOGITS, ALL_SHARED, shared_text="positive")) == pytest.approx(positive, rel=1e-6)


def test_infonce_loss_is_that_of_clip() -> None:
    by_image = softplus(-3.0) + softplus(-2.5)  # -log softmax of two logits is softplus of their difference
    by_text = softplus(-1.5) + softplus(-4.0)
    by_hand = (by_image + by_text) / 4
    assert float(infonce_loss(LOGITS, NOTHING_SHARED, shared_text="mask")) == pytest.approx(by_hand, rel=1e-6)


def test_infonce_loss_without_negatives_is_zero_or_even() -> None:
    assert float(infonce_loss(LOGITS, ALL_SHARED, shared_text="mask")) == pytest.approx(0, abs=1e-7)
    even = torch.zeros(2, 2)
    assert float(infonce_loss(even, ALL_SHARED, shared_text="positive")) == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", [sigmoid_loss, infonce_loss])
def test_a_masked_negative_has_no_gradient(loss: object) -> None:
    logits = LOGITS.clone().requires_grad_()
    shared = torch.tensor([[False, True], [False, False]])
    loss(logits, shared, shared_text="mask").backward()  # type: ignore[operator]
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0 and logits.grad[1, 0] != 0


def test_equal_reports_share_their_text_whatever_case_and_spacing() -> None:
    one = split_text(study("Heart size normal.  No effusion.", "1. Normal chest."))
    other = split_text(study("heart size NORMAL. No effusion", "1. normal chest"))
    third = split_text(study("Large heart. No effusion."))
    studies = [one, other, third]
    assert find_shared_texts(studies, [each.full_report for each in studies]).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]


def test_a_sentence_is_shared_by_every_study_that_contains_it() -> None:
    first = split_text(study("Large heart. No effusion.", problems="Cardiomegaly"))
    second = split_text(study("Clear lungs. No effusion.", problems="normal"))
    common, own = first.from_sentences(("No effusion.",)), first.from_sentences(("Large heart.", "No effusion."))
    assert find_shared_texts([first, second], [common, own]).tolist() == [[True, True], [True, False]]
    assert find_shared_texts([first, second], [first.from_terms(("Cardiomegaly",))] * 2)[1].tolist() == [False, False]


def test_numbered_impressions_and_indexing_terms_are_split() -> None:
    text = split_text(
        study("", "1. Large heart. 2. No effusion.", "Catheters, Indwelling;Pleural Effusion/right;No Indexing")
    )
    assert text.impression == ("1. Large heart.", "2. No effusion.")
    assert text.terms == ("Catheters, Indwelling", "Pleural Effusion")
    assert report_text(Report("A  heart.", "Normal.")) == "A heart. Normal."


def test_training_texts_have_the_given_probabilities() -> None:
    text = split_text(study("Large heart. No effusion. Clear lungs.", "Cardiomegaly, mild.", "Cardiomegaly"))
    rng = random.Random(1)
    settings = TextAugmentation(subset=0.0, impression=0.25, sentence=0.0, terms=0.5)
    drawn = Counter(draw_text(text, settings, rng).text for _ in range(2000))
    assert drawn.keys() == {text.full_report.text, "Cardiomegaly, mild.", "cardiomegaly"}
    assert drawn["cardiomegaly"] == pytest.approx(1000, rel=0.1)
    subsets = {draw_text(text, TextAugmentation(subset=1.0, impression=0, sentence=0), rng).text for _ in range(200)}
    assert len(subsets) > 20


def test_augmentation_does_not_mirror_and_keeps_the_range() -> None:
    image = torch.zeros(64, 1, 32, 32)
    image[:, :, 12:20, 3:9] = 1.0  # on the left
    changed = augment_images(image, ImageAugmentation(), torch.Generator().manual_seed(0))
    assert changed.shape == image.shape
    assert float(changed.min()) >= 0 and float(changed.max()) <= 1
    left, right = changed[..., :16].sum(dim=(1, 2, 3)), changed[..., 16:].sum(dim=(1, 2, 3))
    assert bool((left > right).all())


def test_no_augmentation_changes_nothing() -> None:
    image = torch.rand(3, 1, 16, 16).clamp(0.01, 1)
    none = ImageAugmentation(
        rotation_degrees=0, translation=0, scale=0, aspect=0, brightness=0, contrast=0, gamma=0, noise=0
    )
    torch.testing.assert_close(augment_images(image, none, torch.Generator()), image, atol=1e-5, rtol=0)


def test_cached_images_have_the_preprocessing_of_the_manifest(tmp_path: Path) -> None:
    studies = draw_studies(tmp_path, 5)
    settings = Preprocessing(mode="stretch", size=24, interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3)
    pairs = load_pairs(studies, settings, views="all", set_name="training")
    assert pairs.images.shape == (5, 1, 24, 24)
    reference = ImagePreprocessor(settings)(read_image(studies[3].images[0].path)[0])
    ours = (pairs.images[3].astype(np.float32) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(np.broadcast_to(ours, (3, 24, 24)), reference, atol=1e-6)


def test_a_trained_tokenizer_adds_special_tokens_pads_and_truncates() -> None:
    tokenizer = train_tokenizer(["No pleural effusion."] * 3, vocabulary_size=60, context_length=8)
    ids = tokenizer(["No Effusion", "no pleural effusion " * 9], padding="max_length", truncation=True).input_ids
    assert ids[0][0] == START_ID and END_ID in ids[0] and ids[0][-1] == PAD_ID and len(ids[0]) == 8
    assert ids[1][0] == START_ID and ids[1][-1] == END_ID and len(ids[1]) == 8


def test_the_same_texts_give_the_same_tokenizer() -> None:
    texts = ["No pleural effusion, 10 mm nodule.", "Heart size normal; lungs clear.", "Upper lobe atelectasis."] * 2
    one, two = (
        train_tokenizer(order, vocabulary_size=90, context_length=8).backend_tokenizer.to_str()
        for order in (texts, texts[::-1])
    )
    assert one == two
