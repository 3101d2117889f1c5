"""Parameters of FSHA."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from splitsec.plugins.parameters import Parameters


class FshaParameters(Parameters):
    """Parameters of FSHA; the paper's values are those of the ``paper`` profile."""

    iterations: int = Field(600, ge=1, description="exchanges to hijack; paper 10,000")
    networks: Literal["light", "paper", "auto"] = Field(
        "light",
        description="the paper's networks, light ones, or the paper's where the smashed data "
        "have the shape of one of its levels and either sign",
    )
    images_from: int = Field(
        3,
        ge=0,
        description="halvings of the image from which on light networks give way to the game in "
        "images; 0: always",
    )
    loss: Literal["wgan", "bce"] = Field("wgan", description="adversarial loss; report wgan")
    gradient_penalty: float = Field(10.0, ge=0, description="weight of the penalty; paper 500")
    gradient_penalty_norm: Literal["sample", "channel"] = Field(
        "sample", description="one norm per sample (WGAN-GP), or per channel (the authors' code)"
    )
    gradient_scale: float = Field(
        1.0,
        gt=0,
        description="factor on the gradient sent; decides against a client's own penalty",
    )
    gradient_floor: float = Field(
        0.05,
        gt=0,
        le=1,
        description="share of itself to which the sent gradient fades with the rates; 1: it "
        "does not fade; paper 1",
    )
    honest: int = Field(
        0,
        ge=0,
        description="exchanges in which the server learns, but answers as an honest one would",
    )
    task: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="length of the task's gradient that is mixed into what is sent, relative to "
        "the hijacking gradient's",
    )
    task_lr: float = Field(
        1e-3,
        gt=0,
        allow_inf_nan=False,
        description="Adam, the server's part of the model, where it trains the task",
    )
    client_rate: float = Field(
        0.03,
        gt=0,
        le=1,
        description="in the game in images: length of the client's steps relative to its learning "
        "rate, which a client with Adam is made to take by the size of the gradients",
    )
    image_steps: int = Field(
        200,
        ge=1,
        description="in the game in images: steps of the decoder from each start, and at each size "
        "of images",
    )
    image_lr: float = Field(
        5e-3, gt=0, description="in the game in images: Adam, the decoder, for fine images"
    )
    autoencoder_lr: float = Field(2e-3, gt=0, description="Adam, pilot and decoder; paper 1e-5")
    critic_lr: float = Field(1e-3, gt=0, description="Adam, critic; paper 1e-4")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam's first beta; paper 0.9")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's second beta; paper 0.999")
    adam: Literal["torch", "keras"] = Field(
        "torch",
        description="torch's Adam, with an epsilon of 1e-8 after the bias correction, or Keras', "
        "with 1e-7 before it; paper keras",
    )
    critic_steps: int = Field(1, ge=1, description="critic updates per exchange; paper 1")
    pretraining: int = Field(
        100, ge=0, description="steps of pilot and decoder before the first exchange; paper 0"
    )
    mirror: bool = Field(True, description="mirror public images at random, for a pilot; paper no")
    decay_from: float = Field(
        0.5, ge=0, le=1, description="share of the session after which rates decay; paper 1"
    )
    average: float = Field(
        0.99, ge=0, lt=1, description="decay of the decoder's weight average; paper 0, none"
    )
    batch_size: int | None = Field(
        None, ge=2, description="dictated to the client; empty: its own; paper 64"
    )
    client_lr: float | None = Field(
        None, gt=0, description="learning rate dictated to the client; empty: its own; paper 1e-5"
    )
