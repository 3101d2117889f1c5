"""A secret partition: nobody without the secret knows which images are private.

Anyone who knows the partition of a public data set can write a plug-in that already contains the
private images. An official run can therefore derive the partition from a secret. Drawn images are
then drawn from the secret too, because anyone could draw those of a known seed again. A record has
only the secret's commitment, a hash: records of the same secret are comparable, and once the secret
is revealed, anyone can check it against the commitment and the images.

The secret comes from the environment, which worker processes inherit. No specification, record or
message contains it.
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
    """Return the commitment to the secret set on this machine; None for the public partition.

    Raises:
        UsageError: the secret cannot be read, or could be guessed.
    """
    secret = _secret()
    return None if secret is None else _hash("commitment", secret)


def partition_key(committed: str) -> str:
    """Return the key that the partition is derived from; it does not reveal the secret.

    Args:
        committed: the commitment of the specification.

    Raises:
        DataError: the secret is missing, or is another one.
        UsageError: the secret cannot be read, or could be guessed.
    """
    return _hash("partition", _committed(committed))


def drawing_seed(committed: str) -> int:
    """Return the seed of images that are drawn under a secret; it does not reveal the secret.

    Whoever lacks the secret cannot draw them again, although the code that draws them is public.

    Args:
        committed: the commitment of the specification.

    Raises:
        DataError: the secret is missing, or is another one.
        UsageError: the secret cannot be read, or could be guessed.
    """
    return int(_hash("drawing", _committed(committed)), 16)


def _committed(committed: str) -> bytes:
    """Return the secret that a commitment is of."""
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
    return secret


@contextmanager
def secret_from(file: Path | None) -> Iterator[None]:
    """Use the secret of a file in the block, instead of the environment's; None changes nothing.

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
