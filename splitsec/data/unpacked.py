"""Sources that are a downloaded folder, found where it was unpacked."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import Field

from splitsec.data.decoding import reason
from splitsec.data.files import user_path
from splitsec.errors import DataError
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.source import Availability, Source


class UnpackedParameters(Parameters):
    """Parameters of a data set that the person unpacks."""

    path: str = Field("", description="where it was unpacked; empty: the data folder")


P = TypeVar("P", bound=UnpackedParameters)


class UnpackedFolder(Source[P]):
    """A source whose folder is recognised by what it must hold.

    Attributes:
        name: of the source, for errors.
        archive: what it is called where it is downloaded.
        holds: a folder that must be in the unpacked one.
    """

    name: ClassVar[str]
    archive: ClassVar[str]
    holds: ClassVar[str]

    @abstractmethod
    def usual_places(self) -> list[Path]:
        """Return where the folder is looked for if no path is given, the best place first."""

    def availability(self) -> Availability:
        """Say where the folder is or must be put."""
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
            DataError: it is nowhere, or a place cannot be looked into.
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
