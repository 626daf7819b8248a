"""Tests that wait rather than work, several at once. Each has a stage to itself: servers, and the server behind them, that no other
test has meanwhile. All that are to run begin with the first of them; each is told as a test of its own."""

from __future__ import annotations

import contextlib
import inspect
import queue
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Server
from realtime_upstream import Upstream, realtime_upstream
from relay import KEY, SLACK_SECONDS, settings
from session import in_loop
from test_realtime import served
from voice import Model, language_model

STAGES = 4
# For those who wait longer than others' sessions live.
PATIENT_SECONDS = 15


@dataclass(frozen=True)
class Stage:
    """What a test has to itself."""

    relay: Server
    # One that waits longer for its clients.
    patient: Server
    upstream: Upstream
    model: Model


def waits(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that awaits, on the `stage` that it takes, while others do."""

    def told(request: pytest.FixtureRequest, stages: Stages, **_: Any) -> None:
        stages.told(request.node)

    signature = inspect.signature(test)
    own = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in ("request", "stages")]
    given = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in signature.parameters.values()]
    told.__signature__ = signature.replace(parameters=own + [one for one in given if one.name != "stage"])
    told.__name__, told.__doc__, told.__module__ = test.__name__, test.__doc__, test.__module__
    told.on_stage = in_loop(test)
    return told


class Stages:
    """The tests of a module that wait, as they run."""

    def __init__(self, model: Model, folder: Path, tests: list[pytest.Function]):
        self._model, self._folder = model, folder
        self._free: queue.SimpleQueue[Stage] = queue.SimpleQueue()
        self._open: list[contextlib.ExitStack] = []
        self._threads = ThreadPoolExecutor(STAGES)
        for stage in self._threads.map(self._build, range(min(STAGES, len(tests)))):
            self._free.put(stage)
        self._runs: dict[str, Future[None]] = {test.nodeid: self._threads.submit(self._run, test) for test in tests}

    def told(self, test: pytest.Function) -> None:
        """Waits for that test, and fails as it did."""
        self._runs[test.nodeid].result()

    def close(self) -> None:
        for run in self._runs.values():
            run.cancel()
        closed = [self._threads.submit(stack.close) for stack in self._open]
        self._threads.shutdown()
        for one in closed:
            one.result()

    def _build(self, number: int) -> Stage:
        stack = contextlib.ExitStack()
        self._open.append(stack)
        upstream = stack.enter_context(realtime_upstream())
        stack.callback(self._tells_no_key, number)
        relay = stack.enter_context(served(self._folder / f"relay-{number}", self._model, **settings(upstream)))
        asked = settings(upstream, realtime_grace_seconds=str(PATIENT_SECONDS))
        patient = stack.enter_context(served(self._folder / f"patient-{number}", self._model, **asked))
        stack.callback(patient.idle_within, PATIENT_SECONDS + SLACK_SECONDS)
        return Stage(relay, patient, upstream, self._model)

    def _tells_no_key(self, number: int) -> None:
        for name in ("relay", "patient"):
            assert KEY not in (self._folder / f"{name}-{number}" / "stderr.log").read_text(), "the log has the key"

    def _run(self, test: pytest.Function) -> None:
        stage = self._free.get()
        try:
            # As it was at the start, with no connection of another test's to be counted.
            stage.upstream.forgets()
            given = test.callspec.params if hasattr(test, "callspec") else {}
            test.function.on_stage(stage=stage, **given)
        finally:
            # Whoever waits for it is let go.
            stage.upstream.forgets()
            self._free.put(stage)


@contextlib.contextmanager
def stages_of(request: pytest.FixtureRequest, folder: Path) -> Iterator[Stages]:
    """For the tests that wait of the module that asks, as far as they are to run."""
    tests = [test for test in request.session.items if getattr(test, "module", None) is request.module]
    with language_model() as model:
        stages = Stages(model, folder, [test for test in tests if hasattr(test.function, "on_stage")])
        try:
            yield stages
        finally:
            stages.close()
