"""What an account may have open on the whole exchange, and how much of an asset one order may move.

Source: https://developers.binance.com/docs/binance-spot-api-docs/filters
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import BadInput
from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.numbers import text
from pipeline.exchange.local.orders import STOPS, Order
from pipeline.exchange.local.requests import Ticket

MAX_ASSET = "MAX_ASSET"
# The exchange's filters in its order: our name of each limit, and the one in JSON.
_NAMES = {
    "EXCHANGE_MAX_NUM_ORDERS": ("max_num_orders", "maxNumOrders"),
    "EXCHANGE_MAX_NUM_ALGO_ORDERS": ("max_num_algo_orders", "maxNumAlgoOrders"),
    "EXCHANGE_MAX_NUM_ICEBERG_ORDERS": ("max_num_iceberg_orders", "maxNumIcebergOrders"),
    "EXCHANGE_MAX_NUM_ORDER_LISTS": ("max_num_order_lists", "maxNumOrderLists"),
}
TYPES = (*_NAMES, MAX_ASSET)


class ExchangeFilters(BaseModel):
    """How much an account may have open over all symbols; 0: there is no such filter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_num_orders: int = Field(0, ge=0, description="Open orders, algo orders among them.")
    max_num_algo_orders: int = Field(0, ge=0, description="Open stops and take-profits, trailing ones among them.")
    max_num_iceberg_orders: int = Field(0, ge=0, description="Open orders with an icebergQty.")
    max_num_order_lists: int = Field(0, ge=0, description="Open order lists; an OTOCO is one.")

    @property
    def are_there(self) -> bool:
        """Whether there are any."""
        return (self.max_num_orders or self.max_num_algo_orders or self.max_num_iceberg_orders
                or self.max_num_order_lists) > 0  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """`exchangeFilters` as `exchangeInfo` and `myFilters` have them."""
        limits = ((kind, key, getattr(self, field)) for kind, (field, key) in _NAMES.items())
        return [{"filterType": kind, key: most} for kind, key, most in limits if most]

    def changed(self, filter_type: str, values: Mapping[str, str]) -> "ExchangeFilters":
        """With another limit. Raises BadInput: it is none."""
        field, key = _NAMES[filter_type]
        if values.keys() != {key} or not re.fullmatch("[0-9]{1,9}", values[key]):
            raise BadInput(f"{filter_type} has one value, {key}, which is a whole number", "0 takes the filter away")
        return self.model_copy(update={field: int(values[key])})

    def exceeded(self, live: Sequence[Order], tickets: Sequence[Ticket], lists: int) -> str:
        """The first filter that new orders break, empty if they pass all.

        live: what the account has open, pending orders too; lists: how many the new orders are.
        """
        counts = (
            (len(live), len(tickets)),
            (sum(one.is_stop for one in live), sum(one.kind in STOPS for one in tickets)),
            (sum(one.iceberg > 0 for one in live), sum(one.iceberg > 0 for one in tickets)),
            (len({one.list_id for one in live if one.list_id >= 0}), lists),
        )
        for (kind, (field, _)), (held, new) in zip(_NAMES.items(), counts, strict=True):
            if new and 0 < getattr(self, field) < held + new:
                return kind
        return ""


NONE = ExchangeFilters.model_validate({})


def asset_rows(account: Account, *assets: str) -> list[dict[str, str]]:
    """`assetFilters` of `myFilters`: what one order of an account may move of some assets."""
    limits = ((asset, account.max_asset[asset]) for asset in assets if asset in account.max_asset)
    return [{"filterType": MAX_ASSET, "asset": asset, "limit": text(most)} for asset, most in limits]


def limit_asset(accounts: Sequence[Account], values: Mapping[str, str]) -> None:
    """Limit how much of an asset an order of any account may move; 0 lifts the limit. Raises BadInput: it is none."""
    if values.keys() != {"asset", "limit"} or not re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,8})?", values["limit"]):
        raise BadInput(f"{MAX_ASSET} has two values, asset and limit, which is an amount", "0 lifts the limit")
    for account in accounts:
        most = Decimal(values["limit"])
        account.max_asset = {k: v for k, v in account.max_asset.items() if k != values["asset"]}
        if most:
            account.max_asset[values["asset"]] = most


def told(filters: ExchangeFilters, accounts: Sequence[Account]) -> dict[str, Any]:
    """What the journal says of these rules at the start; nothing if there are none."""
    assets = {str(one.uid): asset_rows(one, *sorted(one.max_asset)) for one in accounts if one.max_asset}
    found = {"exchange_filters": filters.rows(), "asset_filters": assets}
    return {name: value for name, value in found.items() if value}
