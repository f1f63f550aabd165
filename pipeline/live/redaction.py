"""Taking secrets out of text before anyone can read it: the values that we know, and all that looks like one."""

import base64
import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

MASK = "[secret]"
# Shorter values are no secrets, and taking them out would maul the text.
SHORTEST = 4
# Longer texts are cut: an error page of a proxy says nothing more after that.
LONGEST = 8000
# Names of environment variables whose values are secrets.
_VARIABLE = re.compile(
    r"^(PIPELINE_(.*_)?(KEY|SECRET|TOKEN|PASSWORD|PASSPHRASE|NOTIFY|STORE|URLS?)(_.*)?"
    r"|.*(API_?KEY|SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|PRIVATE_?KEY).*)$"
)
# Names of fields whose values are.
_FIELD = re.compile(
    r"secret|token|signature|passw|passphrase|api_?key|apikey|authorization|listen_?key|private_?key", re.IGNORECASE
)
_PATTERNS = (
    # user:password@ of an address, and what Apprise keeps in one: a bot's token is the host of tgram://.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@'\"<>]*:[^\s@'\"<>]*@"), rf"\1{MASK}@"),
    (re.compile(r"(?i)\b(tgrams?|discord|slack|ntfys?|pover|gotifys?|mailtos?|msteams|matrixs?)://[^\s'\"<>]+"), rf"\1://{MASK}"),
    (re.compile(r"\bbot\d{5,}:[A-Za-z0-9_-]{16,}"), f"bot{MASK}"),
    (re.compile(r"\b\d{8,10}(:|%3A)[A-Za-z0-9_-]{35}\b"), MASK),
    # Parameters of a query, JSON members and headers.
    (
        re.compile(
            r"(?i)((?:signature|api_?key|listen_?key|x-mbx-apikey|secret(?:_?key)?|(?:access_|bot_)?token|passw(?:or)?d|passphrase)"
            r"[\"']?\s*[=:]\s*[\"']?)(?!\[secret\])[^\s&\"',;)}>]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b(basic|bearer)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), MASK),
    # What Binance's keys look like; a hash in hexadecimal has no capitals.
    (re.compile(r"\b(?=[A-Za-z0-9]*[A-Z])(?=[A-Za-z0-9]*[a-z])(?=[A-Za-z0-9]*[0-9])[A-Za-z0-9]{64}\b"), MASK),
)  # fmt: skip
# A line without any of these, and without a word of this length, matches no pattern.
_WORDS = (
    "://", "secret", "token", "signature", "passw", "passphrase", "api_key", "apikey", "api-key", "authorization",
    "listen_key", "listenkey", "private_key", "privatekey", "private key", "basic", "bearer", "bot",
)  # fmt: skip
_LONG_WORD = re.compile(r"[A-Za-z0-9_-]{35}")
# A short text without any of these matches no pattern: most fields of most lines.
_SUSPICIOUS = re.compile(r"[=:/%\s]")


class Redactor:
    """Replaces secrets by a mask.

    secrets: values that must not be seen, in whatever form they turn up: as they are, encoded for an address, in
    base64, or escaped in JSON. Of an address (`scheme://…`) its user, password, path and query count as well.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: dict[str, None] = {}
        self._longest_first: list[str] = []
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Learn of more secrets, as a token that was made just now."""
        for secret in secrets:
            for value in [secret, *(_parts(secret) if "://" in secret else ())]:
                if len(value) >= SHORTEST:
                    self._known.update(dict.fromkeys(_forms(value)))
        self._longest_first = sorted(self._known, key=len, reverse=True)

    def text(self, text: str) -> str:
        """A text without secrets, cut if it is too long to be read."""
        text = self.known(text)
        if len(text) >= 64 or _SUSPICIOUS.search(text):
            for pattern, mask in _PATTERNS:
                text = pattern.sub(mask, text)
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST:,} characters more)"

    def is_clean(self, line: str) -> bool:
        """Whether a line surely holds nothing to take out: the quick answer for nearly all of them."""
        lower = line.lower()
        return (
            len(line) < LONGEST
            and not any(form in line for form in self._longest_first)
            and not any(word in lower for word in _WORDS)
            and not _LONG_WORD.search(line)
        )

    def known(self, text: str) -> str:
        """A text without those secrets that are known by their value."""
        for form in self._longest_first:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def value(self, value: Any, name: str = "") -> Any:
        """A value made of what JSON can hold, without secrets. name: of the field that holds it."""
        if name and _FIELD.search(name) and value not in (None, "", True, False):
            return MASK
        if not isinstance(value, str | Mapping | list | tuple | set | frozenset):
            value = plain(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item, str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in value]
        return self.text(value) if isinstance(value, str) else value


def environment_secrets(environment: Mapping[str, str], *variables: str) -> list[str]:
    """Values of environment variables that are secrets, by their names, and of the variables named besides.

    A value of several addresses, separated by spaces, counts as each of them.
    """
    found = [text for name, text in environment.items() if text and (name in variables or _VARIABLE.match(name))]
    return [part for text in found for part in ([text, *text.split()] if " " in text else [text])]


def _parts(address: str) -> list[str]:
    # The scheme and an ordinary host are no secrets; a host that is a bot's token has its own pattern and length.
    scheme, _, rest = address.partition("://")
    place, _, query = rest.partition("?")
    authority, *path = place.split("/")
    user, _, host = authority.rpartition("@")
    inside = [*user.split(":"), *path, *(value for _, value in urllib.parse.parse_qsl(query))]
    if scheme.lower() not in _ORDINARY or not re.fullmatch(r"[\w.-]*(:\d*)?|\[[0-9a-fA-F:]*\](:\d*)?", host):
        inside += [host, *host.split(":")]
    # A lower-case word in a path is a word: "services", the name of a database.
    named = [part for part in inside if len(part) >= 8 and not re.fullmatch("[a-z]{1,15}", part)]
    return [urllib.parse.unquote(part) for part in [*named, *user.split(":")[1:]]]


def plain(value: Any) -> bool | int | float | str | None:
    """A value as JSON can hold it: numbers of numpy's as Python's, what has no number in JSON as a word."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value)):
        return value
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# Their host is the name of a machine. Of others it may be a token.
_ORDINARY = {"http", "https", "ws", "wss", "json", "jsons", "xml", "xmls", "form", "forms", "postgresql", "postgres"}


def _forms(value: str) -> Iterable[str]:
    """The ways in which a secret may be written: plain, in addresses, in JSON and Python, in base64 and hex."""
    raw = value.encode()
    yield value
    yield urllib.parse.quote(value)
    yield urllib.parse.quote(value, safe="")
    yield urllib.parse.quote_plus(value)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    if len(raw) >= 8:
        yield raw.hex()
        for before in range(3):
            # Within a longer text its base64 depends on where it begins: what is the same whatever stands around it.
            code = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
            core = code[(0, 2, 3)[before] : len(code) - (1 if (before + len(raw)) % 3 else 0)]
            yield core
            yield core.replace("+", "-").replace("/", "_")
