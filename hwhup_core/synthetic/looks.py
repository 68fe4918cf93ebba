"""How one subject and its room look and how warm they are: drawn once, kept over all poses and covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.body.joints import SMPL_24
from hwhup_core.body.model import BodyModel
from hwhup_core.synthetic.scene import Material
from hwhup_core.types import BodyParams

SKINS = ((0.93, 0.75, 0.66), (0.87, 0.67, 0.55), (0.72, 0.51, 0.39), (0.50, 0.34, 0.25), (0.36, 0.24, 0.18))
HAIR = ((0.16, 0.11, 0.08), (0.35, 0.24, 0.15), (0.62, 0.48, 0.30))
WOODS = ((0.80, 0.66, 0.48), (0.92, 0.91, 0.88), (0.48, 0.33, 0.22))
TILE = 0.8
"""Patterns repeat after so many metres."""
_TEXELS = 32

OUTFITS = ('t-shirt and shorts', 't-shirt and trousers', 'long sleeves and trousers', 'pyjamas', 'gown', 'romper')


@dataclass(frozen=True)
class Look:
    """Colours (RGB, 0..1), light and warmth of one subject and what is around it."""

    vertex_colors: Float[ndarray, 'v 3']
    """Of the body: skin, clothes, hair."""
    vertex_kelvin: Float[ndarray, ' v']
    """What a thermal camera reads on the uncovered body."""
    colors: Float[ndarray, 'm 2 3']
    """Two colours by `Material` number."""
    patterns: Float[ndarray, 'm t t']
    """Share of the second colour, a tile of `TILE` metres by `Material` number."""
    light: Float[ndarray, '3']
    """World direction to the light, unit length."""
    ambient: float
    """Share of the light that comes from everywhere."""
    white: Float[ndarray, '3']
    """Factors of the camera's white balance."""
    room_kelvin: float
    """Temperature of the room."""


def draw_look(rng: np.random.Generator, kind: Literal['room', 'bed', 'crib'], body: BodyModel) -> Look:
    """Return random but plausible clothes, cloths, walls and light."""
    figure = _rest_figure(body)
    vertex_colors, clothed = _dress(figure, _outfit(kind, rng), rng)
    colors, patterns = _draw_materials(rng)
    sideways = 1.2 if kind == 'room' else 0.7
    light = np.array([*rng.uniform(-sideways, sideways, 2), 1.0])
    if kind == 'room':
        light[1] = -abs(light[1]) - 0.3  # The camera stands at -y; nobody takes pictures against the light.
    return Look(
        vertex_colors=vertex_colors,
        vertex_kelvin=_warmth(figure, clothed, rng),
        colors=colors,
        patterns=patterns,
        light=light / np.linalg.norm(light),
        ambient=float(rng.uniform(0.4, 0.65)),
        white=rng.uniform(0.94, 1.06, 3),
        room_kelvin=float(rng.uniform(293.0, 298.0)),
    )


@dataclass(frozen=True)
class _Figure:
    """The resting body (arms sideways), in heights, feet at y = 0."""

    points: Float[ndarray, 'v 3']
    joints: dict[str, Float[ndarray, '3']]

    def beyond(self, inner: str, outer: str, axis: int) -> Float[ndarray, ' v']:
        """Return how far along the way from a left joint to the next each vertex is, same on the right; 1 = there."""
        start, end = abs(self.joints[inner][axis]), abs(self.joints[outer][axis])
        share: ndarray = (np.abs(self.points[:, axis]) - start) / (end - start)
        return share

    @property
    def is_arm(self) -> Bool[ndarray, ' v']:
        """Return which vertices belong to the arms."""
        outside = self.beyond('left_shoulder', 'left_wrist', 0) > 0.05
        result: ndarray = outside & (self.points[:, 1] > self.joints['left_hip'][1])
        return result

    @property
    def head_coordinates(self) -> tuple[Float[ndarray, ' v'], Float[ndarray, ' v']]:
        """Return height above the neck and distance in front of the head joint, in neck-to-top lengths."""
        neck = self.joints['neck'][1]
        top = self.points[:, 1].max() - neck
        return (self.points[:, 1] - neck) / top, (self.points[:, 2] - self.joints['head'][2]) / top


def _rest_figure(body: BodyModel) -> _Figure:
    identity = torch.eye(3)
    with torch.no_grad():
        rest = body(BodyParams(identity[None], identity.expand(1, 23, 3, 3), torch.zeros(1, 10)))
    points, joints = rest.vertices[0].numpy(), rest.joints[0].numpy()
    foot, height = points[:, 1].min(), np.ptp(points[:, 1])
    down = np.array([0.0, foot, 0.0], np.float32)
    return _Figure((points - down) / height, dict(zip(SMPL_24, (joints - down) / height, strict=True)))


def _outfit(kind: str, rng: np.random.Generator) -> str:
    if kind == 'crib':
        return 'romper'
    chances = (0.3, 0.35, 0.35, 0.0, 0.0) if kind == 'room' else (0.35, 0.15, 0.15, 0.2, 0.15)
    return OUTFITS[int(rng.choice(5, p=chances))]


def _dress(figure: _Figure, outfit: str, rng: np.random.Generator) -> tuple[ndarray, Bool[ndarray, ' v']]:
    """Return the colour (v, 3) of each vertex and which vertices are clothed."""
    y = figure.points[:, 1]
    colors = np.tile(np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.95, 1.05), (len(y), 1))
    top, bottom = _coverage(figure, outfit, rng)
    one_piece = outfit in ('pyjamas', 'gown', 'romper')
    first = rng.uniform(0.1, 0.95, 3)
    second = rng.uniform(0.05, 0.8, 3)
    stripes = rng.random() < 0.3
    colors[bottom] = first if one_piece else second
    colors[top] = first
    if stripes:
        period = rng.uniform(0.03, 0.08)
        striped = top & ((y / period) % 1.0 < 0.5)
        colors[striped] = rng.uniform(0.1, 0.95, 3)
    if outfit != 'romper' and rng.random() < 0.4:
        colors[y < figure.joints['left_ankle'][1]] = rng.uniform(0.1, 0.9, 3)
    if rng.random() > 0.07:
        up, front = figure.head_coordinates
        line = front < 0.35 * (up - 0.175) - 0.09 + 0.9 * np.maximum(up - 0.69, 0.0)
        hair = (up > 0.175) & line if rng.random() < 0.6 else (up > rng.uniform(-0.3, 0.1)) & line & ~figure.is_arm
        colors[hair] = np.array(HAIR[rng.integers(len(HAIR))]) * rng.uniform(0.7, 1.3)
    return np.clip(colors, 0.0, 1.0).astype(np.float32), top | bottom


def _coverage(
    figure: _Figure, outfit: str, rng: np.random.Generator
) -> tuple[Bool[ndarray, ' v'], Bool[ndarray, ' v']]:
    """Return which vertices top and bottom cover (both, below the top's hem)."""
    y = figure.points[:, 1]
    neck, hip, knee, ankle = (figure.joints[name][1] for name in ('neck', 'left_hip', 'left_knee', 'left_ankle'))
    long = outfit in ('long sleeves and trousers', 'pyjamas')
    sleeve = rng.uniform(0.9, 1.0) if long else rng.uniform(0.25, 0.45)
    along = figure.beyond('left_shoulder', 'left_wrist', 0)
    hem = knee + 0.3 * (hip - knee) * rng.uniform(0.0, 1.5) if outfit == 'gown' else hip - rng.uniform(-0.01, 0.05)
    shoulders = np.where(along > -0.3, 1.0, neck - rng.uniform(0.0, 0.03))
    top = (y > hem) & (y < shoulders) & (along < sleeve) & (figure.is_arm | (y < neck - 0.005))
    shorts = outfit in ('t-shirt and shorts', 'romper')
    end = knee + (hip - knee) * rng.uniform(0.05, 0.5) if shorts else ankle + (knee - ankle) * rng.uniform(0.0, 0.2)
    bottom = (y > (hem if outfit == 'gown' else end)) & (y < hip + 0.02) & ~figure.is_arm
    return top, bottom


def _warmth(figure: _Figure, clothed: Bool[ndarray, ' v'], rng: np.random.Generator) -> Float[ndarray, ' v']:
    """Return the temperature (K) of each vertex: face and hands warm, limbs cooler toward their ends, then clothes."""
    y = figure.points[:, 1]
    arm = np.clip(figure.beyond('left_shoulder', 'left_wrist', 0), 0.0, 1.3) * figure.is_arm
    hip, ankle = figure.joints['left_hip'][1], figure.joints['left_ankle'][1]
    leg = np.clip((hip - y) / (hip - ankle), 0.0, 1.1)
    kelvin = rng.uniform(306.0, 307.0) - rng.uniform(0.8, 1.8) * arm - rng.uniform(1.2, 2.4) * leg
    kelvin += rng.uniform(0.5, 1.5) * (arm > 1.0) + rng.uniform(0.3, 1.0) * (y > figure.joints['neck'][1])
    up, front = figure.head_coordinates
    kelvin -= rng.uniform(0.5, 2.0) * ((up > 0.175) & (front < 0.35 * (up - 0.175) - 0.09))
    for _ in range(3):
        kelvin += 0.15 * np.sin(figure.points @ rng.normal(0.0, 15.0, 3) + rng.uniform(0.0, 6.28))
    kelvin = np.where(clothed, kelvin - rng.uniform(2.5, 4.5), kelvin)
    warmth: ndarray = np.clip(kelvin, 300.0, 308.0).astype(np.float32)
    return warmth


def _draw_materials(rng: np.random.Generator) -> tuple[Float[ndarray, 'm 2 3'], Float[ndarray, 'm t t']]:
    """Return two colours and a pattern for each material."""
    colors, patterns = np.zeros((len(Material), 2, 3)), np.zeros((len(Material), _TEXELS, _TEXELS))
    for material in Material:
        colors[material] = _material_colors(material, rng)
        cloth = material in (Material.SHEET, Material.BLANKET, Material.PILLOW, Material.MATTRESS, Material.CAREGIVER)
        patterns[material] = _cloth_pattern(rng) if cloth else _clouds(rng)
    return np.clip(colors, 0.0, 1.0).astype(np.float32), patterns.astype(np.float32)


def _material_colors(material: Material, rng: np.random.Generator) -> Float[ndarray, '2 3']:
    """Return a colour and one that is mixed into it by the pattern."""
    pale = rng.uniform(0.75, 0.95) + rng.uniform(-0.12, 0.05, 3)
    if material == Material.WOOD:
        base = np.array(WOODS[rng.integers(len(WOODS))])
    elif material in (Material.MATTRESS, Material.WALL):
        base = pale
    elif material == Material.METAL:
        base = np.full(3, rng.uniform(0.5, 0.85))
    elif material in (Material.SHEET, Material.PILLOW) and rng.random() < 0.7:
        base = pale
    elif material == Material.FLOOR:
        base = rng.uniform(0.25, 0.6) + rng.uniform(-0.1, 0.1, 3)
    else:
        base = rng.uniform(0.1, 0.9, 3)
    other: ndarray = rng.uniform(0.1, 0.95, 3) if rng.random() < 0.3 else base * rng.uniform(0.8, 0.95)
    return np.stack([base, other])


def _cloth_pattern(rng: np.random.Generator) -> Float[ndarray, 't t']:
    """Return stripes, checks or clouds that repeat."""
    style = rng.choice(3, p=(0.25, 0.15, 0.6))
    if style == 2:
        return _clouds(rng)
    phase = 2 * np.pi * np.arange(_TEXELS) / _TEXELS
    rows, columns = (np.sin(rng.integers(2, 9) * phase + rng.uniform(0.0, 6.28)) > 0 for _ in range(2))
    lines = rows[:, None] ^ (columns[None] if style else np.zeros(_TEXELS, bool)[None])
    return 0.15 * _clouds(rng) + 0.6 * (lines if rng.random() < 0.5 else lines.T)


def _clouds(rng: np.random.Generator) -> Float[ndarray, 't t']:
    """Return smooth noise that repeats, in [0, 1]."""
    noise = np.tile(rng.standard_normal((_TEXELS, _TEXELS)), (3, 3))
    soft = cv2.GaussianBlur(noise, (0, 0), rng.uniform(1.0, 3.0))[_TEXELS : 2 * _TEXELS, _TEXELS : 2 * _TEXELS]
    result: ndarray = (soft - soft.min()) / np.ptp(soft)
    return result
