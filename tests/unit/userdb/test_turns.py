"""Whoever floods the login waits for nobody but themselves."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hubstead_userdb.turns import FullError, Turns


async def _order(turns: Turns, sources: str) -> str:
    """In which order those that ask one after another get the only place."""
    served: list[str] = []

    async def ask(source: str) -> None:
        async with turns.async_turn(source):
            served.append(source)
            await asyncio.sleep(0)

    async with turns.async_turn("first"):
        waiting = [asyncio.create_task(ask(source)) for source in sources]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    return "".join(served)


def test_each_source_has_its_turn_and_keeps_its_order() -> None:
    assert asyncio.run(_order(Turns(1, 100, 100), "aaaabac")) == "abcaaaa"


def test_threads_have_their_turns_too() -> None:
    turns, served = Turns(1, 100, 100), []

    def ask(source: str) -> None:
        with turns.turn(source):
            served.append(source)

    with ThreadPoolExecutor(9) as executor, turns.turn("first"):
        for number, source in enumerate("aaaabac", 1):
            executor.submit(ask, source)
            while turns._waiting < number:
                time.sleep(0.001)
    assert "".join(served) == "abcaaaa"


def test_one_source_fills_its_own_queue_alone() -> None:
    async def flood() -> None:
        turns = Turns(places=1, waiting=10, waiting_of_one=3)
        async with turns.async_turn("first"):
            waiting = [asyncio.create_task(turns.async_turn("a").__aenter__()) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(FullError):
                await turns.async_turn("a").__aenter__()
            other = asyncio.create_task(turns.async_turn("b").__aenter__())
            await asyncio.sleep(0)
            assert not other.done()
            for task in (*waiting, other):
                task.cancel()

    asyncio.run(flood())


def test_all_together_fill_the_queue() -> None:
    async def flood() -> None:
        turns = Turns(places=1, waiting=2, waiting_of_one=2)
        async with turns.async_turn("first"):
            waiting = [asyncio.create_task(turns.async_turn(each).__aenter__()) for each in "ab"]
            await asyncio.sleep(0)
            with pytest.raises(FullError):
                await turns.async_turn("c").__aenter__()
            for task in waiting:
                task.cancel()

    asyncio.run(flood())


def test_who_gives_up_gives_the_place_on() -> None:
    async def give_up() -> str:
        turns = Turns(places=1, waiting=10, waiting_of_one=10)
        async with turns.async_turn("first"):
            gone = asyncio.create_task(turns.async_turn("a").__aenter__())
            await asyncio.sleep(0)
        # the place is its own by now, and it does not know yet
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        return await _order(turns, "b")

    assert asyncio.run(asyncio.wait_for(give_up(), 10)) == "b"
