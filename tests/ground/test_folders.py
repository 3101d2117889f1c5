"""Where splitsec keeps its files unless it is told otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from splitsec.folders import cache_folder, data_folder


@pytest.mark.skipif(sys.platform != "linux", reason="each system has another place")
def test_the_cache_is_where_linux_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("SPLITSEC_CACHE", "SPLITSEC_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "splitsec"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches" / "splitsec"
    assert data_folder() == tmp_path / "caches" / "splitsec" / "data"


def test_variables_say_where_folders_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPLITSEC_CACHE", "~/here")
    monkeypatch.delenv("SPLITSEC_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "here"
    assert data_folder() == tmp_path / "here" / "data"
    monkeypatch.setenv("SPLITSEC_DATA", str(tmp_path / "there"))
    assert data_folder() == tmp_path / "there"
