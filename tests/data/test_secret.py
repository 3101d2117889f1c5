"""The secret partition: told apart by its commitment, checked when revealed, and never told."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from splitsec.cells import identity
from splitsec.cells.cell import Cell
from splitsec.cells.configured import ConfiguredPlugin
from splitsec.cells.provenance import core_sha256
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cells.transport import build_again
from splitsec.cli.eval import command
from splitsec.cli.exit_codes import Exit
from splitsec.data.loading import load_data
from splitsec.data.secret import SECRET_FILE_VARIABLE, SECRET_VARIABLE, commitment, secret_from
from splitsec.errors import DataError, UsageError
from splitsec.leaderboard.ranking import rank
from splitsec.leaderboard.web.publication import published
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.loading import Plugin
from splitsec.plugins.names import KINDS, Kind
from splitsec.plugins.parameters import Parameters
from splitsec.progress import Silent
from splitsec.records.reading import load_record
from splitsec.records.spec import CellSpec
from splitsec.records.store import find_records, load_records
from support.cells import COUNTS
from support.records import cell as ranked

SECRET = "correct horse battery staple, twice over"
# Of a cell as it was before there were secret partitions.
GOLDEN_CELL = "ac3fd4284cf54b749711c0a177802a8a374420796762daf14b69dc25a48b7a0e"
GOLDEN_SESSION = "1e1d96b7e6d75f103a52a5e397edc5af09c1a38760240793c91872730dbedd3a"
RECORDS = Path(__file__).parents[2] / "leaderboard" / "records"


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SECRET_VARIABLE, SECRET_FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    return file


def images(**given: Any) -> DataSpec:
    counts = {"private": 16, "public": 8, "validation": 4, "held_out": 8}
    return DataSpec(parameters={"stream": 0}, size=16, **counts, **given)


def mine(seeds: int = 1) -> list[Cell]:
    return resolve(
        Request(
            attack="none",
            defense="none",
            target="fsha-client",
            cut=1,
            size=16,
            settings=COUNTS,
            seed=range(seeds),
            threads=1,
        )
    )


def run(*options: object) -> Result:
    settings = [word for one in COUNTS for word in ("--set", one)]
    words = [
        "--attack",
        "none",
        "--target",
        "fsha-client",
        "--cut",
        "1",
        "--size",
        "16",
        "--threads",
        "1",
        "--json",
        *settings,
        *map(str, options),
    ]
    return CliRunner().invoke(command, words, standalone_mode=False)


def test_the_public_partition_and_its_cells_are_what_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_data(images(), Silent()).sha256 == (
        "aafc3c7d9a291412765f772e84a61a8d1271308fd8a9304a4a499423e3ca62f9"
    )
    spec = ranked("fsha", "dcor", 1, 0.5).spec

    def chosen(kind: Kind) -> ConfiguredPlugin:
        return ConfiguredPlugin(
            Plugin(kind, kind, kind, Parameters, kind, "b" * 64, "b" * 64), Parameters()
        )

    monkeypatch.setattr(identity, "shared_code", lambda: ["a" * 64])
    monkeypatch.setattr(identity, "PROTOCOL_VERSION", 4)
    golden = Cell(spec, *map(chosen, KINDS))
    assert golden.cell_id("c" * 64) == GOLDEN_CELL
    assert golden.session_key() == GOLDEN_SESSION


def test_a_published_specification_is_written_as_it_was() -> None:
    for file in sorted(RECORDS.rglob("record.json")):
        written = json.loads(file.read_text(encoding="utf-8"))
        again = json.loads(load_record(file).model_dump_json())
        again.pop("protocol")
        written.pop("protocol", None)
        assert again == written


def test_a_secret_divides_the_images_anew(secret: Path) -> None:
    with secret_from(secret):
        committed = commitment()
        hidden = load_data(images(partition_commitment=committed), Silent())
        assert hidden.sha256 == load_data(images(partition_commitment=committed), Silent()).sha256
        public = load_data(images(), Silent())
    assert hidden.sha256 != public.sha256
    assert hidden.private[0].indices.tolist() != public.private[0].indices.tolist()
    assert any(str(committed) in said for said in hidden.disclosures)


def test_the_commitment_is_the_secrets_and_is_no_key_to_the_partition(secret: Path) -> None:
    with secret_from(secret):
        committed = commitment()
    text = b"splitsec partition commitment\0" + SECRET.encode()
    assert committed == hashlib.sha256(text).hexdigest()
    with pytest.raises(DataError, match="which is not here; name its file"):
        load_data(images(partition_commitment=committed), Silent())


def test_another_secret_is_refused(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with secret_from(secret):
        committed = commitment()
    monkeypatch.setenv(SECRET_VARIABLE, SECRET[::-1])
    with pytest.raises(DataError, match="is not the one of this partition"):
        load_data(images(partition_commitment=committed), Silent())


def test_a_request_takes_the_secret_and_a_specification_brings_its_own(secret: Path) -> None:
    with secret_from(secret):
        (hidden,) = mine()
    (public,) = mine()
    assert hidden.spec.partition_commitment and public.spec.partition_commitment is None
    assert hidden.cell_id("0") != public.cell_id("0")
    assert hidden.session_key() != public.session_key()
    plugins = {one.plugin.kind: one.plugin.spec for one in hidden.plugins}
    again = build_again(CellSpec.model_validate_json(hidden.spec.model_dump_json()), plugins)
    assert again.data_spec() == hidden.data_spec()


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "has 0 bytes"), ("short", "has 5 bytes and could be guessed; expected 32 or more")],
)
def test_a_secret_that_could_be_guessed_is_refused(
    text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, text)
    with pytest.raises(UsageError, match=says):
        mine()


def test_two_secrets_are_refused_and_the_option_wins(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET[::-1])
    other = commitment()
    with secret_from(secret):
        assert commitment() != other
    assert commitment() == other
    monkeypatch.setenv(SECRET_FILE_VARIABLE, str(secret))
    with pytest.raises(UsageError, match="are both set; unset one"):
        commitment()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the partition's secret in .*nothing"):
        commitment_of(tmp_path / "nothing")


def commitment_of(file: Path) -> str | None:
    with secret_from(file):
        return commitment()


def test_a_run_tells_the_commitment_and_never_the_secret(secret: Path, tmp_path: Path) -> None:
    store = tmp_path / "results"
    hidden = run("--partition-secret-file", secret, "--output", store)
    assert hidden.return_value == Exit.OK, hidden.output
    public = run("--output", store)  # in the same store, and not taken for the hidden one
    assert public.return_value == Exit.OK
    committed = commitment_of(secret)
    assert {one.spec.partition_commitment for one in load_records([store])} == {committed, None}
    again = run("--partition-secret-file", secret, "--output", store)
    assert "1 of 1 cells have a record" in again.stderr
    assert again.stdout == hidden.stdout
    for found in find_records([store]):
        assert published(found.record, {}).spec == found.record.spec
    written = [file.read_bytes() for file in store.rglob("*") if file.is_file()]
    assert len(written) > 4
    assert not any(SECRET.encode() in content for content in written)
    assert SECRET not in hidden.output + public.output


def test_a_secret_partition_has_a_board_of_its_own() -> None:
    committed = {"partition_commitment": "abcdef0123" + "0" * 54}
    records = [
        ranked("fsha", "none", seed, 0.5, spec=given)
        for given in ({}, committed)
        for seed in range(2)
    ]
    titles = sorted(board.title for board in rank(records, "defenses"))
    assert len(titles) == 2
    assert sum("secret partition abcdef0123" in title for title in titles) == 1


def test_a_record_says_what_ran_where(tmp_path: Path) -> None:
    assert run("--output", tmp_path).return_value == Exit.OK
    about = load_records([tmp_path])[0].provenance
    assert about.core == core_sha256()
    assert about.processor and about.threads == 1
    assert {"torch", "numpy", "pillow", "lpips"} <= set(about.packages)
    assert all(len(one["sha256"]) == 64 for one in about.plugins.values())
