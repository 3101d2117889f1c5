"""Models of plain data that were published and may grow."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer


class VersionedModel(BaseModel):
    """A model to which fields were added after the first ones had been published.

    A later field has a default, and is left out of the JSON where it has it: what was written
    before the field existed reads back, and is written again as it was. So neither a record's
    seal nor a cell's id changes.

    Attributes:
        later: names of these fields.
    """

    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        for name in self.later:
            if getattr(self, name) == type(self).model_fields[name].get_default():
                values.pop(name, None)
        return values
