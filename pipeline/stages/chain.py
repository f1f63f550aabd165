"""`pipeline run`: the stages one after another in one process, without DVC."""

from dataclasses import replace
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.stages.runner import STAGES, Options, run_stages


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
    run_stages(chosen, options)
    if in_place and Path(".dvc").is_dir() and not options.dry_run and not options.json:
        print("to let DVC adopt these files: dvc commit -f")
