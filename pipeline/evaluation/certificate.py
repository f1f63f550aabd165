"""The certificate of the leak detector: what was checked, on what, with which result, sealed by a hash.

It is bound to what it was made for: the hashes of config, data, code and models that a bundle's manifest has as well.
`valid_for` says why a certificate does not vouch for a manifest; the seal shows a change of the certificate itself,
not who made it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.artifacts import sha256_json
from pipeline.errors import BadInput
from pipeline.evaluation.leaks.findings import CHECKS, Finding

FORMAT = 1
# Checks without which nothing learnt is certified.
_NEEDED = ("truncation", "future noise", "online", "overlap", "prefix stability", "shuffled labels")
_VERSIONS = ("pipeline", "python", "lightgbm", "numpy", "scikit-learn", "pyarrow", "talib")


@dataclass(frozen=True)
class Certificate:
    """The result of `pipeline verify`.

    name: of the config. mode: fast or full. until: end of the data, ISO 8601. findings: each column under each check.
    hashes: of config, data, code, as in a manifest's `hashes`, and of further files. models: model → SHA-256 of its
    file. versions: of what the bits depend on. lookback: bars that each custom feature declares.
    """

    name: str
    mode: str
    until: str
    findings: tuple[Finding, ...]
    hashes: Mapping[str, str]
    models: Mapping[str, str]
    versions: Mapping[str, str]
    lookback: Mapping[str, int]

    @property
    def passed(self) -> bool:
        """Whether every column passed every check."""
        return all(one.passed for one in self.findings)

    @property
    def failures(self) -> list[str]:
        """`check: column`, of what did not pass."""
        return [f"{one.check}: {one.column}" for one in self.findings if not one.passed]

    def json(self) -> dict[str, Any]:
        """The certificate as JSON, with its seal."""
        content = {
            "format": FORMAT,
            "name": self.name,
            "mode": self.mode,
            "until": self.until,
            "passed": self.passed,
            "checks": [_check(name, self.findings) for name in CHECKS if any(f.check == name for f in self.findings)],
            "hashes": dict(self.hashes),
            "models": dict(self.models),
            "versions": dict(self.versions),
            "lookback": dict(self.lookback),
        }
        return {**content, "seal": sha256_json(content)}


def _check(name: str, findings: Sequence[Finding]) -> dict[str, Any]:
    own = [one for one in findings if one.check == name]
    columns = []
    for one in own:
        facts = asdict(one)
        del facts["check"]
        columns.append({**facts, "symbols": list(one.symbols)})
    return {
        "check": name,
        "passed": all(one.passed for one in own),
        "rows": sum(one.rows for one in own),
        "differing_bits": sum(one.bits for one in own),
        "columns": columns,
    }


def from_json(value: Any, where: str) -> Certificate:
    """The certificate of JSON that `Certificate.json` made. Raises BadInput: it is damaged, or was altered."""
    hint = "run `pipeline verify` again"
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise BadInput(f"{where}: is not a certificate of format {FORMAT}", hint)
    content = {key: part for key, part in value.items() if key != "seal"}
    if sha256_json(content) != value.get("seal"):
        raise BadInput(f"{where}: the certificate was altered: its content does not have the hash of its seal", hint)
    try:
        findings = tuple(
            Finding(check["check"], **{**column, "symbols": tuple(column["symbols"])})
            for check in value["checks"]
            for column in check["columns"]
        )
        certificate = Certificate(
            value["name"], value["mode"], value["until"], findings,
            value["hashes"], value["models"], value["versions"], value["lookback"],
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise BadInput(f"{where}: the certificate is damaged: {error}", hint) from None
    if certificate.json() != value:
        raise BadInput(f"{where}: the certificate says other than its findings do", hint)
    return certificate


def read(manifest: Mapping[str, Any]) -> Certificate | None:
    """The certificate in a bundle's manifest; None if it has none. Raises BadInput: it is damaged or was altered."""
    value = manifest.get("certificate")
    return None if value is None else from_json(value, f"manifest of {manifest.get('name', 'a bundle')}")


def valid_for(certificate: Certificate, manifest: Mapping[str, Any]) -> str | None:
    """Why a certificate does not vouch for a bundle; None if it does.

    manifest: of the bundle. Every hash in it has to be the certificate's: config, code, custom features, feature and
    label files; so does every model file, and every version that the bits depend on.
    """
    return _own_fault(certificate) or _other_bundle(certificate, manifest)


def _own_fault(certificate: Certificate) -> str | None:
    if not certificate.passed:
        more = f" and {len(certificate.failures) - 3} more" if len(certificate.failures) > 3 else ""
        return f"a check failed: {', '.join(certificate.failures[:3])}{more}"
    done = {one.check for one in certificate.findings}
    if missing := [check for check in _NEEDED if check not in done]:
        return f"it is not complete: no {missing[0]}"
    return None


def _other_bundle(certificate: Certificate, manifest: Mapping[str, Any]) -> str | None:
    every = {**manifest["models"], **manifest.get("second", {})}
    models = {name: facts["sha256"] for name, facts in every.items()}
    for name, sha256 in models.items():
        if certificate.models.get(name) != sha256:
            return f"it was made for another model '{name}'"
    for what, sha256 in manifest["hashes"].items():
        if certificate.hashes.get(what) != sha256:
            return f"it was made for another {what}"
    for library in _VERSIONS:
        if certificate.versions.get(library) != manifest["versions"].get(library):
            return f"it was made with another {library}: {certificate.versions.get(library)}"
    checked = {one.column for one in certificate.findings if one.check == "truncation" and one.kind == "feature"}
    if unchecked := [name for name in manifest["features"] if name not in checked]:
        return f"feature '{unchecked[0]}' was not checked"
    return None
