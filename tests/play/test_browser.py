"""The page in a real browser; skipped where there is no Playwright or no Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dreamenv.play.stage import StageConfig
from tests.play.serving import hello, next_frame, served

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed", exc_type=ImportError
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH")


@pytest.fixture(scope="module")
def address(debug_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = StageConfig(
        (str(debug_checkpoint),),
        "counting_env:FreshCounting-v0",
        {"length": 900},
        out=tmp_path_factory.mktemp("played"),
    )
    with served(config) as where:
        yield where


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    """The page, with what went wrong in it as `page.wrong`."""
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        # Playwright's waiting evaluates text, which the page's own policy forbids.
        made = browser.new_page(bypass_csp=True)
        made.set_default_timeout(120_000)
        made.wrong = []
        made.on("pageerror", lambda error: made.wrong.append(str(error)))
        made.on("requestfailed", lambda request: made.wrong.append(request.url))
        made.goto(f"http://{address}/")
        made.wait_for_function("window.dreamenv?.header?.step > 2")
        yield made
        assert made.wrong == []
        browser.close()


def pixels(page: Any, world: str = "dream") -> str:
    return page.evaluate(f"document.querySelector('#{world} canvas').toDataURL()")


def test_keys_move_the_picture(page: Any) -> None:
    page.keyboard.press(" ")
    page.wait_for_function("dreamenv.header.paused")
    step, before = page.evaluate("dreamenv.header.step"), pixels(page)
    page.keyboard.press("3")  # a step while it stands, by the third of the counting keys
    page.wait_for_function(f"dreamenv.header.step === {step + 1}")
    assert page.evaluate("dreamenv.header.action") == 3
    page.wait_for_function("dreamenv.delays.length > 0")
    assert pixels(page) != before
    page.keyboard.press(",")
    page.wait_for_function(f"dreamenv.header.step === {step}")
    page.wait_for_timeout(300)
    assert pixels(page) == before


def test_dream_and_real_environment_stay_in_step(page: Any) -> None:
    page.keyboard.press("r")
    page.wait_for_function("dreamenv.begun.real")
    assert page.is_visible("#real canvas") and page.is_visible("#dream canvas")
    page.keyboard.press(" ")
    page.wait_for_function("dreamenv.header.step === dreamenv.header.last")
    start = page.evaluate("dreamenv.header.step")
    page.wait_for_function(f"dreamenv.header.step > {start + 3}")
    page.keyboard.press(" ")
    page.wait_for_function("dreamenv.header.paused")
    both = page.evaluate("dreamenv.rows.slice(1).every((row) => row.dream && row.real)")
    rewards = page.evaluate("dreamenv.rows.map((row) => row.real.reward)")
    assert both and len(rewards) == page.evaluate("dreamenv.header.step") + 1
    # The counting environment pays step + 1 at every third step: its steps are those of the dream.
    paid = [i for i, reward in enumerate(rewards) if reward]
    assert {b - a for a, b in zip(paid, paid[1:], strict=False)} == {3}


def test_the_page_comes_back_to_its_session(page: Any) -> None:
    session, last = page.evaluate("[dreamenv.session, dreamenv.header.last]")
    page.evaluate("dreamenv.header = null; dreamenv.wire.socket.close()")
    page.wait_for_function("dreamenv.header !== null")
    assert page.evaluate("[dreamenv.session, dreamenv.header.last]") == [session, last]
    page.reload()
    page.wait_for_function("window.dreamenv?.header")
    assert page.evaluate("[dreamenv.session, dreamenv.header.last]") == [session, last]
    assert page.evaluate("dreamenv.rows.length") == last + 1


def test_a_film_is_downloaded_and_a_fork_has_a_button(page: Any) -> None:
    with page.expect_download() as film:
        page.click("[data-save=gif]")
    assert Path(film.value.path()).read_bytes().startswith(b"GIF8")
    page.keyboard.press("f")
    page.wait_for_function("document.querySelectorAll('#branches button').length === 2")


def test_a_phone_shows_everything_within_its_width(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 800})


def test_thirty_two_sessions_play_at_once(page: Any, address: str) -> None:
    with ExitStack() as stack:
        others = [stack.enter_context(hello(address)) for _ in range(31)]
        for each in others:
            assert next_frame(each)["step"] == 0
        for each in others:
            while next_frame(each)["step"] < 2:
                pass
        page.keyboard.press(" ")
        step = page.evaluate("dreamenv.header.step")
        page.wait_for_function(f"dreamenv.header.step > {step + 1}")
