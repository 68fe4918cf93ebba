"""The way from parsed arguments to the module of a verb, which is imported only then."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from hwhup_core.errors import ConfigError


def _reproduce(given: argparse.Namespace) -> int:
    from hwhup_core.cli.reproduce import reproduce, request_from

    return reproduce(given.table, request_from(given))


def _deploy(given: argparse.Namespace) -> int:
    from hwhup_core.cli.deploy import deploy_run

    return deploy_run(given.run, given.name, given.body, given.even_if_worse, given.node)


def _models(given: argparse.Namespace) -> int:
    from hwhup_core.cli.deploy import list_models, roll_back, use_model

    if given.action == 'list':
        return list_models()
    if given.action == 'rollback':
        return roll_back(given.name, given.node)
    return use_model(given.name, '' if given.hash == 'current' else given.hash, given.node)


def _doctor(given: argparse.Namespace) -> int:
    from hwhup_core.cli.doctor import doctor

    return doctor(given.assets)


def _assets(given: argparse.Namespace) -> int:
    from hwhup_core.cli import assets

    if given.action == 'add':
        return assets.add(given.files, given.kind)
    return assets.list_assets() if given.action == 'list' else assets.remove(given.kinds)


def _config(given: argparse.Namespace) -> int:
    from hwhup_core.cli import settings

    if given.action == 'list':
        return settings.config_list()
    if given.action == 'set':
        return settings.config_set(given.key, given.folder)
    return (settings.config_get if given.action == 'get' else settings.config_unset)(given.key)


def _predict(given: argparse.Namespace) -> int:
    from hwhup_core.cli.predict import PredictRequest, predict

    fields = {name: value for name, value in vars(given).items() if name != 'verb'}
    return predict(PredictRequest(**fields))


def _dataset(given: argparse.Namespace) -> int:
    from hwhup_core.cli import dataset

    if given.action == 'check':
        return dataset.check(dataset.request_from(given), dataset.check_request_from(given))
    return dataset.convert(dataset.request_from(given), given.out, given.to, given.jpeg)


def _train(given: argparse.Namespace) -> int:
    from hwhup_core.cli.training import train

    return train(given.config, given.out)


def _train_visnet(given: argparse.Namespace) -> int:
    from hwhup_core.cli.visnet import train_visnet

    return train_visnet(given.config, given.input, given.out, given.baseline)


def _adapt(given: argparse.Namespace) -> int:
    from hwhup_core.data.recording import is_recording

    if is_recording(given.data):
        from hwhup_core.cli import adapt_recording

        return adapt_recording.adapt_to_recording(adapt_recording.config_from(given))
    from hwhup_core.cli.adapt import adapt, config_from

    return adapt(config_from(given), given.dry_run)


def _evaluate(given: argparse.Namespace) -> int:
    from hwhup_core.cli.training import evaluate, evaluate_stored

    if given.data is not None:
        if given.count is not None or given.seed is not None:
            raise ConfigError('--count and --seed draw people; with --data all that are there are scored.')
        return evaluate_stored(given.weights, given.body, given.data, given.truth, given.out)
    if given.truth is not None:
        raise ConfigError('--truth is the truth of --data, which is not given.')
    return evaluate(given.weights, given.body or 'infant', given.count, given.seed)


def _synth(given: argparse.Namespace) -> int:
    from hwhup_core.cli import synth

    return synth.synth(synth.request_from(given))


def _build_prior(given: argparse.Namespace) -> int:
    from hwhup_core.cli.training import build_prior

    return build_prior(given.out)


def _build_body(given: argparse.Namespace) -> int:
    from hwhup_core.cli.training import build_body

    return build_body(given.out)


def _recording(given: argparse.Namespace) -> int:
    from hwhup_core.cli import recording

    if given.action == 'purge':
        return recording.purge(given.root, given.dry_run)
    if given.action == 'export':
        return recording.export(given.folder, given.out, given.format, given.raw)
    return {'check': recording.check, 'repair': recording.repair, 'info': recording.info}[given.action](given.folder)


def _label(given: argparse.Namespace) -> int:
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


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    'adapt': _adapt,
    'assets': _assets,
    'build-body': _build_body,
    'build-prior': _build_prior,
    'config': _config,
    'dataset': _dataset,
    'deploy': _deploy,
    'doctor': _doctor,
    'evaluate': _evaluate,
    'label': _label,
    'models': _models,
    'predict': _predict,
    'recording': _recording,
    'reproduce': _reproduce,
    'synth': _synth,
    'train': _train,
    'train-visnet': _train_visnet,
}
"""Verb -> what it does; each imports its own module and hands it plain values."""
