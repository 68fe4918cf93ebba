"""
The paper's own figures, in one place. Real people and SMPL; never to be mixed with what is measured here.

Tables 3 and 4 are named after what they are about; the paper's own numbering of these two could not be checked.
"""

from __future__ import annotations

from collections.abc import Mapping

TABLE1_DEPTH_MM: Mapping[str, float] = {
    'pre_trained': 80.10, 'fine_tuned': 68.38, 'without_loop': 63.43, '3d_dp': 48.13, '3d_dp_vis': 47.41, 'full': 36.01,
    'no_prior': 38.54, '2d_d': 39.32,
}  # fmt: skip
"""Aligned depth error of the ablation: SLP danaLab test people, colour, uncovered."""

TABLE2_DEPTH_MM: Mapping[str, Mapping[str, float]] = {
    'depth': {'uncover': 33.87, 'cover1': 36.87, 'cover2': 37.26, 'all': 36.00},
    'lwir': {'uncover': 38.45, 'cover1': 39.82, 'cover2': 40.42, 'all': 39.56},
    'pm': {'uncover': 41.48, 'cover1': 41.43, 'cover2': 41.68, 'all': 41.53},
    'combined': {'uncover': 37.62, 'cover1': 37.92, 'cover2': 38.26, 'all': 37.93},
}
"""Aligned depth error of HW-HuP on SLP by modality and cover."""

TABLE_S1_PCK: Mapping[str, Mapping[str, float]] = {
    'depth': {'uncover': 96.64, 'all': 93.34},
    'lwir': {'uncover': 95.22, 'all': 92.96},
    'pm': {'uncover': 91.19, 'all': 91.06},
    'combined': {'uncover': 95.49, 'all': 94.49},
}
"""PCK@0.2 (%) of HW-HuP on SLP."""

TABLE3_MM: Mapping[str, Mapping[str, float | None]] = {
    'pre_trained': {'h36m_mpjpe_mm': 65.7, 'h36m_pa_mpjpe_mm': 44.2, '3dpw_pa_mpjpe_mm': 59.2},
    'fine_tuned': {'h36m_mpjpe_mm': None, 'h36m_pa_mpjpe_mm': None, '3dpw_pa_mpjpe_mm': None},
    'full': {'h36m_mpjpe_mm': 104.1, 'h36m_pa_mpjpe_mm': 50.4, '3dpw_pa_mpjpe_mm': 66.1},
}
"""
SPIN (`pre_trained`) and HW-HuP (`full`) on Human3.6M's S9 and S11 and on 3DPW's test people, 14 joints. SPIN was
trained with Human3.6M's true bodies: there HW-HuP starts from a fully supervised network and ends behind it.
"""

TABLE4_DEPTH_MM: Mapping[str, float | None] = {'pre_trained': None, 'fine_tuned': None, 'full': 42.0}
"""Aligned depth error of HW-HuP on the infants of MIMM."""

TABLE_S2_MM: Mapping[str, float] = {'mpjpe_mm': 106.0, 'pa_mpjpe_mm': 51.9}
"""
Plain mean over Human3.6M's actions. The released code's list of an action goes on from the one before, so that early
frames count again and again: the means over frames are Table 3's.
"""
