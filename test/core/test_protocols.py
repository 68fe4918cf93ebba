"""The 14-joint protocol on a body of 40 vertices and on the bundled one, and PA-MPJPE under random similarities."""

import numpy as np
import pytest
import torch

from hwhup_core.body.files import body_from_arrays
from hwhup_core.body.joints import EVAL_14, H36M_17, PARENTS_24, SMPL_24, SPIN_24
from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.data.sample import Joints3D, Sample, TrueBody
from hwhup_core.errors import AssetError, HwhupError
from hwhup_core.evaluation.metrics import pa_mpjpe
from hwhup_core.evaluation.protocols import h36m_joints, means_by_action, protocol_means, protocol_scores, truth_of
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.types import BodyParams, Frame

VERTICES = 40
# Method 6.4: rows of the regressor in the order in which 14 joints are scored.
REGRESSOR_TO_EVAL = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
# Method 6.4: slots of GT-24 in that order.
SPIN_TO_EVAL = [*range(13), 18]


def tiny_body(tmp_path, seed=0, name='tiny', order='smpl'):
    """Return a body of 40 random vertices."""
    rng = np.random.default_rng(seed)
    weights, regressor = rng.random((VERTICES, 24)) ** 8, rng.random((24, VERTICES)) + 1e-3
    arrays = {
        'v_template': rng.normal(size=(VERTICES, 3)),
        'shapedirs': rng.normal(size=(VERTICES, 3, 10)) * 0.05,
        'J_regressor': regressor / regressor.sum(axis=1, keepdims=True),
        'weights': weights / weights.sum(axis=1, keepdims=True),
        'f': np.arange(39, dtype=np.uint32).reshape(13, 3) + np.uint32(1),
        'kintree_table': np.array([PARENTS_24, range(24)]),
        'vertex_order': 'unknown',
    }
    model = BodyModel(body_from_arrays(arrays, tmp_path / f'{name}.npz'))
    model.vertex_order = order
    return model


@pytest.fixture
def regressor():
    """Return a regressor of 17 joints, each the mean of a few vertices."""
    rows = np.random.default_rng(5).random((17, VERTICES)) ** 4
    return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)


def random_pose(count, seed=0):
    """Return axis-angle poses and betas."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 72)) * 0.3, rng.normal(size=(count, 10))


def params(pose, betas):
    """Return them as the package has them."""
    rotations = axis_angle_to_matrix(torch.from_numpy(pose).float().reshape(-1, 24, 3))
    return BodyParams(rotations[:, 0], rotations[:, 1:], torch.from_numpy(betas).float())


def sample(name, action='', joints=None, body=None, subject=None):
    """Return a sample with that truth."""
    tags = {'action': action} | ({'subject': subject} if subject else {})
    return Sample(name, lambda: Frame(1, 'test'), joints_3d=joints, body=body, tags=tags)


def spin_joints(fourteen):
    """Return SPIN's 24 joints with these at their places by number, the rest anywhere and not to be looked at."""
    positions, confidence = np.full((24, 3), 99.0), np.zeros(24)
    positions[SPIN_TO_EVAL], confidence[SPIN_TO_EVAL] = fourteen, 1
    return Joints3D(SPIN_24, positions, confidence, centred=True)


def test_the_14_joints_are_those_of_the_tables():
    assert [H36M_17.index(name) for name in EVAL_14] == REGRESSOR_TO_EVAL
    assert [SPIN_24.index(name) for name in EVAL_14] == SPIN_TO_EVAL
    vertices = torch.arange(17.0)[None, :, None] * torch.tensor([1.0, 2.0, 3.0])
    chosen = h36m_joints(vertices + 7, np.eye(17, dtype=np.float32))
    np.testing.assert_allclose(chosen[0, :, 1], 2 * np.array(REGRESSOR_TO_EVAL))


def test_joints_of_the_regressor_are_scored_from_its_pelvis(tmp_path, regressor):
    body, (pose, betas) = tiny_body(tmp_path), random_pose(3)
    vertices = body(params(pose, betas)).vertices.numpy()
    regressed = np.einsum('jv,nvc->njc', regressor, vertices)
    true = (regressed - regressed[:, :1])[:, REGRESSOR_TO_EVAL]
    true[1, 4] += [0, 0.14, 0]
    true[2] *= 1.5
    samples = [sample(f's{row}', joints=spin_joints(true[row])) for row in range(3)]
    scores = protocol_scores(params(pose, betas), samples, body, regressor)
    assert (scores.regressor, scores.truth, scores.neutral_stand_ins) == ('official', ('joints',) * 3, 0)
    np.testing.assert_allclose(scores.mpjpe_mm[:2], [0, 10], atol=1e-3)
    assert scores.pa_mpjpe_mm[1] > 1
    np.testing.assert_allclose(scores.pa_mpjpe_mm[2], 0, atol=1e-3)
    assert scores.mpjpe_mm[2] > 10
    assert np.isnan(scores.pve_mm).all()


def test_smpl_joints_are_no_truth_of_this_protocol():
    """Their head and neck are other points than Human3.6M's of the same name."""
    joints = Joints3D(SMPL_24, np.zeros((24, 3)), np.ones(24), centred=False)
    assert truth_of(sample('a', joints=joints)) == 'none'
    assert truth_of(sample('a', joints=joints, body=TrueBody(np.zeros(72), np.zeros(10), 'male'))) == 'body'


def test_joints_that_lack_one_of_the_14_give_way_to_the_body(tmp_path, regressor):
    partial = spin_joints(np.zeros((14, 3)))
    partial.confidence[SPIN_TO_EVAL[-1]] = 0
    pose, betas = random_pose(2)
    true = TrueBody(pose[0], betas[0], 'neutral')
    samples = [sample('a', joints=partial, body=true), sample('b', joints=partial)]
    scores = protocol_scores(params(pose, betas), samples, tiny_body(tmp_path), regressor)
    assert scores.truth == ('body', 'none')
    np.testing.assert_allclose([scores.mpjpe_mm[0], scores.pa_mpjpe_mm[0], scores.pve_mm[0]], 0, atol=1e-3)
    assert np.isnan([scores.mpjpe_mm[1], scores.pa_mpjpe_mm[1], scores.pve_mm[1]]).all()


def test_joints_that_are_not_centred_count_from_their_pelvis(tmp_path, regressor):
    body, (pose, betas) = tiny_body(tmp_path), random_pose(1)
    regressed = regressor @ body(params(pose, betas)).vertices[0].numpy()
    joints = Joints3D(H36M_17, regressed + np.array([1.0, 2.0, 3.0]), np.ones(17), centred=False)
    scores = protocol_scores(params(pose, betas), [sample('a', joints=joints)], body, regressor)
    np.testing.assert_allclose(scores.mpjpe_mm, 0, atol=1e-3)


def test_true_bodies_are_posed_with_the_body_of_their_gender(tmp_path, regressor):
    neutral, male, female = (tiny_body(tmp_path, seed, f'b{seed}') for seed in range(3))
    pose, betas = random_pose(4)
    genders = ('female', 'male', 'neutral', 'female')
    samples = [sample(f's{i}', body=TrueBody(pose[i], betas[i], genders[i])) for i in range(4)]
    scores = protocol_scores(params(pose, betas), samples, neutral, regressor, {'male': male, 'female': female})

    def joints_by(body, row):
        vertices = body(params(pose[row : row + 1], betas[row : row + 1])).vertices[0].numpy().astype(np.float64)
        points = regressor @ vertices
        return (points - points[0])[REGRESSOR_TO_EVAL]

    true = {'female': female, 'male': male, 'neutral': neutral}
    expected = [
        1000 * np.linalg.norm(joints_by(neutral, row) - joints_by(true[genders[row]], row), axis=1).mean()
        for row in range(4)
    ]
    np.testing.assert_allclose(scores.mpjpe_mm, expected, rtol=1e-4, atol=1e-2)
    assert scores.mpjpe_mm[2] < 1 < scores.mpjpe_mm[1]
    assert scores.neutral_stand_ins == 0


def test_the_neutral_body_stands_in_with_a_warning(tmp_path, regressor, caplog):
    pose, betas = random_pose(3)
    samples = [sample(f's{i}', body=TrueBody(pose[i], betas[i], 'female')) for i in range(3)]
    body = tiny_body(tmp_path)
    scores = protocol_scores(params(pose, betas), samples, body, regressor, {'male': body})
    assert scores.neutral_stand_ins == 3
    assert 'neutral body takes their betas' in caplog.text
    np.testing.assert_allclose(scores.mpjpe_mm, 0, atol=1e-3)


def test_landmarks_stand_in_on_the_bundled_body():
    body, (pose, betas) = load_body('adult'), random_pose(2)
    samples = [sample('a', body=TrueBody(pose[0], betas[0], 'neutral')), sample('b')]
    scores = protocol_scores(params(pose, betas), samples, body, None)
    assert scores.regressor == 'landmarks'
    np.testing.assert_allclose([scores.mpjpe_mm[0], scores.pve_mm[0]], 0, atol=1e-2)
    turned = pose.copy()
    turned[:, :3] += [0, 0.5, 0]
    scores = protocol_scores(params(turned, betas), samples, body, None)
    assert scores.mpjpe_mm[0] > 10
    np.testing.assert_allclose(scores.pa_mpjpe_mm[0], 0, atol=1e-2)


def test_a_regressor_of_other_vertices_is_refused(tmp_path, regressor):
    pose, betas = random_pose(1)
    for body in (tiny_body(tmp_path, order='unknown'), load_body('adult')):
        with pytest.raises(AssetError, match='J_regressor_h36m is for 40 vertices in the order of SMPL; body'):
            protocol_scores(params(pose, betas), [sample('a')], body, regressor)


def test_predictions_and_samples_must_match(tmp_path, regressor):
    (pose, betas), body = random_pose(2), tiny_body(tmp_path)
    with pytest.raises(HwhupError, match='2 predictions for 1 samples'):
        protocol_scores(params(pose, betas), [sample('a')], body, regressor)
    with pytest.raises(HwhupError, match=r"such as 'a'\. Each counts once"):
        protocol_scores(params(pose, betas), [sample('a'), sample('a')], body, regressor)


def test_actions_count_each_frame_once(tmp_path, regressor):
    """300 frames in more than one batch: the mean of an action is that of its own frames, however they are ordered."""
    count = 300
    body, (pose, betas) = tiny_body(tmp_path), random_pose(1)
    regressed = regressor @ body(params(pose, betas)).vertices[0].numpy().astype(np.float64)
    centred = (regressed - regressed[0])[REGRESSOR_TO_EVAL]
    shifts = np.arange(count)[:, None] * np.array([0.001, 0, 0])
    actions = ('Eating', 'Posing', '')
    samples = [
        sample(f'{row}', actions[row % 3], spin_joints(centred + shifts[row]), subject=f'S{row % 2}')
        for row in range(count)
    ]
    scores = protocol_scores(params(pose.repeat(count, 0), betas.repeat(count, 0)), samples, body, regressor)
    np.testing.assert_allclose(scores.mpjpe_mm, np.arange(count), atol=1e-2)
    by_action = means_by_action(scores)
    assert list(by_action) == ['Eating', 'Posing']
    assert by_action['Eating'].mpjpe_mm.mean == pytest.approx(np.arange(0, count, 3).mean(), abs=1e-2)
    assert by_action['Posing'].mpjpe_mm.mean == pytest.approx(np.arange(1, count, 3).mean(), abs=1e-2)
    assert by_action['Posing'].count == by_action['Posing'].mpjpe_mm.count == 100
    everything = protocol_means(scores)
    assert everything.mpjpe_mm.mean == pytest.approx((count - 1) / 2, abs=1e-2)
    assert everything.pve_mm.count == 0


def test_inputs_are_left_as_they_are(tmp_path, regressor):
    (pose, betas), before = random_pose(1), regressor.copy()
    true = TrueBody(pose[0].copy(), betas[0].copy(), 'male')
    protocol_scores(params(pose, betas), [sample('a', body=true)], tiny_body(tmp_path), regressor)
    np.testing.assert_array_equal(regressor, before)
    np.testing.assert_array_equal(true.pose, pose[0])


def random_rotations(rng, count):
    """Return proper rotations, uniformly drawn."""
    q, r = np.linalg.qr(rng.normal(size=(count, 3, 3)))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
    q[np.linalg.det(q) < 0, :, 0] *= -1
    return q


def test_pa_mpjpe_is_invariant_to_random_similarities_and_to_no_reflection():
    rng = np.random.default_rng(11)
    count = 200
    true, predicted = rng.normal(size=(2, count, 14, 3))
    turn, scale = random_rotations(rng, count), np.exp(rng.normal(size=(count, 1, 1)))
    moved = scale * predicted @ turn + rng.normal(size=(count, 1, 3)) * 10
    np.testing.assert_allclose(pa_mpjpe(moved, true), pa_mpjpe(predicted, true), rtol=1e-9)
    exact = scale * true @ turn + rng.normal(size=(count, 1, 3))
    np.testing.assert_allclose(pa_mpjpe(exact, true), 0, atol=1e-9)
    assert pa_mpjpe(exact * [1, 1, -1], true).min() > 0.05
