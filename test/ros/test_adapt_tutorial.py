"""docs/adapt-your-room.md does what it says: its executed blocks run as they stand there, in one shell."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from hwhup_core.data.recording import check_recording, open_recording
from hwhup_core.deploy.store import find
from hwhup_core.labeling.judgements import REASONS
from hwhup_core.labeling.labels import LabelStore
from hwhup_core.networks.checkpoint import load_card

PAGE = Path(__file__).parents[2] / 'docs' / 'adapt-your-room.md'
TEXT = PAGE.read_text(encoding='utf-8')
EXECUTED = re.compile(r'^<!-- executed -->\n```bash\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SHORT = {
    'SECONDS_OF_RECORDING': '22',
    'SECONDS_BETWEEN_FRAMES': '0.2',
    'EPOCHS': '1',
    'SECONDS_OF_WATCHING': '12',
    'SECONDS_WITHOUT_DEPTH': '3',
}
"""The page's own variables, and nothing else, make it short."""
PATIENCE_S = 900.0
"""Some 110 s on an idle machine of two cores; there may be much else to do."""
PACKAGES = Path(__file__).parents[2]
SETTLED = re.compile(r"Outcome\.[A-Z]+, '([a-z_]+)'")
COMMAND = re.compile(r'hwhup(?:\s+[a-z]+)+')


def blocks():
    return EXECUTED.findall(TEXT)


@pytest.fixture(scope='module')
def walked(tmp_path_factory):
    """Return the folder in which all blocks ran, and what they said."""
    assert shutil.which('hwhup'), 'no `hwhup` on the path; `. .ci/env.sh` puts it there'
    folder = tmp_path_factory.mktemp('tutorial')
    script = '\n'.join(f'echo "block {number}"\n{block}' for number, block in enumerate(blocks(), 1))
    (folder / 'tutorial.sh').write_text(script)
    environment = {**os.environ, **SHORT}
    environment.pop('HWHUP_MODELS', None)
    shell = subprocess.run(
        ['bash', '-euo', 'pipefail', 'tutorial.sh'],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )
    assert shell.returncode == 0, shell.stdout[-6000:]
    assert f'block {len(blocks())}' in shell.stdout
    return folder, shell.stdout


def report_of(folder):
    return json.loads((folder / 'runs' / 'crib' / 'report.json').read_text())


def test_the_page_takes_its_lengths_from_variables():
    used = re.findall(r'\$\{([A-Z_]+):-[^}]+\}', ''.join(blocks()))
    assert set(used) == set(SHORT)


def test_every_fence_of_shell_is_closed_and_most_is_executed():
    fences = re.findall(r'^```', TEXT, re.MULTILINE)
    assert len(fences) % 2 == 0
    assert TEXT.count('<!-- executed -->') == len(blocks()) > 6
    verbs = {' '.join(each.split()[1:3]) for each in COMMAND.findall(''.join(blocks()))}
    assert {'recording check', 'label auto', 'adapt crib', 'deploy runs', 'models use'} <= verbs


def test_pictures_and_links_of_the_page_exist():
    for target in re.findall(r'\]\(([^)#]+)\)', TEXT):
        assert (PAGE.parent / target).is_file(), target
    for picture in (PAGE.parent / 'images').glob('adapt-*'):
        assert f'images/{picture.name}' in TEXT
        assert picture.stat().st_size <= 300_000


def test_headings_and_their_list_agree():
    headings = re.findall(r'^## (.+)$', TEXT, re.MULTILINE)
    listed = re.findall(r'^\d\. \[(.+?)\]\(#(.+?)\)$', TEXT, re.MULTILINE)
    assert [heading.split('. ', 1)[1] for heading in headings] == [name for name, _ in listed]
    assert [re.sub(r'[^a-z0-9 ]', '', heading.lower()).replace(' ', '-') for heading in headings] == [
        anchor for _, anchor in listed
    ]


def test_why_a_frame_has_no_label_is_on_the_page():
    assert [reason for reason in REASONS if f'`{reason}`' not in TEXT] == []


def test_why_a_frame_is_not_recorded_is_on_the_page():
    written = [PACKAGES / file for file in ('hwhup_core/recording/session.py', 'hwhup_ros/recorder_intake.py')]
    settled = SETTLED.findall(''.join(file.read_text() for file in written))
    novel = re.findall(r"return '([a-z_]+)'", (PACKAGES / 'hwhup_core/recording/novelty.py').read_text())
    gates = re.findall(
        r"^        '([a-z_]+)': .* [<>] ", (PACKAGES / 'hwhup_core/recording/gates.py').read_text(), re.M
    )
    assert min(len(settled), len(novel), len(gates)) > 1
    codes = {*settled, *novel, *gates}
    assert {'too_soon', 'blurred', 'writers_too_slow', 'paused'} <= codes
    assert [code for code in sorted(codes) if f'`{code}`' not in TEXT] == []


@pytest.mark.timeout(1000)
def test_the_recording_is_whole_and_in_colour(walked):
    folder, said = walked
    recording = open_recording(folder / 'crib')
    assert check_recording(folder / 'crib').ok
    assert len(recording) >= 60
    assert all({'color', 'depth'} <= set(frame.files) for frame in recording.frames)
    written = yaml.safe_load((folder / 'room.yaml').read_text())['/**/recorder_node']['ros__parameters']
    card = recording.card
    assert (card.privacy, card.consent, card.operator) == ('full', written['consent'], written['operator'])
    assert card.retention_days == 30
    assert f'Recorded {len(recording)} of ' in said


@pytest.mark.timeout(1000)
def test_a_bag_brings_the_same_frames_back(walked):
    folder, _ = walked
    before, after = open_recording(folder / 'crib'), open_recording(folder / 'crib-again')
    assert [frame.stamp_ns for frame in after.frames] == [frame.stamp_ns for frame in before.frames]
    assert (after.frame(3).depth == before.frame(3).depth).all()
    assert list((folder / 'crib-bag').glob('*.mcap'))


@pytest.mark.timeout(1000)
def test_frames_are_labelled_and_given_to_a_tool(walked):
    folder, said = walked
    labels = LabelStore(folder / 'crib').usable()
    assert len(labels) >= 40
    assert {label.source for label in labels.values()} == {'automatic'}
    assert (folder / 'crib' / 'labels' / 'ranking.json').is_file()
    pictures = list((folder / 'for-cvat' / 'images').iterdir())
    assert len(pictures) == len(labels)
    assert (folder / 'for-cvat' / 'annotations.xml').stat().st_size > 1000
    assert re.search(rf'labelled\s+{len(labels)} ', said)


@pytest.mark.timeout(1000)
def test_the_adaptation_says_whether_it_is_better(walked):
    folder, said = walked
    report = report_of(folder)
    assert report['verdict'] in ('better', 'not better')
    assert f'verdict: {report["verdict"]}' in said
    assert report['epochs'] == 1
    assert report['frames']['recorded'] == len(open_recording(folder / 'crib'))
    assert report['frames']['labelled'] == len(LabelStore(folder / 'crib').usable())
    assert report['frames']['held_out'] >= 6
    run = folder / 'runs' / 'crib'
    assert all((run / name).is_file() for name in ('report.md', 'report.html', 'held_out.png', 'weights.json'))


@pytest.mark.timeout(1000)
def test_the_weights_are_deployed_into_the_running_node(walked):
    folder, said = walked
    report, model = report_of(folder), find(folder / 'models', 'room')
    assert model.current
    assert model.provenance.weights_hash == report['weights_hash'] == load_card(model.weights).weights_hash
    assert model.provenance.forced == (report['verdict'] != 'better')
    live = json.loads((folder / 'live.json').read_text())
    before = report['started_from']['weights_hash']
    assert before != report['weights_hash']
    assert live['weights_hash'] in (before, report['weights_hash'])  # Of whoever found somebody first.
    assert f'is in use, before it {before[:12]}' in said, said[-3000:]
    assert live['aligned_depth_error_mm'] is None, 'no depth is there'
    assert live['poses_published'] > 0


@pytest.mark.timeout(1000)
def test_the_current_model_is_known_by_its_name(walked):
    folder, _ = walked
    alone = json.loads((folder / 'without-depth.json').read_text())
    assert alone['weights_hash'] == report_of(folder)['weights_hash']
    assert alone['poses_published'] > 0


@pytest.mark.timeout(1000)
def test_nothing_has_expired_yet(walked):
    assert '0 expired, 2 not, 0 not deleted for a fault' in walked[1]
