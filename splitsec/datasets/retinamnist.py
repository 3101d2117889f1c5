"""1,600 real fundus photographs of 28 px with grades of retinopathy (RetinaMNIST).

Yang et al., "MedMNIST v2", Scientific Data 2023; photographs of DeepDRiD (Liu et al., Patterns
2022), CC BY 4.0. Grade 0 is class 0, grades 1 to 4 are class 1.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from splitsec.datasets.medmnist.archive import MedMnistFile
from splitsec.datasets.medmnist.sets import SIZES, MedMnistSet, set_of
from splitsec.datasets.medmnist.source import FileWish, LabelledImages, MedMnistSource
from splitsec.download import Patience
from splitsec.plugins.parameters import InputPath, Parameters


class RetinaMnistParameters(Parameters):
    """Parameters of RetinaMNIST."""

    path: InputPath = Field("", description="the .npz file; empty: retinamnist/retinamnist.npz")


class RetinaMnist(MedMnistSource[RetinaMnistParameters]):
    """Real fundus photographs without and with retinopathy."""

    Parameters: ClassVar[type[RetinaMnistParameters]] = RetinaMnistParameters
    patience: ClassVar[Patience] = Patience()

    def wish(self) -> FileWish:
        """Return the file with the plain name, or the given one."""
        return FileWish(set_of("retinamnist"), self.parameters.path, SIZES[0])

    def labelled(self, file: MedMnistFile, known: MedMnistSet) -> LabelledImages:
        """Return the classes without and with retinopathy."""
        return LabelledImages(
            (file.labels > 0).astype(np.int64),
            ("no retinopathy", "retinopathy"),
            (
                "RetinaMNIST has up to four photographs per patient and no patient ids: "
                "private and public images may share patients; held-out images, from the "
                "publishers' test split, do not",
            ),
            {"path": ""},
        )
