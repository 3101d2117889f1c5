"""What ran where, as records say it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import splitsec
from splitsec.cells import provenance
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve

ROOT = Path(__file__).parents[2]


def test_the_core_is_every_room_and_no_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Path(splitsec.__file__).parent == provenance._SPLITSEC
    for room in ("training", "attacks"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "wire.py").write_text("a = 1\n")
    monkeypatch.setattr(provenance, "_SPLITSEC", tmp_path)
    before = provenance.core_sha256.__wrapped__()
    (tmp_path / "attacks" / "wire.py").write_text("a = 2\n")
    assert provenance.core_sha256.__wrapped__() == before
    (tmp_path / "training" / "wire.py").write_text("a = 2\n")
    assert provenance.core_sha256.__wrapped__() != before


def test_a_checkout_says_its_commit_and_where_a_plugin_is() -> None:
    (cell,) = resolve(Request(attack="fsha", defense="none", data="phantom-fundus"))
    about = provenance.collect(cell)
    assert about.plugins["attack"]["source"].endswith("attacks/fsha")
    assert not Path(about.plugins["attack"]["source"]).is_absolute()
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    head = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    assert about.commit == subprocess.check_output(head, text=True).strip()
    assert about.dirty in (True, False)
