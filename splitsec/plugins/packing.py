"""Plug-ins as they travel to another machine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from splitsec.plugins.loading import Plugin
from splitsec.plugins.names import is_path, split_class
from splitsec.plugins.source_code import source_files


class PackedPlugin(NamedTuple):
    """A plug-in as it travels to another machine.

    Attributes:
        spec: how it is asked for there; relative to the folder of its files, if it has any.
        files: its source, by relative path; none where it is found there by its name.
    """

    spec: str
    files: dict[str, bytes]

    def unpack(self, folder: Path) -> str:
        """Write its files into a folder, and return how it is asked for."""
        for name, content in self.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return str(folder / self.spec) if self.files else self.spec


def pack_plugin(plugin: Plugin) -> PackedPlugin:
    """Return a plug-in as it travels: its name, or the source of one that was named by a path.

    Of a folder it is the files that its hash is of that travel.
    """
    path, class_name = split_class(plugin.spec)
    if not is_path(path):
        return PackedPlugin(plugin.spec, {})
    source = Path(plugin.source)
    spec = f"{source.name}:{class_name}" if class_name else source.name
    return PackedPlugin(spec, source_files(source))
