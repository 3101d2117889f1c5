"""Signatures: who says that a record is what was run.

A seal is a hash that anybody can make anew. It shows that a file is damaged, and nothing of who
wrote it. A signature needs a private key (Ed25519, RFC 8032), which is made once and stays outside
every repository. Public keys are published, and a board names those that it trusts. The signature
is of the seal, and so of everything in the record and of the content of its artifacts, which are
named by their hashes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from splitsec.errors import OutputError, UsageError
from splitsec.records.bounded import read_regular, shown
from splitsec.records.record import Evidence, Record, Signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PURPOSE = b"splitsec record, version 1: "  # a signature of something else is none of a record
_PUBLIC = re.compile(r"[0-9a-f]{64}")
_LARGEST = 100_000  # bytes of a file of keys


class Signer:
    """Signs records with a private key.

    Args:
        key: the private key.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def load(cls, file: Path) -> Signer:
        """Read a private key that :func:`make_key` has written.

        Raises:
            UsageError: it cannot be read, is no such key, or lies in a repository.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        _refuse_repository(file)
        try:
            key = load_pem_private_key(read_regular(file, _LARGEST), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"cannot read the key {file}: {error}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise UsageError(f"{file} is no Ed25519 key; splitsec keys makes one")
        return cls(key)

    @property
    def public(self) -> str:
        """The public key, 64 hexadecimal digits."""
        return self._key.public_key().public_bytes_raw().hex()

    def has_signed(self, record: Record) -> bool:
        """Return whether a record that was read is signed with this key."""
        return record.signature is not None and record.signature.key == self.public

    def sign(self, record: Record) -> Record:
        """Return the record with its seal and a signature of it."""
        sealed = record.sealed()
        value = self._key.sign(_signed(sealed)).hex()
        return sealed.model_copy(update={"signature": Signature(key=self.public, value=value)})


def make_key(file: Path) -> str:
    """Make a pair of keys, write the private one into a new file, and return the public one.

    Raises:
        UsageError: the file exists, or lies in a repository.
        OutputError: it cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    _refuse_repository(file)
    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(content)
    except FileExistsError:
        raise UsageError(f"{file} exists; a key is never replaced") from None
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror or error}") from error
    return Signer(key).public


def is_signed(record: Record) -> bool:
    """Return whether a record's signature is that of its key over its seal."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signature = record.signature
    if signature is None:
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.key))
        key.verify(bytes.fromhex(signature.value), _signed(record))
    except (InvalidSignature, ValueError):
        return False
    return True


def seen_with(record: Record, trusted: frozenset[str]) -> Record:
    """Return a record as a board sees it that trusts some keys.

    What none of them signed is a claim, whatever it says of itself. Without keys a record is as it
    says, and the board is unsigned.

    Args:
        record: a record that was read, so that its signature is known to be right.
        trusted: public keys.
    """
    signature = record.signature
    if not trusted or (signature is not None and signature.key in trusted):
        return record
    return record.model_copy(update={"evidence": Evidence(origin="claimed")})


def read_keys(file: Path) -> frozenset[str]:
    """Read public keys from a file: one a line; what follows ``#`` is a comment.

    Raises:
        UsageError: it cannot be read, or a line is no public key.
    """
    try:
        text = read_regular(file, _LARGEST).decode("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the public keys in {file}: {error}") from None
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return check_keys((line for line in lines if line), str(file))


def check_keys(keys: Iterable[str], where: str) -> frozenset[str]:
    """Return public keys.

    Raises:
        UsageError: one is none.
    """
    found = frozenset(keys)
    for key in found:
        if not _PUBLIC.fullmatch(key):
            raise UsageError(f"{where}: {shown(key)} is no public key of 64 hexadecimal digits")
    return found


def _signed(record: Record) -> bytes:
    return _PURPOSE + str(record.seal).encode()


def _refuse_repository(file: Path) -> None:
    place = file.absolute().parent.resolve()
    root = next((one for one in (place, *place.parents) if (one / ".git").exists()), None)
    if root is not None:
        raise UsageError(
            f"{file} is in the repository {root}; a private key stays outside, where no commit "
            "takes it along"
        )
