"""The body model against smplx, against a plain version of itself, and against what one can work out by hand."""

import numpy as np
import pytest
import torch

from hwhup_core.body.export import export_smplx, to_smplx_struct
from hwhup_core.body.files import BodyFile, body_from_arrays, read_body_file
from hwhup_core.body.joints import FLIP_24, PARENTS_24, SMPL_24, SMPLH_LANDMARKS, index, other_side
from hwhup_core.body.mirror import mirror_params
from hwhup_core.body.model import ASSETS, BUNDLED, BodyModel, landmark_regressor, load_body
from hwhup_core.types import BodyParams

MIRROR = torch.tensor([-1.0, 1.0, 1.0])


def rotations(axis_angle):
    """Rotation matrices by the matrix exponential, independent of the package's own formula."""
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.matrix_exp(skew)


def random_pose(count, dtype=torch.float32, spread=0.5):
    generator = torch.Generator().manual_seed(0)
    axis_angle = torch.randn(count, 24, 3, generator=generator, dtype=torch.float64) * spread
    betas = torch.randn(count, 10, generator=generator, dtype=torch.float64)
    turned = rotations(axis_angle)
    params = BodyParams(global_rotation=turned[:, 0], joint_rotations=turned[:, 1:], betas=betas)
    return params.map(lambda tensor: tensor.to(dtype)), axis_angle.to(dtype)


def identity_params(count=1):
    eye = torch.eye(3)
    return BodyParams(eye.repeat(count, 1, 1), eye.repeat(count, 23, 1, 1), torch.zeros(count, 10))


def tiny_body(pose_directions=True):
    """Return a random body of 12 vertices with two key points."""
    rng = np.random.default_rng(0)
    weights, regressor, keypoints = rng.random((12, 24)), rng.random((24, 12)), rng.random((2, 12))
    entries = {
        'v_template': rng.normal(size=(12, 3)),
        'shapedirs': rng.normal(size=(12, 3, 10)) * 0.1,
        'J_regressor': regressor / regressor.sum(axis=1, keepdims=True),
        'weights': weights / weights.sum(axis=1, keepdims=True),
        'f': np.array([[0, 1, 2]]),
        'kintree_table': np.stack([PARENTS_24, range(24)]),
        'keypoint_regressor': keypoints / keypoints.sum(axis=1, keepdims=True),
        'keypoint_names': ['a', 'b'],
    }
    if pose_directions:
        entries['posedirs'] = rng.normal(size=(12, 3, 207)) * 0.02
    return body_from_arrays(entries, ASSETS / 'tiny.npz')


def plain_lbs(body: BodyFile, params: BodyParams):
    """Linear blend skinning one body, one joint, one vertex at a time, in double precision."""
    all_vertices, all_joints = [], []
    for root, children, betas in zip(params.global_rotation, params.joint_rotations, params.betas):
        local = np.concatenate([root[None].numpy(), children.numpy()]).astype(np.float64)
        shaped = body.template + body.shape_directions.astype(np.float64) @ betas.numpy()
        rest = body.joint_regressor.astype(np.float64) @ shaped
        if body.pose_directions is not None:
            shaped = shaped + body.pose_directions.astype(np.float64) @ (local[1:] - np.eye(3)).reshape(-1)
        transforms = []
        for joint, parent in enumerate(PARENTS_24):
            step = np.eye(4)
            step[:3, :3] = local[joint]
            step[:3, 3] = rest[joint] - (rest[parent] if joint else 0)
            transforms.append(step if joint == 0 else transforms[parent] @ step)
        posed = [
            sum(w * (t @ np.append(vertex - rest[j], 1)) for j, (w, t) in enumerate(zip(weights, transforms)))[:3]
            for vertex, weights in zip(shaped, body.weights.astype(np.float64))
        ]
        all_vertices.append(posed)
        all_joints.append([transform[:3, 3] for transform in transforms])
    return torch.tensor(np.array(all_vertices)), torch.tensor(np.array(all_joints))


@pytest.mark.parametrize('pose_directions', [True, False])
def test_matches_plain_skinning(pose_directions):
    body = tiny_body(pose_directions)
    params, _ = random_pose(3, torch.float64)
    posed = BodyModel(body).double()(params)
    vertices, joints = plain_lbs(body, params)
    torch.testing.assert_close(posed.vertices, vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(posed.joints, joints, atol=1e-6, rtol=0)


def smplx_points(body, axis_angle, betas):
    smplx = pytest.importorskip('smplx')
    model = smplx.SMPL('', data_struct=smplx.utils.Struct(**to_smplx_struct(body)))
    with torch.no_grad():
        out = model(betas=betas, body_pose=axis_angle[:, 1:].flatten(1), global_orient=axis_angle[:, 0])
    return out.vertices, out.joints


@pytest.mark.parametrize('name', BUNDLED)
def test_equals_smplx_on_100_random_poses(name):
    params, axis_angle = random_pose(100)
    vertices, joints = smplx_points(read_body_file(ASSETS / f'{name}.npz'), axis_angle, params.betas)
    with torch.no_grad():
        posed = load_body(name)(params)
    torch.testing.assert_close(posed.vertices, vertices, atol=1e-5, rtol=0)
    torch.testing.assert_close(posed.joints, joints[:, :24], atol=1e-5, rtol=0)
    torch.testing.assert_close(posed.landmarks[:, :21], joints[:, 24:], atol=1e-5, rtol=0)


def test_equals_smplx_with_pose_directions():
    infant = read_body_file(ASSETS / 'infant.npz')
    directions = np.random.default_rng(0).normal(size=(6890, 3, 207)).astype(np.float32) * 1e-3
    body = BodyFile(**(vars(infant) | {'pose_directions': directions}))
    params, axis_angle = random_pose(4)
    vertices, joints = smplx_points(body, axis_angle, params.betas)
    with torch.no_grad():
        posed = BodyModel(body)(params)
        unposed = BodyModel(infant)(params)
    torch.testing.assert_close(posed.vertices, vertices, atol=1e-5, rtol=0)
    torch.testing.assert_close(posed.landmarks[:, :21], joints[:, 24:], atol=1e-5, rtol=0)
    assert (posed.vertices - unposed.vertices).abs().max() > 1e-3


def test_smplx_reads_an_exported_pickle(tmp_path):
    smplx = pytest.importorskip('smplx')
    (tmp_path / 'smpl').mkdir()
    export_smplx(read_body_file(ASSETS / 'infant.npz'), tmp_path / 'smpl' / 'SMPL_NEUTRAL.pkl')
    model = smplx.create(str(tmp_path), model_type='smpl', gender='neutral')
    with torch.no_grad():
        posed = load_body('infant')(identity_params())
        torch.testing.assert_close(model().vertices, posed.vertices, atol=1e-6, rtol=0)


@pytest.mark.parametrize('name', BUNDLED)
def test_skeleton_equals_the_points_on_the_mesh(name):
    body = read_body_file(ASSETS / f'{name}.npz')
    model = BodyModel(body)
    params, _ = random_pose(20)
    with torch.no_grad():
        skeleton, posed = model.skeleton(params), model(params)
    names, regressor = landmark_regressor(body)
    on_mesh = torch.einsum('kv,bvc->bkc', torch.from_numpy(regressor), posed.vertices)
    assert model.landmark_names == names
    torch.testing.assert_close(skeleton.landmarks, on_mesh, atol=1e-6, rtol=0)
    torch.testing.assert_close(skeleton.joints, posed.joints, atol=0, rtol=0)
    torch.testing.assert_close(skeleton.landmarks, posed.landmarks, atol=0, rtol=0)


def test_folded_landmarks_follow_pose_directions():
    body = tiny_body()
    model = BodyModel(body).double()
    params, _ = random_pose(5, torch.float64)
    on_mesh = torch.einsum('kv,bvc->bkc', torch.from_numpy(body.keypoint_regressor).double(), model(params).vertices)
    assert model.landmark_names == ('coco_a', 'coco_b')
    torch.testing.assert_close(model.skeleton(params).landmarks, on_mesh, atol=1e-6, rtol=0)


def test_gradients_are_those_of_finite_differences():
    model = BodyModel(tiny_body()).double()
    params, _ = random_pose(2, torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (params.global_rotation, params.joint_rotations, params.betas)]

    def everything(root, children, betas):
        posed = model(BodyParams(root, children, betas))
        skeleton = model.skeleton(BodyParams(root, children, betas))
        return posed.vertices, skeleton.joints, skeleton.landmarks

    assert torch.autograd.gradcheck(everything, inputs, fast_mode=True)


@pytest.mark.parametrize('name', BUNDLED)
def test_a_bent_elbow_moves_the_forearm_as_expected(name):
    model = load_body(name)
    params = identity_params()
    quarter_turn = rotations(torch.tensor([0.0, 0.0, torch.pi / 2]))
    params.joint_rotations[0, index('left_elbow') - 1] = quarter_turn
    joints = model.skeleton(params).joints[0]
    rest = model.rest_joints
    elbow, wrist = index('left_elbow'), index('left_wrist')
    forearm = rest[wrist] - rest[elbow]
    torch.testing.assert_close(joints[elbow], rest[elbow])
    torch.testing.assert_close(joints[wrist] - rest[elbow], torch.stack([-forearm[1], forearm[0], forearm[2]]))
    right = index('right_wrist')
    torch.testing.assert_close(joints[right], rest[right])


def test_the_root_turns_the_body_about_the_pelvis():
    model = load_body('infant')
    params, _ = random_pose(1)
    upright = BodyParams(torch.eye(3)[None], params.joint_rotations, params.betas)
    with torch.no_grad():
        turned, still = model(params), model(upright)
    pelvis = still.joints[:, :1]
    torch.testing.assert_close(turned.joints[:, :1], pelvis)
    expected = (still.vertices - pelvis) @ params.global_rotation.transpose(1, 2) + pelvis
    torch.testing.assert_close(turned.vertices, expected, atol=1e-5, rtol=0)


def test_global_rotations_are_products_along_the_chain():
    params, _ = random_pose(2)
    turned = load_body('infant').global_joint_rotations(params)
    hip, knee = index('left_hip'), index('left_knee')
    expected = params.global_rotation @ params.joint_rotations[:, hip - 1] @ params.joint_rotations[:, knee - 1]
    torch.testing.assert_close(turned[:, knee], expected)
    torch.testing.assert_close(turned[:, 0], params.global_rotation)


@pytest.mark.parametrize(('name', 'stature', 'litres'), [('adult', 1.7, 66), ('infant', 0.7, 6.5)])
def test_bodies_have_human_size_and_direction(name, stature, litres):
    model = load_body(name)
    with torch.no_grad():
        body = model(identity_params())
    vertices, joints = body.vertices[0], body.joints[0]
    landmarks = dict(zip(model.landmark_names, body.landmarks[0]))
    assert float(vertices[:, 1].max() - vertices[:, 1].min()) == pytest.approx(stature, rel=0.02)
    assert joints[index('left_wrist'), 0] > joints[index('left_elbow'), 0] > joints[index('left_shoulder'), 0] > 0
    assert joints[index('head'), 1] > joints[index('neck'), 1] > joints[index('pelvis'), 1]
    assert landmarks['nose'][2] > joints[index('head'), 2]
    assert landmarks['left_big_toe'][2] > landmarks['left_heel'][2]
    assert landmarks['left_eye'][0] > 0 > landmarks['right_eye'][0]
    for point in ('nose', 'left_eye', 'right_ear', 'left_big_toe', 'right_heel'):
        assert torch.linalg.vector_norm(landmarks[point] - landmarks[f'coco_{point}']) < 0.05 * stature
    # The shell is wound outwards: its volume is positive, and fits the weight of such a person.
    corners = vertices[model.faces]
    volume = float((corners[:, 0] * torch.linalg.cross(corners[:, 1], corners[:, 2])).sum() / 6)
    assert volume * 1000 == pytest.approx(litres, rel=0.15)


def test_a_positive_first_beta_is_taller():
    model = load_body('infant')
    params = identity_params(2)
    params.betas[1, 0] = 1.0
    with torch.no_grad():
        height = model(params).vertices[..., 1]
    stature = height.amax(dim=1) - height.amin(dim=1)
    assert 0.05 < float(stature[1] - stature[0]) < 0.12


@pytest.mark.parametrize('name', BUNDLED)
def test_mirrored_parameters_make_the_mirrored_body(name):
    model = load_body(name).double()
    params, _ = random_pose(10, torch.float64)
    params = BodyParams(params.global_rotation, params.joint_rotations, torch.zeros(10, 10, dtype=torch.float64))
    asymmetry = (model.rest_joints[list(FLIP_24)] * MIRROR - model.rest_joints).abs().max()
    assert asymmetry < 2e-4
    # Errors of single bones add up along a chain of at most nine.
    mirrored, original = model.skeleton(mirror_params(params)), model.skeleton(params)
    expected = original.joints[:, list(FLIP_24)] * MIRROR
    torch.testing.assert_close(mirrored.joints, expected, atol=float(10 * asymmetry), rtol=0)
    partners = [model.landmark_names.index(other_side(landmark)) for landmark in model.landmark_names]
    torch.testing.assert_close(mirrored.landmarks, original.landmarks[:, partners] * MIRROR, atol=0.01, rtol=0)


def test_mirroring_is_the_published_flip_of_axis_angle():
    params, axis_angle = random_pose(3)
    flipped = rotations(axis_angle[:, list(FLIP_24)] * torch.tensor([1.0, -1.0, -1.0]))
    mirrored = mirror_params(params)
    torch.testing.assert_close(mirrored.global_rotation, flipped[:, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(mirrored.joint_rotations, flipped[:, 1:], atol=1e-6, rtol=0)
    torch.testing.assert_close(mirror_params(mirrored).joint_rotations, params.joint_rotations)


def test_inputs_stay_as_they_are_and_the_body_stays_out_of_checkpoints():
    model = load_body('infant')
    params, _ = random_pose(2)
    before = params.map(torch.clone)
    model(params), model.skeleton(params), mirror_params(params)
    assert torch.equal(before.joint_rotations, params.joint_rotations)
    assert torch.equal(before.betas, params.betas)
    assert model.state_dict() == {}
    assert list(model.parameters()) == []


def test_names_fit_the_output():
    model = load_body('adult')
    assert model.joint_names == SMPL_24
    assert model.landmark_names[:21] == tuple(SMPLH_LANDMARKS)
    assert len(model.landmark_names) == len(set(model.landmark_names)) == 44
    skeleton = model.skeleton(identity_params(2))
    assert skeleton.landmarks.shape == (2, 44, 3)
    assert model.faces.dtype == torch.int64


def test_shape_checks_are_on():
    with pytest.raises(Exception, match=r'[Tt]ype-check'):
        BodyParams(torch.eye(3)[None], torch.eye(3).repeat(1, 22, 1, 1), torch.zeros(1, 10))
