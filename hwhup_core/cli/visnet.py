"""`hwhup train-visnet` and `hwhup reproduce visnet`: one call each, and what to say about the result."""

from __future__ import annotations

import logging
from pathlib import Path

from hwhup_core.errors import ConfigError


def train_visnet(config: Path, reads: str | None, out: Path | None, baseline: bool) -> int:
    """Train VisNet as the configuration says; a run that was stopped goes on."""
    if not config.is_file():
        raise ConfigError(f'There is no training configuration {config}. The bundled one is config/train/visnet.yaml.')
    from hwhup_core.settings import setting
    from hwhup_core.training import visnet_run

    logging.basicConfig(level=logging.INFO, format='%(message)s')
    loaded = visnet_run.load_train_config(config, reads)
    command = f'hwhup train-visnet --config {config}' + ('' if reads is None else f' --input {reads}')
    command += ' --baseline' if baseline else ''
    coco = setting('data.coco') if loaded.people == 'coco' else None
    train = visnet_run.train_with_baseline if baseline else visnet_run.train_visnet
    stem = train(loaded, out or Path('runs') / config.stem, command, coco)
    print(f'wrote {stem}.safetensors and {stem}.json')
    return 0


def reproduce_visnet(size: str, run: Path | None, out: Path) -> int:
    """Score VisNet and write `visnet-<size>.json`, `.md` and `.jpg`; on COCO's people where their folder is set."""
    from hwhup_core.reproduce.results import write_results
    from hwhup_core.reproduce.visnet import markdown, run_visnet
    from hwhup_core.reproduce.visnet_pictures import write_pictures
    from hwhup_core.settings import setting

    coco = setting('data.coco')
    if size == 'full' and coco is None:
        raise ConfigError(
            "The paper's VisNet is trained on COCO's key points, and their folder is not set. Set it: hwhup config set "
            'data.coco DIR; or score the shipped weights: --size small'
        )
    run = run or Path('runs') / f'visnet-{size}'
    run.mkdir(parents=True, exist_ok=True)
    scored, results = run_visnet(size, run, coco, f'hwhup reproduce visnet --size {size}')
    text = markdown(results)
    write_results(out, results, text)
    write_pictures(scored, out / f'{results["table"]}.jpg')
    print(text)
    print(f'wrote {out / results["table"]}.json, .md and .jpg')
    return 0
