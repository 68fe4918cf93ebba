"""`hwhup deploy` and `hwhup models`: weights into the store, and from there into running nodes."""

from __future__ import annotations

import importlib
from pathlib import Path

from hwhup_core.deploy.store import Deployed, deploy, deployed, find, models_folder, rollback
from hwhup_core.errors import ConfigError


def deploy_run(run: Path, name: str, body: str, even_if_worse: bool, node: str | None) -> int:
    """Put the weights of a run into the store, make them current, and hand them to a running node if one is named."""
    found = deploy(run, models_folder(), name, body, even_if_worse)
    print(f'{found.name}/{found.folder.name} is current (report: {found.provenance.verdict}): {found.folder}')
    return swap(found, node)


def list_models() -> int:
    """Print what is in the store."""
    known = deployed(models_folder())
    if not known:
        print(f'{models_folder()} holds no model. `hwhup deploy RUN` puts one there.')
    for each in known:
        papers = each.provenance
        marks = 'current' if each.current else ''
        print(f'{each.name}/{each.folder.name}  {papers.deployed_at}  {papers.verdict:<10}  run {papers.run}  {marks}')
    return 0


def roll_back(name: str, node: str | None) -> int:
    """Make the weights before the present ones current again, and hand them to a running node if one is named."""
    found = rollback(models_folder(), name)
    print(f'{found.name}/{found.folder.name} is current again.')
    return swap(found, node)


def use_model(name: str, weights_hash: str, node: str) -> int:
    """Hand weights of the store to a running node; what is current stays."""
    return swap(find(models_folder(), name, weights_hash), node)


def swap(model: Deployed, node: str | None) -> int:
    """Ask a running pose node to take the weights; 0 if it did, or if no node is named."""
    if node is None:
        return 0
    try:
        client = importlib.import_module('hwhup_ros.load_client')
    except ImportError as error:
        raise ConfigError(
            f'Running nodes need ROS 2 and the built package ({error}). Source the environment (README, Install), or '
            'leave out --node and restart the node.'
        ) from error
    print(client.load_model(node, str(model.weights.resolve())))
    return 0
