"""A headless Chromium for the tests of the page: W3C WebDriver spoken to chromedriver, standard library only."""

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for a reference to an element
# Without the background flags Chromium looks up hosts of its maker at every start.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)
_LOOK_S = 20.0
_LOOK = """return new Promise((done) => {
  const end = Date.now() + arguments[0];
  const look = () => {
    let found = false;
    try { found = Boolean(holds()); } catch { /* what it asks about is not there yet */ }
    if (found || Date.now() > end) done(found);
    else setTimeout(look, 50);
  };
  look();
})"""
_BOX_AT_REST = """return new Promise((done) => {
  let before = "", since = Date.now();
  const look = () => {
    const box = document.querySelector(arguments[0]).getBoundingClientRect();
    const now = JSON.stringify(box);
    if (now !== before) [before, since] = [now, Date.now()];
    if (Date.now() - since > 500) done([box.left, box.width, box.top, box.height]);
    else setTimeout(look, 50);
  };
  look();
})"""


def find_chromium() -> tuple[str | None, str | None]:
    """Paths of the browser and of its driver."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for path in map(shutil.which, names) if path), None)
    return browser, shutil.which("chromedriver")


class Browser:
    """One browser window; `with Browser(390, 844, is_phone=True) as browser: ...`."""

    def __init__(self, width: int, height: int, is_phone: bool = False, dark: bool = False):
        binary, driver = find_chromium()
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._driver = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        port = None
        while port is None:
            line = self._driver.stdout.readline()
            if not line:
                raise RuntimeError("chromedriver did not start")
            if "successfully on port" in line:
                port = int(line.rstrip(". \n").rsplit(" ", 1)[1])
        self._root = f"http://127.0.0.1:{port}/session"
        options = {
            "binary": binary,
            "args": [*FLAGS, f"--user-data-dir={self._folder.name}", f"--window-size={width},{height}"],
            "prefs": {"download.default_directory": self._folder.name},
        }
        capabilities = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
            "timeouts": {
                "implicit": 60_000,
                "script": 240_000,
            },  # ms; a part of the page that is looked for may come later than another
        }
        try:
            session = self._call("POST", "", {"capabilities": {"alwaysMatch": capabilities}})
            self._root += f"/{session['sessionId']}"
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
            self.devtools("Emulation.setDeviceMetricsOverride", **metrics)
            self.devtools("Emulation.setTouchEmulationEnabled", enabled=is_phone)
            self.pointer = "touch" if is_phone else "mouse"
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            self.devtools("Emulation.setEmulatedMedia", features=[scheme])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._root.rsplit("/", 1)[1] != "session":
            with contextlib.suppress(OSError, RuntimeError):
                self._call("DELETE", "")
        self._driver.terminate()
        self._driver.wait(10)
        self._folder.cleanup()

    def open(self, address: str) -> None:
        self._call("POST", "/url", {"url": address})

    def script(self, code: str, *arguments: Any) -> Any:
        """Run JavaScript; a promise is awaited."""
        return self._call("POST", "/execute/sync", {"script": code, "args": list(arguments)})

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def find(self, selector: str) -> str:
        return self._call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def click(self, selector: str) -> None:
        self._call("POST", f"/element/{self.find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Into a field, or the path of a file into an upload."""
        self._call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def drag(self, selector: str, start: float, end: float) -> None:
        """Drag from one share of an element's width to another, by finger on a phone, else by mouse.

        A page that scrolls is waited for: the element must have come to rest.
        """
        left, width, top, height = self.script(_BOX_AT_REST, selector)
        at = {"type": "pointerMove", "duration": 100, "y": round(top + height / 2)}
        places = [{**at, "x": round(left + share * width)} for share in (start, (start + end) / 2, end)]
        steps = [places[0], {"type": "pointerDown", "button": 0}, *places[1:], {"type": "pointerUp", "button": 0}]
        source = {"type": "pointer", "id": "pointer", "parameters": {"pointerType": self.pointer}, "actions": steps}
        self._call("POST", "/actions", {"actions": [source]})

    def wait(self, condition: str, timeout_s: float = 300.0) -> None:
        """Wait until a JavaScript expression is true. The page looks by itself, since commands cost time."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.script(f"const holds = () => {condition}; {_LOOK}", 1000 * min(_LOOK_S, timeout_s)):
                return
        text = self.script("return document.body.innerText")
        raise TimeoutError(f"{condition} is not true after {timeout_s:g} s. The page says: {text}")

    def screenshot(self, path: Path, full: bool = False) -> None:
        options = {"captureBeyondViewport": True} if full else {}
        if full:
            size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.devtools("Page.captureScreenshot", format="png", **options)["data"]
        path.write_bytes(base64.b64decode(data))

    def logs(self, kind: str) -> list[dict]:
        """`performance` or `browser` entries since the last call."""
        return self._call("POST", "/se/log", {"type": kind})

    def requested_addresses(self) -> list[str]:
        """What the page has asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.logs("performance")]
        sent = [message for message in messages if message["method"] == "Network.requestWillBeSent"]
        return [message["params"]["request"]["url"] for message in sent]

    def _call(self, method: str, path: str, body: dict | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=300) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"].split("\n")[0]) from None
