"""The formats of labelling tools, by name."""

from __future__ import annotations

from pathlib import Path

from hwhup_core.errors import ConfigError
from hwhup_core.labeling.coco_labels import COCO
from hwhup_core.labeling.cvat import CVAT
from hwhup_core.labeling.exchange import LabelFormat
from hwhup_core.labeling.label_studio import LABEL_STUDIO

FORMATS = {form.name: form for form in (COCO, CVAT, LABEL_STUDIO)}


def label_format(name: str) -> LabelFormat:
    """Return the format of that name."""
    if name not in FORMATS:
        raise ConfigError(f'No label format {name!r}. There are: {", ".join(FORMATS)}.')
    return FORMATS[name]


def format_of(path: Path) -> LabelFormat:
    """Return the format that a file seems to be in: XML is CVAT's; JSON that opens with a list Label Studio's."""
    if path.suffix.lower() == '.xml':
        return CVAT
    try:
        with path.open(encoding='utf-8') as file:
            first = file.read(64).lstrip()[:1]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'Cannot read {path} ({error}). Expected labels of {", ".join(FORMATS)}.') from error
    return LABEL_STUDIO if first == '[' else COCO
