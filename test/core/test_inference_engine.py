"""The engine with a fake network that knows the answer, on depth rendered from a known body."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.errors import AssetError, ConfigError, FrameError
from hwhup_core.geometry.cameras import project
from hwhup_core.geometry.crops import turn_matrix
from hwhup_core.geometry.rotations import axis_angle_to_matrix, quaternion_to_matrix
from hwhup_core.inference import Engine, EngineConfig, build_engine
from hwhup_core.inference.flip import mirror_prediction, turn_prediction
from hwhup_core.inference.placement import compare_depth
from hwhup_core.networks.card import ModelCard
from hwhup_core.networks.checkpoint import Loaded
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import InputConfig, Modality, crop_to_input
from hwhup_core.render.numba_backend import depth_buffer
from hwhup_core.types import BodyParams, Frame, Intrinsics, PersonBox, Posture, Prediction, State, WeakPerspective

CAMERA = Intrinsics(600.0, 600.0, 320.0, 240.0, 640, 480)
LENS = replace(CAMERA, distortion_model='plumb_bob', distortion=(-0.15, 0.05, 0.001, -0.001, 0.0))
TINY = CompactConfig(input_size=16, stem_width=2, widths=(2,), blocks=(1,), spatial_width=1, hidden_width=2)
SURE = {'sigma_floor_m': 0.01, 'sigma_gain': 0.1}
TRUE_TRANSLATION = np.array([0.12, -0.08, 1.3])
BED_DEPTH = 1.42
BOX = PersonBox(320 + 600 * 0.12 / 1.3, 240 - 600 * 0.08 / 1.3, 420.0)
"""Centred on the pixel of the body's origin, so that the crop camera's shift is zero."""


LOOKS: list[PersonBox] = []
"""Boxes that engines have cropped, newest last."""


@pytest.fixture(autouse=True)
def _watched_crops(monkeypatch):
    """Let the fake network know which box it is shown; what is wrong with the frame is still found."""

    def crop(frame, box, config):
        LOOKS.append(box)
        return crop_to_input(frame, box, config)

    monkeypatch.setattr('hwhup_core.inference.engine.crop_to_input', crop)


class FakeRegressor(CompactRegressor):
    """Knows where the body is in the image and answers rightly for any box, turned ones and mirror images included."""

    def __init__(self, answers: tuple[Prediction, Prediction], pelvises: tuple[torch.Tensor, ...], seen_in: PersonBox):
        super().__init__(TINY)
        self.answers, self.pelvises, self.seen_in = answers, pelvises, seen_in
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        first, second = (self.in_box(*known, LOOKS[-1]) for known in zip(self.answers, self.pelvises))
        if len(images) == 1:
            return first
        second = mirror_prediction(second)
        return Prediction(
            BodyParams(*(torch.cat([getattr(p.params, n) for p in (first, second)]) for n in vars(first.params))),
            WeakPerspective(*(torch.cat([getattr(p.camera, n) for p in (first, second)]) for n in vars(first.camera))),
        )

    def in_box(self, answer, pelvis, box):
        """Return the answer for `box`, from that for `seen_in`, in whose centre the body's origin lies."""
        pixels_per_metre = answer.camera.scale * self.seen_in.side / 2
        offset = torch.tensor([[self.seen_in.center_x - box.center_x, self.seen_in.center_y - box.center_y]])
        camera = WeakPerspective(pixels_per_metre / (box.side / 2), (offset / pixels_per_metre).float())
        return turn_prediction(Prediction(answer.params, camera), pelvis, box.turn)


@pytest.fixture(scope='module')
def body() -> BodyModel:
    return load_body('infant')


def lying_params(seed: int = 1) -> BodyParams:
    """Return a supine infant under a camera that looks down: front towards it, head towards the image's top."""
    generator = torch.Generator().manual_seed(seed)
    facing_camera = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    joints = axis_angle_to_matrix(0.25 * torch.randn(1, 23, 3, generator=generator))
    return BodyParams(facing_camera[None], joints, 0.5 * torch.randn(1, 10, generator=generator))


def prediction_of(params: BodyParams, scale: float) -> Prediction:
    return Prediction(params, WeakPerspective(torch.tensor([scale]), torch.zeros(1, 2)))


def true_scale() -> float:
    """Half crop sides per metre at the true distance."""
    return CAMERA.fx / TRUE_TRANSLATION[2] / (BOX.side / 2)


def make_engine(body, prediction, second=None, modality=Modality.RGB, calibration=None, seen_in=BOX, **settings):
    """Return an engine whose network gives `prediction` for the box `seen_in`, and `second` for its mirror image."""
    answers = (prediction, prediction if second is None else second)
    network = FakeRegressor(answers, [body.skeleton(answer.params).joints[:, 0] for answer in answers], seen_in)
    card = ModelCard(
        'compact', InputConfig((modality,), 16), body.body_id, body.hash, 'CC0-1.0', TINY, weights_hash='f00d',
        calibration=calibration or {},
    )  # fmt: skip
    return Engine(Loaded(network, card), body, EngineConfig(threads=1, **settings))


def rendered_depth(body, params, intrinsics=CAMERA, translation=TRUE_TRANSLATION, bed=BED_DEPTH):
    """Depth of the body on a flat bed, seen through the lens."""
    vertices = body(params).vertices[0].numpy() + translation
    empty = np.zeros((480, 640), np.float32)
    comparison = compare_depth(vertices, body.faces.numpy(), empty, intrinsics)
    depth = np.full((480, 640), bed, np.float32)
    window = comparison.window.cut(depth)
    window[comparison.rendered > 0] = comparison.rendered[comparison.rendered > 0]
    return depth


def frame_with(depth=None, intrinsics=CAMERA, color=True):
    pixels = np.full((480, 640, 3), 90, np.uint8) if color else None
    return Frame(7, 'optical', pixels, depth, intrinsics=intrinsics)


def mismatched_frame():
    """Return what no type check stops at run time: depth of another size than colour."""
    frame = frame_with()
    object.__setattr__(frame, 'depth', np.ones((240, 320), np.float32))
    return frame


def test_compare_depth_draws_what_the_full_renderer_draws(body):
    params = lying_params()
    vertices = body(params).vertices[0].numpy() + TRUE_TRANSLATION
    full, _ = depth_buffer(vertices, body.faces.numpy(), np.array([600.0, 600.0, 320.0, 240.0]), (480, 640))
    comparison = compare_depth(vertices, body.faces.numpy(), full, CAMERA)
    assert np.count_nonzero(full) == np.count_nonzero(comparison.rendered)
    assert np.abs(comparison.window.cut(full) - comparison.rendered).max() < 1e-4


@pytest.mark.parametrize('intrinsics', [CAMERA, LENS])
@pytest.mark.parametrize('wrong_scale', [1.0, 0.8, 1.25])
def test_depth_recovers_the_true_translation(body, intrinsics, wrong_scale):
    params = lying_params()
    origin = np.array([[TRUE_TRANSLATION[0], TRUE_TRANSLATION[1], TRUE_TRANSLATION[2]]])
    center = project(origin, intrinsics)[0]
    box = PersonBox(center[0], center[1], BOX.side)
    engine = make_engine(body, prediction_of(params, true_scale() * wrong_scale), seen_in=box, max_people=1)
    depth = rendered_depth(body, params, intrinsics)
    (estimate,) = engine(frame_with(depth, intrinsics), [box])
    truth = body(params).joints[0].numpy() + TRUE_TRANSLATION
    assert np.linalg.norm(estimate.joint_positions - truth, axis=1).max() < 0.005
    assert estimate.state == State.ESTIMATED
    assert estimate.aligned_depth_error < 0.004


def test_without_depth_the_body_size_gives_the_distance(body):
    engine = make_engine(body, prediction_of(lying_params(), true_scale()), visnet='off')
    (estimate,) = engine(frame_with(), [BOX])
    pelvis = body(lying_params()).joints[0, 0].numpy() + TRUE_TRANSLATION
    assert np.linalg.norm(estimate.root_position - pelvis) < 0.01
    assert np.isnan(estimate.aligned_depth_error)
    assert np.isnan(estimate.joint_visibility).all()


def test_every_field_fits_the_others(body):
    params = lying_params()
    engine = make_engine(body, prediction_of(params, true_scale()), up_in_camera=(0.0, 0.0, -1.0))
    (estimate,) = engine(frame_with(rendered_depth(body, params)), [BOX])
    assert np.allclose(project(estimate.joint_positions, CAMERA), estimate.joint_pixels)
    assert np.allclose(estimate.root_position, estimate.joint_positions[0])
    assert np.allclose(np.linalg.norm(estimate.joint_orientations, axis=1), 1, atol=1e-5)
    chained = body.global_joint_rotations(params)[0]
    orientations = quaternion_to_matrix(torch.from_numpy(estimate.joint_orientations)).float()
    assert torch.allclose(orientations, chained, atol=1e-5)
    rotations = axis_angle_to_matrix(torch.from_numpy(estimate.pose.reshape(24, 3)))
    assert torch.allclose(rotations[1:].float(), params.joint_rotations[0], atol=1e-5)
    assert (estimate.stamp_ns, estimate.frame_id, estimate.subject_id) == (7, 'optical', 'subject')
    assert (estimate.body_hash, estimate.weights_hash) == (body.hash, 'f00d')
    assert estimate.posture == Posture.SUPINE
    assert replace(estimate.box, turn=0.0) == BOX


def test_vertices_are_the_mesh_of_the_estimate(body):
    params = lying_params()
    engine = make_engine(body, prediction_of(params, true_scale()))
    (estimate,) = engine(frame_with(rendered_depth(body, params)), [BOX])
    kept = engine.vertices(estimate)
    again = engine.vertices(replace(estimate))  # A copy is not remembered, so it is posed from its numbers.
    assert kept.shape == (6890, 3)
    assert np.abs(kept - again).max() < 1e-4
    assert np.abs(kept - (body(params).vertices[0].numpy() + TRUE_TRANSLATION)).max() < 0.006


def test_an_occluder_hides_the_joints_under_it(body):
    params = lying_params()
    depth = rendered_depth(body, params)
    engine = make_engine(body, prediction_of(params, true_scale()))
    (clear,) = engine(frame_with(depth), [BOX])
    assert clear.joint_visibility[0] == 1
    x, y = clear.joint_pixels[0].astype(int)
    covered = depth.copy()
    covered[y - 8 : y + 8, x - 8 : x + 8] = 0.9
    (hidden,) = engine(frame_with(covered), [BOX])
    assert hidden.joint_visibility[0] == 0
    holed = depth.copy()
    holed[y - 8 : y + 8, x - 8 : x + 8] = 0
    (unknown,) = engine(frame_with(holed), [BOX])
    assert np.isnan(unknown.joint_visibility[0])
    head = clear.joint_visibility[15]
    assert hidden.joint_visibility[15] == head == unknown.joint_visibility[15]


def test_holes_everywhere_give_an_estimate_that_nothing_checked(body):
    engine = make_engine(body, prediction_of(lying_params(), true_scale()))
    (estimate,) = engine(frame_with(np.zeros((480, 640), np.float32)), [BOX])
    assert estimate.state == State.LOW_CONFIDENCE
    assert np.isnan(estimate.aligned_depth_error)
    assert np.isfinite(estimate.joint_positions).all()


def test_a_crop_camera_without_size_holds_nobody(body):
    (estimate,) = make_engine(body, prediction_of(lying_params(), -0.1))(frame_with(), [BOX])
    assert estimate.state == State.NO_PERSON


def test_an_empty_bed_holds_nobody(body):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:480, :640]
    slanted = 1 / (0.7 + 0.0003 * rows - 0.0001 * columns)  # A plane has a linear inverse depth.
    noisy = (slanted + rng.normal(0, 0.004, slanted.shape)).astype(np.float32)
    engine = make_engine(body, prediction_of(lying_params(), true_scale()))
    (estimate,) = engine(frame_with(noisy))
    assert estimate.state == State.NO_PERSON
    assert np.isnan(estimate.pose).all()
    assert np.isnan(estimate.joint_positions).all()
    assert np.isnan(engine.vertices(estimate)).all()


def test_a_bad_fit_is_of_low_confidence(body):
    depth = rendered_depth(body, lying_params(1))
    depth[:, ::2] += 0.2  # Stripes that no body explains.
    engine = make_engine(body, prediction_of(lying_params(), true_scale()), max_aligned_depth_error_m=0.05)
    (estimate,) = engine(frame_with(depth), [BOX])
    assert estimate.state == State.LOW_CONFIDENCE
    assert estimate.aligned_depth_error > 0.05


def test_flip_twins_that_agree_leave_the_floor(body):
    calibration = {'sigma_floor_m': 0.02, 'sigma_gain': 0.5}
    engine = make_engine(body, prediction_of(lying_params(), true_scale()), calibration=calibration)
    (estimate,) = engine(frame_with(), [BOX])
    assert np.allclose(estimate.joint_sigma, 0.02, atol=1e-4)
    assert estimate.confidence > 0.999
    assert engine.loaded.model.calls == 0, 'The engine runs its own fused copy.'


def test_flip_twins_that_differ_raise_the_sigma(body):
    calibration = {'sigma_floor_m': 0.02, 'sigma_gain': 0.5}
    first, other = prediction_of(lying_params(1), true_scale()), prediction_of(lying_params(2), true_scale())
    engine = make_engine(body, first, other, calibration=calibration)
    (estimate,) = engine(frame_with(), [BOX])
    assert estimate.joint_sigma[0] == pytest.approx(0.02)  # The pelvis is where both are pinned together.
    assert estimate.joint_sigma[20:22].min() > 0.025
    assert estimate.confidence < 1


def test_without_calibration_the_uncertainty_is_unknown(body):
    (estimate,) = make_engine(body, prediction_of(lying_params(), true_scale()))(frame_with(), [BOX])
    assert np.isnan(estimate.joint_sigma).all()
    assert np.isnan(estimate.confidence)
    assert estimate.state == State.ESTIMATED


def test_two_frames_are_followed(body):
    params = lying_params()
    engine = make_engine(body, prediction_of(params, true_scale()), refine_first=2)
    (first,) = engine(frame_with())
    calls = engine._network.calls
    (second,) = engine(frame_with())
    assert calls == 4 * 3, 'A first look and two closer ones for each of four headings.'
    assert engine._network.calls == calls + 1
    assert second.box != first.box
    assert second.subject_id == first.subject_id
    engine.reset()
    (again,) = engine(frame_with())
    assert again.box == first.box


def test_the_region_is_where_the_search_starts(body):
    engine = make_engine(body, prediction_of(lying_params(), 1.0), region=(100.0, 50.0, 300.0), refine_first=0)
    (estimate,) = engine(frame_with())
    assert replace(estimate.box, turn=0.0) == PersonBox(250.0, 200.0, 300.0)


@pytest.mark.parametrize('heading', [0.0, 1.0, 3.0])
def test_the_last_look_is_close_and_upright(body, heading):
    params = lying_params()
    turn = torch.eye(3)
    turn[:2, :2] = torch.from_numpy(turn_matrix(heading))
    lying = BodyParams(turn @ params.global_rotation, params.joint_rotations, params.betas)
    extents = {'extent_wide': 0.7, 'extent_close': 0.9}
    engine = make_engine(body, prediction_of(lying, true_scale()), calibration=extents | SURE, refine_first=2)
    (estimate,) = engine(frame_with())
    seen = engine.body.skeleton(lying).joints[0, :, :2].numpy() * (true_scale() * BOX.side / 2)
    upright = seen @ turn_matrix(estimate.box.turn).T
    assert abs(upright[12, 0] - upright[0, 0]) < 2
    assert upright[12, 1] < upright[0, 1]
    extent = np.ptp(upright, axis=0).max()
    assert estimate.box.side == pytest.approx(1.35 / 0.9 * extent, rel=0.02)


def test_the_heading_that_agrees_with_the_depth_is_taken(body, monkeypatch):
    """A network that is right only where the crop shows the head up: the other three starts go wrong."""
    params, wrong = lying_params(1), lying_params(2)
    engine = make_engine(body, prediction_of(params, true_scale()), refine_first=0)
    network, right = engine._network, engine._network.in_box

    def fooled(answer, pelvis, box):
        return right(replace(answer, params=wrong if abs(box.turn) > 1 else params), pelvis, box)

    monkeypatch.setattr(network, 'in_box', fooled)
    (estimate,) = engine(frame_with(rendered_depth(body, params)))
    assert estimate.box.turn == 0
    assert estimate.aligned_depth_error < 0.004


def test_given_boxes_give_one_estimate_each(body):
    engine = make_engine(body, prediction_of(lying_params(), true_scale()), max_people=2)
    estimates = engine(frame_with(), [BOX, PersonBox(200.0, 200.0, 150.0), PersonBox(300.0, 200.0, 150.0)])
    assert [estimate.subject_id for estimate in estimates] == ['subject', 'subject_2']


def test_the_mean_pose_is_placed_like_any_other(body):
    engine = make_engine(body, prediction_of(lying_params(), true_scale()))
    baseline = engine.mean_pose_estimate(frame_with(rendered_depth(body, lying_params())), BOX)
    assert baseline.aligned_depth_error > 0.005
    assert np.isfinite(baseline.joint_positions).all()


@pytest.mark.parametrize(
    ('frame', 'reason', 'words'),
    [
        (mismatched_frame(), 'size_mismatch', 'rgb 640x480, depth 320x240'),
        (frame_with(intrinsics=None), 'missing_intrinsics', 'camera_info'),
        (frame_with(intrinsics=replace(CAMERA, width=320)), 'intrinsics_size_mismatch', '320x480'),
        (frame_with(intrinsics=replace(CAMERA, fx=0.0)), 'bad_intrinsics', 'not calibrated'),
        (frame_with(np.ones((480, 640), np.float32), color=False), 'missing_rgb', 'holds depth'),
    ],
)
def test_a_bad_frame_is_refused_with_its_reason(body, frame, reason, words):
    engine = make_engine(body, prediction_of(lying_params(), true_scale()))
    with pytest.raises(FrameError, match=words) as caught:
        engine(frame)
    assert caught.value.reason == reason
    assert len(engine(frame_with())) == 1, 'The engine must go on after a bad frame.'


def test_a_box_outside_the_image_is_refused(body):
    engine = make_engine(body, prediction_of(lying_params(), true_scale()))
    with pytest.raises(FrameError, match='centre inside the image'):
        engine(frame_with(), [PersonBox(-50.0, 100.0, 100.0)])


def test_missing_weights_are_named():
    with pytest.raises(AssetError, match='nowhere'):
        build_engine(EngineConfig(weights='nowhere/weights'))


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('device', 'tpu'), ('threads', 0), ('box_margin', 0.5), ('refine_first', 9), ('min_confidence', 1.5),
        ('region', (0.0, 0.0, 0.0)), ('up_in_camera', (0.0, 0.0, 0.0)), ('subject_id', '1'), ('max_people', 0),
        ('region', (0.0, float('nan'), 5.0)),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        EngineConfig(**{field: value})
