"""Arguments of the verbs about files (official ones, data sets, recordings, labels). Nothing heavy is imported."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_assets(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup assets`."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    add = actions.add_parser('add', help='recognise files by their content, check and copy them')
    add.add_argument('files', type=Path, nargs='+', metavar='FILE')
    add.add_argument('--as', dest='kind', help='what it is, where content and name leave it open (gender of SMPL)')
    actions.add_parser('list', help='say what is here, and where to get the rest')
    remove = actions.add_parser('remove', help='delete stored files')
    remove.add_argument('kinds', nargs='+', metavar='KIND', help='such as smpl_neutral; `hwhup assets list` names all')


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup config`."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    setter = actions.add_parser('set', help='keep a folder: hwhup config set data.slp DIR')
    getter = actions.add_parser('get', help='print the folder behind a key')
    unsetter = actions.add_parser('unset', help='forget a key')
    for each in (setter, getter, unsetter):
        each.add_argument('key', help='such as data.slp; `hwhup config list` names all')
    setter.add_argument('folder')
    actions.add_parser('list', help='print all keys, what they mean and what they are set to')


def add_synth(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup synth`."""
    parser.add_argument('out', type=Path, help='folder for the data; a stopped run there goes on')
    parser.add_argument('--truth', type=Path, help='folder for the truth, apart from the data (OUT-truth)')
    parser.add_argument('--kind', choices=('bed', 'crib', 'room'), default='bed', help='(%(default)s)')
    parser.add_argument('--body', help='adult, infant, or an SMPL/SMIL file (infant in a crib, else adult)')
    parser.add_argument('--subjects', type=int, default=102, help='(%(default)s)')
    parser.add_argument('--poses', type=int, default=45, help='of each subject (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='(%(default)s)')
    parser.add_argument(
        '--modalities',
        nargs='+',
        choices=('depth', 'color', 'infrared', 'pressure'),
        default=('depth',),
        help='(depth)',
    )
    parser.add_argument(
        '--covers', nargs='+', choices=('uncover', 'cover1', 'cover2'), default=('uncover',),
        help='cover1 is a thin sheet, cover2 a thick blanket (uncover)',
    )  # fmt: skip
    parser.add_argument('--size', type=int, default=224, help='side of the images, pixels (%(default)s)')
    parser.add_argument('--prone', type=float, default=0.0, help='share of lying poses turned prone (%(default)s)')
    parser.add_argument(
        '--label-noise', type=float, default=0.0, help='standard deviation of the 2D labels, pixels (%(default)s)'
    )
    parser.add_argument(
        '--wrong-visibility', type=float, default=0.0, help='chance that a visibility flag is wrong (%(default)s)'
    )
    parser.add_argument('--sensor', choices=('kinect', 'realsense'), default='kinect', help='(%(default)s)')
    parser.add_argument('--workers', type=int, default=1, help='processes (%(default)s)')


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup dataset`."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    check = actions.add_parser('check', help='say what was found and what is missing, read pictures, draw them')
    convert = actions.add_parser('convert', help='write it as a recording or as a data set file of SPIN')
    for action in (check, convert):
        action.add_argument('folder', type=Path, metavar='DIR', help='folder of the data set, or its label file')
    convert.add_argument('out', type=Path, metavar='OUT', help='new folder')
    convert.add_argument('--to', choices=('recording', 'spin-npz'), required=True)
    convert.add_argument('--jpeg', action='store_true', help='colour of a recording as JPEG instead of PNG')
    check.add_argument('--sheet', type=Path, metavar='FILE.png', help='picture of some samples with their joints')
    check.add_argument('--count', type=int, default=24, help='samples to read and to show (%(default)s)')
    check.add_argument('--all', action='store_true', help='read the pictures of all samples')
    check.add_argument('--seed', type=int, default=0, help='which samples (%(default)s)')
    for action in (check, convert):
        action.add_argument('--format', metavar='KIND', help='instead of what is found there, such as coco or spin-npz')
        action.add_argument('--skip-bad', action='store_true', help='leave out what cannot be used, and count it')
        action.add_argument(
            '--assume-visible', action='store_true', help='coco without visibility flags: its joints count as seen'
        )
        action.add_argument('--split', help='h36m, 3dpw: train, validation or test (test)')
        action.add_argument('--protocol', choices=('p1', 'p2'), default='p1', help='h36m (%(default)s)')
        action.add_argument('--lab', choices=('danaLab', 'simLab'), help='slp (danaLab where it is there)')
        action.add_argument('--fits', type=Path, help='slp: folder of SLP-3Dfits')
        action.add_argument('--images', type=Path, help='spin-npz: folder that the names of pictures count from')


def add_recording(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup recording`."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    for name, what in (
        ('check', 'read every frame and say what is wrong; exit code 1 where something is to be repaired'),
        ('repair', 'take out of the index what cannot be read; deletes nothing'),
        ('info', 'print the card, counts, time span and size'),
    ):
        actions.add_parser(name, help=what).add_argument('folder', type=Path, metavar='RECORDING')
    purge = actions.add_parser('purge', help='delete the recordings whose retention time is over')
    purge.add_argument('root', type=Path, help='folder in or below which recordings lie')
    purge.add_argument('--dry-run', action='store_true', help='only list them')
    actions.add_parser('import', help='a bag into a recording; see `hwhup recording import --help`', add_help=False)
    export = actions.add_parser('export', help='a recording into a bag, or into a package for a labelling tool')
    export.add_argument('folder', type=Path, metavar='RECORDING')
    export.add_argument('out', type=Path, metavar='OUT', help='new folder')
    export.add_argument(
        '--format', choices=('mcap', 'coco', 'cvat', 'label-studio'), default='mcap', help='(%(default)s)'
    )
    export.add_argument('--raw', action='store_true', help='mcap: colour decoded (rgb8) instead of as stored')


def add_label(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwhup label`."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    auto = actions.add_parser('auto', help='label what the depth model is sure of')
    auto.add_argument('recording', type=Path)
    auto.add_argument('--weights', default='crib_depth', help='bundled weights or a .safetensors file (%(default)s)')
    auto.add_argument('--body', default='infant', help='infant, adult, or an SMPL/SMIL file (%(default)s)')
    auto.add_argument(
        '--refine', action=argparse.BooleanOptionalAction, help='fit the estimates to the measured depth (default)'
    )
    auto.add_argument(
        '--visnet', default='auto', help='weights that say which joints are seen, or none (auto: the bundled ones)'
    )
    auto.add_argument('--again', action='store_true', help='also frames that these weights have judged')
    auto.add_argument('--limit', type=int, help='most frames to judge')
    rank = actions.add_parser('rank', help='say which frames to label by hand next')
    rank.add_argument('recording', type=Path)
    rank.add_argument('--count', type=int, default=20, help='frames to print (%(default)s)')
    rank.add_argument(
        '--compare', metavar='WEIGHTS', help='other weights, such as crib_rgb: where they differ is first'
    )
    rank.add_argument('--body', default='infant', help='of --compare (%(default)s)')
    export = actions.add_parser('export', help='write pictures and labels for a labelling tool')
    export.add_argument('recording', type=Path)
    export.add_argument('out', type=Path, metavar='OUT', help='new folder')
    importing = actions.add_parser('import', help="take over a tool's labels")
    importing.add_argument('recording', type=Path)
    importing.add_argument('file', type=Path, metavar='FILE', help='COCO or Label Studio JSON, or XML of CVAT')
    formats = ('coco', 'cvat', 'label-studio')
    export.add_argument('--format', choices=formats, required=True)
    export.add_argument('--all', action='store_true', help='also frames without a label')
    importing.add_argument('--format', choices=formats, help='(by what is in the file)')
    importing.add_argument('--assume-visible', action='store_true', help='every labelled joint counts as seen')
    importing.add_argument('--skip-bad', action='store_true', help='leave out what fits no frame, and count it')
    review = actions.add_parser('review', help='look at labels and correct them in a browser on this machine')
    review.add_argument('recording', type=Path)
    review.add_argument('--port', type=int, default=8765, help='of 127.0.0.1; 0: any that is free (%(default)s)')
    review.add_argument('--no-browser', action='store_true', help='only print the address')
