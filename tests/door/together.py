"""Cases that mostly wait run side by side: each is a coroutine with a server of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

Case = Callable[..., Coroutine[Any, Any, None]]


class Outcomes:
    """How each case ended; `of` raises what it raised."""

    def __init__(self, ended: dict[str, BaseException | None]):
        self._ended = ended

    def of(self, name: str) -> None:
        if (error := self._ended[name]) is not None:
            raise error


def run(
    request: pytest.FixtureRequest, cases: Mapping[str, Case], at_once: int, *given: object
) -> Outcomes:
    """Runs those of `cases` that were selected, at most `at_once` at a time, each with `given`."""
    selected = {
        item.callspec.params.get("case")
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    }
    names = [name for name in cases if name in selected]

    async def all_of_them() -> list[BaseException | None]:
        places = asyncio.Semaphore(at_once)

        async def one(name: str) -> None:
            async with places:
                await cases[name](*given)

        return await asyncio.gather(*map(one, names), return_exceptions=True)

    return Outcomes(dict(zip(names, asyncio.run(all_of_them()), strict=True)))
