"""A scenario file: how the market fills, who trades, what is allowed, and what goes wrong."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from pipeline.errors import BadInput
from pipeline.exchange.local.accounts import Account, Balance
from pipeline.exchange.local.exchange_filters import NONE, ExchangeFilters
from pipeline.exchange.local.faults import Fault
from pipeline.exchange.local.futures.rules import Futures
from pipeline.exchange.local.limits import Limits
from pipeline.exchange.local.matching import MarketModel

# Of a server that only this machine can reach and that holds no money: known to everyone on purpose.
DEMO_KEY, DEMO_SECRET = "local-demo-key", "local-demo-secret"


class Trader(BaseModel):
    """An account of the local exchange. Its key and secret are worth nothing anywhere else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(DEMO_KEY, pattern=r"^[a-zA-Z0-9_\-]{3,128}$")
    secret: SecretStr = SecretStr(DEMO_SECRET)
    balances: dict[str, Annotated[Decimal, Field(ge=0)]] = Field(
        {"USDT": Decimal(10_000)}, description="Free amounts by asset."
    )
    maker: Decimal = Field(Decimal("0.001"), ge=0, lt=1, description="Fee as a fraction.")
    taker: Decimal = Field(Decimal("0.001"), ge=0, lt=1, description="Fee as a fraction.")
    max_asset: dict[str, Annotated[Decimal, Field(gt=0)]] = Field(
        {}, description="Filter MAX_ASSET: most of an asset that one order may move."
    )

    def account(self, number: int) -> Account:
        """The account at the start."""
        balances = {asset: Balance(amount) for asset, amount in sorted(self.balances.items())}
        return Account(
            self.key, self.secret.get_secret_value(), 1000 + number, self.maker, self.taker, balances,
            max_asset=dict(self.max_asset),
        )  # fmt: skip


class Scenario(BaseModel):
    """What a scenario file may hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    market: MarketModel = MarketModel.model_validate({})
    accounts: list[Trader] = Field([Trader.model_validate({})], min_length=1)
    limits: Limits = Limits.model_validate({})
    exchange_filters: ExchangeFilters = NONE
    futures: Futures = Futures.model_validate({})
    reports: str = Field(
        "after", pattern="^(before|after|random)$", description="Whether user events come before or after the reply."
    )
    faults: list[Fault] = []

    @field_validator("accounts")
    @classmethod
    def _distinct(cls, accounts: list[Trader]) -> list[Trader]:
        keys = [trader.key for trader in accounts]
        if len(set(keys)) < len(keys):
            raise ValueError("two have the same key")
        return accounts


class ScenarioError(BadInput):
    """A scenario that is right in itself, but not for the market that it is to happen on."""


def load(path: Path) -> Scenario:
    """Read a scenario file (YAML). Raises BadInput: naming the file, the key, and what is wrong."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such scenario file") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise BadInput(f"{path}: line {line}: {error.problem or error.context}", "is it YAML?") from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise BadInput(f"{path}: cannot be read: {str(error).splitlines()[0]}", "is it YAML?") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise BadInput(f"{path}: holds a {type(content).__name__}, not sections", "write market:, accounts:, faults: …")
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadInput(f"{path}: {where}: {first['msg']}", "docs/exchange.md lists what a scenario may hold") from None
