"""``splitsec keys``: make the pair of keys that signs records, and ``--sign``, which uses it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from splitsec.cli.saying import say
from splitsec.errors import DataError, UsageError

if TYPE_CHECKING:
    from splitsec.records.record import Record
    from splitsec.records.signatures import Signer


sign_option = click.option(
    "--sign",
    "key",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Sign the records with the private key in KEY, which splitsec keys made.",
)
"""Option of commands that write records."""


@click.command("keys")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of the private key, outside every repository.  [default: signing-key.pem in the "
    "user's folder of settings]",
)
@click.option("--public", is_flag=True, help="Print the public key of a private key that is there.")
def command(output: Path | None, public: bool) -> None:
    """Make a pair of Ed25519 keys, and print the public one.

    With the private key --sign signs records. Boards that name the public key with --trust show
    what it signed as run here. Make it once, keep it to yourself, and publish the public key.
    """
    from splitsec.records.signatures import Signer, make_key

    file = output or _usual()
    key = Signer.load(file).public if public else make_key(file)
    if not public:
        say(f"wrote the private key {file}", err=True)
    say(key)


def _usual() -> Path:
    from platformdirs import user_config_path

    return user_config_path("splitsec", appauthor=False) / "signing-key.pem"


def trusted_keys(texts: Iterable[str]) -> frozenset[str]:
    """Return public keys that are given one by one, or as a file of them.

    Raises:
        UsageError: one is no public key and no file of them.
    """
    from splitsec.records.signatures import check_keys, read_keys

    found: set[str] = set()
    for text in texts:
        file = Path(text)
        found |= read_keys(file) if file.exists() else check_keys([text], "--trust")
    return frozenset(found)


def signer_for(key: Path | None, store: Path) -> Signer | None:
    """Return what signs the records of a store; None without a key.

    Args:
        key: file of the private key.
        store: folder of the records.

    Raises:
        UsageError: the key cannot be read, or the store has records that it did not sign: they may
            be anybody's, and would be taken for records of cells that were run.
    """
    if key is None:
        return None
    from splitsec.records.finding import read_each
    from splitsec.records.signatures import Signer

    signer = Signer.load(key)
    try:
        there = list(read_each(store)) if store.is_dir() else []
    except DataError:
        return signer  # there is none
    found = [one for one in there if one.record is None or not signer.has_signed(one.record)]
    if found:
        raise UsageError(
            f"{store} has {len(found)} records that this key did not sign, such as "
            f"{found[0].where}; name a new folder, so that only what is run now is signed"
        )
    return signer


def signed_in_place(record: Record, signer: Signer | None) -> Record:
    """Sign a record in its folder, and return it; nothing changes without a signer."""
    if signer is None or record.folder is None or signer.has_signed(record):
        return record
    from splitsec.records.store import write_record

    return write_record(record.folder, signer.sign(record))
