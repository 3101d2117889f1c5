"""A secret partition: only who has the secret can tell who holds which images.

Whoever knows the partition of a public data set can write a plug-in that already holds the
private images. So an official run may take the partition from a secret. A record has the secret's
commitment alone, a hash: records of one secret can be told from others and compared, and when the
secret is revealed, anybody can check that it is the one, and that the images follow from it.

The secret is looked for in the environment, which worker processes inherit. It is in no
specification, record or message.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitsec.errors import DataError, UsageError

SECRET_VARIABLE = "SPLITSEC_PARTITION_SECRET"
SECRET_FILE_VARIABLE = "SPLITSEC_PARTITION_SECRET_FILE"

_LEAST_BYTES = 32  # shorter ones could be guessed from the commitment
_MAKE_ONE = "python -c 'import secrets; print(secrets.token_hex())' makes one"


def commitment() -> str | None:
    """Return the commitment to the secret that is set here; None for the public partition.

    Raises:
        UsageError: the secret cannot be read, or could be guessed.
    """
    secret = _secret()
    return None if secret is None else _hash("commitment", secret)


def partition_key(committed: str) -> str:
    """Return what the partition is derived from, which tells nothing of the secret.

    Args:
        committed: the commitment of the specification.

    Raises:
        DataError: the secret is not here, or is another one.
        UsageError: it cannot be read, or could be guessed.
    """
    secret = _secret()
    if secret is None:
        raise DataError(
            f"the images are divided by a secret (its commitment is {committed[:10]}), which is "
            "not here; name its file with --partition-secret-file"
        )
    if _hash("commitment", secret) != committed:
        raise DataError(
            f"the secret that is given is not the one of this partition, whose commitment is "
            f"{committed[:10]}"
        )
    return _hash("partition", secret)


@contextmanager
def secret_from(file: Path | None) -> Iterator[None]:
    """Take the secret from a file for a while, whatever the environment says; None changes nothing.

    Raises:
        UsageError: the file cannot be read, or the secret could be guessed.
    """
    if file is None:
        yield
        return
    before = {name: os.environ.pop(name, None) for name in (SECRET_VARIABLE, SECRET_FILE_VARIABLE)}
    os.environ[SECRET_FILE_VARIABLE] = str(file.absolute())
    try:
        commitment()
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _secret() -> bytes | None:
    text, file = (os.environ.get(name) for name in (SECRET_VARIABLE, SECRET_FILE_VARIABLE))
    if text is not None and file is not None:
        raise UsageError(f"{SECRET_VARIABLE} and {SECRET_FILE_VARIABLE} are both set; unset one")
    if file is not None:
        try:
            secret = Path(file).read_bytes().strip()
        except OSError as error:
            said = error.strerror or error
            raise UsageError(f"cannot read the partition's secret in {file}: {said}") from None
    elif text is not None:
        secret = os.fsencode(text).strip()
    else:
        return None
    if len(secret) < _LEAST_BYTES:
        raise UsageError(
            f"the partition's secret has {len(secret)} bytes and could be guessed; "
            f"expected {_LEAST_BYTES} or more ({_MAKE_ONE})"
        )
    return secret


def _hash(purpose: str, secret: bytes) -> str:
    return hashlib.sha256(f"splitsec partition {purpose}\0".encode() + secret).hexdigest()
