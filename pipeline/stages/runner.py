"""Runs stages by name: config, lock, dry run, timing, and what is printed."""

import importlib
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.artifacts import Layout, exclusive
from pipeline.config import Config, load_config
from pipeline.errors import PipelineError
from pipeline.lean import arrow_alone
from pipeline.stages.reporting import Plan, Summary, print_json

STAGES = (
    "download",
    "merge",
    "features",
    "labels",
    "train",
    "predict",
    "predict-rolling",
    "signals",
    "simulate",
    "output",
)


DEFAULT_CONFIG = Path("configs/default.yaml")


@dataclass(frozen=True)
class Options:
    """The options that every stage command takes."""

    config: Path | None = None
    symbols: Sequence[str] = ()
    interval: str | None = None
    overrides: Sequence[str] = ()
    dry_run: bool = False
    json: bool = False
    workdir: Path | None = None

    def load(self) -> tuple[Config, Layout]:
        """The validated config, and where its artifacts lie."""
        path = self.config or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None)
        config = load_config(path, symbols=self.symbols, interval=self.interval, overrides=self.overrides)
        layout = Layout.in_workdir(config.name, self.workdir) if self.workdir else Layout(config.name)
        return config, replace(layout, ledger_of=config.ledger or "")

    def explain(self, error: PipelineError) -> None:
        """Name the config file before a key of it, and write the hint's commands out."""
        if self.config and _KEY.match(error.message):
            error.message = f"{self.config}: {error.message}"
        error.hint = self.spelled_out(error.hint)

    def spelled_out(self, advice: str) -> str:
        """Advice with these options after each stage command in it, so that it can be copied and run."""
        given = ["-c", str(self.config)] if self.config else []
        for symbol in self.symbols:
            given += ["--symbol", symbol]
        given += ["--interval", self.interval] if self.interval else []
        given += ["--workdir", str(self.workdir)] if self.workdir else []
        return _STAGE_COMMAND.sub(lambda found: shlex.join([*found[0].split(), *given]), advice)


# A message that begins with a key of the config: features[0].talib.functions, simulate.costs.
_KEY = re.compile(rf"(?:{'|'.join(Config.model_fields)})[.\[]")

# Longer names first, or predict would be found in predict-rolling.
_STAGE_COMMAND = re.compile(rf"\bpipeline (?:{'|'.join(sorted(STAGES, key=len, reverse=True))})\b")


def run_stages(stages: Sequence[str], options: Options) -> list[Summary]:
    """Run stages in order under one lock, printing a summary of each; or their plans on a dry run.

    Raises the stage's own errors, their hints with the options given here; earlier stages' outputs stay.
    """
    arrow_alone()
    try:
        return _run_stages(stages, options)
    except PipelineError as error:
        options.explain(error)
        raise


def _run_stages(stages: Sequence[str], options: Options) -> list[Summary]:
    config, layout = options.load()
    if options.dry_run:
        for stage in stages:
            _print(plan_stage(stage, config, layout), options)
        return []
    with exclusive(
        layout.data / ".locks" / f"{config.name}.lock", f"`pipeline {stages[0]}` or another stage of '{config.name}'"
    ):
        summaries = []
        for stage in stages:
            summary = run_stage(stage, config, layout)
            # Between the stages of a chain nobody has anything to do.
            summary.next = options.spelled_out(summary.next) if stage == stages[-1] else ""
            _print(summary, options)
            summaries.append(summary)
        return summaries


def plan_stage(stage: str, config: Config, layout: Layout) -> Plan:
    """What one stage would do; checks its inputs."""
    plan: Plan = _module(stage).plan(config, layout)
    return plan


def run_stage(stage: str, config: Config, layout: Layout) -> Summary:
    """Run one stage, timed; the caller holds the lock."""
    start = time.perf_counter()
    summary: Summary = _module(stage).run(config, layout)
    summary.seconds = time.perf_counter() - start
    return summary


def _module(stage: str):  # type: ignore[no-untyped-def]
    return importlib.import_module(f"pipeline.stages.{stage.replace('-', '_')}")


def _print(report: Plan | Summary, options: Options) -> None:
    if options.json:
        print_json(report.json())
    else:
        print(report.text(), flush=True)
