"""Phantoms are the same for ever, differ from each other, and only lesions make the label."""

from __future__ import annotations

import numpy as np

from splitsec.data.drawn.fundus import CLASSES, draw_fundus, phantom_label


def test_an_image_depends_on_seed_and_index_alone() -> None:
    first = draw_fundus(0, 5, 32)
    draw_fundus(3, 1, 48)
    np.testing.assert_array_equal(first, draw_fundus(0, 5, 32))
    assert first.shape == (3, 32, 32)
    assert first.dtype == np.uint8
    assert (first != draw_fundus(0, 6, 32)).any()
    assert (first != draw_fundus(1, 5, 32)).any()
    assert (first != draw_fundus(0, 5, 32, "shifted")).any()


def test_sizes_show_the_same_eye() -> None:
    small = draw_fundus(0, 2, 32).astype(float)
    large = draw_fundus(0, 2, 128).astype(float)
    averaged = large.reshape(3, 32, 4, 32, 4).mean((2, 4))
    correlation = np.corrcoef(small.ravel(), averaged.ravel())[0, 1]
    assert correlation > 0.98


def test_labels_are_balanced_in_pairs() -> None:
    labels = [phantom_label(0, index) for index in range(200)]
    assert all(labels[i] + labels[i + 1] == 1 for i in range(0, 200, 2))
    assert 0 < sum(labels[::2]) < 100, "which of a pair is ill is random"
    assert len(CLASSES) == 2


def test_eyes_differ_in_more_than_colour() -> None:
    images = np.stack([draw_fundus(0, index, 32) for index in range(40)]).astype(float)
    images -= images.mean(0)
    images -= images.mean((2, 3), keepdims=True)
    flat = images.reshape(40, -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    similarity = flat @ flat.T
    np.fill_diagonal(similarity, 0)
    assert similarity.max() < 0.9


def test_there_is_a_field_of_view_on_black() -> None:
    for index in range(10):
        image = draw_fundus(0, index, 64)
        corners = image[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.max() < 60
        assert image[:, 24:40, 24:40].mean() > corners.mean() + 15
