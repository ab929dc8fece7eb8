"""The forms that hold others: arrays, objects and unions. See `forms.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import chain, count
from types import NoneType
from typing import Any

from msgspec import UNSET, Struct

from brainwires_provider.types.forms import (
    KINDS,
    SIMPLE,
    Choice,
    Form,
    Problem,
    Problems,
    Schema,
    Writer,
    as_text,
    bare,
    below,
    either,
    refuse,
    refused,
    shown,
)

__all__ = ["Array", "Dictionary", "FixedArray", "Member", "Object", "OneOf", "Tagged"]


class _Sized(Form):
    """What has a number of items."""

    unit = "items"
    keywords = ("minItems", "maxItems")

    def __init__(self, kind: type, make: Callable[[Any], Any], sizes: Mapping[str, int]) -> None:
        """`sizes`: `min_length` and `max_length`."""
        self.takes = frozenset((kind,))
        self._make = make
        self._least, self._most = sizes.get("min_length"), sizes.get("max_length")

    def _sizes(self) -> Schema:
        given = zip(self.keywords, (self._least, self._most), strict=True)
        return {keyword: size for keyword, size in given if size is not None}

    def _is_fit(self, value: Any, path: str, problems: Problems) -> bool:
        if type(value) not in self.takes:
            refuse(problems, path, self.words, value)
            return False
        count = len(value)
        if self._least is not None and count < self._least:
            problems.append(Problem(path, f"must have at least {self._least} {self.unit}, not {count}"))
        if self._most is not None and count > self._most:
            problems.append(Problem(path, f"must have at most {self._most} {self.unit}, not {count}"))
        return True


class Array(_Sized):
    """Items of one form."""

    def __init__(self, item: Form, make: Callable[[Any], Any], sizes: Mapping[str, int]) -> None:
        super().__init__(list, make, sizes)
        self._item = item

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        return {"type": "array", "items": self._item.schema(writer), **self._sizes()}

    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """See `Form`."""
        if not self._is_fit(value, path, problems):
            return None
        before = len(problems)
        if self._item.plain.issuperset(map(type, value)):
            made = value
        else:
            made = [self._item.convert(each, f"{path}[{i}]", problems) for i, each in enumerate(value)]
        if len(problems) > before:
            return None
        try:
            return self._make(made)
        except Exception as error:  # noqa: BLE001 (an item's own hash, or equality)
            return refused(problems, path, "the collection", error)


class FixedArray(_Sized):
    """A tuple of a fixed number of items, each of its own form."""

    def __init__(self, items: Sequence[Form]) -> None:
        super().__init__(list, tuple, {"min_length": len(items), "max_length": len(items)})
        self._items = items

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        items = [item.schema(writer) for item in self._items]
        listed = {"prefixItems": items} if items else {}  # JSON Schema has no empty list of these
        return {"type": "array", **listed, **self._sizes()}

    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """See `Form`."""
        before = len(problems)
        if not self._is_fit(value, path, problems) or len(problems) > before:
            return None
        pairs = zip(self._items, value, strict=True)
        return tuple(item.convert(each, f"{path}[{i}]", problems) for i, (item, each) in enumerate(pairs))


class Dictionary(_Sized):
    """Any keys of one form, with values of one form."""

    unit = "members"
    keywords = ("minProperties", "maxProperties")

    def __init__(self, key: Form, item: Form, sizes: Mapping[str, int]) -> None:
        super().__init__(dict, dict, sizes)
        self._key = key
        self._item = item

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        schema = {"type": "object", "additionalProperties": self._item.schema(writer), **self._sizes()}
        names = self._names(writer)
        return {**schema, "propertyNames": names} if names else schema

    def _names(self, writer: Writer) -> Schema:
        return _as_name(self._key.body(writer))

    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """See `Form`."""
        if not self._is_fit(value, path, problems):
            return None
        made = {}
        for key, each in value.items():
            place = below(path, key)
            trial: Problems = []
            name = self._key.convert(key, place, trial)
            problems += [Problem(place, f"as a key {each.message}") for each in trial]
            made[None if trial else name] = self._item.convert(each, place, problems)
        return made


_NAMES: Mapping[str, Schema] = {
    "integer": {"pattern": "^-?[0-9]+$"},
    "number": {"pattern": r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"},
    "boolean": {"enum": ["false", "true"]},
    "null": {"enum": ["null"]},
}


def _as_name(schema: Schema) -> Schema:
    """What the keys are held to: they are strings in JSON, whatever they stand for."""
    if "anyOf" in schema:
        alternatives = [_as_name(each) for each in schema["anyOf"]]
        return {"anyOf": alternatives} if all(alternatives) else {}
    if "enum" in schema or "const" in schema:
        return {"enum": sorted(map(as_text, schema.get("enum") or [schema["const"]]))}
    kind = schema.get("type")
    return _NAMES.get(str(kind)) or {
        name: each for name, each in schema.items() if (name, each) != ("type", "string")
    }


class Member(Struct, frozen=True, gc=False):
    """One member of an object."""

    name: str
    """The Python name."""
    key: str
    """The name in JSON."""
    form: Form
    is_required: bool = True
    default: Any = UNSET
    """The default in JSON, if it has one there."""


class Object(Form):
    """Members of known names: a class with fields, or parameters."""

    takes = frozenset((dict,))

    def __init__(self, name: str, notes: Schema, make: Callable[..., Any]) -> None:
        """The members follow, because they may hold the object itself. `make` is called with their values."""
        self.name = name
        self._notes = notes
        self._make = make
        self.members: Sequence[Member] = ()

    def schema(self, writer: Writer) -> Schema:
        """See `Form`."""
        return writer.reference(self, self.name)

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        properties = {}
        for each in self.members:
            properties[each.key] = each.form.schema(writer)
            if each.default is not UNSET and _takes(each.form, each.default):
                properties[each.key] = {**properties[each.key], "default": each.default}
        return {
            "type": "object",
            **self._notes,
            "properties": properties,
            "required": [each.key for each in self.members if each.is_required],
            "additionalProperties": False,
        }

    @property
    def fixed(self) -> Mapping[str, frozenset[tuple[type, Any]]]:
        """See `Form`."""
        forms = ((each.key, bare(each.form)) for each in self.members)
        return {key: form.values for key, form in forms if isinstance(form, Choice)}

    @property
    def keys(self) -> frozenset[str]:
        """See `Form`."""
        return frozenset(each.key for each in self.members)

    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """See `Form`."""
        if type(value) is not dict:
            return refuse(problems, path, self.words, value)
        before = len(problems)
        given: dict[str, Any] = {}
        left = len(value)
        for each in self.members:
            if each.key not in value:
                if each.is_required:
                    words = each.form.words
                    problems.append(Problem(below(path, each.key), f"is missing; it must be {words}"))
                continue
            item = value[each.key]
            left -= 1
            if type(item) in each.form.plain:
                given[each.name] = item
                continue
            if item is None and not each.is_required and NoneType not in each.form.takes:
                continue  # a service that demands every member has null in place of a default
            given[each.name] = each.form.convert(item, below(path, each.key), problems)
        for key in value.keys() - self.keys if left else ():
            names = ", ".join(each.key for each in self.members)
            problems.append(Problem(below(path, key), f"does not exist; there is {names or 'nothing'}"))
        if len(problems) > before:
            return None
        try:
            return self._make(**given)
        except Exception as error:  # noqa: BLE001 (the class's own checks)
            return refused(problems, path, self.name, error)


def _takes(form: Form, value: Any) -> bool:
    """Whether a default is a value that a model may give: a NamedTuple, and an object without its tag, are not."""
    problems: Problems = []
    form.convert(value, "", problems)
    return not problems


class Tagged(Form):
    """An object of which a member is demanded, which distinguishes the branches of a union.

    With a `value`, the object has no such member of its own, and is given the rest.
    """

    takes = frozenset((dict,))

    def __init__(self, inner: Form, name: str, key: str, value: Any = UNSET) -> None:
        self._inner = inner
        self._name = name
        self._key = key
        self._value = value

    def schema(self, writer: Writer) -> Schema:
        """See `Form`."""
        return writer.reference(self, self._name)

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        body = self._inner.body(writer)
        others = [key for key in body.get("required", ()) if key != self._key]
        properties = body["properties"]
        if self._value is not UNSET:
            tag = {"type": KINDS[type(self._value)], "const": self._value}
            properties = {self._key: tag, **properties}
        return {**body, "properties": properties, "required": [self._key, *others]}

    @property
    def fixed(self) -> Mapping[str, frozenset[tuple[type, Any]]]:
        """See `Form`."""
        own = {} if self._value is UNSET else {self._key: frozenset(((type(self._value), self._value),))}
        return {**own, **self._inner.fixed}

    @property
    def keys(self) -> frozenset[str]:
        """See `Form`."""
        return frozenset((self._key, *(self._inner.keys or ())))

    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """See `Form`."""
        if self._value is UNSET or type(value) is not dict:
            return self._inner.convert(value, path, problems)
        tag = value.get(self._key, UNSET)
        if (type(tag), tag) != (type(self._value), self._value):
            words = f"must be {shown(self._value)}"
            words = f"is missing; it {words}" if tag is UNSET else f"{words}, not {shown(tag)}"
            problems.append(Problem(below(path, self._key), words))
        return self._inner.convert({k: v for k, v in value.items() if k != self._key}, path, problems)


class OneOf(Form):
    """A union. Its objects are distinguished by a member of fixed values, which is added where they have none."""

    def __init__(self, forms: Sequence[Form], names: Sequence[str]) -> None:
        self._forms = forms
        self._names = names

    @cached_property
    def takes(self) -> frozenset[type]:  # type: ignore[override]
        """See `Form`."""
        return frozenset().union(*(form.takes for form in self._forms))

    @cached_property
    def _tagged(self) -> tuple[str, dict[tuple[type, Any], Form]]:
        """The member that distinguishes the objects, and the object of each of its values; nothing for one object."""
        found = [
            (form, name) for form, name in zip(self._forms, self._names, strict=True) if form.keys is not None
        ]
        if len(found) < 2:
            return "", {}
        for key in found[0][0].fixed:
            values = [form.fixed.get(key, frozenset()) for form, _ in found]
            if all(values) and len(frozenset().union(*values)) == sum(map(len, values)):
                demanding = [Tagged(form, name, key) for form, name in found]
                return key, {value: form for form in demanding for value in form.fixed[key]}
        taken = frozenset().union(*(form.keys or () for form, _ in found))
        names = chain(("kind", "type"), map("kind_{}".format, count(1)))
        key = next(name for name in names if name not in taken)
        return key, {(str, name): Tagged(form, name, key, name) for form, name in found}

    @cached_property
    def _others(self) -> list[Form]:
        """The forms that are tried, the narrowest first."""
        others = [form for form in self._forms if not self._tagged[0] or form.keys is None]
        return sorted(others, key=lambda form: bare(form).rank)

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        tagged = self._tagged[1]
        others = [form for form in self._forms if not tagged or form.keys is None]
        return {"anyOf": [form.schema(writer) for form in (*dict.fromkeys(tagged.values()), *others)]}

    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """See `Form`."""
        key, tagged = self._tagged
        tag = value.get(key) if tagged and type(value) is dict else UNSET
        if type(tag) in SIMPLE and (type(tag), tag) in tagged:
            return tagged[type(tag), tag].convert(value, path, problems)
        fitting = [form for form in self._others if type(value) in form.takes]
        trials: list[Problems] = []  # those of the forms that take such a kind are the first
        for form in dict.fromkeys((*fitting, *self._others)):
            trial: Problems = []
            made = form.convert(value, path, trial)
            if not trial:
                return made
            trials.append(trial)
        if tag is not UNSET and not fitting:
            words = f"must be {either(shown(each) for _, each in tagged)}"
            words = f"{words}, not {shown(tag)}" if key in value else f"is missing; it {words}"
            problems.append(Problem(below(path, key), words))
        elif fitting and (
            len(fitting) == 1 or any(each.path != path for each in chain(*trials[: len(fitting)]))
        ):
            nearest: Problems = min(trials[: len(fitting)], key=len)
            problems += nearest
        else:
            refuse(problems, path, self.words, value)
        return None

    @property
    def words(self) -> str:
        """See `Form`."""
        return either(form.words for form in self._forms)
