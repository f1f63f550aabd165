"""`pipeline run`: the stages one after another in one process, without DVC."""

from dataclasses import replace
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.stages.runner import STAGES, Options, run_stages

LEARNING = ("labels", "train", "predict", "predict-rolling")


def learns(config: Config) -> bool:
    """Whether a config trains models: one whose signals read the features themselves, without labels, does not."""
    return bool(config.labels) or config.signals.predictions != "features"


def run_chain(options: Options, first: str = "download", last: str = "output", in_place: bool = False) -> None:
    """Run the stages from `first` to `last`.

    in_place: write to data/ and MODELS/, which DVC tracks; otherwise below runs/NAME, because
    `dvc repro` would restore its own version over what it did not write itself.
    Raises BadInput: a stage's name is unknown or the order is reversed.
    """
    for stage in (first, last):
        if stage not in STAGES:
            raise BadInput(f"'{stage}' is not a stage", f"the stages are {', '.join(STAGES)}")
    chosen = STAGES[STAGES.index(first) : STAGES.index(last) + 1]
    if not chosen:
        raise BadInput(f"--from {first} --to {last}: {last} comes before {first}")
    if not in_place and options.workdir is None:
        options = replace(options, workdir=Path("runs") / (options.config.stem if options.config else "default"))
    config, _ = options.load()
    if skipped := [stage for stage in chosen if stage in LEARNING and not learns(config)]:
        chosen = tuple(stage for stage in chosen if stage not in skipped)
        if not options.json:
            print(f"no labels, so nothing to learn: without {', '.join(skipped)}")
    run_stages(chosen, options)
    if in_place and Path(".dvc").is_dir() and not options.dry_run and not options.json:
        print("to let DVC adopt these files: dvc commit -f")
