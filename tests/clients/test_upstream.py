"""OpenAI's SDK through Evensong to another OpenAI-compatible server: a second Evensong, and one in another language.
What comes out is, byte for byte, what the other server gave, or its samples where they were encoded on the way."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from audio import Sound, decode, pcm_of_wav
from conftest import SENTENCE, Server, evensong, get
from openai import APIStatusError, BadRequestError, OpenAI

HERE = Path(__file__).parent
# More than a phrase: nothing of it is kept on the way.
LONG = (SENTENCE + " ") * 8


@contextlib.contextmanager
def sdk(server: Server | str) -> Iterator[OpenAI]:
    url = server if isinstance(server, str) else server.url
    with OpenAI(base_url=f"{url}/v1", api_key="none", timeout=30, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def kokoro() -> Iterator[str]:
    """The server in another language: its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, HERE / "kokoro_like.py", str(port)]) as process:
        try:
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(OSError):
                    if get(f"{url}/v1/audio/voices")[0] == 200:
                        break
                assert time.monotonic() < deadline, "it does not start"
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def front(kokoro: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Evensong before it, told what it can make."""
    folder = tmp_path_factory.mktemp("front") / "server"
    settings = {
        "speech_engine": "openai",
        "speech_openai_base_url": f"{kokoro}/v1",
        "speech_openai_formats": "pcm,wav",
    }
    with evensong(folder, **settings) as server:
        deadline = time.monotonic() + 10
        while "af_bella" not in get(f"{server.url}/v1/audio/voices")[1]:
            assert time.monotonic() < deadline, "its voices are not known"
            time.sleep(0.05)
        yield server


@pytest.mark.parametrize("text", [SENTENCE, LONG], ids=["phrase", "stream"])
@pytest.mark.parametrize("format", ["pcm", "wav"])
def test_bytes_of_the_other_server_come_through_unchanged(
    front: Server, kokoro: str, format: str, text: str
) -> None:
    asked = {"model": "tts-1", "voice": "af_bella", "input": text, "response_format": format}
    with sdk(front) as through, sdk(kokoro) as direct:
        got = through.audio.speech.create(**asked)
        assert got.content == direct.audio.speech.create(**asked).content
    assert got.response.headers["x-engine"] == "openai"
    pcm = got.content if format == "pcm" else pcm_of_wav(got.content)
    sound = Sound.of_pcm(pcm)
    assert abs(sound.seconds - 0.3 * len(text.split())) < 0.01
    assert sound.clipped_share == 0 and -25 < sound.rms_dbfs < -5


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize("text", [SENTENCE, LONG], ids=["phrase", "stream"])
def test_a_format_that_it_cannot_make_is_made_of_its_samples(
    front: Server, kokoro: str, text: str
) -> None:
    asked = {"model": "tts-1", "voice": "am_adam", "input": text}
    with sdk(front) as through, sdk(kokoro) as direct:
        pcm = direct.audio.speech.create(**asked, response_format="pcm").content
        flac = through.audio.speech.create(**asked, response_format="flac").content
        assert decode(flac) == pcm, "without loss, so the same samples"
        mp3 = decode(through.audio.speech.create(**asked, response_format="mp3").content)
    assert abs(len(mp3) - len(pcm)) < 2 * 24_000 * 0.1


def test_speed_and_voice_reach_it_and_its_refusals_come_back(front: Server, kokoro: str) -> None:
    asked = {"model": "tts-1", "voice": "bf_emma", "input": SENTENCE, "response_format": "pcm"}
    with sdk(front) as through, sdk(kokoro) as direct:
        fast = through.audio.speech.create(**asked, speed=2.0).content
        assert fast == direct.audio.speech.create(**asked, speed=2.0).content
        with pytest.raises(BadRequestError, match="unknown voice 'nobody'"):
            through.audio.speech.create(**(asked | {"voice": "nobody"}))


def test_who_leaves_in_the_middle_leaves_there_too(front: Server, kokoro: str) -> None:
    before = len(json.loads(get(f"{kokoro}/ends")[1]))
    asked = {"model": "tts-1", "voice": "af_bella", "input": LONG * 4, "response_format": "pcm"}
    with sdk(front) as through:
        speech = through.audio.speech.with_streaming_response
        with speech.create(**asked) as answer:
            assert next(answer.iter_bytes(4096))
    deadline = time.monotonic() + 5
    while len(ends := json.loads(get(f"{kokoro}/ends")[1])) == before:
        assert time.monotonic() < deadline, "it was not told"
        time.sleep(0.02)
    assert ends[before:] == ["left"]


def test_a_second_evensong_behind_the_first(tmp_path: Path) -> None:
    with (
        evensong(tmp_path / "far", speech_engine="tone") as far,
        evensong(
            tmp_path / "near", speech_engine="openai", speech_openai_base_url=f"{far.url}/v1"
        ) as near,
        sdk(near) as through,
        sdk(far) as direct,
    ):
        for format in ["mp3", "flac", "wav", "pcm"]:
            for text in [SENTENCE, LONG]:
                asked = {"model": "tts-1", "voice": "alloy", "input": text}
                asked |= {"response_format": format}
                got = through.audio.speech.create(**asked).content
                assert got == direct.audio.speech.create(**asked).content, format


def test_the_voice_of_espeak_through_two_servers(tmp_path: Path, server: Server) -> None:
    settings = {"speech_engine": "openai", "speech_openai_base_url": f"{server.url}/v1"}
    with evensong(tmp_path / "near", **settings) as near, sdk(near) as through, sdk(server) as direct:
        text = "Good evening."
        asked = {"model": "tts-1", "voice": "nova", "input": text, "response_format": "pcm"}
        # So short that it is kept there, and the second time the same to the last bit.
        expected = direct.audio.speech.create(**asked).content
        got = through.audio.speech.create(**asked).content
        assert got == expected
        Sound.of_pcm(got).is_speech_of(text)


def test_another_engine_speaks_while_it_is_down(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        settings = {"speech_engine": "openai", "speech_openai_base_url": base}
        asked = {"model": "tts-1", "voice": "alloy", "input": SENTENCE, "response_format": "pcm"}
        with evensong(tmp_path / "alone", **settings) as alone, sdk(alone) as client:
            with pytest.raises(APIStatusError) as refused:
                client.audio.speech.create(**asked)
            assert refused.value.status_code == 502
            assert refused.value.body["code"] == "upstream_unreachable"
        settings |= {"speech_fallback": "tone"}
        with evensong(tmp_path / "helped", **settings) as helped, sdk(helped) as client:
            answer = client.audio.speech.create(**asked)
            assert answer.response.headers["x-engine"] == "tone"
            Sound.of_pcm(answer.content)
