"""Who may import whom, read from the source; see docs/architecture.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hwhup_core.geometry.depth import depth_offset_mean

ROOT = Path(__file__).resolve().parents[2]

BASE = {'types', 'errors', 'config_io', 'compiled', 'whole_files', 'settings', 'assets'}
METHOD = BASE | {'geometry', 'body', 'networks'}
BELOW_TRAINING = METHOD | {'render', 'synthetic', 'data', 'fitting', 'labeling', 'evaluation', 'inference'}
CORE_MAY_IMPORT = {
    '__init__': set(),
    'errors': set(),
    'types': set(),
    'config_io': {'errors'},
    'compiled': set(),
    'whole_files': set(),
    'settings': {'errors', 'whole_files'},
    'assets': {'errors', 'whole_files', 'settings'},
    # What an official file is: asks the readers of bodies and weights.
    'recognition': METHOD,
    'geometry': BASE,
    'body': BASE | {'geometry'},
    'networks': BASE | {'geometry', 'body'},
    'render': BASE | {'geometry', 'body'},
    'synthetic': BASE | {'geometry', 'body', 'render'},
    'fitting': METHOD,
    'data': METHOD,
    # Frames on their way to a recording: what is kept, and in which state.
    'recording': BASE | {'geometry', 'body', 'data'},
    'labeling': METHOD | {'render', 'fitting', 'data', 'inference'},
    # Weights on their way into a running node.
    'deploy': METHOD | {'render', 'inference', 'whole_files'},
    'inference': METHOD | {'render'},
    'evaluation': METHOD | {'render', 'synthetic', 'data', 'inference'},
    # A run ends with the figures of its weights, made by the engine that will run them.
    'training': BELOW_TRAINING,
    # Whole experiments: pre-train, adapt, evaluate, report.
    'reproduce': BELOW_TRAINING | {'training'},
    'cli': BELOW_TRAINING | {'training', 'reproduce', 'recognition', 'recording', 'deploy'},
}
"""Folder or file of hwhup_core -> the others it may import."""

ROS_MAY_IMPORT = BASE - {'compiled'} | {'inference'}
ROS_MAY_ALSO_IMPORT = {
    # The live crib and its truth.
    'synthetic_camera_node': {'synthetic', 'body'},
    'truth': {'synthetic', 'body', 'geometry'},
    # Recordings in our own format.
    'recordings': {'data'},
    'bag_import': {'recording', 'data'},
    'bag_export': {'data'},
    'recorder_node': {'recording', 'data'},
    'recorder_config': {'recording', 'data'},
    'recorder_intake': {'recording', 'data'},
    'recorder_health': {'recording', 'data'},
    'monitor_session': {'recording', 'data'},
    # Weights from the store of deployed models, tested before they answer.
    'live_model': {'deploy'},
    'adapt_demo': {'deploy'},
    # Drawing: the message holds a pose, a picture needs the mesh; a point cloud needs the camera's rays.
    'marker_node': {'body'},
    'markers': {'body'},
    'viewer': {'body'},
    'snapshot': {'body', 'geometry', 'render'},
    'point_cloud': {'geometry'},
}
"""Module of hwhup_ros -> what it may import of hwhup_core beyond the rest."""

ONLY_IMPORTED_IN = {
    'anny': 'hwhup_core/body/anny.py',
    'pytorch3d': 'hwhup_core/render/pytorch3d_backend.py',
    'onnxruntime': 'hwhup_core/inference/onnx_backend.py',
    'openvino': 'hwhup_core/inference/openvino_backend.py',
    'torch.utils.tensorboard': 'hwhup_core/training/logbook.py',
    'tensorboard': 'hwhup_core/training/logbook.py',
    'torch.distributed': 'hwhup_core/training/distributed.py',
    'rosbags': 'hwhup_ros/bags.py',
    'viser': 'hwhup_ros/viewer.py',
    'cv_bridge': 'hwhup_ros/images.py',
}
"""Heavy or optional library -> the one file that may import it."""


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and full name of every module that the file imports, at the top or inside a function."""
    package = path.relative_to(ROOT).with_suffix('').parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = '.'.join(package[: len(package) - node.level + 1]) + '.' if node.level else ''
            source = (start + (node.module or '')).rstrip('.')
            # `from hwhup_core import data` imports the module hwhup_core.data.
            yield from ((node.lineno, f'{source}.{alias.name}') for alias in node.names)


def modules_of(package: str) -> list[Path]:
    """Return the Python files of a package of this repository."""
    return sorted((ROOT / package).rglob('*.py'))


def faults(package: str, allowed) -> list[str]:
    """Return one line for each import in `package` that `allowed(path, name)` denies."""
    return [
        f'{path.relative_to(ROOT)}:{line} imports {name}'
        for path in modules_of(package)
        for line, name in imported_modules(path)
        if not allowed(path, name)
    ]


def require_none(found: list[str]) -> None:
    """Fail with every fault and the way out."""
    assert not found, '\n'.join(
        [*found, 'Not in the import rules of docs/architecture.md: move the code, or the rule.']
    )


def core_folder(path: Path) -> str:
    """Return which entry of CORE_MAY_IMPORT a file of hwhup_core belongs to."""
    return path.relative_to(ROOT / 'hwhup_core').with_suffix('').parts[0]


def imported_folder(name: str) -> str | None:
    """Return the folder or file of hwhup_core that a name means; None for its `__version__` and for other packages."""
    parts = name.split('.')
    return parts[1] if parts[0] == 'hwhup_core' and len(parts) > 1 and parts[1] != '__version__' else None


def test_core_layers():
    def allowed(path, name):
        folder = imported_folder(name)
        return folder in {None, core_folder(path)} | CORE_MAY_IMPORT[core_folder(path)]

    require_none(faults('hwhup_core', allowed))


def test_core_knows_no_ros():
    def allowed(_, name):
        top = name.split('.')[0]
        return top not in {
            'rclpy',
            'hwhup_ros',
            'launch',
            'launch_ros',
            'cv_bridge',
            'tf2_ros',
            'builtin_interfaces',
        } and not (top.endswith(('_msgs', '_msgs_py', '_srvs')))

    require_none(faults('hwhup_core', allowed))


def test_ros_knows_only_the_engine():
    def allowed(path, name):
        folder = imported_folder(name)
        return folder in {None} | ROS_MAY_IMPORT | ROS_MAY_ALSO_IMPORT.get(path.stem, set())

    require_none(faults('hwhup_ros', allowed))


@pytest.mark.parametrize('package', ['hwhup_core', 'hwhup_ros'])
def test_heavy_libraries_stay_in_their_file(package):
    def allowed(path, name):
        parts = name.split('.')
        homes = {ONLY_IMPORTED_IN.get('.'.join(parts[:length])) for length in range(1, len(parts) + 1)} - {None}
        return homes <= {path.relative_to(ROOT).as_posix()}

    require_none(faults(package, allowed))


def test_the_reader_sees_every_kind_of_import(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), 'ROOT', tmp_path)
    source = tmp_path / 'hwhup_core' / 'body' / 'file.py'
    source.parent.mkdir(parents=True)
    source.write_text('import a.b\nfrom c import d\nfrom . import e\ndef f():\n    from ..render import g\n')
    assert sorted(imported_modules(source)) == [
        (1, 'a.b'), (2, 'c.d'), (3, 'hwhup_core.body.e'), (5, 'hwhup_core.render.g'),
    ]  # fmt: skip


def test_shape_checks_are_on():
    observed, rendered = torch.zeros(2, 4, 5), torch.zeros(1, 4, 5)
    with pytest.raises(Exception, match='Type-check error'):
        depth_offset_mean(observed, rendered, torch.zeros(2, 4, 5).bool())
