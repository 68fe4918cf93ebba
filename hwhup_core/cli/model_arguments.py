"""Arguments of the verbs about weights: use, training, tables, deployment. Nothing heavy is imported."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup doctor`."""
    parser.add_argument('--assets', type=Path, help='folder of `hwhup assets` to look at (the one that is set)')


def add_predict(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup predict`."""
    parser.add_argument(
        'input', type=Path, help='colour image, 16-bit depth image (mm), .npy depth (m), or a folder of them'
    )
    parser.add_argument(
        '--depth', type=Path, help='depth image registered to a colour INPUT (or a folder with the same file names)'
    )
    parser.add_argument(
        '--camera', type=Path,
        help='JSON or YAML with fx fy cx cy width height, a ROS camera calibration, or an intrinsic_matrix; '
        'cx, cy count from the centre of the first pixel, as in OpenCV and ROS',
    )  # fmt: skip
    parser.add_argument('--out', type=Path, default=Path('out/predict'), help='folder for the results (%(default)s)')
    parser.add_argument('--body', default='infant', help='infant, adult, or an SMPL/SMIL file (%(default)s)')
    parser.add_argument('--weights', default='crib_depth', help='bundled weights or a .safetensors file (%(default)s)')
    parser.add_argument('--mesh', choices=('glb', 'obj'), default='glb', help='format of the mesh (%(default)s)')
    parser.add_argument(
        '--region', type=float, nargs=3, metavar=('X', 'Y', 'SIDE'), help='square to look in: left, top, side, pixels'
    )
    parser.add_argument(
        '--up', type=float, nargs=3, metavar=('X', 'Y', 'Z'),
        help='direction against gravity in the camera frame, for the posture; 0 0 -1 for a camera that looks down',
    )  # fmt: skip
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (%(default)s)')


def add_train(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup train`."""
    parser.add_argument('--config', type=Path, required=True, help='YAML file, such as config/train/crib_depth.yaml')
    parser.add_argument('--out', type=Path, help='folder of the run; a stopped run there goes on (runs/CONFIG)')


def add_train_visnet(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup train-visnet`."""
    parser.add_argument('--config', type=Path, default=Path('config/train/visnet.yaml'), help='YAML file (%(default)s)')
    parser.add_argument('--input', choices=('depth', 'rgb'), help="what it reads (the configuration's)")
    parser.add_argument(
        '--baseline', action='store_true', help='train the pose head alone as well, and put its figure onto the card'
    )
    parser.add_argument('--out', type=Path, help='folder of the run; a stopped run there goes on (runs/CONFIG)')


def add_adapt(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup adapt`."""
    parser.add_argument(
        'data', type=Path,
        help="a labelled recording, or a folder in SLP's layout (it holds danaLab): 2D joints, and depth without cover",
    )  # fmt: skip
    parser.add_argument(
        '--weights',
        help='where to start: bundled or deployed weights, a .safetensors file with its card, or none for a fresh '
        'compact network (for a recording: the bundled ones for its input)',
    )  # fmt: skip
    parser.add_argument(
        '--preset', default='full',
        help='full, paper, released_code, or a column of Table 1: pre_trained, fine_tuned, without_loop, 3d_dp, '
        '3d_dp_vis, no_prior, 2d_d (%(default)s)',
    )  # fmt: skip
    parser.add_argument('--body', help='adult, infant, or an SMPL/SMIL file (SLP: adult; recording: infant)')
    parser.add_argument(
        '--input',
        choices=('rgb', 'ir', 'depth', 'infrared', 'pressure', 'combined'),
        help='what it reads; combined: depth, infrared and pressure (SLP: what the weights read; recording: rgb)',
    )
    parser.add_argument(
        '--covers', nargs='+', choices=('uncover', 'cover1', 'cover2'), help='covers to read under (all that are there)'
    )
    parser.add_argument('--epochs', type=int, help="passes over the frames (the preset's; recording: 12)")
    recording = parser.add_argument_group('recordings only')
    recording.add_argument('--hours', type=float, help='longest training, instead of --epochs')
    recording.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='(%(default)s)')
    recording.add_argument(
        '--curve', action='store_true', help='train on a quarter and on half of the labelled frames, too'
    )
    parser.add_argument(
        '--stage-two', type=int, help="first epoch with rendered depth, from 0 (after the preset's share of the epochs)"
    )
    parser.add_argument('--batch', type=int, default=64, help='frames of a step, of all processes (%(default)s)')
    parser.add_argument('--lr', type=float, default=5e-5, help='learning rate (%(default)s)')
    parser.add_argument('--out', type=Path, help='folder of the run; a stopped run there goes on (runs/adapt-DATA)')
    parser.add_argument('--dry-run', action='store_true', help='only say what a step on 8 frames would do')
    parser.add_argument('--skip-bad', action='store_true', help='leave out what cannot be used, and count it by reason')
    parser.add_argument(
        '--spin-camera', action='store_true', help="SPIN's far camera behind the crops, as in paper and released code"
    )
    parser.add_argument('--lab', default='danaLab', help='folder of the subjects in DATA (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='(%(default)s)')
    parser.add_argument('--workers', type=int, default=1, help='processes that read the frames (%(default)s)')


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup evaluate`."""
    parser.add_argument('--weights', default='crib_depth', help='bundled weights or a .safetensors file (%(default)s)')
    parser.add_argument('--body', help='body of the weights (infant; with --data the one that the people are made of)')
    parser.add_argument('--count', type=int, help='number of held-out frames (as many as the card was made with)')
    parser.add_argument('--seed', type=int, help='which held-out frames (those that the card was made with)')
    parser.add_argument(
        '--data', type=Path, help='score the people that `hwhup synth` wrote there instead, in the box of their joints'
    )
    parser.add_argument('--truth', type=Path, help='truth of --data (DATA-truth)')
    parser.add_argument(
        '--out', type=Path, default=Path('out/evaluate'), help='folder for the report of --data (%(default)s)'
    )


def add_build_body(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup build-body`."""
    parser.add_argument('out', type=Path, help='folder for adult.npz and infant.npz')


def add_build_prior(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup build-prior`."""
    parser.add_argument('out', type=Path, help='name of the file to write, .npz')


def add_reproduce(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup reproduce`."""
    from hwhup_core.cli.reproduce import TABLES

    parser.add_argument(
        'table', choices=tuple(TABLES), help="which one; crib-rgb: the monitor's colour weights, adapted to its crib"
    )
    parser.add_argument(
        '--config', type=Path, default=Path('config/train/crib_rgb.yaml'), help='YAML file of crib-rgb (%(default)s)'
    )
    parser.add_argument(
        '--size',
        choices=('small', 'full'),
        default='small',
        help='small: two cores; full: one GPU (%(default)s)',
    )
    parser.add_argument(
        '--input', choices=('depth', 'rgb'), default='depth', help='what networks read: table1, 3, 4 (%(default)s)'
    )
    parser.add_argument('--run', type=Path, help='working folder; a stopped run there goes on (runs/TABLE)')
    parser.add_argument('--out', type=Path, default=Path('docs/results'), help='folder for the results (%(default)s)')
    parser.add_argument('--processes', type=int, default=2, help='networks trained side by side (%(default)s)')
    parser.add_argument(
        '--columns',
        choices=('all', 'few'),
        default='all',
        help='of table1; few: pre-trained, fine-tuned, full and oracle alone',
    )
    parser.add_argument(
        '--data',
        choices=('auto', 'official', 'synthetic'),
        default='auto',
        help='auto: official files where `hwhup config` knows the data set, else synthetic people (%(default)s)',
    )
    parser.add_argument(
        '--split',
        choices=('published', 'bodymap'),
        default='published',
        help="of SLP's official files: 1 to 90 train, or BodyMAP's 1 to 80 (%(default)s)",
    )


def add_deploy(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup deploy`."""
    parser.add_argument('run', type=Path, help='folder of a finished `hwhup adapt`')
    parser.add_argument('--name', default='room', help='name of the model in the store (%(default)s)')
    parser.add_argument('--body', default='infant', help='body of the weights (%(default)s)')
    parser.add_argument('--node', help='running pose node that takes them at once, such as /crib/pose_node')
    parser.add_argument('--even-if-worse', action='store_true', help='though the report does not call them better')


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup models`."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    actions.add_parser('list', help='print every set of weights in the store')
    use = actions.add_parser('use', help='hand weights of the store to a running node')
    use.add_argument('hash', help='first digits of their hash, or `current`')
    back = actions.add_parser('rollback', help='make the weights before the present ones current')
    for each in (use, back):
        each.add_argument('--name', default='room', help='name of the model (%(default)s)')
        each.add_argument('--node', required=each is use, help='running pose node, such as /crib/pose_node')
