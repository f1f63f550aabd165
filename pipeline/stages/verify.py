"""`pipeline verify`: the leak detector over features, labels, predictions, signals, folds and trades of a config."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import Layout, exclusive, read_json, read_table, sha256_file, sha256_json, write_json
from pipeline.config import Config
from pipeline.errors import BadInput, CheckFailed, PipelineError
from pipeline.evaluation.certificate import Certificate
from pipeline.evaluation.leaks.findings import Finding, merged, table
from pipeline.market import candles
from pipeline.stages.reporting import print_json
from pipeline.stages.runner import Options
from pipeline.stages.verify_kept import FAST, FULL, Kept


def certificate_path(layout: Layout) -> Path:
    """Where the certificate of a config's files lies: beside the folders that DVC tracks, and none of them."""
    return layout.run / "certificate.json"


def certificate_for(layout: Layout, manifest: Mapping[str, Any]) -> Certificate | None:
    """The certificate of a config's files if it vouches for a manifest; None if there is none, or it does not.

    Raises BadInput: the certificate is damaged, or was altered.
    """
    from pipeline.evaluation.certificate import from_json, valid_for

    path = certificate_path(layout)
    if not path.is_file():
        return None
    certificate = from_json(read_json(path, "verify"), str(path))
    return certificate if valid_for(certificate, manifest) is None else None


def verify(options: Options, fast: bool) -> None:
    """Run the detector, write the certificate and print the table.

    Raises CheckFailed: a column did not pass. MissingInput: a stage has not run yet (names it). BadInput: the files
    were made by other code.
    """
    try:
        config, layout = options.load()
        require_same_code(layout)
        lock = layout.data / ".locks" / f"{config.name}.lock"
        with exclusive(lock, f"`pipeline verify` or a stage of '{config.name}'"):
            certificate = certify(config, layout, "fast" if fast else "full")
    except PipelineError as error:
        options.explain(error)
        raise
    if options.json:
        print_json({"stage": "verify", **certificate.json(), "path": str(certificate_path(layout))})
    else:
        print(table(certificate.findings))
        print(f"\ncertificate ({certificate.mode}): {certificate_path(layout)}")
    stale = [] if certificate.passed else _not_of_this_code(config, layout, certificate)
    try:
        require_passed(certificate, stale)
    except CheckFailed as error:
        options.explain(error)
        raise


def require_same_code(layout: Layout) -> None:
    """Raises BadInput: the models were trained by other code, whose values differ without any leak."""
    from pipeline.models import bundle

    path = layout.trained / "manifest.json"
    if path.is_file() and bundle.read_manifest(layout.trained)["hashes"].get("code") != bundle.code_hash():
        raise BadInput(
            f"{path}: made by other code than this",
            "run `pipeline features` again, and the stages after it; then there is something to verify",
        )


def _not_of_this_code(config: Config, layout: Layout, certificate: Certificate) -> list[str]:
    # Features that did not pass, and that are not what this code makes of all bars either.
    from pipeline.evaluation.leaks.comparing import Question, compare
    from pipeline.features import compute, feature_names

    failed = {one.column for one in certificate.findings if one.kind == "feature" and not one.passed}
    names = [name for name in feature_names(config) if name in failed]
    found = []
    for symbol in config.symbols if names else ():
        bars, kept = read_table(layout.merged(symbol), "merge"), read_table(layout.features(symbol), "features")
        again = compute(config, bars)
        found += [one.column for one in compare(Question("truncation", "feature", symbol), kept, again, names)
                  if not one.passed]  # fmt: skip
    return list(dict.fromkeys(found))


def require_passed(certificate: Certificate, stale: Sequence[str] = ()) -> None:
    """Raises CheckFailed: a column did not pass; names it. stale: of those, what other code or bars have made."""
    if certificate.passed:
        return
    if stale:
        raise CheckFailed(
            f"verify {certificate.name}: {', '.join(stale[:4])}: not what this code makes of these bars",
            "run `pipeline features` again, and the stages after it: old files, or altered ones, are no leak yet",
        )
    failures = certificate.failures
    more = f" and {len(failures) - 4} more" if len(failures) > 4 else ""
    raise CheckFailed(
        f"verify {certificate.name}: {', '.join(failures[:4])}{more}",
        "a value that changes with what comes later has seen the future; see docs/evaluation.md, section 5",
    )


def certify(config: Config, layout: Layout, mode: str) -> Certificate:
    """The certificate of a config's files, written to `certificate_path`, whether the checks passed or not.

    mode: "fast" or "full". The caller holds the run's lock.
    Raises MissingInput: a stage has not run yet.
    """
    from pipeline.features import custom_hashes
    from pipeline.models import bundle

    kept = Kept(config, layout)
    findings = merged(_findings(kept, mode))
    manifest = bundle.read_manifest(layout.trained) if kept.bundle else None
    certificate = Certificate(
        config.name,
        mode,
        candles.iso(max(int(candles.times_ms(kept.bars(symbol))[-1]) for symbol in config.symbols) + config.step_ms),
        tuple(findings),
        {**config_hashes(config), "code": bundle.code_hash(), **custom_hashes(config), **_file_hashes(kept)},
        {n: facts["sha256"] for n, facts in {**manifest["models"], **manifest.get("second", {})}.items()}
        if manifest
        else {},
        bundle.versions(),
        {f"custom/{e.custom.function}": e.custom.lookback for e in config.features if e.custom},
    )
    write_json(certificate_path(layout), certificate.json())
    return certificate


def _findings(kept: Kept, mode: str) -> Iterator[Finding]:
    from pipeline.stages import verify_files, verify_folds, verify_tables

    effort = FULL if mode == "full" else FAST

    def say(what: str) -> None:
        if sys.stderr.isatty():
            print(f"verify: {what}", file=sys.stderr, flush=True)

    say("custom features")
    yield from verify_files.check_files(kept)
    say("truncation and future noise")
    yield from verify_tables.check_worlds(kept, effort)
    yield from verify_tables.check_windows(kept, effort)
    say("bar by bar")
    yield from verify_tables.check_online(kept, effort)
    if kept.learns:
        say("folds")
        yield from verify_folds.check_overlap(kept)
    if kept.rolling:
        say("shuffled labels")
        yield from verify_folds.check_shuffled(kept, effort)
        say("walk-forward without the last data")
        yield from verify_folds.check_prefix(kept, effort)
    say("trades")
    yield from verify_folds.check_trades(kept)


def config_hashes(config: Config) -> dict[str, str]:
    """`config`: of the sections that a manifest hashes; `whole config`: of all that scores and trades follow from."""
    from pipeline.stages.second_stage import second_sections
    from pipeline.stages.train import SECTIONS

    learnt = (*SECTIONS, *second_sections(config))
    resolved = config.model_dump(mode="json", exclude_none=True)
    whole = {key: value for key, value in resolved.items() if key not in ("workers", "output", "serve", "gate")}
    return {"config": sha256_json({key: resolved[key] for key in learnt}), "whole config": sha256_json(whole)}


def _file_hashes(kept: Kept) -> dict[str, str]:
    layout = kept.layout
    paths = [layout.folds, layout.simulation / "trades.parquet", layout.simulation / "metrics.json"]
    for symbol in kept.config.symbols:
        every = (layout.merged, layout.features, layout.labels, layout.predictions, layout.rolling, layout.signals)
        paths += [path(symbol) for path in every]
    return {f"{path.parent.name}/{path.name}": sha256_file(path) for path in paths if path.is_file()}
