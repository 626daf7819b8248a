"""The operator's side, read by the operator's own tools: Prometheus' parsers for what a scrape says, its language
for the dashboard and the alerts, which must name only metrics and labels that there are."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
import yaml
from conftest import evensong
from openai import OpenAI
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

OPS = Path(__file__).resolve().parents[2] / "assets/ops"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
# What Prometheus itself knows of a target.
OF_PROMETHEUS = {"up": {"job", "instance"}}
# Grafana fills these in.
GRAFANA = {"$__rate_interval": "5m", "$instance": ".*"}


def scrape(server, accept: str = "*/*") -> str:
    request = urllib.request.Request(f"{server.admin}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith(
            "application/openmetrics-text" if accept == OPEN_METRICS else "text/plain; version=0.0.4"
        )
        return answer.read().decode()


@pytest.fixture(scope="module")
def samples(server, tmp_path_factory) -> dict[str, set[str]]:
    """Every sample's name and its labels, after something was spoken, here and by another server."""
    known: dict[str, set[str]] = {name: set(labels) for name, labels in OF_PROMETHEUS.items()}
    settings = {"speech_engine": "openai", "speech_openai_base_url": f"{server.url}/v1"}
    with evensong(tmp_path_factory.mktemp("asks") / "server", **settings) as asks:
        for spoken_by in (server, asks):
            with OpenAI(base_url=f"{spoken_by.url}/v1", api_key="none") as client:
                client.audio.speech.create(model="tts-1", voice="alloy", input="Good evening.").read()
            for family in open_metrics(scrape(spoken_by, OPEN_METRICS)):
                for sample in family.samples:
                    known.setdefault(sample.name, set()).update(sample.labels, {"job", "instance"})
    return known


def test_both_formats_are_read_and_say_the_same(server, samples):
    def values(families) -> dict[tuple, float]:
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith("evensong_speech")
        }

    opened, plain = values(open_metrics(scrape(server, OPEN_METRICS))), values(plain_text(scrape(server)))
    assert opened and opened == plain
    kinds = {family.name: family.type for family in plain_text(scrape(server))}
    assert kinds["evensong_connections"] == "counter"
    assert kinds["evensong_first_audio_seconds"] == "histogram"
    assert "unknown" not in kinds.values()


def expressions() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load((OPS / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]
    for panel in json.loads((OPS / "grafana.json").read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in GRAFANA.items():
                expression = expression.replace(variable, value)
            yield f"panel {panel['title']}", expression


def test_there_are_alerts_and_panels():
    names = [name for name, _ in expressions()]
    assert sum(name.startswith("alert") for name in names) >= 10
    assert sum(name.startswith("panel") for name in names) >= 20


@pytest.mark.parametrize(
    ("name", "expression"), [pytest.param(*each, id=f"{n} {each[0]}") for n, each in enumerate(expressions())]
)
def test_expressions_ask_for_what_there_is(name: str, expression: str, samples):
    promql_parser.parse(expression)
    asked = re.findall(r"\b((?:evensong|process)_\w+|up)(?:\{([^}]*)\})?", expression)
    assert asked, f"{name} asks for nothing of ours: {expression}"
    for metric, selector in asked:
        assert metric in samples, f"{name}: there is no {metric}"
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector or ""):
            assert label in samples[metric], f"{name}: {metric} has no label {label}"
    for labels in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
        of_all = set.union(*(samples[metric] for metric, _ in asked)) | {"le"}
        assert set(re.split(r",\s*", labels)) <= of_all, f"{name}: {labels}"


def test_every_alert_says_what_and_how_bad():
    for group in yaml.safe_load((OPS / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
            assert rule["annotations"]["summary"].strip().endswith("."), rule["alert"]


def test_the_dashboard_fits_the_grid():
    dashboard = json.loads((OPS / "grafana.json").read_text())
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    corners = {(place["x"], place["y"]) for place in places}
    assert len(corners) == len(places) == len({panel["id"] for panel in dashboard["panels"]})
