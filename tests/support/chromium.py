"""Headless Chromium over the DevTools protocol's pipe, with the standard library alone."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

BINARY = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
# axe-core, which tells what a page lacks for keyboards and screen readers; CI installs it by npm.
AXE = next(
    (
        path
        for folder in os.environ.get("NODE_PATH", "").split(os.pathsep)
        if folder and (path := Path(folder) / "axe-core" / "axe.min.js").exists()
    ),
    None,
)


class Chromium:
    """One browser with one page: ``with Chromium(folder) as page: page.open(path)``.

    Args:
        folder: The folder of its profile.
        timeout: How long it may take to answer, in seconds.
    """

    def __init__(self, folder: Path, timeout: float = 120) -> None:
        assert BINARY is not None
        self.timeout = timeout
        self.events: list[dict[str, Any]] = []
        self._number = 0
        self._unread = b""
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # The browser reads commands on its descriptor 3 and answers on 4. Bash redirects them: its
        # own descriptors have high numbers, so that no dup2 overwrites a source.
        command = (
            f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}',
            BINARY, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--remote-debugging-pipe", "--disable-background-networking",
            "--disable-component-update", "--disable-extensions",
            "--hide-scrollbars", f"--user-data-dir={folder}", "about:blank",
        )  # fmt: skip
        self._process = subprocess.Popen(
            ["bash", "-c", *command],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        page = self.send("Target.createTarget", url="about:blank", session=None)["targetId"]
        self._session: str | None = self.send(
            "Target.attachToTarget", targetId=page, flatten=True, session=None
        )["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, ValueError, AssertionError):
            self.send("Browser.close", session=None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def send(self, method: str, session: str | None = "page", **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        wanted = self._number
        while True:
            answer = self._read()
            if answer.get("id") == wanted:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file in a window of this size and wait until it is there."""
        mobile = width < 600
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        self.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self.events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + self.timeout
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            assert time.monotonic() < deadline, "the page does not load"
            self.events.append(self._read())
        self.run(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
        )

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page; a promise is waited for."""
        reply = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def barriers(self) -> list[str]:
        """Return what axe-core finds serious or critical in the page: rule, element, reason."""
        assert AXE is not None
        self.send("Runtime.evaluate", expression=AXE.read_text(encoding="utf-8"))
        lines: list[str] = self.run(
            "axe.run().then(r => r.violations.filter(v => ['serious', 'critical'].includes(v.impact))"
            ".flatMap(v => v.nodes.map(n => `${v.id}: ${n.html.slice(0, 200)}: ${n.failureSummary}`)))"
        )
        return lines

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover(self, x: float, y: float) -> None:
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str, code: int) -> None:
        """Press a key, given by its name and Windows code."""
        extra = {"text": "\r"} if key == "Enter" else {}
        self.send(
            "Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **extra
        )
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def complaints(self) -> list[str]:
        """Return the lines of console and log since the page was opened."""
        lines = []
        for event in self.events:
            parameters = event.get("params", {})
            if event.get("method") in (
                "Runtime.exceptionThrown",
                "Log.entryAdded",
                "Runtime.consoleAPICalled",
            ):
                lines.append(json.dumps(parameters)[:500])
        return lines

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened, itself included."""
        return [
            e["params"]["request"]["url"]
            for e in self.events
            if e.get("method") == "Network.requestWillBeSent"
        ]

    def screenshot(self, path: Path, beyond_window: bool = True) -> None:
        """Write a PNG of the whole page, or of the window."""
        picture = self.send(
            "Page.captureScreenshot",
            format="png",
            captureBeyondViewport=beyond_window,
            fromSurface=True,
        )
        path.write_bytes(base64.b64decode(picture["data"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._in], [], [], self.timeout)
            assert ready, "the browser does not answer"
            received = os.read(self._in, 1 << 20)
            assert received, "the browser is gone"
            self._unread += received
        message, self._unread = self._unread.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer
