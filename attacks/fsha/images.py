"""The game in images: decoder and client together make images that look like public ones.

In the paper everything depends on the client, which must learn a pilot's features from a critic
that learns as slowly. But even an untrained encoder keeps most of an image, in a form that a linear
decoder reads. So the server first asks for nothing, with gradients of zero, and finds the linear
decoder whose images are distributed as the public ones are. Then it sends gradients by which the
client's smashed data become easier to read in this way.

Distributions are compared by the energy distance (Szekely and Rizzo, 2013) of patches at several
sizes, each at its own place. It needs no training, unlike a critic, and its gradient is as good in
the first exchange as in the last. From coarse to fine it finds the same decoder from most starts,
and where it does not, it tells by a larger distance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.devices import Device, beside
from splitsec.plugins.toolbox.decoders import checked, count_halvings
from splitsec.plugins.toolbox.layers import Resize
from splitsec.plugins.toolbox.optimization import half_cosine, set_rate
from splitsec.plugins.toolbox.recent import Recent

_PATCH = 8
_SIZES = (8, 16, 32)
_COARSEST = 32  # principal components of the smashed data that coarse images are made from
_STARTS = 8
_BATCH = 64
_COARSE_BATCH = 128
_REMEMBERED = 512  # images whose smashed data are kept, and from which it starts
_MORE_STEPS = 2  # of the decoder per exchange, on what was kept
_COARSE_RATE = 0.03
_BETAS = (0.9, 0.99)


def patches_of(images: Tensor) -> list[Tensor]:
    """Return patches of 8 x 8 pixels of images at 8, 16 and 32 pixels, half overlapping.

    Args:
        images: (N, C, H, W); they are never enlarged, and sizes beyond theirs are left out.

    Returns:
        One tensor per size, of (places, N, values).
    """
    found = []
    for size in _SIZES:
        rows, columns = (min(size, extent) for extent in images.shape[2:])
        if size > _PATCH and max(rows, columns) <= size // 2:
            break
        small = F.adaptive_avg_pool2d(images, (rows, columns))
        patch = (min(_PATCH, rows), min(_PATCH, columns))
        stride = (max(1, patch[0] // 2), max(1, patch[1] // 2))
        found.append(F.unfold(small, patch, stride=stride).permute(2, 0, 1))
    return found


def energy_distance(images: Tensor, public: Tensor) -> Tensor:
    """Return the energy distance of patches, averaged over places and sizes.

    Args:
        images: (N, C, H, W), N at least 2.
        public: (M, C, H, W), M at least 2.

    Returns:
        Scalar: the mean over places of 2 E|a - b| - E|a - a'| - E|b - b'| with a, a' patches of
        images and b, b' of public ones, in units of a public patch's spread. Chance may make it
        negative.
    """
    distances = []
    for ours, theirs in zip(patches_of(images), patches_of(public), strict=True):
        with torch.no_grad():
            spread = (theirs - theirs.mean(1, keepdim=True)).square().sum(2).mean(1).sqrt()
            unit = spread + 0.02 * theirs.shape[2] ** 0.5
        apart = 2 * _distances(ours, theirs).mean((1, 2)) - _within(ours) - _within(theirs)
        distances.append((apart / unit).mean())
    return torch.stack(distances).mean()


def _distances(left: Tensor, right: Tensor) -> Tensor:
    """Return Euclidean distances at each place, (places, N, M)."""
    squares = left.square().sum(2)[:, :, None] + right.square().sum(2)[:, None]
    # The floor keeps the derivative of the root finite where patches are equal.
    return (squares - 2 * left @ right.transpose(1, 2)).clamp(min=1e-6).sqrt()


def _within(patches: Tensor) -> Tensor:
    count = patches.shape[1]
    return _distances(patches, patches).sum((1, 2)) / (count * (count - 1))


class LinearDecoder(nn.Module):
    """Makes a block of pixels of each place of the map.

    Args:
        smashed_shape: (c, h, w).
        channels: channels of the images.
        block: rows and columns of a block, pixels.
        width: principal components of the smashed data that it reads, at most.

    Raises:
        ValueError: an extent is not positive.
    """

    centre: Tensor
    whitening: Tensor

    def __init__(self, smashed_shape: tuple[int, int, int], channels: int, block: int, width: int):
        super().__init__()
        smashed = checked(smashed_shape)
        self.block, self._channels, self._shape = block, channels, smashed
        width, outputs = min(smashed.channels, width), channels * block**2
        self.register_buffer("centre", torch.zeros(tuple(smashed)))
        self.register_buffer("whitening", torch.zeros(smashed.channels, smashed.channels, 1, 1))
        self.here = nn.Conv2d(width, outputs, 1, bias=False)
        self.place = nn.Parameter(torch.zeros(outputs, smashed.height, smashed.width))
        nn.init.normal_(self.here.weight, std=0.3 / width**0.5)

    @torch.no_grad()
    def begin(self, smashed: Tensor, public: Tensor) -> None:
        """Standardise smashed data (N, c, h, w), and start with the mean of images (M, C, H, W)."""
        self.centre.copy_(smashed.mean(0))
        rows = (smashed - self.centre).transpose(0, 1).flatten(1)
        variances, axes = torch.linalg.eigh((rows @ rows.T / rows.shape[1]).double())
        floor = 1e-3 * variances.mean() + 1e-12
        scaled = (axes / (variances.clamp(min=0) + floor).sqrt()).flip(1).to(rows.dtype)
        self.whitening.copy_(scaled.T[:, :, None, None])
        blocks = F.pixel_unshuffle(self.reduced(public), self.block)
        self.place.copy_(blocks.mean(0))

    def reduced(self, images: Tensor) -> Tensor:
        """Resample images (N, C, H, W) to the size that the blocks have together."""
        rows, columns = (extent * self.block for extent in self.centre.shape[1:])
        resized: Tensor = Resize(rows, columns)(images)
        return resized

    @torch.no_grad()
    def refined(self) -> LinearDecoder:
        """Return a decoder of blocks twice as large and with twice the width.

        Its images are the same, enlarged.
        """
        width = self.here.in_channels
        finer = LinearDecoder(self._shape, self._channels, 2 * self.block, 2 * width)
        finer = beside(finer, self.centre)
        finer.centre.copy_(self.centre)
        finer.whitening.copy_(self.whitening)
        finer.here.weight.zero_()
        for larger, smaller in zip(finer.parameters(), self.parameters(), strict=True):
            sizes = (self._channels, self.block, self.block, *smaller.shape[1:])
            blocks = smaller.reshape(sizes)
            doubled = blocks.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(0, 2)
            larger[:, : doubled.shape[1]] = doubled
        return finer

    def forward(self, smashed: Tensor) -> Tensor:
        """Map smashed data (N, c, h, w) to images (N, C, h * block, w * block)."""
        axes = self.whitening[: self.here.in_channels]
        inputs = F.conv2d(smashed - self.centre, axes)
        blocks = self.here(inputs) + self.place
        images: Tensor = F.pixel_shuffle(blocks, self.block)
        return images


class ImageGame:
    """Trains the decoder on what the client has sent, one exchange at a time.

    Args:
        image_shape: (C, H, W).
        smashed_shape: (c, h, w).
        public: public images (M, C, H, W) in [-1, 1], M at least 2.
        rate: Adam's learning rate for the decoder.
        generator: draws batches.

    Attributes:
        decoder: maps smashed data to images in about [-1, 1].
        optimizer: the decoder's.
        ready: whether it has started, so that the decoder is worth something.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        smashed_shape: tuple[int, int, int],
        public: Tensor,
        rate: float,
        generator: torch.Generator,
    ):
        image, smashed = checked(image_shape), checked(smashed_shape)
        self._finest = 2 ** count_halvings(image, smashed)
        self._coarsest = 1
        while self._coarsest < self._finest and self._coarsest * max(smashed[1:]) < _PATCH:
            self._coarsest *= 2
        width = _COARSEST * self._finest // self._coarsest
        self._public, self._shape = public, smashed
        self._rate, self._generator = rate, generator
        self._recent = Recent(_REMEMBERED)
        self.ready = False
        decoder = self._build(self._finest, width)
        self.decoder = nn.Sequential(decoder, Resize(image.height, image.width))
        self.optimizer = torch.optim.Adam(self.decoder.parameters(), rate, _BETAS)

    def _build(self, block: int, width: int) -> LinearDecoder:
        decoder = LinearDecoder(self._shape, self._public.shape[1], block, width)
        return Device.of(self._public).put(decoder)

    def remember(self, smashed: Tensor) -> bool:
        """Keep smashed data (N, c, h, w); return whether there are enough to start."""
        self._recent.add(smashed)
        return len(self._recent) >= _REMEMBERED

    def start(self, steps: int) -> None:
        """Find a decoder for what was kept: coarse images from several starts, then finer ones.

        Args:
            steps: steps from each start, and at each size of images.
        """
        smashed = self._recent.seen().smashed
        found: list[tuple[float, LinearDecoder]] = []
        for _ in range(_STARTS):
            decoder = self._build(self._coarsest, _COARSEST)
            decoder.begin(smashed, self._public)
            self._fit(decoder, smashed, steps, _COARSE_RATE)
            with torch.no_grad():
                distance = energy_distance(decoder(smashed), decoder.reduced(self._public))
            found.append((distance.item(), decoder))
        decoder = min(found, key=lambda one: one[0])[1]
        while True:
            self._fit(decoder, smashed, steps, self._rate)
            if decoder.block == self._finest:
                break
            decoder = decoder.refined()
        self.decoder[0].load_state_dict(decoder.state_dict())
        self.ready = True

    def step(self, smashed: Tensor) -> tuple[Tensor, float]:
        """Train the decoder; return the client's gradient and the distance.

        Args:
            smashed: the client's smashed data (N, c, h, w), N at least 2.

        Returns:
            The gradient, of the same shape, and the distance of the decoder's images.
        """
        kept = self._recent.seen().smashed
        for _ in range(_MORE_STEPS):
            self._descend(self.decoder(_drawn(kept, _BATCH, self._generator)))
        watched = smashed.detach().clone().requires_grad_()
        older = _drawn(kept, len(smashed), self._generator)
        distance = self._descend(self.decoder(torch.cat([watched, older])))
        assert watched.grad is not None
        return watched.grad, distance

    def _descend(self, images: Tensor) -> float:
        distance = energy_distance(images, _drawn(self._public, _BATCH, self._generator))
        self.optimizer.zero_grad()
        torch.autograd.backward(distance)
        self.optimizer.step()
        return distance.item()

    def _fit(self, decoder: LinearDecoder, smashed: Tensor, steps: int, rate: float) -> None:
        """Train a decoder with a rate that fades."""
        optimizer = torch.optim.Adam(decoder.parameters(), rate, _BETAS)
        public = decoder.reduced(self._public)
        batch = _COARSE_BATCH if decoder.block == self._coarsest else _BATCH
        for step in range(steps):
            set_rate(optimizer, rate * half_cosine(step, steps))
            images = decoder(_drawn(smashed, batch, self._generator))
            distance = energy_distance(images, _drawn(public, batch, self._generator))
            optimizer.zero_grad()
            torch.autograd.backward(distance)
            optimizer.step()


def _drawn(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(len(rows), (count,), generator=generator)
    return rows[beside(drawn, rows)]
