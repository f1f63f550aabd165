"""What is known of a bundle that asks for a step: its files, certificate, record, and the days it has lived through."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Layout, read_json, sha256_json
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput, MissingInput
from pipeline.evaluation import certificate as certificates
from pipeline.evaluation.certificate import Certificate
from pipeline.evaluation.gate import Record
from pipeline.stages.standing import promotions
from pipeline.stages.track_record import FILE, track_record

if TYPE_CHECKING:
    from pipeline.evaluation.trials import Tried

DAY_MS = 86_400_000
TRAINED = "trained"
# Exchanges whose bars take as long as they say.
REAL_TIME = ("live", "testnet", "demo")


@dataclass(frozen=True)
class Dossier:
    """A bundle's papers.

    name: id, or `trained` for models that are no bundle yet. certificate: None if it has none that can be read, or one
    that does not vouch for it; fault says why. record: None if it was stored without.
    """

    name: str
    manifest: Mapping[str, Any]
    certificate: Certificate | None
    fault: str | None
    metrics: Mapping[str, Any] | None
    record: Record | None

    @property
    def strategy(self) -> str | None:
        """What bundles of the same config and code have in common; None if nothing vouches for either."""
        return None if self.certificate is None else strategy_of(self.certificate)

    def age_days(self, now_ms: int) -> float:
        """Since the end of its data."""
        return (now_ms - utc_ms(str(self.manifest["created"]))) / DAY_MS


def strategy_of(certificate: Certificate) -> str:
    """The same for certificates of the same config and code, whatever the data."""
    custom = {name: value for name, value in certificate.hashes.items() if name.startswith("custom/")}
    return sha256_json([certificate.hashes.get("whole config"), certificate.hashes.get("code"), custom])


def dossier(layout: Layout, bundle: str) -> Dossier:
    """Of a stored bundle. Raises MissingInput: it is not there. BadInput: its manifest is damaged."""
    from pipeline.models.bundle import read_manifest

    folder = layout.bundles / bundle
    manifest = read_manifest(folder)
    certificate, fault = _certificate(manifest, manifest.get("certificate"), str(folder))
    metrics = read_json(folder / "metrics.json", "retrain") if (folder / "metrics.json").is_file() else None
    record = _record(folder / FILE) if (folder / FILE).is_file() else None
    return Dossier(bundle, manifest, certificate, fault, metrics, record)


def trained_dossier(layout: Layout) -> Dossier:
    """Of what `train`, `verify` and `simulate` left. Raises MissingInput: one of them has not run."""
    from pipeline.models.bundle import read_manifest
    from pipeline.stages.verify import certificate_path

    manifest = read_manifest(layout.trained)
    path = certificate_path(layout)
    found = read_json(path, "verify") if path.is_file() else None
    certificate, fault = _certificate(manifest, found, str(path))
    metrics = read_json(layout.simulation / "metrics.json", "simulate")
    return Dossier(TRAINED, manifest, certificate, fault, metrics, track_record(layout))


def _certificate(manifest: Mapping[str, Any], found: Any, where: str) -> tuple[Certificate | None, str | None]:
    if found is None:
        return None, "there is none; `pipeline verify` makes one"
    try:
        certificate = certificates.from_json(found, where)
    except BadInput as error:
        return None, error.message
    fault = certificates.valid_for(certificate, manifest)
    return (None if fault else certificate), fault


def _record(path: Path) -> Record:
    try:
        return Record.from_json(read_json(path, "retrain"))
    except (KeyError, TypeError):
        raise BadInput(f"{path}: is not a track record", "`pipeline retrain` makes a bundle with one") from None


def tried(layout: Layout) -> "Tried":
    """All trials of a config: those of its own ledger and those of its retrainings. Some may count twice."""
    from pipeline.evaluation.trials import Tried
    from pipeline.stages.trials import ledger

    work = Layout.in_workdir(layout.name, Path("runs") / f"retrain-{layout.name}")
    books = [ledger(one) for one in (layout, work)]
    found = [book.tried() for book in books if book.read()]
    if not found:
        return books[0].tried()
    known = [one.variance for one in found if one.variance is not None]
    count, effective = sum(one.count for one in found), sum(one.effective for one in found)
    return Tried(count, effective, max(known, default=None))


def champion(config: Config, layout: Layout) -> Dossier | None:
    """The live bundle that has to be beaten; None if there is none. Raises MissingInput: it is gone."""
    own = layout if config.gate.champion is None else replace(layout, name=config.gate.champion)
    name = promotions(own).standing().champion
    return None if name is None else dossier(own, name)


@dataclass(frozen=True)
class Lived:
    """Bars that a bundle has decided in time. mode: shadow or live. exchange: where; "" if the journal does not say."""

    mode: str
    exchange: str
    bundle: str
    bars: int


def lived(config: Config, layout: Layout, store: str | None) -> list[Lived]:
    """What the journal says. Raises BadInput: it is damaged."""
    from pipeline.live.journal import open_reader

    where = store or config.serve.store or layout.journal
    if isinstance(where, Path) and not where.is_file():
        return []
    counts: dict[tuple[str, str, str], int] = {}
    mode = exchange = ""
    reader = open_reader(where, config.name)
    try:
        for _, kind, body in reader.read():
            if kind == "START":
                mode, exchange = str(body["mode"]), str(body.get("exchange", ""))
            elif kind == "BAR" and not body["late"]:
                key = mode, exchange, str(body["bundle"])
                counts[key] = counts.get(key, 0) + 1
    finally:
        reader.close()
    return [Lived(*key, bars) for key, bars in counts.items()]


def days_lived(
    config: Config, layout: Layout, own: Dossier, found: list[Lived], mode: str, exchanges: tuple[str, ...]
) -> float:
    """Days that count for a bundle: its own, or those of all bundles of the same strategy that are still kept."""
    family: dict[str, bool] = {own.name: True}
    bars = 0
    for one in found:
        if one.mode != mode or one.exchange not in exchanges:
            continue
        if one.bundle not in family:
            family[one.bundle] = config.gate.days_of == "config" and _is_kin(layout, own, one.bundle)
        bars += one.bars if family[one.bundle] else 0
    return bars * config.step_ms / DAY_MS


def _is_kin(layout: Layout, own: Dossier, bundle: str) -> bool:
    try:
        other = dossier(layout, bundle)
    except (MissingInput, BadInput):
        return False
    return own.strategy is not None and other.strategy == own.strategy


def replayed(config: Config, layout: Layout, mode: str, store: str | None) -> tuple[list[Any], str]:
    """The checks of `shadow-report`, and a hash of what it found. Raises PipelineError: it cannot be made."""
    from pipeline.stages.shadow_report import as_json, compare

    report = compare(config, layout, mode, store)
    return report.checks, sha256_json(as_json(report))
