"""The base of published data models that may gain fields."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer


class VersionedModel(BaseModel):
    """A model that gained fields after it was first published.

    A later field has a default and is left out of the JSON if it has that value. JSON from before
    the field existed therefore reads back and is written again unchanged, so that neither a
    record's seal nor a cell's id changes.

    Attributes:
        later: names of the later fields.
    """

    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        for name in self.later:
            if getattr(self, name) == type(self).model_fields[name].get_default():
                values.pop(name, None)
        return values
