"""Headless Chromium, as people see the page: width, light and dark, print, the keyboard."""

import base64
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parent / "axe" / "axe.min.js"

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

needs_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None or shutil.which("chromedriver") is None,
    reason="Chromium with its driver is not installed: apt-get install chromium chromium-driver",
)


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = 1280, dark: bool = False) -> None:
        """Opens a page in a window of this width."""
        self.resize(width)
        self.media(dark=dark)
        self.driver.get("about:blank")
        self.driver.get(page.resolve().as_uri())
        end = time.monotonic() + 20
        while self.js("return document.documentElement.dataset.ready") != "true":
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def resize(self, width: int) -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def media(self, *, dark: bool = False, kind: str = "") -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": kind, "features": [scheme]}
        )

    def js(self, code: str, *arguments: Any) -> Any:
        """Runs a script in the page."""
        return self.driver.execute_script(code, *arguments)

    def find(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def all(self, css: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", css))

    def click(self, css: str) -> None:
        element = self.find(css)
        self.js("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def choose(self, css: str, value: str) -> None:
        """Chooses an option of a select."""
        change = (
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))"
        )
        self.js(change, self.find(css), value)

    def press(self, css: str, *keys: str) -> None:
        """Presses keys on an element that has the focus."""
        element = self.find(css)
        element.send_keys(*keys)

    def log(self) -> list[str]:
        """What the console says, from the warning upwards."""
        return [f"{each['level']} {each['message']}" for each in self.driver.get_log("browser")]

    def axe(self) -> list[str]:
        """What axe-core finds, as a line for each fault."""
        self.js(AXE.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script(
            "axe.run().then(arguments[0], error => arguments[0](String(error)))"
        )
        assert isinstance(found, dict), found
        return [
            f"{fault['id']}: {node['target']} {node.get('failureSummary', '')}"
            for fault in found["violations"]
            for node in fault["nodes"]
        ]

    def printed(self) -> bytes:
        """The page as PDF."""
        answer = self.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
        return base64.b64decode(answer["data"])


@contextmanager
def chromium(*, scripts: bool = True, downloads: Path | None = None) -> Iterator[Browser]:
    """Gives a browser with a profile of its own, and ends it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        preferences: dict[str, Any] = {"download.default_directory": str(downloads or profile)}
        if not scripts:
            preferences["profile.managed_default_content_settings.javascript"] = 2
        options.add_experimental_option("prefs", preferences)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = Service(shutil.which("chromedriver"))
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield Browser(driver)
        finally:
            driver.quit()
