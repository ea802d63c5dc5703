"""The demo's page in a browser: all of it loads, without network, on a phone and on a desk, by keyboard and by ear."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from chromium import CHROMIUM, open_page

from anytok.demo import run_demo

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")

# What a page has, once its pictures and players are ready or have failed.
SEEN = """(async () => {
  const players = [...document.querySelectorAll("audio")];
  const told = player => new Promise(done => { player.onloadedmetadata = player.onerror = done; });
  await Promise.all(players.filter(player => !player.readyState && !player.error).map(told));
  await Promise.all([...document.images].map(image => image.decode().catch(() => 0)));
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = rgb => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = parse(getComputedStyle(element).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  const contrast = element => {
    const [low, high] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const spoken = [...document.body.querySelectorAll("*")].filter(element =>
    [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()));
  return {
    players: players.map(p => ({ready: p.readyState, seconds: p.duration, label: p.ariaLabel,
                                problem: p.error && p.error.message})),
    pictures: [...document.images].map(i => ({pixels: i.naturalWidth, alt: i.alt, shown: i.clientWidth})),
    excess: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    contrasts: spoken.map(element => [contrast(element), element.tagName, element.textContent.slice(0, 40)]),
    background: light(behind(document.body)),
    levels: [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(heading => +heading.tagName[1]),
    headers: [...document.querySelectorAll("table")].map(table =>
      [...table.querySelectorAll("th")].map(th => th.scope)),
  };
})()"""
FOCUSED = """(() => {
  const e = document.activeElement;
  return [e.tagName, e.ariaLabel || e.textContent.trim().slice(0, 60), getComputedStyle(e).outlineStyle];
})()"""
REFUSED = """new Promise(done => {
  document.addEventListener("securitypolicyviolation", violation => done(violation.blockedURI));
  const image = Object.assign(new Image(), {onerror: () => setTimeout(() => done("asked for"), 1000)});
  document.body.append(image);
  image.src = "https://example.invalid/a.png";
})"""


class Visit(NamedTuple):
    """What was seen of the page in a window so wide, under a colour scheme."""

    page: Path
    width: int
    scheme: str
    seen: dict[str, Any]


@pytest.fixture(scope="module")
def demo_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = run_demo(tmp_path_factory.mktemp("demo")).page
    assert page
    return page


@pytest.fixture(scope="module", params=[(w, s) for w in (390, 1400) for s in ("light", "dark")], ids=str)
def visit(request: pytest.FixtureRequest, demo_page: Path, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    folder = tmp_path_factory.mktemp("chromium")
    return Visit(demo_page, *request.param, asyncio.run(_look_around(demo_page, folder, *request.param)))


async def _look_around(path: Path, folder: Path, width: int, scheme: str) -> dict[str, Any]:
    async with open_page(path.as_uri(), folder, width, prefers_color_scheme=scheme) as page:
        seen = await page.run(SEEN)
        seen["nodes"] = (await page.call("Accessibility.getFullAXTree"))["nodes"]
        seen["focused"] = [await page.run(FOCUSED)]
        for _ in range(500):
            await page.press("Tab", 9)
            seen["focused"].append(await page.run(FOCUSED))
            if seen["focused"][-1][0] == "BODY":
                break
        seen["events"] = list(page.events)
        seen["refused"] = await page.run(REFUSED)
        return seen


def test_nothing_is_complained_of_and_nothing_asked_for(visit: Visit) -> None:
    events = visit.seen["events"]
    problems = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    assert not [event for event in events if event[0] in problems]
    asked = [what["request"]["url"] for name, what in events if name == "Network.requestWillBeSent"]
    assert visit.page.as_uri() in asked
    assert not [url for url in asked if url != visit.page.as_uri() and not url.startswith("data:")]
    assert visit.seen["refused"] == "https://example.invalid/a.png", "the policy lets a picture in"


def test_players_and_pictures_are_ready(visit: Visit) -> None:
    players, pictures = visit.seen["players"], visit.seen["pictures"]
    assert len(players) >= 14 and len(pictures) >= 30
    assert not [each for each in players if each["ready"] < 1 or not math.isfinite(each["seconds"] or math.nan)]
    assert min(each["seconds"] for each in players) > 1
    assert not [each["alt"] for each in pictures if not each["pixels"] or each["shown"] < 80]


def test_all_of_it_fits_and_can_be_read(visit: Visit) -> None:
    seen = visit.seen
    assert seen["excess"] == 0, f"{seen['excess']} pixels too wide for {visit.width}"
    assert len(seen["contrasts"]) > 100 and not [each for each in seen["contrasts"] if each[0] < 4.5]
    assert seen["background"] > 0.8 if visit.scheme == "light" else seen["background"] < 0.05


def test_everything_has_a_name_for_who_does_not_see_it(visit: Visit) -> None:
    nodes = [node for node in visit.seen["nodes"] if not node.get("ignored")]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if "role" in node]
    roles = {role for role, _ in named}
    wanted = {"banner", "navigation", "main", "contentinfo", "heading", "link", "image", "Audio", "region", "table"}
    assert wanted <= roles
    assert not [role for role, name in named if role in wanted - {"banner", "main", "contentinfo"} and not name.strip()]
    labels = [player["label"] for player in visit.seen["players"]]
    assert len(set(labels)) == len(labels), "two players have one name"
    levels = visit.seen["levels"]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    assert visit.seen["headers"] and all({"col", "row"} == set(scopes) for scopes in visit.seen["headers"])


def test_the_keyboard_reaches_every_player_link_and_table(visit: Visit) -> None:
    focused = visit.seen["focused"]
    assert focused[-1][0] == "BODY", "the keyboard is caught somewhere"
    reached = list(dict.fromkeys(label for tag, label, _ in focused if tag == "AUDIO"))
    assert reached == [player["label"] for player in visit.seen["players"]]
    assert len([tag for tag, _, _ in focused if tag == "A"]) >= 10
    assert len([tag for tag, _, _ in focused if tag == "DIV"]) == len(visit.seen["headers"])
    assert not [each for each in focused if each[0] in ("A", "DIV") and each[2] == "none"], "focus is not seen"
