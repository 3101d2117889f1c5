"""Draws the organs of a phantom chest, each as the shadow that it casts.

Chest coordinates: x is 0 at the spine and grows towards the right of the film, which is the
patient's left; y is 0 at the hila and grows downwards; 1 is half a film at zoom 1. Most organs
are symmetric and drawn over ``away``, the distance from the spine.

Fields are float32 and use only sums, products, quotients and square roots, which round the same on
every machine; scalars are Python floats, so that no version of numpy widens a field.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]  # float32, but numpy's stubs lose the width next to scalars

_RIBS = 12
_INFLATION = (0.58, 0.78)  # share of the tissue on a beam that lungs replace


class Chest(NamedTuple):
    """The measures of a person that all organs share."""

    half: float  # half width of the rib cage
    apex: float  # y of the lungs' tops
    domes: tuple[float, float]  # y of the diaphragm, right and left
    angle: float  # from a dome down to the costophrenic angle
    barrel: float  # 0 for a conical, 1 for a barrel-shaped cage
    turn: float  # of the patient about the vertical axis
    fat: float  # 0 lean to 1 stout
    joint: tuple[float, float]  # x and y of the shoulder


class Place(NamedTuple):
    """Chest coordinates of a canvas's pixels, shape (side, side) each."""

    x: Field
    y: Field
    away: Field  # |x|
    left: NDArray[np.bool_]  # the patient's
    pixel: float  # size of a pixel


class Lungs(NamedTuple):
    """The lungs on a canvas, shape (side, side) each."""

    inside: Field  # distance to the nearest border, negative outside the lungs
    air: Field  # share of the beam that may be air
    floor: Field  # height over the diaphragm


def bump(t: Field) -> Field:
    """Return a bell of height 1 that ends at -1 and 1."""
    bell: Field = np.square(np.maximum(1 - t * t, 0))
    return bell


def step(t: Field) -> Field:
    """Rise smoothly from 0 at -1 to 1 at 1."""
    share = np.clip(0.5 + 0.5 * t, 0, 1)
    risen: Field = share * share * (3 - 2 * share)
    return risen


def larger(a: Field, b: Field, blend: float) -> Field:
    """Return the maximum of two fields, rounded over a width of ``blend`` where they cross."""
    rounded: Field = 0.5 * (a + b + np.sqrt(np.square(a - b) + blend * blend))
    return rounded


def _arc(t: Field) -> Field:
    """Return half a circle over [-1, 1]: a beam's length through a round body."""
    length: Field = np.sqrt(np.maximum(1 - t * t, 0))
    return length


def _slab(t: Field) -> Field:
    """Return a beam's length through a flattened body over [-1, 1], such as a torso."""
    squared = t * t
    length: Field = np.maximum(1 - squared * squared, 0)
    return length


def _oval(across: Field, down: Field) -> Field:
    """Return a bell of height 1 over the unit circle."""
    bell: Field = np.square(np.maximum(1 - across * across - down * down, 0))
    return bell


def _bone(t: Field, rim: float) -> Field:
    """Return the shadow of a bone over [-1, 1], denser in a ``rim`` than in its marrow."""
    shadow: Field = 0.65 * _arc(t) + 0.35 * bump((np.abs(t) - 0.9) * (1 / rim))
    return shadow


def draw_chest(generator: np.random.Generator, width: float) -> Chest:
    """Draw a person.

    Args:
        generator: generator of all random choices.
        width: width of the population's mean rib cage; 1 is lean.
    """
    normal, uniform = generator.normal, generator.uniform
    right = normal(0.36, 0.075)
    half = 0.61 * width * normal(1, 0.06)
    return Chest(
        half=min(max(half, 0.5), 0.74),
        apex=normal(-0.62, 0.03),
        domes=(right, right + uniform(-0.01, 0.08)),
        angle=uniform(0.1, 0.3),
        barrel=uniform(0.1, 0.9),
        turn=min(max(normal(0, 0.5), -1.2), 1.2),
        fat=uniform(0, 1),
        joint=(uniform(0.76, 0.88), uniform(-0.6, -0.46)),
    )


def _cage(chest: Chest, y: Field) -> Field:
    """Return the half width of the rib cage at heights ``y``."""
    up = 1 - np.clip((y - chest.apex) * (1 / (0.6 - chest.apex)), 0, 1)
    cone, barrel = _arc(up), _slab(up)
    widest: Field = 0.2 + (chest.half - 0.2) * (cone + chest.barrel * (np.sqrt(barrel) - cone))
    return widest


def _mediastinum(generator: np.random.Generator, chest: Chest, place: Place) -> Field:
    """Return the depth inside heart and great vessels, negative outside them."""
    uniform = generator.uniform
    x, y = place.x - 0.04 * chest.turn, place.y
    base = 0.5 * (chest.domes[0] + chest.domes[1])
    flare = uniform(0.02, 0.06) * step((y - 0.05) * (1 / 0.35))
    band = uniform(0.09, 0.125) + flare - np.abs(x - 0.015)
    size, lean = generator.normal(1, 0.09), math.radians(uniform(28, 55))
    across, down = x - uniform(0.07, 0.13), y - (base - uniform(0.08, 0.15) * size)
    cosine, sine = math.cos(lean), math.sin(lean)
    along = (across * cosine + down * sine) * (1 / (uniform(0.26, 0.34) * size))
    beside = (down * cosine - across * sine) * (1 / (uniform(0.17, 0.23) * size))
    heart = 0.22 - 0.22 * np.sqrt(along * along + beside * beside)
    arch = -uniform(0.2, 0.3)
    knob = uniform(0.04, 0.075) - np.sqrt(np.square(x - 0.1) + np.square(y - arch))
    # the left border from the aortic arch to the heart's apex is nearly straight
    run = np.clip((y - arch) * (1 / (base - arch)), 0, 1)
    border = 0.11 + uniform(0.12, 0.22) * run * run - np.abs(x - 0.15) - 0.15
    border = np.minimum(border, base + 0.05 - y)
    return larger(larger(larger(band, heart, 0.05), border, 0.03), knob, 0.05) - 0.01


def draw_lungs(generator: np.random.Generator, chest: Chest, place: Place) -> Lungs:
    """Draw the lung fields between rib cage, diaphragm, heart and great vessels."""
    uniform = generator.uniform
    away, y, left = place.away, place.y, place.left
    wall = _cage(chest, y) * (1 + 0.04 * chest.turn * (1 - 2 * left.astype(np.float32))) - away
    top = y - chest.apex
    inner = away - 0.2 + uniform(0.09, 0.13) * _arc(np.minimum(top * 5 - 1, 0))
    middle = _mediastinum(generator, chest, place)
    floor = np.where(
        left,
        _floor(generator, chest, chest.domes[1], place),
        _floor(generator, chest, chest.domes[0], place),
    )
    inside = np.minimum(np.minimum(wall, floor), np.minimum(-middle, np.minimum(inner, top)))
    # The lung continues behind heart and diaphragm, but that part is not lung field.
    behind = 0.45 * step((away - 0.12) * (1 / 0.07)) * step((y + 0.1) * 5)
    beside = behind + (1 - behind) * step(middle * (-1 / 0.016))
    below = 0.35 * np.clip(1 + 4 * floor, 0, 1)
    above = below + (1 - below) * step(floor * (1 / 0.016))
    thick = _arc(np.clip(1 - wall * (1 / uniform(0.2, 0.4)), 0, 1))
    thick *= _arc(np.clip(1 - top * (1 / 0.35), 0, 1)) * (1 - uniform(0, 0.3) * step(y * 2.5 - 0.3))
    return Lungs(inside, thick * beside * above * step(inner * (1 / 0.03)), floor)


def _floor(generator: np.random.Generator, chest: Chest, dome: float, place: Place) -> Field:
    """Return the height over one half of the diaphragm."""
    crest, inner = generator.uniform(0.22, 0.34), generator.uniform(0.03, 0.13)
    out = (place.away - crest) * (1 / (chest.half - 0.28))
    fall = out * (chest.angle * np.maximum(out, 0)) + inner * np.square(np.minimum(out, 0))
    height: Field = dome - place.y + fall
    return height


def draw_tissue(generator: np.random.Generator, chest: Chest, place: Place, lungs: Lungs) -> Field:
    """Return the shadow of torso, neck, shoulders and arms, without the lungs."""
    uniform = generator.uniform
    away, y = place.away, place.y
    joint_x, joint_y = chest.joint
    raised = step((uniform(-0.2, 0.1) - y) * 4)
    waist = uniform(-0.05, 0.04) * step((y - 0.6) * 2.5)
    side = chest.half + uniform(0.04, 0.08) + 0.1 * chest.fat + waist
    side = side + (joint_x + 0.3 - side) * raised
    torso = _slab(away / side) * (1 - 0.12 * raised * step((away - 0.62) * 4))
    neck = 0.2 + 0.05 * chest.fat
    rest = np.maximum(0.6 - np.maximum(away - neck, 0), 0)
    top = joint_y - 0.12 - rest * (uniform(0.1, 0.3) + uniform(0.6, 1.0) * rest)
    top = top + 1.2 * np.square(np.maximum(away - joint_x, 0))
    torso *= _slab(np.clip(1 - (y - top) * (1 / 0.6), 0, 1))
    tissue = larger(torso, 0.7 * _slab(away * (1 / neck)), 0.06) - 0.03
    tissue = np.maximum(larger(tissue, _arms(generator, chest, place), 0.1) - 0.05, 0)
    if uniform(0, 1) < 0.45:
        tissue += _breasts(generator, place)
    inflated: Field = tissue * (1 - uniform(*_INFLATION) * lungs.air)
    return inflated


def _arms(generator: np.random.Generator, chest: Chest, place: Place) -> Field:
    """Return the upper arms, held away from the chest by 15 to 55 degrees."""
    angle = math.radians(generator.uniform(15, 55))
    across, down = place.away - chest.joint[0] - 0.06, place.y - chest.joint[1] - 0.04
    beside = across * math.cos(angle) - down * math.sin(angle)
    along = across * math.sin(angle) + down * math.cos(angle)
    half = generator.uniform(0.19, 0.23) + 0.06 * chest.fat
    return 0.7 * _slab(beside * (1 / half)) * step((along + 0.1) * 5)


def _breasts(generator: np.random.Generator, place: Place) -> Field:
    uniform = generator.uniform
    across = (place.away - uniform(0.34, 0.44)) * (1 / uniform(0.2, 0.34))
    down = (place.y - uniform(0.12, 0.3)) * (1 / uniform(0.2, 0.34))
    fold = 0.5 + 0.5 * np.clip(down, -1, 1)  # they end sharply below only
    round_ = np.sqrt(np.maximum(1 - across * across - down * down, 0))
    shadow: Field = uniform(0.08, 0.28) * round_ * fold
    return shadow


def add_abdomen(
    generator: np.random.Generator, chest: Chest, place: Place, lungs: Lungs, shadow: Field
) -> None:
    """Add liver and spleen under the diaphragm, and often gas in stomach and bowel."""
    uniform = generator.uniform
    shadow += 0.1 * np.clip(lungs.floor * -5, 0, 1) * np.clip(shadow * 4 - 1, 0, 1)
    under = step(lungs.floor * (-1 / 0.03))
    if uniform(0, 1) < 0.6:
        across = (place.x - uniform(0.2, 0.4)) * (1 / uniform(0.08, 0.17))
        down = (place.y - chest.domes[1] - uniform(0.04, 0.1)) * (1 / uniform(0.05, 0.12))
        bubble = np.minimum(1 - across * across - down * down, -10 * (lungs.floor + 0.02))
        bubble = np.minimum(bubble, uniform(-0.1, 0.6) - down)  # fluid lies level
        shadow -= uniform(0.1, 0.25) * step(bubble * 5) * under
    for _ in range(int(generator.integers(0, 4))):
        across = (place.x - uniform(-0.1, 0.55)) * (1 / uniform(0.04, 0.1))
        down = (place.y - chest.domes[1] - uniform(0.2, 0.6)) * (1 / uniform(0.03, 0.08))
        shadow -= uniform(0.04, 0.14) * _oval(across, down) * under


def add_spine(generator: np.random.Generator, place: Place, shadow: Field) -> None:
    """Add vertebrae with their discs, and subtract the windpipe and the main bronchi."""
    uniform = generator.uniform
    away, y = place.away, place.y
    half = uniform(0.07, 0.085) + 0.015 * np.clip(y, -1, 1)
    rungs = y * (1 / uniform(0.09, 0.11)) + uniform(0, 1)
    rung = rungs - np.rint(rungs)
    bodies = 1 - uniform(0.2, 0.5) * bump(rung * 4.5)
    pedicles = bump((away - 0.6 * half) * 50) * bump((np.abs(rung) - 0.25) * 5)
    column = step((half - away) * (1 / 0.015))
    shadow += uniform(0.08, 0.16) * column * bodies * (1 + 0.5 * pedicles)
    carina = uniform(-0.2, -0.1)
    above = y - carina
    pipe = bump((place.x - uniform(-0.02, 0.01)) * (1 / uniform(0.045, 0.06)))
    bronchi = bump((away - 0.8 * above) * 25) * step(above * 33) * step((0.17 - above) * 20)
    shadow -= uniform(0.08, 0.2) * (pipe * step(above * -25) + 0.4 * bronchi)


def add_ribs(
    generator: np.random.Generator, chest: Chest, place: Place, lungs: Lungs, shadow: Field
) -> None:
    """Add the ribs: rings that tilt forward, so that each shows as an ellipse.

    The upper arc is the back of a ring. The lower one, its front, is fainter and ends in
    cartilage, which casts no shadow.
    """
    uniform = generator.uniform
    side = place.left.astype(np.int64)
    cage = _cage(chest, place.y) * 1.03
    u = np.minimum(place.away / cage, 1)
    root = _arc(u)
    steep = u / (np.maximum(root, 0.25) * cage)
    # scatter veils what lies in thick tissue
    seen = np.clip(1.2 - 0.8 * shadow, 0.2, 1) * uniform(0.75, 1.4)
    seen *= step((1 - u) * 33 - 1) * step((place.y - chest.apex - 0.02) * 16)
    seen *= 1 - 0.55 * step(-0.3 - 10 * lungs.floor)
    shadow += uniform(0.06, 0.14) * bump((u - 0.96) * 20) * seen  # where rings are seen edge on
    spacing, tilt = uniform(0.11, 0.135), uniform(0.75, 1.25)
    starts = chest.apex + uniform(0.1, 0.2) + generator.normal(0, 0.012, 2)
    level = (place.y - starts.astype(np.float32)[side]) * (1 / spacing)
    for drop, half, density, reach in ((0.26, 0.03, 0.165, 0.14), (-0.5, 0.034, 0.105, 0.45)):
        fall = drop * tilt * uniform(0.85, 1.15)
        line = level + (fall / spacing) * root
        number = np.clip(np.rint(line), 0, _RIBS - 1)
        strengths = density * generator.normal(1, 0.15, 2 * _RIBS)
        strength = strengths.astype(np.float32)[number.astype(np.int64) + _RIBS * side]
        distance = (line - number) * (spacing / half) / np.sqrt(1 + np.square(fall * steep))
        extent = step((u - reach - uniform(-0.05, 0.05)) * 8)
        shadow += strength * _bone(distance, max(0.3, place.pixel / half)) * extent * seen


def add_shoulders(
    generator: np.random.Generator, chest: Chest, place: Place, shadow: Field
) -> None:
    """Add collar bones, shoulder blades and the upper ends of the arms."""
    uniform = generator.uniform
    side = place.left.astype(np.int64)
    shifts = generator.normal(0, 0.015, (2, 2)).astype(np.float32)
    away, low = place.away - shifts[0][side], place.y - shifts[1][side] - chest.joint[1]
    joint = chest.joint[0]
    inner = chest.apex + uniform(0.12, 0.24) - chest.joint[1]
    run = (away - 0.06) * (1 / (joint - 0.1))
    bow = run * (1 - run) * (1 - 2 * run) * (4 * uniform(0.03, 0.08))
    line = inner - (uniform(0.06, 0.2) + inner) * run + bow
    half = 0.026 + 0.03 * np.square(run - 0.5)
    bone = _bone((low - line) / half, max(0.3, place.pixel / 0.03))
    shadow += uniform(0.12, 0.22) * bone * step(run * 33) * step((1 - run) * 33)
    head = np.sqrt(np.square(away - joint - 0.05) + np.square(low - 0.04))
    shadow += 0.12 * _bone(head * 10, 0.25)
    shaft = away - joint - 0.07 - uniform(0.2, 0.8) * low
    shadow += 0.12 * _bone(shaft * 16, 0.4) * step((low - 0.1) * 25)
    shadow += _blade(generator, joint, away, low)


def _blade(generator: np.random.Generator, joint: float, away: Field, low: Field) -> Field:
    """Return a shoulder blade: a thin triangle with a dense outer edge."""
    uniform = generator.uniform
    tip, corner, tall = uniform(0.56, 0.7), uniform(0.46, 0.56), uniform(0.42, 0.6)
    outer = joint - 0.06 - away - (joint - 0.06 - tip) / tall * low
    inner = away - corner - (tip - 0.03 - corner) / tall * low
    upper = low + 0.02 + 0.3 * (away - corner)
    within = step(np.minimum(inner, upper) * 33)
    plate = 0.05 * step(np.minimum(outer, np.minimum(inner, upper)) * 66)
    return plate + 0.05 * bump((outer - 0.012) * 40) * within


def add_opacity(
    generator: np.random.Generator, chest: Chest, place: Place, mottle: Field, shadow: Field
) -> None:
    """Add a mottled patch to one lung, such as an infiltrate.

    Args:
        generator: generator of all random choices.
        chest: measures of the person.
        place: coordinates of the canvas.
        mottle: texture of about unit deviation in the lungs, 0 elsewhere.
        shadow: field to add the patch to.
    """
    uniform = generator.uniform
    side = 1.0 if uniform(0, 1) < 0.5 else -1.0
    across = (place.x - side * uniform(0.2, 0.5)) * (1 / uniform(0.1, 0.3))
    down = (place.y - uniform(chest.apex + 0.1, 0.3)) * (1 / uniform(0.1, 0.3))
    shadow += uniform(0.05, 0.25) * _oval(across, down) * mottle


def add_hila(generator: np.random.Generator, place: Place, lungs: Lungs, shadow: Field) -> None:
    """Add the roots of both lungs."""
    uniform = generator.uniform
    for side in (-1.0, 1.0):
        across = (place.x - side * uniform(0.13, 0.17)) * 11
        down = (place.y - uniform(-0.05, 0.08)) * 6.5
        shadow += uniform(0.02, 0.08) * _oval(across, down) * lungs.air
