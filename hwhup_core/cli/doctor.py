"""`hwhup doctor`: what is installed, which assets are here, what is missing and where to get it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from hwhup_core import __version__
from hwhup_core.assets import ASSET_KINDS, assets_folder, find_asset, stored_assets
from hwhup_core.body.files import read_body_file
from hwhup_core.body.model import ASSETS, BUNDLED
from hwhup_core.errors import HwhupError
from hwhup_core.inference.engine import BUNDLED_WEIGHTS
from hwhup_core.networks.checkpoint import load_checkpoint
from hwhup_core.settings import SETTINGS, all_settings

REQUIRED_PACKAGES = ('torch', 'numpy', 'opencv-python-headless', 'numba', 'safetensors', 'PyYAML', 'jaxtyping', 'tqdm')
ALTERNATIVES = {'opencv-python-headless': ('opencv-python', 'opencv-contrib-python')}
OPTIONAL_PACKAGES = {
    'trimesh': 'meshes as GLB and OBJ',
    'viser': 'the 3D page of `hwhup monitor --view`',
    'smplx': 'exchange with other SMPL programs (non-commercial licence)',
    'pytorch3d': 'its renderer behind our interface',
    'rosbags': 'reading ROS bags without ROS',
}
OFFICIAL_NAMES = (
    'SMPL_*',
    'basic[mM]odel_*',
    'smil*',
    'SMIL*',
    'model_checkpoint*',
    '*mean_params*',
    'gmm_08*',
    'J_regressor*',
)
"""Names under which official files come, to notice those that were put into the assets folder by hand."""
GRAPH_CHECK = 'hwhup_ros.graph_check'
GRAPH_TIMEOUT_S = 20.0


class Mark(Enum):
    """How a line of the report stands."""

    FINE = 'ok'
    MISSING = '--'
    BROKEN = '!!'


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    mark: Mark
    text: str


def doctor(assets: Path | None) -> int:
    """Print the report; return 1 when something that is needed is broken or missing, 0 otherwise."""
    sections = {
        'Programs': find_packages(),
        'Compiled kernels': [check_kernels()],
        'Bundled bodies': [check_body(name, ASSETS / f'{name}.npz') for name in BUNDLED],
        'Bundled weights': check_weights(BUNDLED_WEIGHTS),
        'Official files (optional)': find_official(assets),
        'Data sets (optional)': find_data_sets(),
        'ROS 2': check_ros(),
    }
    print(f'hwhup {__version__}, Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} CPUs')
    for title, findings in sections.items():
        print(f'\n{title}')
        for finding in findings:
            print(f'  {finding.mark.value}  {finding.text}')
    broken = [finding for findings in sections.values() for finding in findings if finding.mark is Mark.BROKEN]
    print(f'\nproblems: {len(broken)}' if broken else '\nEverything that is needed is here.')
    return 1 if broken else 0


def find_packages() -> list[Finding]:
    """Return the versions of the packages that are needed and of those that add something."""
    findings = []
    for name in REQUIRED_PACKAGES:
        versions = [_version(each) for each in (name, *ALTERNATIVES.get(name, ()))]
        found = next((version for version in versions if version), None)
        if found:
            findings.append(Finding(Mark.FINE, f'{name} {found}'))
        else:
            findings.append(Finding(Mark.BROKEN, f'{name} is missing: pip install {name}'))
    for name, purpose in OPTIONAL_PACKAGES.items():
        found = _version(name)
        line = f'{name} {found}' if found else f'{name} is not installed (pip install {name}); it gives {purpose}'
        findings.append(Finding(Mark.FINE if found else Mark.MISSING, line))
    return findings


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_kernels() -> Finding:
    """Render one triangle and say where the compiled renderer is kept."""
    from hwhup_core.render import numba_backend

    triangle = np.array([[-1.0, -1.0, 2.0], [1.0, -1.0, 2.0], [0.0, 1.0, 2.0]])
    depth, _ = numba_backend.depth_buffer(triangle, np.array([[0, 1, 2]]), np.array([4.0, 4.0, 4.0, 4.0]), (8, 8))
    if not np.isclose(depth[4, 4], 2.0, atol=1e-5):
        return Finding(Mark.BROKEN, f'the compiled renderer gives a depth of {depth[4, 4]} m instead of 2 m')
    folder = Path(os.environ.get('NUMBA_CACHE_DIR') or Path(numba_backend.__file__).parent / '__pycache__')
    if any(folder.rglob('numba_backend.*.nbi')):
        return Finding(Mark.FINE, f'the renderer works; its compiled form is kept in {folder}')
    return Finding(
        Mark.MISSING,
        f'the renderer works, but is compiled anew at every start (seconds): {folder} is not writable. '
        'Set NUMBA_CACHE_DIR to a folder that is.',
    )


def check_body(name: str, path: Path) -> Finding:
    """Return id, hash and licence of a body file, or what is wrong with it."""
    try:
        body = read_body_file(path)
    except HwhupError as error:
        return Finding(Mark.BROKEN, str(error))
    return Finding(Mark.FINE, f'{name}: {body.body_id}, hash {body.hash[:12]}, licence {body.licence}')


def check_weights(folder: Path) -> list[Finding]:
    """Return what the cards in a folder say, after loading and hashing the weights."""
    cards = sorted(folder.glob('*.json'))
    if not cards:
        return [Finding(Mark.BROKEN, f'no weights in {folder}. Train them: hwhup train --config FILE')]
    findings = []
    for path in cards:
        try:
            card = load_checkpoint(path, None).card
        except HwhupError as error:
            findings.append(Finding(Mark.BROKEN, str(error)))
            continue
        reads = ', '.join(modality.value for modality in card.input.modalities)
        error_mm = card.metrics.get('joint_error_mm')
        quality = '' if error_mm is None else f', held-out joint error {error_mm.value:.0f} mm'
        line = f'{path.stem}: reads {reads}, body {card.body_id}, hash {card.weights_hash[:12]}, licence {card.licence}'
        findings.append(Finding(Mark.FINE, line + quality))
    return findings


def find_official(given: Path | None) -> list[Finding]:
    """Return which official files were added, and where to get the others; None means the assets folder that is set."""
    try:
        folder = given or assets_folder()
        stored = stored_assets(folder)
    except HwhupError as error:
        return [Finding(Mark.BROKEN, str(error))]
    findings = [Finding(Mark.FINE if stored else Mark.MISSING, f'folder {folder}; fill it: hwhup assets add FILE...')]
    for key, kind in ASSET_KINDS.items():
        try:
            found = find_asset(key, folder)
        except HwhupError as error:
            findings.append(Finding(Mark.BROKEN, str(error)))
            continue
        if found is None:
            findings.append(Finding(Mark.MISSING, f'{kind.title}: {kind.source}. {kind.licence}'))
        else:
            line = f'{kind.title}: {found.name}, SHA-256 {stored[key].sha256[:12]}, {stored[key].licence}'
            findings.append(Finding(Mark.FINE, line))
    return findings + _strays(folder, {entry.file for entry in stored.values()})


def _strays(folder: Path, known: set[str]) -> list[Finding]:
    """Return official files that lie in the folder and were not added."""
    paths = (
        {path for name in OFFICIAL_NAMES for path in folder.rglob(name) if path.is_file()} if folder.is_dir() else set()
    )
    strays = sorted(path for path in paths if path.relative_to(folder).as_posix() not in known)
    return [Finding(Mark.MISSING, f'{path} was not added, and is not used: hwhup assets add {path}') for path in strays]


def find_data_sets() -> list[Finding]:
    """Return which data sets are configured, and how to configure the others."""
    try:
        settings = all_settings()
    except HwhupError as error:
        return [Finding(Mark.BROKEN, str(error))]
    findings = []
    for key, purpose in SETTINGS.items():
        folder = settings.get(key)
        if not key.startswith('data.'):
            continue
        if folder is None:
            findings.append(Finding(Mark.MISSING, f'hwhup config set {key} DIR; {purpose}'))
        elif folder.is_dir():
            findings.append(Finding(Mark.FINE, f'{key}: {folder}'))
        else:
            findings.append(Finding(Mark.BROKEN, f'{key}: {folder} is no folder any more: hwhup config unset {key}'))
    return findings


def check_ros() -> list[Finding]:
    """Return whether ROS is importable and, asked in a process of its own, whether the graph is alive."""
    missing = [name for name in ('rclpy', 'hwhup_ros') if find_spec(name) is None]
    if missing:
        return [
            Finding(
                Mark.MISSING,
                f'{" and ".join(missing)} not importable: run `make demo`, or source ROS 2 and this workspace',
            )
        ]
    ros = Finding(Mark.FINE, f'rclpy is importable, ROS_DISTRO is {os.environ.get("ROS_DISTRO", "not set")}')
    try:
        graph_check_is_here = find_spec(GRAPH_CHECK) is not None
    except ImportError:
        graph_check_is_here = False
    if not graph_check_is_here:
        return [ros, Finding(Mark.MISSING, f'the graph was not asked: {GRAPH_CHECK} is not installed')]
    return [ros, ask_graph([sys.executable, '-m', GRAPH_CHECK])]


def ask_graph(command: list[str]) -> Finding:
    """Return what the graph check found; a monitor that does not run is no problem of the installation."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=GRAPH_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Finding(Mark.MISSING, f'the graph check gave no answer in {GRAPH_TIMEOUT_S:.0f} s')
    if answer.returncode != 0:
        reason = (answer.stderr.strip().splitlines() or [f'exit code {answer.returncode}'])[-1]
        return Finding(Mark.BROKEN, f'ROS does not start: {reason}')
    graph = json.loads(answer.stdout)
    if not graph['nodes']:
        return Finding(Mark.MISSING, 'no node of this package is running; start one with: hwhup monitor')
    publishing = sorted(name for name, topic in graph['topics'].items() if topic['publishers'])
    return Finding(Mark.FINE, f'alive: nodes {", ".join(graph["nodes"])}; topics {", ".join(publishing) or "none"}')
