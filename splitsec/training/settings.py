"""The settings of training, such as epochs and learning rate."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from splitsec.versioned import VersionedModel


class Training(VersionedModel):
    """How clients and an honest server train; the clients choose it.

    Attributes:
        epochs: number of passes over each client's data.
        batch_size: images per exchange; a last batch of one image joins the batch before it.
        optimizer: optimizer of the clients and the server.
        learning_rate: learning rate of the clients and the server.
        decay: change of the learning rate over an honest session: none, or half a cosine to
            almost 0.
        momentum: momentum of SGD.
        turn: how long a client trains before it hands its weights to the next one.
        keep: which weights are kept: those of the last epoch, or of the best one on validation
            images.
        mode: whether clients and server train, or use a model as it is (inference): then each
            image is sent once per epoch, in evaluation mode, and no label or gradient crosses.
            In a replay of recorded traffic the labels cross as well.
    """

    later: ClassVar[tuple[str, ...]] = ("mode",)

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    decay: Literal["none", "cosine"] = "none"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    turn: Literal["batch", "epoch", "all"] = "epoch"
    keep: Literal["last", "best"] = "last"
    mode: Literal["train", "inference", "replay"] = "train"

    @property
    def trains(self) -> bool:
        """Whether anything is trained."""
        return self.mode == "train"

    def shares_labels(self, *, u_shaped: bool) -> bool:
        """Return whether clients send labels.

        Args:
            u_shaped: whether they keep the end of the model.
        """
        return not u_shaped and self.mode != "inference"
