"""Links between the smashed data of images in successive epochs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from splitsec.plugins.toolbox.linking import Links
from support.meta import META, OneDevice


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def epochs(noise: float) -> list[tuple[Tensor, Tensor]]:
    """Return features of five epochs, (n, d), of a client that turns, and the order of each."""
    codes = drawn(120, 20)
    found = []
    for epoch in range(5):
        turned = codes @ (drawn(20, 60, seed=1) + 0.6 * epoch * drawn(20, 60, seed=2))
        order = torch.randperm(120, generator=torch.Generator().manual_seed(epoch))
        sent = torch.relu(turned) + noise * drawn(120, 60, seed=10 + epoch)
        found.append(((sent - sent.mean(0))[order], order))
    return found


def share_found(noise: float, labelled: bool) -> float:
    first, *rest = epochs(noise)
    labels = torch.arange(120) % 3
    links = Links()
    links.follow(first[0], labels[first[1]] if labelled else None)
    for sent, order in rest:
        rows = links.follow(sent, labels[order] if labelled else None)
        assert rows.sort().values.tolist() == list(range(120))
    if labelled:
        assert (labels[first[1]][rows] == labels[order]).all()
    return (first[1][rows] == order).double().mean().item()


def test_a_client_that_turns_is_followed() -> None:
    assert share_found(0.0, labelled=False) > 0.95
    first, *_, last = epochs(0.0)
    nearest = torch.cdist(last[0], first[0]).argmin(1)
    assert (first[1][nearest] == last[1]).double().mean() < 0.8, "it is not found at one glance"


def test_labels_help() -> None:
    assert share_found(6.0, labelled=True) > share_found(6.0, labelled=False)


def test_noise_alone_has_no_links() -> None:
    links = Links()
    links.follow(drawn(60, 10), None)
    rows = links.follow(drawn(60, 10, seed=1), None)
    assert (rows == torch.arange(60)).double().mean() < 0.1


def test_labels_that_change_are_linked_as_far_as_they_go() -> None:
    sent = drawn(20, 5)
    links = Links()
    links.follow(sent, torch.arange(20) % 2)
    assert links.follow(sent, torch.zeros(20, dtype=torch.long)).sort().values.tolist() == list(
        range(20)
    )


@pytest.mark.parametrize("count", [1, 2])
def test_constant_features_and_few_images(count: int) -> None:
    constant = torch.zeros(count, 5).double()
    links = Links()
    assert [len(links.follow(constant, None)) for _ in range(2)] == [count, count]


def test_another_number_of_images_is_refused() -> None:
    links = Links()
    links.follow(drawn(20, 5), None)
    with pytest.raises(ValueError, match="expected"):
        links.follow(drawn(19, 5), None)


def test_it_stays_on_one_device() -> None:
    sent, labels = drawn(20, 5), torch.arange(20) % 2
    with OneDevice():
        sent, labels = META.put((sent, labels))
        links = Links()
        for _ in range(3):
            assert links.follow(sent, labels).is_meta
