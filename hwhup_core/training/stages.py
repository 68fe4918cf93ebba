"""
What is on in which epoch, as functions of the epoch, and the columns of the paper's Table 1 (method 3.5, 3.6).

Epochs count from 0: Stage II starts with epoch `stage_two_epoch`, after as many epochs of Stage I (the code's `>=`;
equation 5 writes `>`). Nothing here is ever updated, so that a resumed run needs no memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from hwhup_core.errors import ConfigError
from hwhup_core.fitting.config import PRESETS as FIT_PRESETS
from hwhup_core.fitting.config import SmplifyConfig
from hwhup_core.geometry import depth_cleaning, proxies
from hwhup_core.geometry.depth_cleaning import CleaningConfig
from hwhup_core.geometry.proxies import Centring, ProxyConfig
from hwhup_core.training.weak_losses import DepthTermConfig, WeakWeights

KEYPOINT_SLOTS = 49
"""Joints that the released code's L2D and fit score are means over, with or without a label."""
PROXY_SLOTS = 24
"""Joints that its L3D is a mean over."""


@dataclass(frozen=True)
class StageConfig:
    """
    One way to adapt a regressor without 3D labels.

    The defaults are the paper's full method before the real camera; `PAPER` has SPIN's.
    """

    epochs: int = 30
    """Passes over the frames; 0 leaves the regressor as it is."""
    stage_two_epoch: int = 10
    """First epoch (from 0) in which rendered depth takes the place of the proxies."""
    fits: Literal['off', 'static', 'loop'] = 'loop'
    """Where LSMPL's targets come from: nowhere; fits made once, before training; fits renewed in every step (OPT)."""
    proxies: Literal['off', 'all', 'visible'] = 'visible'
    """Which joints' depth proxies L3D takes: none; all that were measured, occluded or not; those that are seen."""
    rendered_depth: bool = True
    """Whether there is a Stage II; without one, the proxies stay on to the end."""
    centring: Centring = 'visible_mean'
    """What L3D takes for the root."""
    body_mask: Literal['body', 'everything'] = 'body'
    """Ma of LD: the body's mask, or every pixel (the released code, in bed)."""
    crop_camera: Literal['true', 'spin'] = 'true'
    """What stands behind a crop in L2D, OPT and LD: the camera of its intrinsics and box, or SPIN's of 5000 px."""
    camera_until_epoch: int = 0
    """First epoch without Lcam; it also needs a weight (infants: weight 1, until epoch 200 of 640)."""
    depth_term: DepthTermConfig = field(default_factory=DepthTermConfig)
    """How LD compares."""
    weights: WeakWeights = field(default_factory=WeakWeights)
    """What each term counts while it is on."""
    smplify: SmplifyConfig = field(default_factory=SmplifyConfig)
    """The fit, with its fading prior."""
    cleaning: CleaningConfig = depth_cleaning.PAPER
    """How the depth is cleaned before anything is taken from it."""
    proxy: ProxyConfig = field(default_factory=ProxyConfig)
    """How proxies are taken from the depth."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.stage_two_epoch, self.camera_until_epoch) < 0:
            raise ConfigError('epochs, stage_two_epoch and camera_until_epoch must be at least 0.')

    def in_stage_two(self, epoch: int) -> bool:
        """Return whether rendered depth has taken over."""
        return self.rendered_depth and epoch >= self.stage_two_epoch

    def weights_at(self, epoch: int) -> WeakWeights:
        """Return what each term counts in this epoch; 0 for what is off, which then need not be computed."""
        weights, fitted = self.weights, self.fits != 'off'
        return replace(
            weights,
            pose=weights.pose if fitted else 0.0,
            betas=weights.betas if fitted else 0.0,
            camera=weights.camera if fitted and epoch < self.camera_until_epoch else 0.0,
            proxies=weights.proxies if self.proxies != 'off' and not self.in_stage_two(epoch) else 0.0,
            depth=weights.depth if self.in_stage_two(epoch) else 0.0,
        )

    def prior_weight_at(self, epoch: int) -> float:
        """Return lambda(e) = lambda_0 f^e of the fit's pose prior, not yet squared (method 2.7)."""
        return self.smplify.weights.prior_weight_at(epoch)


def _with_prior(config: SmplifyConfig, pose: float | None = None, decay: float | None = None) -> SmplifyConfig:
    """Return the fit with another pose prior."""
    weights = config.weights
    return replace(
        config,
        weights=replace(
            weights,
            pose=weights.pose if pose is None else pose,
            pose_decay=weights.pose_decay if decay is None else decay,
        ),
    )


def with_true_camera(config: StageConfig) -> StageConfig:
    """Return the configuration with the real camera behind each crop, which neither paper nor released code has."""
    return replace(config, crop_camera='true')


def for_joint_set(config: StageConfig, joints: int) -> StageConfig:
    """
    Return the configuration for a set of so many joints, in which each joint counts what it counts in `config`.

    `config` is one for the released code's slots, most of them empty: L2D and the fit's score are means over 49, L3D is
    one over 24. In a mean over fewer slots a joint weighs more; the weights take that back, and the threshold follows
    the score.
    """
    if joints < 1:
        raise ConfigError(
            f'A set of {joints} joints; expected at least 1. Give the number of joints of the key points.'
        )
    weights = replace(
        config.weights,
        keypoints=config.weights.keypoints * joints / KEYPOINT_SLOTS,
        proxies=config.weights.proxies * joints / PROXY_SLOTS,
    )
    threshold = config.smplify.threshold * KEYPOINT_SLOTS / joints
    return replace(config, weights=weights, smplify=replace(config.smplify, threshold=threshold))


PAPER = StageConfig(crop_camera='spin', smplify=FIT_PRESETS['paper'])
"""The paper's full method: Stage II from epoch 10 of 30, 50 + 50 iterations under a fading prior, median offset."""

RELEASED_CODE = StageConfig(
    crop_camera='spin',
    centring='hip_mean',
    body_mask='everything',
    depth_term=DepthTermConfig(offset='mean', drop_holes=False),
    smplify=FIT_PRESETS['released_code'],
    cleaning=depth_cleaning.RELEASED_CODE,
    proxy=proxies.RELEASED_CODE,
)
"""
What the released code does in bed. Unlike `PAPER` it centres on both hips, seen or not; compares all pixels, holes as
depth 0, up to the mean offset; fits in 100 + 100 iterations with a prior that never fades; does not denoise; keeps
proxies at holes. Its crop of SLP, too wide and off centre, belongs to the reader and is no field here.
"""

PRE_TRAINED = replace(PAPER, epochs=0)
"""Column 1, the paper's "SPIN*": no epoch of adaptation."""

FINE_TUNED = replace(PAPER, proxies='off', rendered_depth=False, smplify=_with_prior(PAPER.smplify, decay=1.0))
"""Column 2, the paper's "SPIN": 2D joints and OPT alone, without proxies and Stage II; the prior does not fade."""

WITHOUT_LOOP = replace(FINE_TUNED, fits='static')
"""Column 3, the paper's "HMR" (which has no adversary here): as column 2, but the fits are made once."""

DP = replace(PAPER, proxies='all', rendered_depth=False)
"""Column 4, "3D-dp": proxies without regard to visibility, no Stage II. (The released script's flag was misread, so
that it ran column 5 instead.)"""

DP_VIS = replace(PAPER, rendered_depth=False)
"""Column 5, "3D-dp-vis": visible proxies, no Stage II."""

FULL = PAPER
"""Column 6, "3D-dp-vis-D": the paper's method."""

NO_PRIOR = replace(PAPER, smplify=_with_prior(PAPER.smplify, pose=0.0))
"""Column 7, "noPrior": the full method, but the fit has no pose prior; its angle and shape priors stay."""

DEPTH_2D = replace(PAPER, fits='static', proxies='off', stage_two_epoch=0)
"""Column 8, "2D-D": 2D joints and rendered depth from the first epoch, no proxies and no loop; as in the released
script, LSMPL stays, with fits that are made once."""

TABLE_ONE = {
    'pre_trained': PRE_TRAINED,
    'fine_tuned': FINE_TUNED,
    'without_loop': WITHOUT_LOOP,
    '3d_dp': DP,
    '3d_dp_vis': DP_VIS,
    'full': FULL,
    'no_prior': NO_PRIOR,
    '2d_d': DEPTH_2D,
}
"""The eight columns, in the paper's order."""

PRESETS = {'paper': PAPER, 'released_code': RELEASED_CODE, **TABLE_ONE}
"""Every named configuration."""
