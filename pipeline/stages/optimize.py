"""`pipeline optimize`: a search for parameters on inner blocks, and one look at the bars that were kept out of it."""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.artifacts import Layout, exclusive, read_table, sha256_file, write_json, write_table, write_text
from pipeline.config import Config, utc_ms
from pipeline.config.durations import duration_ms
from pipeline.errors import BadInput, CheckFailed, PipelineError
from pipeline.market import candles
from pipeline.stages.reporting import Summary, print_json, yaml_text
from pipeline.stages.runner import Options
from pipeline.stages.search_bench import Bench, Span, Tried, cores
from pipeline.stages.search_space import Space
from pipeline.stages.search_study import Study, best, complete, finished, identity_of, require_optuna, values_of, work
from pipeline.stages.times import iso

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Limits:
    """When a search ends, and how many processes do it. None: as the config says."""

    trials: int | None = None
    timeout: str | None = None
    workers: int | None = None
    resume: bool = True
    holdout: bool = True


@dataclass(frozen=True)
class Search:
    """A search made ready: its study, the blocks it is judged on, and the bars that are kept out."""

    config: Config
    layout: Layout
    study: Study
    inner: list[Span]
    outer: list[Span]

    @property
    def folder(self) -> Path:
        return self.study.folder

    def inner_layout(self) -> Layout:
        """Merged bars up to the holdout: what comes after is not there to be seen."""
        return replace(self.layout, data=self.folder / "bars")

    def bench(self, threads: int) -> Bench:
        """Where trials are tried, by this process."""
        work_folder = self.folder / "work" / str(os.getpid())
        return Bench(self.inner_layout(), self.folder / "cache", work_folder, self.inner, threads)

    def outer_bench(self, threads: int) -> Bench:
        """Where the best is tried at the end."""
        return Bench(self.layout, self.folder / "cache", self.folder / "work" / "holdout", self.outer, threads)


def optimize(options: Options, limits: Limits) -> None:
    """Search, look at the holdout once, write the best config and the report, print what came out.

    Raises BadInput: optuna is missing, the space is wrong, the bars are too few, or the study is another's.
    CheckFailed: no set traded enough to be judged.
    """
    try:
        _optimize(options, limits)
    except PipelineError as error:
        options.explain(error)
        raise


def _optimize(options: Options, limits: Limits) -> None:
    require_optuna()
    config, layout = options.load()
    Space.of(options, config)  # before anything is thrown away
    seconds = _seconds(limits.timeout or config.optimize.timeout)
    folder = layout.run / "search"
    lock = layout.data / ".locks" / f"{config.name}.search.lock"
    started = time.perf_counter()
    with exclusive(lock, f"another `pipeline optimize` of '{config.name}'"):
        if not limits.resume:
            shutil.rmtree(folder, ignore_errors=True)
        search = prepare(options)
        opened = search.study.open()
        lost = search.study.recover(opened)
        before = len(finished(opened))
        _run(options, search, limits, None if seconds is None else time.time() + seconds)
        shutil.rmtree(folder / "work", ignore_errors=True)
        summary = _conclude(search, opened, limits, before, lost)
        summary.seconds = time.perf_counter() - started
    if options.json:
        print_json(summary.json())
    else:
        print(summary.text())


def prepare(options: Options) -> Search:
    """Check everything, and lay the bars of the inner blocks apart. Raises BadInput: as `optimize`."""
    from pipeline.stages.chain import learns
    from pipeline.stages.trials import ledger

    config, layout = options.load()
    space = Space.of(options, config)
    if config.optimize.objective == "log_loss" and not learns(config):
        raise BadInput("optimize.objective: log_loss needs labels and models", "use objective: sharpe")
    if config.optimize.objective == "sharpe" and not config.signals.steps:
        raise BadInput("optimize.objective: sharpe needs signals.steps", "add them, or use objective: log_loss")
    inner, outer = _spans(config, layout)
    folder = layout.run / "search"
    files = [layout.merged(symbol) for symbol in config.symbols]
    data = hashlib.sha256("".join(sha256_file(path) for path in files).encode()).hexdigest()
    identity = identity_of(space, config, data, [inner, outer])
    study = Study(folder, space, config, identity, data, iso(outer[0][0]), ledger(layout))
    search = Search(config, layout, study, inner, outer)
    for symbol in config.symbols:
        path = search.inner_layout().merged(symbol)
        table = read_table(layout.merged(symbol), "merge")
        inside = int(np.searchsorted(candles.times_ms(table), outer[0][0]))
        if not path.is_file() or read_table(path, "optimize", ["open_time"]).num_rows != inside:
            write_table(path, table.slice(0, inside))
    return search


def _spans(config: Config, layout: Layout) -> tuple[list[Span], list[Span]]:
    # Inner blocks of equal length up to the holdout; the holdout in blocks as predict-rolling would make them.
    from pipeline.features import window_bars
    from pipeline.stages.chain import learns

    step, settings = config.step_ms, config.optimize
    ends = []
    for symbol in config.symbols:
        times = candles.times_ms(read_table(layout.merged(symbol), "merge", ["open_time"]))
        ends.append((int(times[0]), int(times[-1]) + step))
    first, last = min(start for start, _ in ends), max(stop for _, stop in ends)
    bars = (last - first) // step
    held = max(round(bars * settings.holdout), 1)
    outer_start = last - held * step
    needed = window_bars(config) + (config.bars(config.predict_rolling.train_length) if learns(config) else 0)
    start = first + needed * step
    if settings.start:
        start = first + -(-(utc_ms(settings.start) - first) // step) * step
    inside = (outer_start - start) // step
    if start <= first or inside < 2 * settings.folds:
        raise BadInput(
            f"optimize: no {settings.folds} blocks of bars lie between {iso(start)} and the holdout, from "
            f"{iso(outer_start)}",
            "shorten predict_rolling.train_length or optimize.holdout, or download more bars",
        )
    edges = [start + round(inside * k / settings.folds) * step for k in range(settings.folds + 1)]
    size = config.bars(config.predict_rolling.prediction_size) * step if learns(config) else last - outer_start
    outer = [(at, min(at + size, last)) for at in range(outer_start, last, size)]
    return [(edges[k], edges[k + 1]) for k in range(settings.folds)], outer


def _seconds(timeout: str | None) -> float | None:
    try:
        return None if timeout is None else duration_ms(timeout) / 1000
    except ValueError as error:
        raise BadInput(f"--timeout: {error}") from None


def _run(options: Options, search: Search, limits: Limits, deadline: float | None) -> None:
    settings = search.config.optimize
    target = limits.trials or settings.trials
    allowed = cores(search.config)
    workers = min(limits.workers or allowed, target)
    if workers == 1:
        work(search.study, lambda: search.bench(allowed), target, deadline, _say(options))
        return
    import multiprocessing

    # Fresh processes: LightGBM's and BLAS's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    threads = max(allowed // workers, 1)
    arguments = (options, target, deadline, threads, os.getpid(), queue)
    running = [context.Process(target=_worker, args=arguments, daemon=True) for _ in range(workers)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if not queue.empty():
        message, hint = queue.get()
        raise BadInput(message, hint)
    if broken := [process.exitcode for process in running if process.exitcode]:
        raise CheckFailed(
            f"optimize: {len(broken)} of {workers} workers ended with exit code {broken[0]}",
            "out of memory? run the same command to go on, with --workers 1",
        )


def _worker(options: Options, target: int, deadline: float | None, threads: int, parent: int, queue: Any) -> None:
    import threading

    def watch() -> None:
        # Killed, a parent takes nobody with it; an orphan must not go on with a study that somebody may resume.
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        search = prepare(options)
        work(search.study, lambda: search.bench(threads), target, deadline, _say(options))
    except PipelineError as error:
        queue.put((error.message, error.hint))
    except KeyboardInterrupt:
        os._exit(130)


def _say(options: Options) -> Callable[[str], None]:
    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    return say


def _conclude(search: Search, opened: "optuna.Study", limits: Limits, before: int, lost: int) -> Summary:
    from pipeline.stages.search_result import result_of, table_lines

    config, study = search.config, search.study
    chosen = best(opened, config)
    summary = Summary("optimize", [study.path], next="")
    ended = finished(opened)
    early = len(ended) - len(complete(opened))
    summary.figures["trials"] = f"{len(ended)}, {early} of them ended early, {before} from earlier runs"
    if lost:
        summary.figures["taken up again"] = f"{lost} that a killed run was at"
    if refused := [trial for trial in ended if "refused" in trial.user_attrs]:
        summary.warnings.append(f"{len(refused)} sets were refused, the last: {refused[-1].user_attrs['refused']}")
    if chosen is None:
        study.end(False, None, None)
        raise CheckFailed(
            f"optimize: none of {len(ended)} sets made {config.optimize.min_trades} trades on the inner blocks",
            "widen the thresholds, lower optimize.min_trades, or try more sets",
        )
    outcome = _holdout(search, opened, chosen) if limits.holdout else None
    best_path = search.folder / "best.yaml"
    write_text(best_path, _best_file(study.space.best_file(values_of(chosen, study.space.axes), best_path)))
    result = result_of(search, opened, chosen, outcome)
    write_json(search.folder / "result.json", result)
    summary.figures |= table_lines(result)
    summary.outputs += [best_path, search.folder / "result.json"]
    from importlib.util import find_spec

    if find_spec("plotly") is not None:
        from pipeline.report.search import render

        write_text(search.folder / "report.html", render(result))
        summary.outputs.append(search.folder / "report.html")
    else:
        summary.warnings.append("no report: plotly is not installed; pip install 'pipeline[report]'")
    summary.next = f"pipeline run -c {best_path}"
    return summary


@dataclass(frozen=True)
class Outcome:
    """The best set on the bars that the search never saw. looks: how many sets have been tried on them by now."""

    tried: Tried
    looks: int
    price: float


def _holdout(search: Search, opened: "optuna.Study", chosen: "FrozenTrial") -> Outcome:
    # Once for each set: a second look at the same gives the same, and is not counted.
    config = search.study.space.config(values_of(chosen, search.study.space.axes))
    looks: list[dict[str, Any]] = opened.user_attrs.get("holdout", [])
    known = [look for look in looks if look["params"] == chosen.params]
    price = _price(search)
    if known:
        table = read_table(search.folder / "returns" / known[0]["returns"], "optimize", ["day", "return"])
        facts = known[0]
        tried = Tried(
            facts["blocks"], table["day"].to_numpy(), table["return"].to_numpy(), facts["trades"],
            facts["total_return"], facts["skill"],
        )  # fmt: skip
        return Outcome(tried, len(looks), price)
    *_, tried = search.outer_bench(cores(config)).tries(config)
    name = f"holdout-{len(looks)}.parquet"
    write_table(search.folder / "returns" / name, pa.table({"day": tried.days, "return": tried.returns}))
    _record_look(search, chosen, tried)
    facts = {key: value for key, value in asdict(tried).items() if key not in ("days", "returns")}
    opened.set_user_attr(
        "holdout", [*looks, {"params": chosen.params, "trial": chosen.number, "returns": name, **facts}]
    )
    return Outcome(tried, len(looks) + 1, price)


def _record_look(search: Search, chosen: "FrozenTrial", tried: Tried) -> None:
    from pipeline import __version__
    from pipeline.evaluation.search import sharpe_or_zero
    from pipeline.evaluation.trials import Trial

    study = search.study
    sharpe = sharpe_or_zero(tried.returns) if len(tried.days) else None
    what = {"values": values_of(chosen, study.space.axes)}
    end = iso(search.outer[-1][1])
    common = (study.identity, study.data, __version__, search.config.seed)
    # The set itself is among those searched already: as an independent trial it counts there.
    line = Trial("holdout", *common, what, 1, "sharpe", sharpe, end, None, 0.0)
    if line.identity not in {trial.identity for trial in study.ledger.read()}:
        study.ledger.append([line])


def _price(search: Search) -> float:
    # What holding made over the holdout, mean over the symbols, without costs.
    made = []
    for symbol in search.config.symbols:
        table = read_table(search.layout.merged(symbol), "merge", ["open_time", "close"])
        first = int(np.searchsorted(candles.times_ms(table), search.outer[0][0]))
        close = candles.column(table, "close")
        made.append(float(close[-1] / close[max(first - 1, 0)] - 1))
    return float(np.mean(made))


def _best_file(value: Mapping[str, Any]) -> str:
    head = "# The best set that `pipeline optimize` found. A search writes it anew: copy it before you change it.\n"
    return head + yaml_text(value)
