"""The camera files of other tools -> `Intrinsics`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hwhup_core.errors import AssetError
from hwhup_core.types import Intrinsics

MILLIMETRE = 0.001


def read_camera_file(path: Path) -> tuple[Intrinsics, float]:
    """
    Return the intrinsics (this package's pixel convention) and the depth unit (metres per count) of a camera file.

    JSON or YAML of three layouts: `intrinsic_matrix` with 9 numbers column by column (Open3D, RealSense recorder);
    `camera_matrix.data` with 9 numbers row by row (ROS calibration); plain `fx fy cx cy`. `depth_unit` (metres) is
    optional: 0.001. Coefficients that are all zero count as no distortion.
    """
    if not path.is_file():
        raise AssetError(f'There is no camera file {path}.')
    try:
        text = path.read_text(encoding='utf-8')
        # JSON indented with tabs is not YAML.
        content = json.loads(text) if path.suffix == '.json' else yaml.safe_load(text)
        if not isinstance(content, Mapping):
            raise ValueError(f'it holds {content!r:.40}')
        return _intrinsics(content), _depth_unit(content)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, IndexError, yaml.YAMLError) as error:
        raise AssetError(
            f'{path} is not a camera file ({type(error).__name__}: {error}). Expected JSON or YAML with width, height '
            'and either intrinsic_matrix (9 numbers, column by column), camera_matrix.data (row by row; a ROS camera '
            'calibration) or fx, fy, cx, cy.'
        ) from error


def _intrinsics(content: Mapping[str, Any]) -> Intrinsics:
    width, height = (int(content.get(f'image_{side}', content.get(side, 0))) for side in ('width', 'height'))
    fx, fy, cx, cy = _focal_and_centre(content)
    _check_positive({'width': width, 'height': height, 'fx': fx, 'fy': fy})
    model, coefficients = _distortion(content)
    # The files count pixels from the centre of the first one, this package from its corner.
    return Intrinsics(fx, fy, cx + 0.5, cy + 0.5, width, height, model, coefficients)


def _depth_unit(content: Mapping[str, Any]) -> float:
    unit = float(content.get('depth_unit', MILLIMETRE))
    _check_positive({'depth_unit': unit})
    return unit


def _focal_and_centre(content: Mapping[str, Any]) -> tuple[float, float, float, float]:
    if 'intrinsic_matrix' in content:
        k = np.array(content['intrinsic_matrix'], dtype=float).reshape(3, 3).T
    elif 'camera_matrix' in content:
        k = np.array(content['camera_matrix']['data'], dtype=float).reshape(3, 3)
    else:
        return float(content['fx']), float(content['fy']), float(content['cx']), float(content['cy'])
    return float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])


def _distortion(content: Mapping[str, Any]) -> tuple[str, tuple[float, ...]]:
    entry = content.get('distortion_coefficients', content.get('distortion', ()))
    coefficients = tuple(float(number) for number in (entry.get('data', ()) if isinstance(entry, Mapping) else entry))
    return (str(content.get('distortion_model', 'plumb_bob')), coefficients) if any(coefficients) else ('none', ())


def _check_positive(numbers: dict[str, float]) -> None:
    """Raise ValueError, with all of the numbers, unless each is finite and above 0."""
    if not all(0 < number < math.inf for number in numbers.values()):
        listed = ', '.join(f'{name} {number:g}' for name, number in numbers.items())
        raise ValueError(f'{listed}; each must be above 0')
