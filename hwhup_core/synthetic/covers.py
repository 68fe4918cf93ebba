"""
Sheets and blankets over people: a cloth is a membrane with weight that comes to rest on body and mattress.

Its height over a grid h is the least one with h >= what lies below and h >= mean of its neighbours - sag, found by
relaxation from below. It then gets wrinkles, and is lifted wherever a point of the body would come through. World frame
as in `scene`; the cloth has axes of its own, from the feet (s = 0) to the line at the chest (s = 1) and across.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.body.joints import SMPL_24
from hwhup_core.errors import ConfigError
from hwhup_core.synthetic.domain import Cover
from hwhup_core.synthetic.membrane import lift, lower_to, raise_to, settle, smoothed
from hwhup_core.synthetic.scene import Material, Scene, SceneRender, add_surface
from hwhup_core.synthetic.solids import grid_faces
from hwhup_core.synthetic.views import View

CELLS = 74
"""Of the cloth's grid along a mattress: 2.7 cm each in a bed."""
NECK_SHARE = 0.82
"""Where the neck is without joints to tell, from the lowest to the highest point of a person along the bed."""
ARM_RADIUS = 0.3
"""What is this near to the bones of an arm belongs to it, in lengths of the forearm."""
ARM_ON_TOP = 0.25
"""Chance that one arm lies on the cloth."""
OVERHANG = 0.01
"""How far a hanging edge stands off the mattress, metres: it fits between mattress and bars."""
BURIED = 0.04, 0.15
"""An arm is not on top if more than this share of it has other parts of the body this far (metres) above its bottom."""
SWEEPS = 60
"""Of the relaxation; more stretch the cloth over wider gaps only."""
_BESIDE = np.ones((7, 7), np.uint8)
"""A cloth that a body carries over the edge of the mattress does not hang down this near to it."""


@dataclass(frozen=True)
class Fabric:
    """How a cloth falls."""

    thickness: tuple[float, float]
    """Of one layer, metres."""
    sag: tuple[float, float]
    """Curvature of the free cloth, 1/m: small ones stretch like tents."""
    wrinkle: tuple[float, float]
    """Height of wrinkles, metres."""
    wave_length: tuple[float, float]
    """Of the wrinkles, metres."""
    smoothing: int
    """Passes of a mean over neighbours: the stiffness."""


FABRICS = {
    Cover.SHEET: Fabric((0.002, 0.004), (8.0, 20.0), (0.002, 0.007), (0.08, 0.25), 0),
    Cover.BLANKET: Fabric((0.02, 0.04), (2.0, 5.0), (0.002, 0.008), (0.25, 0.6), 3),
}
MATERIALS = {Cover.SHEET: Material.SHEET, Cover.BLANKET: Material.BLANKET}


@dataclass(frozen=True)
class Cloth:
    """A cloth at rest, its upper side and a hem down to what it lies on."""

    kind: Cover
    vertices: Float[ndarray, 'n 3']
    """World, metres."""
    faces: Int[ndarray, 'f 3']
    thickness: float
    """Of one layer, metres."""
    top: int
    """How many of the vertices, the first, are of the upper side."""


@dataclass(frozen=True)
class _Sheet:
    """Where a cloth lies: its grid, seen from above."""

    cell: float
    """Distance of the grid's points, metres."""
    turn: float
    """World direction of its long axis, towards the head, radians."""
    low: Float[ndarray, '2']
    high: Float[ndarray, '2']
    """Corners along its own axes, metres; the edge at the chest is at x = high[0] + slant * y."""
    slant: float

    @property
    def axes(self) -> Float[ndarray, '2 2']:
        """Its own axes in the world, as rows."""
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        return np.array([[cosine, sine], [-sine, cosine]])

    @property
    def shape(self) -> tuple[int, int]:
        """How many points the grid has along and across."""
        rows, columns = np.ceil((self.high - self.low) / self.cell).astype(int) + 1
        return max(int(rows), 4), max(int(columns), 4)

    def points(self) -> Float[ndarray, 'rows columns 2']:
        """Return the world x, y of the grid's points."""
        rows, columns = self.shape
        s, t = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing='ij')
        y = self.low[1] + t * (self.high[1] - self.low[1])
        x = self.low[0] + s * (self.high[0] + self.slant * y - self.low[0])
        result: ndarray = np.stack([x, y], axis=-1) @ self.axes
        return result

    def cells(self, points: Float[ndarray, 'n 3']) -> Float[ndarray, 'n 3']:
        """Return where on the grid world points are (row, column, height), float32."""
        rows, columns = self.shape
        x, y = self.axes @ points[:, :2].T
        s = (x - self.low[0]) / (self.high[0] + self.slant * y - self.low[0])
        t = (y - self.low[1]) / (self.high[1] - self.low[1])
        return np.stack([s * (rows - 1), t * (columns - 1), points[:, 2]], axis=1).astype(np.float32)


def drape(
    scene: Scene,
    body_vertices_world: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    kind: Cover,
    rng: np.random.Generator,
    joints_world: Float[ndarray, '24 3'] | None = None,
) -> Cloth:
    """
    Return a sheet or blanket over a person, from the feet to somewhere between chest and chin.

    With SMPL's joints (world, metres) the cloth follows the person's heading, and now and then a forearm lies on top of
    it; without them the head is taken to be at world +x.
    """
    if kind not in FABRICS:
        raise ConfigError(
            f'{kind!r} cannot be draped. Expected Cover.SHEET or Cover.BLANKET; leave the frame as it is.'
        )
    fabric = FABRICS[kind]
    thickness, sag = float(rng.uniform(*fabric.thickness)), float(rng.uniform(*fabric.sag))
    on_top = np.zeros(len(body_vertices_world), bool)
    if joints_world is not None and rng.random() < ARM_ON_TOP:
        on_top = _arm(body_vertices_world, joints_world, 'left' if rng.random() < 0.5 else 'right')
    sheet = _lay_out(scene, body_vertices_world, joints_world, rng)
    edge = np.array([scene.length, scene.width]) / 2 + OVERHANG
    world = np.clip(sheet.points(), -edge, edge)
    ground, hanging = _ground(scene, world, rng)
    cells = sheet.cells(body_vertices_world)
    below, cap, points = _obstacles(cells, faces, on_top, ground)
    if on_top.any() and (below > cap + BURIED[0]).sum() > BURIED[1] * np.isfinite(cap).sum():
        below, cap, points = _obstacles(cells, faces, np.zeros_like(on_top), ground)
    fixed = hanging & (cv2.dilate((hanging & (below > ground)).astype(np.uint8), _BESIDE) == 0)
    rest = below + np.float32(thickness)
    height, step = rest.copy(), np.float32(sag * sheet.cell**2 / 4)
    settle(rest, cap, fixed, step, SWEEPS, height)
    # Once more from what the points between the grid's need, so that it does not stick out of the cloth around it.
    lift(points, np.float32(thickness), height)
    settle(rest, cap, fixed, step, SWEEPS // 6, height)
    height += _folds(sheet, fabric, thickness, fixed, rng)
    for _ in range(fabric.smoothing):
        height = smoothed(height, fixed)
    height = np.maximum(np.minimum(height, cap), rest)
    lift(points, np.float32(thickness), height)
    return _hemmed(kind, world, height, below, thickness)


def add_cloth(render: SceneRender, cloth: Cloth, camera: Float[ndarray, '4'], view: View) -> SceneRender:
    """Return the picture with the cloth composited by depth; the given one is kept."""
    return add_surface(render, cloth.vertices, cloth.faces, MATERIALS[cloth.kind], camera, view)


def _obstacles(
    cells: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    on_top: Bool[ndarray, ' v'],
    ground: Float[ndarray, 'rows columns'],
) -> tuple[Float[ndarray, 'rows columns'], Float[ndarray, 'rows columns'], Float[ndarray, 'n 3']]:
    """Return what holds the cloth up, what holds it down (inf: nothing), and the points that must stay below it."""
    below, cap = ground.copy(), np.full(ground.shape, np.inf, np.float32)
    middles = raise_to(cells, faces, on_top, below)
    lower_to(cells[on_top], cap)
    return below, cap, np.concatenate([cells[~on_top], middles])


def _lay_out(
    scene: Scene, vertices: Float[ndarray, 'v 3'], joints: Float[ndarray, '24 3'] | None, rng: np.random.Generator
) -> _Sheet:
    """Return where the cloth lies: along the bed if the person does, from beyond the feet to the chest or the chin."""
    cell = scene.length / CELLS
    turn = _heading(joints) + float(np.clip(rng.normal(0.0, 0.005), -0.01, 0.01))
    axis = np.array([math.cos(turn), math.sin(turn)])
    reach = vertices[:, :2] @ axis
    lowest, highest = float(reach.min()), float(reach.max())
    slant = float(np.clip(rng.normal(0.0, 0.06), -0.15, 0.15))
    if joints is None:
        line = lowest + (NECK_SHARE - rng.uniform(0.0, 0.15)) * (highest - lowest)
    else:
        neck, spine = (joints[SMPL_24.index(name), :2] for name in ('neck', 'spine2'))
        line = float((spine + rng.uniform(0.3, 1.0) * (neck - spine)) @ axis)
        line -= slant * float(neck @ (-axis[1], axis[0]))
    # How far the mattress reaches along and across, and an edge to hang down from it or to end before it.
    half = np.array([scene.length, scene.width]) / 2
    along = abs(axis) @ half if abs(axis[0]) > 0.9 else float(half[0])
    across = half[1] if abs(axis[0]) > 0.9 else float(half[0])
    over = np.where(rng.random(3) < 0.6, 1.2 * OVERHANG, -rng.uniform(0.02, 0.1, 3))
    foot = -along - over[0] if rng.random() < 0.8 else max(lowest - 0.06, -along)
    return _Sheet(
        cell,
        turn,
        np.array([foot, -across - over[1]]),
        np.array([max(line, foot + 8 * cell), across + over[2]]),
        slant,
    )


def _heading(joints: Float[ndarray, '24 3'] | None) -> float:
    """Return which way the long axis of the cloth points: that of the bed, or that of a person who lies askew."""
    if joints is None:
        return 0.0
    along = joints[SMPL_24.index('neck'), :2] - joints[0, :2]
    heading = math.atan2(along[1], along[0])
    return heading if abs(heading) > math.radians(30) else 0.0


def _arm(vertices: Float[ndarray, 'v 3'], joints: Float[ndarray, '24 3'], side: str) -> Bool[ndarray, ' v']:
    """Return which vertices are near the bones of an arm, the fingers included."""
    shoulder, elbow, wrist, hand = (
        joints[SMPL_24.index(f'{side}_{name}')] for name in ('shoulder', 'elbow', 'wrist', 'hand')
    )
    radius = ARM_RADIUS * float(np.linalg.norm(wrist - elbow))
    near = np.zeros(len(vertices), bool)
    # The bones of the hand end at the knuckles, and half a hand more follows.
    for start, end in ((0.8 * shoulder + 0.2 * elbow, elbow), (elbow, wrist), (wrist, wrist + 2.8 * (hand - wrist))):
        along = end - start
        share = np.clip((vertices - start) @ along / (along @ along), 0.0, 1.0)
        near |= ((vertices - start - share[:, None] * along) ** 2).sum(axis=1) < radius**2
    return near


def _ground(
    scene: Scene, world: Float[ndarray, 'rows columns 2'], rng: np.random.Generator
) -> tuple[Float[ndarray, 'rows columns'], Bool[ndarray, 'rows columns']]:
    """Return the heights below the cloth without a body, float32, and where its edge hangs beside the mattress."""
    flat = world.reshape(-1, 2)
    heights = scene.mattress_height(flat)
    hanging = (np.abs(flat) > np.array([scene.length, scene.width]) / 2).any(axis=1)
    heights[hanging] = -rng.uniform(0.04, 0.25)
    return heights.reshape(world.shape[:2]).astype(np.float32), hanging.reshape(world.shape[:2])


def _folds(
    sheet: _Sheet,
    fabric: Fabric,
    thickness: float,
    hanging: Bool[ndarray, 'rows columns'],
    rng: np.random.Generator,
) -> Float[ndarray, 'rows columns']:
    """Return how far wrinkles, and an end that is folded back now and then, lie above the one smooth layer."""
    rows, columns = np.meshgrid(*(sheet.cell * np.arange(count) for count in sheet.shape), indexing='ij')
    height = np.zeros(sheet.shape)
    amplitude = rng.uniform(*fabric.wrinkle)
    for _ in range(3):
        direction = rng.uniform(0.0, math.pi)
        wave = 2 * math.pi / rng.uniform(*fabric.wave_length)
        along = math.cos(direction) * rows + math.sin(direction) * columns
        across = math.cos(direction) * columns - math.sin(direction) * rows
        bend = np.sin(0.35 * wave * across + rng.uniform(0.0, 6.28))
        # Ridges that bend, and fade along themselves.
        height += amplitude * (0.5 + 0.5 * bend) * (1 + np.sin(wave * along + 1.5 * bend + rng.uniform(0.0, 6.28))) / 2
    if rng.random() < 0.3:
        height[-max(2, round(rng.uniform(0.08, 0.3) / sheet.cell)) :] += thickness + 0.004
    height[hanging] = 0.0
    return height.astype(np.float32)


def _hemmed(
    kind: Cover,
    world: Float[ndarray, 'rows columns 2'],
    top: Float[ndarray, 'rows columns'],
    below: Float[ndarray, 'rows columns'],
    thickness: float,
) -> Cloth:
    """Return the mesh of a cloth whose edges go down to what lies below, so that nobody looks under it."""
    rows, columns = top.shape
    ids = np.arange(rows * columns).reshape(rows, columns)
    rim = np.concatenate([ids[:, 0], ids[-1, 1:], ids[-2::-1, -1], ids[0, -2:0:-1]])
    upper = np.concatenate([world, top[..., None]], axis=2).reshape(-1, 3)
    hem = upper[rim]
    hem[:, 2] = np.minimum(hem[:, 2], below.reshape(-1)[rim])
    k = np.arange(len(rim))
    low, after = ids.size + k, np.roll(k, -1)
    sides = [np.stack([rim, low, low[after]], 1), np.stack([rim, low[after], rim[after]], 1)]
    faces = np.concatenate([grid_faces(rows, columns), *sides]).astype(np.int32)
    return Cloth(kind, np.concatenate([upper, hem]).astype(np.float32), faces, thickness, ids.size)
