"""
What automatic labelling made of each frame, in `labels/automatic.jsonl`: one line a frame, the last one counts.

It says why a frame has no label, lets a stopped run go on, and tells the ranking how doubtful a label is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from hwhup_core.errors import AssetError
from hwhup_core.labeling.labels import FOLDER

FILE = 'automatic.jsonl'
REASONS = ('no_depth', 'no_person', 'low_confidence', 'depth_disagrees', 'too_few_visible')
"""Why a frame is left unlabelled."""


@dataclass(frozen=True)
class Judgement:
    """One frame, as it was labelled or left out."""

    frame: str
    labeller: str
    """Weights and settings; a frame judged by the same labeller is not judged again."""
    reason: str
    """One of `REASONS`, or empty: it has a label."""
    confidence: float
    """Of the estimate, 0 to 1; NaN without one."""
    aligned_depth_error: float
    """Of the body that was labelled, metres; NaN where nothing could be compared."""
    refined: bool
    """Whether the refined body was kept."""


def read_judgements(recording: Path) -> dict[str, Judgement]:
    """Return the newest judgement of every frame; a last line that a crash tore is left out."""
    path = recording / FOLDER / FILE
    if not path.is_file():
        return {}
    found: dict[str, Judgement] = {}
    content = path.read_text(encoding='utf-8')
    for number, line in enumerate(content[: content.rfind('\n') + 1].splitlines(), 1):
        try:
            judgement = _from_plain(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise AssetError(
                f'{path}, line {number} is no judgement ({error}). Delete the file; labels stay.'
            ) from error
        found[judgement.frame] = judgement
    return found


def append_judgement(recording: Path, judgement: Judgement) -> None:
    """Write one line at the end, after whatever a crash left of the last one."""
    path = recording / FOLDER / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: None if isinstance(value, float) and math.isnan(value) else value
             for name, value in asdict(judgement).items()}  # fmt: skip
    with path.open('ab+') as file:
        file.seek(0, 2)
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b'\n':
                content = path.read_bytes()
                file.truncate(content.rfind(b'\n') + 1)
        file.write(json.dumps(plain, allow_nan=False, separators=(',', ':')).encode() + b'\n')


def _from_plain(plain: Mapping[str, object]) -> Judgement:
    number = {
        name: math.nan if plain[name] is None else float(str(plain[name]))
        for name in ('confidence', 'aligned_depth_error')
    }
    return Judgement(
        str(plain['frame']), str(plain['labeller']), str(plain['reason']), refined=bool(plain['refined']), **number
    )
