"""Turns a page into a PDF with WeasyPrint, or with a Chromium that is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from splitsec.errors import UsageError

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 120


def to_pdf(page: str) -> bytes:
    """Return a page as a PDF.

    Args:
        page: HTML that loads nothing.

    Raises:
        UsageError: there is neither WeasyPrint nor Chromium, or it failed.
    """
    try:
        from weasyprint import HTML
    except (ImportError, OSError):  # OSError: its libraries of the system are missing
        return _by_browser(page)
    made: bytes = HTML(string=page).write_pdf()
    return made


def _by_browser(page: str) -> bytes:
    browser = next((found for one in _BROWSERS if (found := shutil.which(one))), None)
    if browser is None:
        raise UsageError(
            "nothing here makes a PDF: pip install weasyprint, or install Chromium; or write a "
            ".html file and print it from any browser"
        )
    with tempfile.TemporaryDirectory(prefix="splitsec-report-") as name:
        folder = Path(name)
        source, made = folder / "report.html", folder / "report.pdf"
        source.write_text(page, encoding="utf-8")
        as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        words = [
            browser,
            "--headless",
            "--disable-gpu",
            "--no-pdf-header-footer",
            f"--user-data-dir={folder / 'profile'}",
            *as_root,
            f"--print-to-pdf={made}",
            source.as_uri(),
        ]
        try:
            done = subprocess.run(words, capture_output=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UsageError(f"{browser} made no PDF: {error}") from None
        if done.returncode or not made.exists():
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise UsageError(f"{browser} made no PDF: {said[-1] if said else 'no reason'}")
        return made.read_bytes()
