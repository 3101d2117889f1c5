"""The base of data sets that read a folder which a person downloaded and unpacked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import Field

from splitsec.data.files import user_path
from splitsec.errors import DataError, reason
from splitsec.plugins.parameters import InputPath, Parameters
from splitsec.plugins.source import Availability, Source


class UnpackedParameters(Parameters):
    """Parameters of a data set that a person unpacks."""

    path: InputPath = Field("", description="where it was unpacked; empty: the data folder")


P = TypeVar("P", bound=UnpackedParameters)


class UnpackedFolder(Source[P]):
    """A source that recognises its folder by a folder inside it.

    Attributes:
        name: name of the source, for errors.
        archive: name of the download.
        holds: folder that must be inside the unpacked one.
        shuffled_by: see :class:`splitsec.plugins.source.Catalogue`; with it, the images keep the
            order that they had when it depended on the path, which was empty.
    """

    name: ClassVar[str]
    archive: ClassVar[str]
    holds: ClassVar[str]
    shuffled_by: ClassVar[Mapping[str, str]] = {"path": ""}

    @abstractmethod
    def usual_places(self) -> list[Path]:
        """Return the places to look for the folder if no path is given, the best first."""

    def availability(self) -> Availability:
        """Report where the folder is or must be put."""
        try:
            root = self._root()
        except DataError as error:
            return Availability(False, str(error))
        if root is not None:
            return Availability(True, f"found at {root}")
        wanted = self._places()[0] / self.holds
        return Availability(False, f"unpack Kaggle's {self.archive!r} so that {wanted} exists")

    def found(self) -> Path:
        """Return the unpacked folder.

        Raises:
            DataError: the folder is missing, or a place cannot be read.
        """
        root = self._root()
        if root is None:
            raise DataError(f"{self.name} is missing: {self.availability().sentence}")
        return root

    def _places(self) -> list[Path]:
        given = self.parameters.path
        return [user_path(given)] if given else self.usual_places()

    def _root(self) -> Path | None:
        for root in self._places():
            try:
                if (root / self.holds).is_dir():
                    return root
            except OSError as error:
                raise DataError(f"cannot look into {root}: {reason(error)}") from None
        return None
