"""A page in headless Chromium, driven over its DevTools protocol (https://chromedevtools.github.io/devtools-protocol)."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--mute-audio", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
)  # fmt: skip


class Page:
    """A tab. `call` sends a command and returns its result; what Chromium reports meanwhile is in `events`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.session = ""
        self._socket, self._last = socket, 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        to = {"sessionId": self.session} if self.session else {}
        await self._socket.send_json({"id": self._last, "method": method, "params": parameters, **to})
        while True:
            answer = await self._socket.receive_json(timeout=120)
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append((answer["method"], answer["params"]))

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        done = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    async def press(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)


@asynccontextmanager
async def open_page(uri: str, folder: Path, width: int, height: int = 900, **media: str) -> AsyncIterator[Page]:
    """The page at `uri` in a window of that size, loaded; `media` are features such as prefers_color_scheme="dark".
    `folder` is for Chromium's own files, and is empty."""
    assert CHROMIUM
    with (folder / "stderr").open("wb") as told:
        process = subprocess.Popen([CHROMIUM, *_OPTIONS, f"--user-data-dir={folder}"], stdout=told, stderr=told)
    try:
        address = await _address(folder, process)
        async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
            page = Page(socket)
            target = await page.call("Target.createTarget", url="about:blank")
            attached = await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            page.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
                await page.call(f"{domain}.enable")
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            await page.call("Emulation.setDeviceMetricsOverride", **size)
            features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
            await page.call("Emulation.setEmulatedMedia", features=features)
            await page.call("Page.navigate", url=uri)
            await page.run("document.readyState == 'complete' || new Promise(done => addEventListener('load', done))")
            yield page
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Where Chromium takes commands, once it has written that down."""
    for _ in range(600):
        try:
            port, path = (folder / "DevToolsActivePort").read_text().split()
            return f"ws://127.0.0.1:{port}{path}"
        except (FileNotFoundError, ValueError):
            assert process.poll() is None, (folder / "stderr").read_text()
            await asyncio.sleep(0.1)
    raise AssertionError(f"Chromium did not start in a minute: {(folder / 'stderr').read_text()}")
