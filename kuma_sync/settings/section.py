"""The base of all sections of the configuration, the nested ones too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from kuma_sync.settings.secret import Secret
from kuma_sync.settings.secrets import FILE


def written(default: Any) -> Any:
    """Return a field whose default is text as operators write it; it is read like any other value."""
    return Field(default=default)


class Section(BaseModel):
    """The base of all sections: frozen, no unknown keys, and errors that never show the value."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        str_strip_whitespace=True,
    )

    @classmethod
    def secret_keys(cls) -> tuple[str, ...]:
        """Return the keys that hold secrets; each has its `<key>_file` beside it."""
        return tuple(name for name, field in cls.model_fields.items() if field.annotation is Secret)

    @classmethod
    def secret_tables(cls) -> tuple[str, ...]:
        """Return the keys that hold secrets by name; each name has its `<name>_file` beside it."""
        tables = {name: get_args(field.annotation) for name, field in cls.model_fields.items()}
        return tuple(name for name, kinds in tables.items() if kinds and Secret in get_args(kinds[-1]))

    @classmethod
    def key_names(cls) -> tuple[str, ...]:
        """Return the keys, each secret once."""
        files = {f"{key}{FILE}" for key in cls.secret_keys()}
        return tuple(name for name in cls.model_fields if name not in files)

    @classmethod
    def inner_kinds(cls) -> dict[str, type[Section]]:
        """Return the kinds of the sections inside this one, by key."""
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}

    def inner(self) -> Iterator[tuple[str, Section]]:
        """Yield the sections inside this one, by key."""
        for name in self.inner_kinds():
            yield name, getattr(self, name)

    @model_serializer(mode="wrap")
    def _one_form(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Show every secret in the form in which it is given: asterisks, or its file's path."""
        shown: dict[str, Any] = plain(self)
        for key in self.secret_keys():
            path = getattr(self, key).path
            if path:
                shown[f"{key}{FILE}"] = str(path)
            del shown[key if path else f"{key}{FILE}"]
        return shown
