"""Questions to the exchange: an answer to what was asked before something changed says nothing of it."""

import asyncio
from typing import Any

from pipeline.live.books import Books
from pipeline.live.desk import Desk
from pipeline.live.driver import Driver
from pipeline.live.effects import AskOpen
from pipeline.live.system import SystemClock


class Slow:
    """An exchange that answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()

    async def open_orders(self, symbol: str) -> list[Any]:
        """Nothing is open."""
        self.asked.append(symbol)
        await self.may_answer.wait()
        return []


async def asked(*turns: int) -> int:
    """How often the exchange was asked, after turns with so many questions each."""
    exchange = Slow()
    driver = Driver(
        Desk(Books()), exchange, None, SystemClock(), lambda event, /, **fields: None, lambda kind, body: None
    )  # type: ignore[arg-type]  # fmt: skip
    for questions in turns:
        await driver.do(lambda questions=questions: [AskOpen("BTCUSDT")] * questions)
        await asyncio.sleep(0)
    exchange.may_answer.set()
    await driver.settle(10)
    await driver.close()
    return len(exchange.asked)


def test_a_question_put_while_its_answer_is_on_its_way_is_asked_once_more():
    assert asyncio.run(asked(1, 1)) == 2


def test_a_question_put_before_the_first_was_sent_is_asked_once():
    assert asyncio.run(asked(2)) == 1
