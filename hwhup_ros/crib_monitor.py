"""
The crib monitor in one process: camera, pose node, marker node, report and live view, without `ros2 launch`.

This file reads the arguments and prepares the environment; heavy imports wait until both are done, because OpenMP and
the middleware read their settings when they are loaded.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from hwhup_core.errors import ConfigError, HwhupError

PACKAGE = 'hwhup_ros'
PARAMETER_FILE = 'crib_monitor.yaml'
SHARED_MEMORY_PROFILE = 'fastdds_shm64.xml'
DEFAULT_VIEW_PORT = 8080
BAD_ARGUMENTS = 2
STOPPED = 130
"""What a shell returns for a program that Ctrl-C ended."""


@dataclass(frozen=True)
class Arguments:
    """What the user asked for."""

    params: Path
    """ROS parameter file of all nodes."""
    camera: str
    """`synthetic`, `replay` or `live`."""
    replay: Path | None
    """Recording of camera `replay`."""
    pace: str
    """How a recording is played: `answered` or `realtime`."""
    duration: float | None
    """Seconds from the first pose on; None: until the recording ends, or Ctrl-C."""
    report: Path | None
    record: Path | None
    """Folder of a recording to make; None: nothing is recorded."""
    snapshot: Path | None
    overlay: Path | None
    view_port: int | None
    """Port of the live view; None: no live view."""
    use_depth: bool | None
    """None: as the parameter file says. Without, the synthetic camera publishes none either."""
    weights: str | None
    """None: as the parameter file says."""
    ros_args: tuple[str, ...]
    """What followed --ros-args."""


def parse(argv: list[str]) -> Arguments:
    """Return the arguments; a wrong one ends the program with code 2 and a line that says so."""
    parser = argparse.ArgumentParser(
        prog='hwhup monitor',
        description='Run the crib monitor in one process: on a synthetic crib, a recording, or live camera topics.',
        epilog='Everything after --ros-args goes to ROS, such as -r image:=/camera/camera/color/image_raw.',
    )
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument('--replay', type=Path, metavar='DIR|BAG', help='play a folder of RGB-D frames, or a bag')
    camera.add_argument('--live', action='store_true', help='use the camera topics that are there')
    parser.add_argument('--params', type=Path, metavar='FILE', help=f'ROS parameters (config/{PARAMETER_FILE})')
    parser.add_argument(
        '--pace',
        choices=('answered', 'realtime'),
        default='answered',
        help='recording: wait for each pose, so that no frame is dropped, or play by the clock (default: answered)',
    )
    parser.add_argument('--duration', type=positive, metavar='S', help='end S seconds after the first pose')
    parser.add_argument('--report', type=Path, metavar='FILE', help='write the numbers of the run as JSON')
    parser.add_argument('--record', type=Path, metavar='DIR', help='record the camera and its poses to a new folder')
    parser.add_argument('--snapshot', type=Path, metavar='PNG', help='draw the last mesh in its point cloud')
    parser.add_argument('--overlay', type=Path, metavar='PNG', help='draw the last mesh on its image')
    parser.add_argument(
        '--view', type=int, nargs='?', const=DEFAULT_VIEW_PORT, metavar='PORT', help='serve a live 3D page on 127.0.0.1'
    )
    parser.add_argument(
        '--depth', action=argparse.BooleanOptionalAction, help='use depth images, or not even where they are there'
    )
    parser.add_argument('--weights', metavar='NAME', help='bundled weights, or a .safetensors file with its card')
    own, ros_args = split_ros_args(argv)
    given = parser.parse_args(own)
    if given.replay is not None and not given.replay.expanduser().exists():
        parser.error(f'argument --replay: no recording at {given.replay}; expected a folder of RGB-D frames or a bag')
    if given.params is not None and not given.params.is_file():
        parser.error(f'argument --params: no parameter file at {given.params}')
    return Arguments(
        params=given.params or find_config(PARAMETER_FILE),
        camera='replay' if given.replay else 'live' if given.live else 'synthetic',
        replay=given.replay.expanduser().resolve() if given.replay else None,
        pace=given.pace,
        duration=given.duration,
        report=given.report,
        record=given.record,
        snapshot=given.snapshot,
        overlay=given.overlay,
        view_port=given.view,
        use_depth=given.depth,
        weights=given.weights,
        ros_args=tuple(ros_args),
    )


def positive(text: str) -> float:
    """Return a number above 0 for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} is not a time; expected seconds above 0')
    return number


def split_ros_args(argv: list[str]) -> tuple[list[str], list[str]]:
    """Return our arguments and those between --ros-args and `--` or the end."""
    if '--ros-args' not in argv:
        return argv, []
    start = argv.index('--ros-args')
    rest = argv[start + 1 :]
    end = rest.index('--') if '--' in rest else len(rest)
    return argv[:start] + rest[end + 1 :], rest[:end]


def find_config(name: str) -> Path:
    """Return a file of config/: from the source tree, or from where the package is installed."""
    beside = Path(__file__).resolve().parent.parent / 'config' / name
    if beside.is_file():
        return beside
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        installed = Path(get_package_share_directory(PACKAGE)) / 'config' / name
    except PackageNotFoundError as error:
        raise ConfigError(f'No config/{name}: {PACKAGE} is not in AMENT_PREFIX_PATH. Source its setup file.') from error
    if not installed.is_file():
        raise ConfigError(f'No {installed}. Build the package again, or give the file with --params.')
    return installed


def prepare_environment() -> None:
    """
    Set what libraries read when they are loaded, unless the user did.

    The profile gives Fast DDS 64 MB of shared memory, without which large images are dropped. Waiting OpenMP threads
    shall sleep: spinning ones take the second core from the middleware.
    """
    os.environ.setdefault('FASTRTPS_DEFAULT_PROFILES_FILE', str(find_config(SHARED_MEMORY_PROFILE)))
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')


def main(argv: list[str] | None = None) -> int:
    """Run the monitor; the exit code is 0 only if poses were published."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        arguments = parse(argv)
        prepare_environment()
        from hwhup_ros.monitor_session import run_session

        return run_session(arguments)
    except HwhupError as error:
        print(f'hwhup monitor: {type(error).__name__}: {error}', file=sys.stderr)
        return BAD_ARGUMENTS
    except KeyboardInterrupt:  # Later on, Ctrl-C is the normal end of a run.
        print('hwhup monitor: stopped before it was ready.', file=sys.stderr)
        return STOPPED


if __name__ == '__main__':
    sys.exit(main())
