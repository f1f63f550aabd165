"""`pipeline promote`, `pipeline rollback`: a bundle's way to real money and back, each step on evidence."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.artifacts import Layout, exclusive, sha256_json
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput, CheckFailed, MissingInput, PipelineError
from pipeline.evaluation import gate as rules
from pipeline.evaluation.gate import STEPS
from pipeline.evaluation.promotions import AS_OF, CANDIDATE, LIVE, PROMOTE, RETIRED, ROLLBACK, Standing
from pipeline.evaluation.shadow import Check
from pipeline.stages import gate_evidence, standing
from pipeline.stages.gate_evidence import DAY_MS, REAL_TIME, TRAINED, Dossier
from pipeline.stages.reporting import print_json
from pipeline.stages.retrain import content, store_bundle
from pipeline.stages.runner import Options
from pipeline.stages.standing import enter, ledger_path, named, promotions, unexplained
from pipeline.stages.trials import ledger
from pipeline.stages.verify import config_hashes

_HINT = "docs/evaluation.md, section 9, says what each check asks for"


@dataclass(frozen=True)
class Judged:
    """A step that was asked for, and what the gate says of it.

    evidence: hashes of what was looked at. until: end of the bundle's data, ISO 8601. as_of: day that it was judged as
    on; None for today.
    """

    bundle: str
    stage: str
    to: str
    checks: list[Check]
    evidence: dict[str, str]
    until: str
    as_of: str | None = None

    @property
    def passed(self) -> bool:
        return rules.passed(self.checks)


def promote(options: Options, bundle: str | None, to: str | None, store: str | None, as_of: str | None = None) -> None:
    """Judge a bundle for a step, print the table, and let it take the step if it passes.

    bundle: the newest if None, or what was trained if there is no bundle. to: the next step if None. as_of: the day to
    judge as on, today if None; the ledger remembers what was found then, and the bundle stays where it is.
    Raises CheckFailed: a check failed. BadInput: `as_of` is no day between the end of the bundle's data and today.
    """
    try:
        config, layout = options.load()
        with exclusive(layout.data / ".locks" / f"{config.name}.gate.lock", f"`pipeline promote` of '{config.name}'"):
            judged = judge(config, layout, bundle, to, store, as_of)
            if as_of and not options.dry_run:
                _remember(layout, judged)
            elif judged.passed and not options.dry_run:
                judged = _take_step(layout, judged)
    except PipelineError as error:
        options.explain(error)
        raise
    _say(options, layout, judged)
    if wrong := [check.name for check in judged.checks if not check.passed]:
        raise CheckFailed(f"promote {judged.bundle} to {judged.to}: {', '.join(wrong)} failed", _HINT)


def judge(
    config: Config, layout: Layout, bundle: str | None, to: str | None, store: str | None = None,
    as_of: str | None = None,
) -> Judged:  # fmt: skip
    """What the gate says, today or on another day.

    Raises BadInput: the strategy has no models, the ledger is damaged, or the day is none to judge on. MissingInput.
    """
    if config.signals.predictions == "features":
        raise BadInput(
            "signals.predictions: features: a strategy without models has no bundle to promote",
            "`pipeline verify` checks its features, and `serve` says before live trading that there is no gate",
        )
    known = promotions(layout).standing()
    name = bundle or _newest(layout)
    if name != TRAINED and not (layout.bundles / name).is_dir():
        raise BadInput(
            f"{layout.bundles}: there is no bundle '{name}'",
            "`pipeline bundles` lists those there are; what `pipeline train` wrote is called `trained`",
        )
    own = gate_evidence.trained_dossier(layout) if name == TRAINED else gate_evidence.dossier(layout, name)
    stage = known.stage(own.name)
    stage = CANDIDATE if stage == RETIRED else stage
    to = to or STEPS[min(STEPS.index(stage) + 1, len(STEPS) - 1)]
    evidence = {} if name == TRAINED else content(layout, name)
    papers = _papers(config, layout, own, known, _moment(own, as_of))
    checks = [rules.step_check(stage, to), *([_files(layout)] if name == TRAINED else []), *papers]
    checks += _record(config, layout, own)
    if to in ("testnet", LIVE):
        checks += _lived(config, layout, own, "shadow", store, evidence)
    if to == LIVE:
        checks += [*_lived(config, layout, own, "live", store, evidence), _cap(config)]
    if own.certificate:
        evidence["whole config"] = own.certificate.hashes["whole config"]
    evidence["gate"] = sha256_json(config.gate.model_dump(mode="json"))
    return Judged(own.name, stage, to, checks, evidence, str(own.manifest["created"]), as_of)


def _moment(own: Dossier, as_of: str | None) -> int:
    # When the bundle is judged, in ms. A day on which its data did not exist yet cannot have seen it.
    today = standing.now()
    if as_of is None:
        return round(today.timestamp() * 1000)
    try:
        moment = utc_ms(as_of)
    except ValueError:
        raise BadInput(f"--as-of {as_of}: is not a date", "write it as 2024-12-31 or 2024-12-31T18:00") from None
    until = str(own.manifest["created"])
    if not utc_ms(until) <= moment <= today.timestamp() * 1000:
        raise BadInput(
            f"--as-of {as_of}: the data of {own.name} end at {until}, and today is {today:%Y-%m-%d}",
            "name a day between the two",
        )
    return moment


def _files(layout: Layout) -> Check:
    # A stored bundle is bound to its id; what was trained has its manifest to say what its models are.
    from pipeline.models import bundle

    try:
        manifest = bundle.read_manifest(layout.trained)
        bundle.verify(layout.trained, manifest)
    except BadInput as error:
        return Check("models", False, error.message, "as in the manifest", error.hint)
    count = len(manifest["models"]) + len(manifest.get("second", {}))
    return Check("models", True, f"{count} as in the manifest", "as in the manifest")


def _newest(layout: Layout) -> str:
    folders = layout.bundles.iterdir() if layout.bundles.is_dir() else ()
    names = sorted(path.name for path in folders if path.is_dir() and not path.name.startswith("."))
    return names[-1] if names else TRAINED


def _papers(config: Config, layout: Layout, own: Dossier, known: Standing, moment: int) -> list[Check]:
    most = config.bars(config.risk.breakers.model_expires) * config.step_ms / DAY_MS
    age = own.age_days(moment)
    strange = unexplained(layout, known) if known.stages else None
    vouched = own.certificate.hashes.get("whole config") if own.certificate else None
    checks = [
        Check("certificate", own.fault is None, own.fault or f"valid ({own.certificate.mode})" if own.certificate else
              own.fault or "", "valid", "`pipeline verify`, or `pipeline retrain`, makes one"),
        Check("age", age <= most, f"{age:.1f} days", f"at most {most:g}", "risk.breakers.model_expires; train anew"),
        Check("ledger", strange is None, strange or "explains current", "explains current",
              "`pipeline rollback --to` what the ledger names"),
    ]  # fmt: skip
    if vouched:
        same = vouched == config_hashes(config)["whole config"]
        found = "the certificate's" if same else "another one"
        checks.append(Check("config", same, found, "the certificate's", "give the config it was trained with"))
    return checks


def _record(config: Config, layout: Layout, own: Dossier) -> list[Check]:
    from pipeline.evaluation.significance import deflated

    if own.record is None or own.metrics is None:
        return [Check("track record", False, "none", "one", "`pipeline retrain` makes bundles with one")]
    section = own.metrics.get("significance") or {}
    sets = (own.metrics.get("grid") or {}).get("sets", 0)
    luck = deflated(own.record.returns, gate_evidence.tried(layout), confidence=config.gate.dsr)
    return [
        *rules.record_checks(own.record, config.gate),
        *rules.luck_checks(luck, section.get("overfitting"), sets, config.gate),
        *rules.search_checks(ledger(layout).search(), config.gate),
        _champion(config, layout, own),
    ]


def _champion(config: Config, layout: Layout, own: Dossier) -> Check:
    assert own.record is not None
    try:
        champion = gate_evidence.champion(config, layout)
    except MissingInput as error:
        return Check("against the champion", False, error.message, "better")
    if champion is None or champion.name == own.name:
        return rules.champion_check(own.record, None, False, config.gate, config.seed)
    if champion.record is None:
        return Check("against the champion", False, f"{champion.name} has no track record", "better")
    is_same = own.strategy is not None and own.strategy == champion.strategy
    return rules.champion_check(own.record, champion.record, is_same, config.gate, config.seed)


def _lived(
    config: Config, layout: Layout, own: Dossier, mode: str, store: str | None, evidence: dict[str, str]
) -> list[Check]:
    # The days, and whether what happened is what a simulation of the same bars says.
    shadow = mode == "shadow"
    where = "in shadow" if shadow else "on the testnet"
    least = config.gate.shadow_days if shadow else config.gate.testnet_days
    by = "`pipeline serve`" if shadow else "`pipeline serve --live --set serve.exchange=testnet`"
    found = gate_evidence.lived(config, layout, store)
    exchanges = REAL_TIME if shadow else ("testnet", "demo")
    days = gate_evidence.days_lived(config, layout, own, found, mode, exchanges)
    checks = [rules.days_check(f"days {where}", days, least, f"{by} makes more")]
    if not any(one.mode == mode for one in found):
        return [*checks, Check(f"replay {where}", False, "no bars in the journal", "equal to a simulation")]
    try:
        compared, evidence[f"shadow-report {mode}"] = gate_evidence.replayed(config, layout, mode, store)
    except PipelineError as error:
        return [*checks, Check(f"replay {where}", False, error.message, "equal to a simulation", error.hint)]
    return [*checks, *(Check(f"{where}: {c.name}", c.passed, c.found, c.wanted, c.why) for c in compared)]


def _cap(config: Config) -> Check:
    capital, cap = config.serve.capital, config.gate.live_cap
    found = "all that is free" if capital is None else f"{capital:,g}"
    return Check("capital", capital is not None and capital <= cap, found, f"at most {cap:,g}", "set serve.capital")


def _take_step(layout: Layout, judged: Judged) -> Judged:
    bundle, evidence = judged.bundle, judged.evidence
    if bundle == TRAINED:
        bundle = store_bundle(layout, layout)
        evidence = evidence | content(layout, bundle)
    takes_over = promotions(layout).standing().gives_way(bundle, judged.to)
    checks = [asdict(check) for check in judged.checks]
    enter(layout, PROMOTE, bundle, judged.to, takes_over, judged.until, evidence, checks)
    return replace(judged, bundle=bundle, evidence=evidence)


def _remember(layout: Layout, judged: Judged) -> None:
    # `whole config` is what `serve` trusts; here it must find nothing to trust.
    evidence = {f"as of: {name}": value for name, value in judged.evidence.items()} | {"as of": str(judged.as_of)}
    checks = [asdict(check) for check in judged.checks]
    enter(layout, AS_OF, judged.bundle, judged.stage, False, judged.until, evidence, checks)


def rollback(options: Options, to: str | None) -> None:
    """Go back to the champion before, or, where nothing is live, to the bundle before; print one line.

    Raises BadInput: there is none, or it may not be gone back to. MissingInput: it was pruned. CheckFailed: one of its
    files was altered.
    """
    from pipeline.models import bundle

    try:
        config, layout = options.load()
        known = promotions(layout).standing()
        target = _target(known, to, named(layout))
        hashes = content(layout, target)
        loaded = bundle.load(layout.bundles / target)
        left = named(layout)
        if not options.dry_run:
            stage = LIVE if target in known.champions else known.stage(target)
            enter(layout, ROLLBACK, target, stage, True, str(loaded.manifest["created"]), hashes)
    except PipelineError as error:
        options.explain(error)
        raise
    age = gate_evidence.dossier(layout, target).age_days(round(standing.now().timestamp() * 1000))
    if options.json:
        print_json(
            {"stage": "rollback", "name": config.name, "bundle": target, "left": left, "age_days": round(age, 2)}
        )
        return
    would = "would go" if options.dry_run else "went"
    print(f"rollback {config.name}: {would} from {left or 'nothing'} to {target}, {age:.1f} days old")


def _target(known: Standing, to: str | None, found: str | None) -> str:
    if to is None and not known.currents and found is None:
        raise BadInput(
            "there is no bundle to go back to: none has decided yet",
            "`pipeline retrain` makes the first, `pipeline bundles` lists those there are",
        )
    names = list(known.champions or known.currents)
    what = "live" if known.champions else "current"
    if to is not None:
        if to not in names:
            raise BadInput(
                f"--to {to}: never was {what}, and a rollback is no way around the gate",
                f"{', '.join(names) or 'no bundle'} may be gone back to; `pipeline promote` takes others forward",
            )
        return to
    before = [name for name in names if name != known.current]
    if not before:
        now_named = known.current or found or "nothing"
        raise BadInput(
            f"there is no {what} bundle before {now_named}",
            "`pipeline pause` stops entries, `pipeline flatten` closes positions",
        )
    return before[-1]


def bundles(options: Options) -> None:
    """Print every bundle: age, stage, part, certificate, headline."""
    try:
        config, layout = options.load()
        known = promotions(layout).standing()
        rows = [_row(layout, known, name) for name in _names(layout)]
        strange = unexplained(layout, known)
    except PipelineError as error:
        options.explain(error)
        raise
    if options.json:
        print_json({"stage": "bundles", "name": config.name, "bundles": rows, "current": named(layout),
                    "unexplained": strange})  # fmt: skip
        return
    if not rows:
        print(f"{config.name}: no bundle yet; `pipeline retrain` makes one")
        return
    table = [["bundle", "days old", "stage", "part", "certificate", "return", "Sharpe", "trades"]]
    for row in rows:
        head = row["headline"]
        table.append([
            row["bundle"], f"{row['age_days']:.1f}", row["stage"], row["part"],
            "valid" if row["fault"] is None else f"NO: {row['fault']}", _shown(head.get("total_return"), "{:+.1%}"),
            _shown(head.get("sharpe"), "{:.2f}"), _shown(head.get("trades"), "{:,}"),
        ])  # fmt: skip
    widths = [max(len(line[k]) for line in table) for k in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if strange:
        print(f"warning: {strange}: `current` was changed by hand, or by an older version")


def _names(layout: Layout) -> list[str]:
    folders = layout.bundles.iterdir() if layout.bundles.is_dir() else ()
    return sorted((p.name for p in folders if p.is_dir() and not p.name.startswith(".")), reverse=True)


def _row(layout: Layout, known: Standing, name: str) -> dict[str, Any]:
    own = gate_evidence.dossier(layout, name)
    parts = []
    if name == known.champion:
        parts.append("champion")
    elif known.champion and known.stage(name) in STEPS:
        parts.append("challenger")
    if name == named(layout):
        parts.append("current")
    return {
        "bundle": name,
        "age_days": round(own.age_days(round(standing.now().timestamp() * 1000)), 2),
        "stage": known.stage(name),
        "part": ", ".join(parts),
        "fault": own.fault,
        "headline": (own.metrics or {}).get("headline", {}),
    }


def _shown(value: Any, form: str) -> str:
    return "" if value is None else form.format(value)


def _say(options: Options, layout: Layout, judged: Judged) -> None:
    if options.json:
        print_json({
            "stage": "promote", "bundle": judged.bundle, "from": judged.stage, "to": judged.to, "passed": judged.passed,
            "dry_run": options.dry_run, "as_of": judged.as_of, "checks": [asdict(check) for check in judged.checks],
            "current": named(layout),
        })  # fmt: skip
        return
    names, found = (max(len(getattr(c, part)) for c in judged.checks) for part in ("name", "found"))
    print(f"{judged.bundle}: from {judged.stage} to {judged.to}{f', as of {judged.as_of}' if judged.as_of else ''}")
    found = min(found, 60)
    for check in judged.checks:
        line = f"  {'pass' if check.passed else 'FAIL'}  {check.name:<{names}}  {check.found:<{found}}  {check.wanted}"
        print(line.rstrip())
        if not check.passed and check.why:
            print(f"        {'':<{names}}{check.why}")
    if judged.as_of:
        kept = "written down nowhere" if options.dry_run else f"written down in {ledger_path(layout)}"
        print(f"as of {judged.as_of} only: {kept}; {judged.bundle} stays {judged.stage}", flush=True)
    elif judged.passed:
        done = "it would be" if options.dry_run else "it is now"
        print(f"{done} {judged.to}; current: {named(layout)}; ledger: {ledger_path(layout)}", flush=True)
