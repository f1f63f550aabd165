"""Who may ask and how often: signatures over the bytes that came, timestamps, weights, order counts and bans."""

import hmac
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from exchange.servers import Rest, code, exchange, forgive, inside, signature, stamped
from hypothesis import given
from hypothesis import strategies as st

from pipeline.exchange.local import signing
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.limits import Limits, RateLimited, RateLimits
from pipeline.exchange.local.signing import rest_payload
from pipeline.testing import LocalExchange

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1", "price": "20000"}
MINUTE = 60_000


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalExchange]:
    with exchange() as running:
        yield running


@pytest.fixture
def rest(shared: LocalExchange) -> Rest:
    forgive(shared)
    return Rest(shared)


def sign(rest: Rest, payload: str) -> str:
    return signature(rest.local.secret, payload)


# Signatures


@pytest.mark.parametrize("where", ["query", "body", "both", "signature in the body"])
def test_a_signature_is_over_query_and_body_as_they_came(rest: Rest, where: str) -> None:
    whole = urlencode(stamped(ORDER))
    head, _, tail = whole.partition("&side")
    query, body = {"query": (whole, ""), "body": ("", whole)}.get(where, (head, f"side{tail}"))
    mark = f"signature={sign(rest, query + body)}"
    if where in ("query", "both"):
        query += f"&{mark}"
    else:
        body += f"&{mark}"
    assert rest.send("POST", "/api/v3/order", query, body, key=rest.local.key).status_code == 200


@given(st.text(max_size=150), st.binary(max_size=300))
def test_a_signature_is_the_standard_hmac(secret: str, payload: bytes) -> None:
    for _ in range(2):
        assert signing.signature(secret, payload) == hmac.new(secret.encode(), payload, "sha256").hexdigest()


def test_a_signature_is_over_what_was_written_and_not_over_what_it_means(rest: Rest) -> None:
    plain = urlencode(stamped({"symbol": "BTCUSDT"}))
    written = plain.replace("BTCUSDT", "%42TCUSDT")
    for payload, status in ((written, 200), (plain, 400)):
        reply = rest.send("GET", "/api/v3/openOrders", f"{written}&signature={sign(rest, payload)}", key=rest.local.key)
        assert reply.status_code == status
    assert code(reply) == (400, -1022)


def test_an_id_that_needs_escaping_is_refused_for_its_signature_by_the_client_that_does_not_escape_it(
    rest: Rest,
) -> None:
    whole = urlencode(stamped(ORDER)) + "&newClientOrderId="
    sent = f"{whole}{quote('a:b')}&signature={sign(rest, whole + 'a:b')}"
    assert code(rest.send("POST", "/api/v3/order", body=sent, key=rest.local.key)) == (400, -1022)


@pytest.mark.parametrize(
    ("key", "secret", "change", "expected"),
    [
        ("local-demo-key", "wrong", {}, (400, -1022)),
        ("local-demo-key", None, {"signature": "00"}, (400, -1022)),
        ("local-demo-key", None, {"signature": "é"}, (400, -1022)),
        ("local-demo-key", None, {"signature": ""}, (400, -1102)),
        ("local-demo-key", None, {"timestamp": ""}, (400, -1102)),
        ("local-demo-key", None, {"timestamp": "soon"}, (400, -1100)),
        ("local-demo-key", None, {"timestamp": "-1"}, (400, -1100)),
        ("local-demo-key", None, {"timestamp": "1e12"}, (400, -1100)),
        ("local-demo-key", None, {"timestamp": "9" * 30}, (400, -1100)),
        ("local-demo-key", None, {"recvWindow": "60001"}, (400, -1131)),
        ("local-demo-key", None, {"recvWindow": "-1"}, (400, -1100)),
        ("local-demo-key", None, {"recvWindow": "x"}, (400, -1100)),
        ("another-key", None, {}, (401, -2015)),
        ("", None, {}, (401, -2014)),
        (None, None, {}, (401, -2014)),
        ("a key", None, {}, (401, -2014)),
    ],
)
def test_refusals(
    rest: Rest, key: str | None, secret: str | None, change: dict[str, str], expected: tuple[int, int]
) -> None:
    whole = stamped({"symbol": "BTCUSDT"}) | {name: value for name, value in change.items() if name != "signature"}
    query = urlencode(whole)
    mark = quote(change.get("signature", signature(secret or rest.local.secret, query)))
    reply = rest.send("GET", "/api/v3/openOrders", f"{query}&signature={mark}", key=key)
    assert code(reply) == expected


def test_a_signed_request_without_a_signature_or_without_a_timestamp(rest: Rest) -> None:
    for query in (urlencode(stamped({"symbol": "BTCUSDT"})), "symbol=BTCUSDT&signature=00", ""):
        assert code(rest.send("GET", "/api/v3/openOrders", query, key=rest.local.key)) == (400, -1102)


@pytest.mark.parametrize(
    ("offset_ms", "window", "accepted"),
    [
        (0, None, True),
        (900, None, True),
        (1500, None, False),
        (-4000, None, True),
        (-6000, None, False),
        (-6000, "10000", True),
        (-59_000, "60000", True),
        (-2000, "1000", False),
        (-500, "1500.5", True),
    ],
)
@pytest.mark.parametrize("unit", [1, 1000])
def test_timestamps(rest: Rest, offset_ms: int, window: str | None, accepted: bool, unit: int) -> None:
    params = {"symbol": "BTCUSDT", "timestamp": int(time.time() * 1000 + offset_ms) * unit}
    reply = rest.signed("GET", "/api/v3/openOrders", **params, **({"recvWindow": window} if window else {}))
    assert reply.status_code == (200 if accepted else 400)
    if not accepted:
        assert code(reply) == (400, -1021)


def test_a_refused_order_has_not_been_placed(rest: Rest) -> None:
    before = inside(rest.local, lambda server: len(server.venue.engine.orders))
    assert code(rest.signed("POST", "/api/v3/order", **ORDER, timestamp=1)) == (400, -1021)
    assert inside(rest.local, lambda server: len(server.venue.engine.orders)) == before


@given(st.lists(st.sampled_from(["a=1", "signature=ff", "b=", "signature=", "xsignature=2"]), max_size=6))
def test_only_the_signature_is_left_out_of_what_is_signed(pairs: list[str]) -> None:
    kept = "&".join(pair for pair in pairs if not pair.startswith("signature="))
    # After a signature that came first its `&` stays: it belongs at the end.
    assert rest_payload("&".join(pairs).encode(), b"").lstrip(b"&").decode() == kept


# Weights and bans


def test_too_much_weight_is_429_until_the_minute_ends_and_418_for_who_goes_on() -> None:
    with exchange(scenario={"limits": {"weight_per_minute": 40, "warnings": 2}}) as local:
        rest = Rest(local)
        replies = [rest.ask("/api/v3/exchangeInfo") for _ in range(6)]
        assert [one.status_code for one in replies] == [200, 200, 429, 429, 418, 418]
        assert [one.headers["X-MBX-USED-WEIGHT-1M"] for one in replies[:3]] == ["20", "40", "60"]
        assert 1 <= int(replies[2].headers["Retry-After"]) <= 60
        assert 60 < int(replies[4].headers["Retry-After"]) <= 120
        assert {code(one)[1] for one in replies[2:]} == {-1003}
        assert rest.rest_order().status_code == 418


def limits(**values: Any) -> RateLimits:
    return RateLimits(Limits.model_validate(values))


def status(found: RateLimits, weight: int, now: int, address: str = "a") -> int:
    try:
        found.charge(address, weight, now)
    except RateLimited as error:
        return error.status
    return 200


def test_a_new_minute_starts_at_nothing_and_a_ban_outlasts_it() -> None:
    found = limits(weight_per_minute=10, warnings=0)
    assert [status(found, 10, 0), status(found, 10, MINUTE)] == [200, 200]
    assert status(found, 1, MINUTE + 1) == 418
    assert status(found, 1, MINUTE + 120_000) == 418
    assert status(found, 1, MINUTE + 1, "another") == 200
    assert status(found, 1, MINUTE + 120_001) == 200


def test_bans_grow_from_two_minutes_to_three_days() -> None:
    found, now, lengths = limits(weight_per_minute=1, warnings=0), 0, []
    for _ in range(14):
        with pytest.raises(RateLimited) as refused:
            found.charge("a", 2, now)
        lengths.append(refused.value.until - now)
        now = refused.value.until
    assert lengths[:3] == [120_000, 240_000, 480_000] and lengths[-1] == 3 * 86_400_000


def test_too_many_orders_are_refused_until_the_ten_seconds_end() -> None:
    with exchange(scenario={"limits": {"orders_per_10s": 3}}) as local:
        rest = Rest(local)
        inside(local, lambda server: server.venue.limits.add_orders(local.key, 3, server.venue.clock.now()))
        refused = rest.rest_order()
        if refused.status_code == 200:  # Ten seconds have just begun.
            inside(local, lambda server: server.venue.limits.add_orders(local.key, 3, server.venue.clock.now()))
            refused = rest.rest_order()
        assert code(refused) == (429, -1015)
        assert 1 <= int(refused.headers["Retry-After"]) <= 10
        assert rest.ask("/api/v3/time").status_code == 200


def test_orders_count_by_account_and_window_and_fills_give_back() -> None:
    found = limits(orders_per_10s=2, orders_per_day=3)
    for now in (0, 1, 10_000):
        found.check_orders("a", 1, now)
        found.add_orders("a", 1, now)
    assert found.order_counts("a", 10_000) == (1, 3)
    with pytest.raises(ApiError, match="3 orders per 1 DAY"):
        found.check_orders("a", 1, 20_000)
    found.check_orders("b", 1, 20_000)
    found.add_orders("a", -1, 20_000)
    found.check_orders("a", 1, 20_000)
    found.add_orders("a", -9, 20_000)
    assert found.order_counts("a", 20_000) == (0, 0)


def test_an_oco_counts_twice() -> None:
    with exchange() as local:
        rest = Rest(local)
        legs = {"aboveType": "LIMIT_MAKER", "abovePrice": "90000", "belowType": "STOP_LOSS", "belowStopPrice": "20000"}
        reply = rest.signed("POST", "/api/v3/orderList/oco", symbol="BTCUSDT", side="SELL", quantity="0.1", **legs)
        assert reply.headers["X-MBX-ORDER-COUNT-10S"] == "2"


def test_the_rules_of_exchange_info_are_those_in_force() -> None:
    with exchange(scenario={"limits": {"weight_per_minute": 1234, "orders_per_10s": 7}}) as local:
        rules = Rest(local).ask("/api/v3/exchangeInfo").json()["rateLimits"]
        assert [one["limit"] for one in rules[:2]] == [1234, 7]
