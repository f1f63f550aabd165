"""What can be asked of a running `serve`, and what it does then. Each command is a record before it takes effect."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from pipeline.errors import BadInput
from pipeline.exchange.port import Clock
from pipeline.live.effects import Effect, Write
from pipeline.live.loop import Loop
from pipeline.live.status import BreakerStatus, OrderStatus, PositionStatus, Status
from pipeline.live.telling import Tell
from pipeline.live.trading import breaker_word
from pipeline.market.candles import iso
from pipeline.trading.reasons import BREAKERS
from pipeline.trading.records import BREAKER

# How long `flatten` waits for positions to be closed.
_FLATTEN_SECONDS = 60.0


class Commands:
    """Commands of a loop. facts: of the run, for the status: name, version, pid, since, exchange, quote_asset."""

    def __init__(self, loop: Loop, clock: Clock, tell: Tell, facts: dict[str, Any]) -> None:
        self._loop, self._clock, self._tell, self._facts = loop, clock, tell, facts

    def by_name(self) -> dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]:
        """For `control.ControlServer`."""
        return {
            "status": self.status, "pause": self.pause, "resume": self.resume, "flatten": self.flatten,
            "reset-breaker": self.reset_breaker,
        }  # fmt: skip

    async def pause(self, args: dict[str, Any]) -> dict[str, Any]:
        """Enter nothing any more."""
        await self._command("pause", args)
        return {}

    async def resume(self, args: dict[str, Any]) -> dict[str, Any]:
        """End a pause; or let halted symbols trade again."""
        symbols = self._symbols(args)
        if not symbols:
            await self._command("resume", args)
            return {}
        now = self._clock.now_ms()
        halted = [symbol for symbol in symbols if symbol in self._loop.desk.books.halted]
        if missing := set(symbols) - set(halted):
            raise BadInput(f"{', '.join(sorted(missing))}: is not halted", "`pipeline status` shows what is")
        await self._command(
            "resume-symbols", args, lambda: [e for one in halted for e in self._loop.desk.resume(one, now)], halted
        )
        return {}

    async def flatten(self, args: dict[str, Any]) -> dict[str, Any]:
        """Pause, cancel entries, close positions; waits until that is done."""
        symbols = self._symbols(args) or self._loop.portfolio.symbols
        loop = self._loop
        await self._command("flatten", args, lambda: loop.flattening(BREAKER, symbols), symbols)
        if loop.portfolio.mode != "live":
            still = [one for one in symbols if loop.portfolio.position(one)["side"]]
            return {"flat": not still, "message": "in shadow positions are closed at the next open"} if still else {}
        until = self._clock.monotonic() + _FLATTEN_SECONDS
        while self._clock.monotonic() < until:
            if not any(loop.portfolio.position(one)["side"] for one in symbols):
                return {"flat": True}
            await self._clock.sleep(0.1)
        return {"flat": False}

    async def reset_breaker(self, args: dict[str, Any]) -> dict[str, Any]:
        """Take up trading again after a breaker."""
        word = breaker_word(self._loop.portfolio)
        wanted = [str(one).replace("-", "_") for one in args.get("breakers") or []]
        if unknown := [one for one in wanted if one not in BREAKERS or not one]:
            raise BadInput(f"'{unknown[0]}' is not a breaker", f"they are {', '.join(filter(None, BREAKERS))}")
        if not word or (wanted and word not in wanted):
            raise BadInput(f"no such breaker has tripped{f'; {word} has' if word else ''}", "see `pipeline status`")
        if word == "kill_switch" and (thrown := self._loop.killed()):
            # It would trip again with the next bar.
            raise BadInput(f"{thrown}: the file is still there", "remove it, then reset the breaker")
        await self._command("reset-breaker", args, lambda: [Write("RESET", {"breaker": word})])
        return {"message": f"reset: {word}; trading goes on with the next bar"}

    async def status(self, args: dict[str, Any]) -> dict[str, Any]:
        """Everything a person wants to know."""
        loop, portfolio = self._loop, self._loop.portfolio
        account, step = portfolio.account, loop.config.step_ms
        equity, start = float(account["equity"][0]), float(account["day_start"][0])
        last = loop.mind.follower.last_open_ms
        word = breaker_word(portfolio)
        p50, p99 = loop.latency.quantile(0.5), loop.latency.quantile(0.99)
        answer = Status(
            name=loop.config.name,
            mode=portfolio.mode,
            bundle=loop.mind.bundle,
            now=iso(self._clock.now_ms()),
            bar=iso(last),
            bar_age_s=max(0.0, (loop.market_ms - last - step) / 1000),
            equity=equity,
            cash=float(account["cash"][0]),
            day_pnl=equity - start,
            day_return=equity / start - 1 if start > 0 else None,
            paused=f"by hand: {portfolio.paused_for}".removesuffix(": ") if portfolio.paused else "",
            kill_switch=loop.killed(),
            positions=[self._position(symbol) for symbol in portfolio.symbols if portfolio.position(symbol)["side"]],
            orders=self._orders(),
            halted=dict(loop.desk.books.halted),
            breakers=[BreakerStatus(breaker=word, reason=BREAKERS[word])] if word else [],
            counters={
                "bars": loop.decided, "trades": int(account["trades"][0]), "requests": len(loop.driver.requests),
                "failed requests": len(loop.driver.failures), "bundles refused": len(loop.succession.rejected),
            },
        )  # fmt: skip
        answer.update(self._facts)  # type: ignore[typeddict-item]
        if p50 is not None and p99 is not None:
            answer["latency"] = {"p50_ms": p50, "p99_ms": p99, "count": loop.latency.count}
        return dict(answer)

    def _position(self, symbol: str) -> PositionStatus:
        position, desk = self._loop.portfolio.position(symbol), self._loop.desk
        qty, mark = float(position["qty"]), float(position["mark"])
        resting = desk.books.protections.get(symbol)
        stop, target = float(position["stop"]), float(position["target"])
        shown = PositionStatus(
            symbol=symbol,
            side="long" if qty > 0 else "short",
            qty=str(desk.books.held(symbol)) if self._loop.portfolio.mode == "live" else f"{abs(qty):.10g}",
            entry_price=f"{float(position['entry_price']):.10g}",
            price=f"{mark:.10g}",
            pnl=qty * (mark - float(position["entry_price"])) - float(position["entry_fee"]),
            stop=str(resting.stop) if resting else f"{stop:.10g}" if 0 < stop < float("inf") else None,
            target=f"{target:.10g}" if target < float("inf") else None,
        )
        if self._loop.portfolio.mode == "live":
            shown["protected"] = not desk.is_exposed(symbol) and resting is not None
        return shown

    def _orders(self) -> list[OrderStatus]:
        return [
            OrderStatus(
                symbol=one.order.symbol, side=one.order.side, kind=one.order.kind, leg=one.order.leg,
                qty=str(one.order.qty), filled=str(one.order.filled), price=_text(one.order.price),
                stop_price=_text(one.request.stop_price), state=one.order.state.value,
                client_order_id=one.order.client_order_id,
            )
            for one in self._loop.desk.books.live()
        ]  # fmt: skip

    def _symbols(self, args: dict[str, Any]) -> list[str]:
        symbols = [str(symbol) for symbol in args.get("symbols") or []]
        if unknown := [symbol for symbol in symbols if symbol not in self._loop.portfolio.symbols]:
            raise BadInput(
                f"{unknown[0]}: is not traded here", f"it is one of {', '.join(self._loop.portfolio.symbols)}"
            )
        return symbols

    async def _command(
        self, name: str, args: dict[str, Any], then: Callable[[], list[Effect]] = list, symbols: list[str] | None = None
    ) -> None:
        body = {"name": name, "args": args, "at": self._clock.now_ms()}
        self._tell("command", command=name, **{key: value for key, value in args.items() if value})
        await self._loop.driver.do(lambda: [Write("COMMAND", body), *then()], symbols or [])


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
