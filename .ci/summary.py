"""Print a report of `hwhup monitor` as one screen of text."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def flattened(report: dict[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield every number and text of a nested report with its dotted name."""
    for name, value in report.items():
        if isinstance(value, dict):
            yield from flattened(value, f'{prefix}{name}.')
        elif not isinstance(value, list):
            yield f'{prefix}{name}', value


def main(path: Path) -> None:
    """Print the report at `path`."""
    rows = list(flattened(json.loads(path.read_text(encoding='utf-8'))))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f'  {name:<{width}}  {value:.1f}' if isinstance(value, float) else f'  {name:<{width}}  {value}')


if __name__ == '__main__':
    main(Path(sys.argv[1]))
