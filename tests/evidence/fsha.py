"""Prints what FSHA recovers at depth, per seed: of MNIST through its own client, and at cut 5.

    SPLITSEC_DATA=... python tests/evidence/fsha.py results/fsha [--seed 10,11] [--iterations 600]

It runs the cells that the folder does not have yet, some minutes each. With several numbers of
iterations the table shows the error against seconds.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from splitsec.records.store import load_records

DIGITS = 3000


def main() -> None:
    """Run what is missing and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder of the records")
    parser.add_argument("--seed", default="0,1,2,3,4", help="seeds")
    parser.add_argument("--iterations", default="600", help="one or several, such as 150,600")
    given = parser.parse_args()
    digits = given.results / "digits"
    write_digits(digits)
    source = f"folder:path={digits},csv=labels.csv,image_column=file,label_column=digit"
    attacks = ",".join(f"fsha:iterations={count}" for count in given.iterations.split(","))
    asked = ["--attack", attacks, "--seed", given.seed, "--output", str(given.results / "cells")]
    run(*asked, "--target", "fsha-client", "--cut", "4", "--data", source, "--channels", "1")
    run(*asked, "--target", "resnet", "--cut", "5", "--data", "retinamnist")
    print(
        "| target | cut | iterations | seed | held-out MSE, [-1, 1] | of the mean image |", end=""
    )
    print(" training MSE | leakage | identified | attack, s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    records = load_records([given.results / "cells"])
    for one in sorted(records, key=lambda one: (one.spec.target, one.timings["attack"])):
        assert one.victims is not None and one.victims.training is not None
        assert one.leakage is not None
        held_out, training = one.victims.held_out, one.victims.training
        found = held_out.privacy.identification
        blind = held_out.trivial[held_out.reference.mse].mse
        print(
            f"| {one.spec.target} | {one.spec.cut} | {one.session['attacked_exchanges']} "
            f"| {one.spec.seed} | {4 * held_out.privacy.mse.mean:.4f} | {4 * blind:.3f} "
            f"| {4 * training.privacy.mse.mean:.4f} | {one.leakage.value:.3f} "
            f"| {max(found.structure, found.pixel):.0%} | {one.timings['attack']:.0f} |"
        )


def run(*options: str) -> None:
    """Run the cells of one target that the folder does not have."""
    command = [sys.executable, "-m", "splitsec", "eval", "--defense", "none", "--size", "32"]
    command += ["--threads", "1", "--set", "training.epochs=1"]
    subprocess.run([*command, *options], check=True)


def write_digits(folder: Path) -> None:
    """Write MNIST's digits as a folder of pictures with a table, unless it is there."""
    table = folder / "labels.csv"
    if table.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(Path(os.environ["SPLITSEC_DATA"]) / "mnist" / "mnist.npz") as archive:
        images, labels = archive["train_images"][:DIGITS], archive["train_labels"][:DIGITS]
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:05}.png")
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "digit"])
        rows.writerows(
            (f"{index:05}.png", int(label)) for index, label in enumerate(labels.ravel())
        )


if __name__ == "__main__":
    main()
