"""compose.yaml as its users get it: nothing is published beyond this machine, everything waits for the health of what
it needs, nothing may take the whole machine, and no setting is given that the binary does not know.

Needs no Docker: the file is read as it stands.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
BUILT = {name: service for name, service in SERVICES.items() if "build" in service}
# A number, since an orchestrator cannot see that a name is not root's.
USER = re.compile(r"^USER\s+(\d+)(?::\d+)?$", re.M)
services = pytest.mark.parametrize("name", SERVICES)


def known_settings() -> set[str]:
    """The names of the environment that src/config/keys.rs makes of its table."""
    source = (ROOT / "src/config/keys.rs").read_text()
    keys = re.findall(r'\bkey\(\s*"([a-z0-9_.]+)"', source)
    assert len(keys) > 20, "the table of settings is not where it was"
    return {f"EVENSONG_{key.replace('.', '_').upper()}" for key in keys}


def dockerfile(service: dict) -> str:
    build = service["build"]
    folder = build if isinstance(build, str) else build["context"]
    return (ROOT / folder / "Dockerfile").read_text()


def environment(service: dict) -> dict[str, str]:
    given = service.get("environment", {})
    return given if isinstance(given, dict) else dict(line.partition("=")[::2] for line in given)


def test_it_brings_what_the_search_can_use():
    assert set(SERVICES) == {"evensong", "elasticsearch", "graphql-source"}


@services
def test_ports_are_published_to_this_machine_alone(name: str):
    for port in SERVICES[name].get("ports", []):
        address = port.get("host_ip", "") if isinstance(port, dict) else str(port)
        assert address.startswith("127.0.0.1"), f"{name} is published on every address: {port}"
    assert SERVICES[name].get("network_mode") != "host"


def test_something_is_published():
    assert SERVICES["evensong"]["ports"]


def test_an_engine_without_a_password_is_on_a_network_of_its_own():
    engine = SERVICES["elasticsearch"]
    assert environment(engine)["xpack.security.enabled"] == "false"
    assert "ports" not in engine
    assert all(COMPOSE["networks"][network]["internal"] for network in engine["networks"])


@services
def test_everything_waits_for_the_health_of_what_it_needs(name: str):
    needed = SERVICES[name].get("depends_on", {})
    assert isinstance(needed, dict), f"{name}: a list waits for the start only"
    for other, how in needed.items():
        assert how["condition"] == "service_healthy", f"{name} does not wait for {other}"


def test_evensong_needs_whom_its_settings_name():
    """By the hosts of its URLs, and it shares a network with each."""
    evensong = SERVICES["evensong"]
    hosts = set(re.findall(r"https?://([\w-]+)", " ".join(environment(evensong).values())))
    assert hosts == set(evensong["depends_on"]) == {"elasticsearch", "graphql-source"}
    for host in hosts:
        assert set(evensong["networks"]) & set(SERVICES[host]["networks"]), f"evensong cannot reach {host}"


@services
def test_nothing_takes_the_whole_machine(name: str):
    service = SERVICES[name]
    assert re.fullmatch(r"\d+m", service["mem_limit"])
    assert service["memswap_limit"] == service["mem_limit"], "swap makes a limit of memory soft"
    assert 0 < service["pids_limit"] <= 4096


@services
def test_everything_says_whether_it_is_well(name: str):
    health = SERVICES[name]["healthcheck"]
    assert health["test"][0] == "CMD" and len(health["test"]) > 1
    assert health["interval"] and health["timeout"] and health["start_period"] and health["retries"]


@services
def test_nothing_may_gain_rights(name: str):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")


@pytest.mark.parametrize("name", BUILT)
def test_our_own_images_run_as_somebody_and_write_nowhere(name: str):
    users = USER.findall(dockerfile(BUILT[name]))
    assert users and users[-1] != "0", f"{name} runs as root"
    assert BUILT[name]["read_only"]


@pytest.mark.parametrize("name", [name for name in SERVICES if "build" not in SERVICES[name]])
def test_images_of_others_are_pinned(name: str):
    assert re.search(r":\d+\.\d+\.\d+$", SERVICES[name]["image"]), f"{name} would change by itself"


def test_the_heap_fits_the_limit_twice():
    engine = SERVICES["elasticsearch"]
    heaps = [int(size) for size in re.findall(r"-Xm[sx](\d+)m\b", environment(engine)["ES_JAVA_OPTS"])]
    assert len(heaps) == 2 and len(set(heaps)) == 1, "a heap that grows is a limit found late"
    assert 2 * heaps[0] <= int(engine["mem_limit"].removesuffix("m"))


def test_every_setting_is_one_that_the_binary_knows():
    """Of the image and of compose.yaml: an unknown one would be silently without effect, or stop the start."""
    of_image = re.findall(r"^(?:ENV)?\s+(EVENSONG_\w+)=", dockerfile(SERVICES["evensong"]), re.M)
    of_compose = [name for name in environment(SERVICES["evensong"]) if name.startswith("EVENSONG_")]
    assert len(of_image) >= 2 and len(of_compose) >= 3
    unknown = set(of_image + of_compose) - known_settings()
    assert not unknown, f"src/config/keys.rs has no key for {', '.join(sorted(unknown))}"


def test_volumes_and_networks_that_are_used_are_declared():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"], f"{name}: {volume}"
        for network in service.get("networks", []):
            assert network in {"default", *COMPOSE["networks"]}, f"{name}: {network}"
