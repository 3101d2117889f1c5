"""A signature is of a key and of all that a record says; a seal is of nobody."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from splitsec.cli.eval import command as evaluate
from splitsec.cli.keys import command as keys
from splitsec.cli.keys import signed_in_place, signer_for
from splitsec.cli.leaderboard import command as leaderboard
from splitsec.errors import DataError, UsageError
from splitsec.records.index import brief, load_brief_records
from splitsec.records.reading import load_record, read_record
from splitsec.records.record import seal_of
from splitsec.records.signatures import Signer, check_keys, is_signed, make_key, read_keys
from splitsec.records.store import load_records, write_record
from support.records import cell, make_record

Content = dict[str, Any]


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    make_key(tmp_path / "keys" / "mine.pem")
    return Signer.load(tmp_path / "keys" / "mine.pem")


def test_what_is_signed_is_read_back_and_is_the_same_cell(signer: Signer, tmp_path: Path) -> None:
    record = signer.sign(make_record())
    write_record(tmp_path / "cell", record)
    found = load_record(tmp_path / "cell")
    assert found == record
    assert is_signed(found)
    assert found.signature is not None
    assert found.signature.key == signer.public
    assert brief(found).signature == found.signature
    assert found.numbers() == make_record().numbers()
    assert signer.sign(found) == found, "Ed25519 draws nothing"


def resealed(content: Content) -> None:
    content["seal"] = seal_of(content)


def other_numbers(content: Content) -> None:
    content["timings"]["attack"] = 1.0
    resealed(content)


def other_key(content: Content) -> None:
    content["signature"]["key"] = "00" * 32


def other_value(content: Content) -> None:
    content["signature"]["value"] = "00" * 64


def of_another(content: Content) -> None:
    content["spec"]["seed"] = 7
    resealed(content)


FORGED: dict[str, Callable[[Content], None]] = {
    "other numbers, sealed anew": other_numbers,
    "another seed, sealed anew": of_another,
    "another key": other_key,
    "another value": other_value,
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_signature_of_something_else_is_refused(kind: str, signer: Signer) -> None:
    content = json.loads(signer.sign(make_record()).to_json())
    FORGED[kind](content)
    with pytest.raises(DataError, match="has a signature that is not of its key and its content"):
        read_record(json.dumps(content), "a record")


def test_a_signature_is_lost_with_a_change(signer: Signer) -> None:
    record = signer.sign(make_record())
    assert record.sealed() == record
    assert record.model_copy(update={"notes": ["better"]}).sealed().signature is None


def test_a_private_key_is_read_by_nobody_else_and_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "mine.pem"
    public = make_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Signer.load(file).public == public
    with pytest.raises(UsageError, match="never replaced"):
        make_key(file)
    assert Signer.load(file).public == public


def test_a_private_key_stays_out_of_repositories(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(UsageError, match="stays outside"):
        make_key(tmp_path / "deep" / "mine.pem")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="stays outside"):
        Signer.load(tmp_path / "link" / "mine.pem")


def test_what_is_no_key_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "mine.pem"
    file.symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="it is not a regular file"):
        Signer.load(file)
    with pytest.raises(UsageError, match="it is not a regular file"):
        read_keys(file)
    with pytest.raises(UsageError, match="is no public key of 64 hexadecimal digits"):
        check_keys(["x\ny"], "--trust")
    (tmp_path / "keys.txt").write_text(f"# ours\n{'0a' * 32}  # since 2026\n\n")
    assert read_keys(tmp_path / "keys.txt") == {"0a" * 32}


def test_records_that_lie_in_a_store_are_not_signed(tmp_path: Path) -> None:
    make_key(tmp_path / "mine.pem")
    store = tmp_path / "store"
    signer = signer_for(tmp_path / "mine.pem", store)
    assert signer is not None
    signed_in_place(write_record(store / "mine", make_record(seed=1)), signer)
    assert is_signed(load_record(store / "mine"))
    assert signer_for(tmp_path / "mine.pem", store) is not None
    write_record(store / "planted", make_record(seed=2))
    with pytest.raises(UsageError, match="1 records that this key did not sign"):
        signer_for(tmp_path / "mine.pem", store)


def test_the_command_makes_a_key_and_prints_the_public_one(tmp_path: Path) -> None:
    words = ["--output", str(tmp_path / "mine.pem")]
    made = CliRunner().invoke(keys, words, standalone_mode=False)
    again = CliRunner().invoke(keys, [*words, "--public"], standalone_mode=False)
    assert made.stdout == again.stdout == f"{Signer.load(tmp_path / 'mine.pem').public}\n"
    assert "PRIVATE" not in made.output


def test_a_board_shows_as_run_here_what_a_key_signed_that_it_trusts(
    signer: Signer, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for seed, sign in enumerate((signer.sign, lambda record: record)):
        write_record(store / str(seed), sign(make_record(seed=seed)))
    trusts = ((), ("here", "here")), ((signer.public,), ("here", "claimed"))
    for public, origins in (*trusts, (("00" * 32,), ("claimed", "claimed"))):
        trusted = frozenset(public)
        found = load_records([store], trusted=trusted)
        briefs = load_brief_records([store], print, trusted)
        assert tuple(one.evidence.origin for one in found) == origins
        assert tuple(one.evidence.origin for one in briefs) == origins


def test_a_later_record_that_says_it_was_run_here_replaces_no_signed_one(
    signer: Signer, tmp_path: Path
) -> None:
    honest = make_record()
    later = honest.provenance.model_copy(update={"created": "2999-01-01T00:00:00+00:00"})
    write_record(tmp_path / "store" / "official", signer.sign(honest))
    write_record(tmp_path / "store" / "z", honest.model_copy(update={"provenance": later}))
    (found,) = load_records([tmp_path / "store"], trusted=frozenset([signer.public]))
    assert found.provenance.created == honest.provenance.created
    assert found.evidence.origin == "here"


def test_published_records_are_signed_if_they_were(signer: Signer, tmp_path: Path) -> None:
    store, output = tmp_path / "store", tmp_path / "published"
    for seed, sign in enumerate((signer.sign, lambda record: record)):
        record = cell("fsha", "dcor", seed, 0.3, cell_id=f"{seed:064x}", artifacts={})
        write_record(store / str(seed), sign(record))
    words = [store, "--format", "records", "--output", output, "--sign", tmp_path / "keys/mine.pem"]
    result = CliRunner().invoke(leaderboard, [str(one) for one in words], standalone_mode=False)
    assert result.exception is None
    assert [is_signed(one) for one in load_records([output])] == [True, False]


def test_a_key_is_kept_from_code_that_is_not_built_in(signer: Signer, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from splitsec import Defense, Parameters\nclass Mine(Defense[Parameters]):\n    pass\n"
    )
    words = ["--defense", tmp_path / "mine.py", "--attack", "none", "--no-isolate", "--sign"]
    words += [tmp_path / "keys" / "mine.pem", "--output", tmp_path / "out"]
    result = CliRunner().invoke(evaluate, [str(one) for one in words], standalone_mode=False)
    assert isinstance(result.exception, UsageError)
    assert "its code could use your key" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_the_published_keys_are_keys() -> None:
    read_keys(Path(__file__).parents[2] / "leaderboard" / "trusted_keys.txt")
