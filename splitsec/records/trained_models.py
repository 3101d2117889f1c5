"""Trained models beside the records: kept when asked for, and loaded back with their weights.

Files are safetensors, tensors alone: reading one runs no code, whoever wrote it. Like every
artifact they are called by the hash of their content, so cells that share an honest session share
its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from splitsec.devices import on_cpu
from splitsec.errors import DataError, blaming
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.parameters import build_parameters
from splitsec.plugins.target import SplitModel, Target
from splitsec.randomness import seeded_global_generator
from splitsec.records.artifacts import artifact, check_artifact
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.shapes import Shape

HONEST = "model"
"""Artifact: all parts of the honestly trained model."""

HIJACKED = "hijacked_client"
"""Artifact: the client as an active attack left it; the server's part was never trained."""


def weights(model: SplitModel) -> dict[str, Tensor]:
    """Return a split model's weights and buffers, each by the name of its part and its own."""
    return {
        f"{name}.{key}": value.detach()
        for name, part in model._asdict().items()
        if part is not None
        for key, value in part.state_dict().items()
    }


def client_weights(model: SplitModel) -> dict[str, Tensor]:
    """Return the weights of the client's encoder alone, named as in :func:`weights`."""
    return weights(SplitModel(model.client, nn.Identity()))


def write_weights(path: Path, named: Mapping[str, Tensor]) -> None:
    """Write weights as a safetensors file; the same weights give the same bytes."""
    from safetensors.torch import save

    # Tensors of a file may share no memory, and must lie in order.
    content = save({name: on_cpu(value).contiguous().clone() for name, value in named.items()})
    path.write_bytes(content)  # which says in the system's terms why it cannot be written


def load_model(folder: str | Path) -> SplitModel:
    """Load the honestly trained model of a record that was made with ``--keep-models``.

    Its outputs are ``model.server(model.client(images))`` for images of shape (N, C, H, W) in
    [0, 1]. Where the client keeps the model's head, ``smashed, skips = encode(model.client,
    images)`` (:func:`splitsec.plugins.target.encode`) and
    ``model.head(model.server(smashed), *skips)``.
    What a defense releases in place of the smashed data is no part of the model.

    Args:
        folder: of the record.

    Returns:
        All parts, in evaluation mode.

    Raises:
        DataError: there is no such record or model, it is damaged, or its target's source is
            not the one that was trained.
        UsageError: there is no such target.
    """
    return _load(Path(folder), HONEST)


def load_hijacked_client(folder: str | Path) -> nn.Module:
    """Load the client's encoder as the active attack of a record left it.

    Args:
        folder: of the record.

    Returns:
        The encoder in evaluation mode: images (N, C, H, W) in [0, 1] to smashed data.

    Raises:
        DataError: as of :func:`load_model`; a passive attack leaves no such client.
        UsageError: there is no such target.
    """
    return _load(Path(folder), HIJACKED).client


def _load(folder: Path, name: str) -> SplitModel:
    from safetensors.torch import load_file

    record = load_record(folder)
    if name not in record.artifacts:
        raise DataError(
            f"{folder} holds no {name.replace('_', ' ')}; run the cell again with "
            "--keep-models --rerun all"
        )
    file = artifact(folder, record, name)
    check_artifact(file)
    model = _untrained(folder, record)
    saved = load_file(file)
    for part, module in model._asdict().items():
        own = _of_part(saved, part)
        if module is None or (name == HIJACKED and not own):
            continue
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            first = str(error).splitlines()[0]
            raise DataError(f"{file} does not fit {record.spec.target!r}: {first}") from None
    return model


def _of_part(saved: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {
        key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)
    }


def _untrained(folder: Path, record: Record) -> SplitModel:
    """Build a record's target with any weights, in evaluation mode."""
    spec = record.spec
    used = record.provenance.plugins["target"]
    plugin = load_plugin("target", used["spec"])
    # Records of protocol 4 have no hash of the code, only that of the source.
    same = plugin.code == used["code"] if "code" in used else plugin.sha256 == used["sha256"]
    if not same:
        raise DataError(
            f"{folder}: target {spec.target!r} is not what was trained, since its source has "
            "changed; load the model with the version of splitsec that trained it, "
            f"{record.provenance.packages.get('splitsec', 'which is not known')}"
        )
    label = f"target {spec.target!r}"
    parameters = build_parameters(label, plugin.cls.Parameters, spec.parameters["target"])
    classes: list[Any] = record.data["classes"]
    with blaming(label, "split()"), seeded_global_generator("any weights", {}):
        target: Target[Any] = plugin.cls(parameters)
        outputs = len(classes) if target.task_for(parameters) == "classification" else 1
        image = Shape(spec.channels, spec.size, spec.size)
        model = target.split(image, outputs, spec.cut)
    for part in model:
        if part is not None:
            part.eval()
    return model
