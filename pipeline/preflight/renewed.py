"""Why an operator is computed although the store has results under its name: what differs.

    renewed(session, ["colour"])      # {"colour": "the store has results for weight 1.0, not 2.0"}

Beside the parts of an operator, `meta.json` says in clear what their key stands for.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pipeline.errors import brief
from pipeline.operator import Writer
from pipeline.plan.session import Session
from pipeline.storage import layout

SOURCE = "the plugin's source"  # as `plan/keys.py` calls it
MOST = 3  # differences that are named


def renewed(session: Session, names: Collection[str]) -> dict[str, str]:
    """Of these operators, those of which the store has nothing but results that the recipe does not mean, and
    what differs; of several such results, those that differ least count. An operator that differs only in
    what it reads is left out, as is a Stat: those follow from others."""
    folders = session.store.root.folder_names(layout.COLUMNS)
    found = {}
    for name in names:
        if not isinstance(session.recipe.operator(name), Writer) or session.folder(name) in folders:
            continue
        now = session.describe(name)
        earlier = [f for f in sorted(folders) if layout.is_columns_of(name, f)]
        notes = [session.store.root.read_json(layout.meta(folder)) for folder in earlier]
        differing = [
            list(_differences(note, now)) for note in notes if note and note.get("use") == now["use"]
        ]
        if nearest := min(filter(None, differing), key=len, default=None):
            more = f", and {len(nearest) - MOST} more" if len(nearest) > MOST else ""
            found[name] = f"the store has results {', '.join(nearest[:MOST])}{more}"
    return found


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """In words, what of two descriptions of one operator differs, apart from the operators that it reads."""
    if then.get("version") != now["version"]:
        yield f"of version {brief(then.get('version'))}, not {now['version']}"
    if then.get("inputs", {}).get(SOURCE) != now["inputs"].get(SOURCE):
        yield f"of another source of the plugin {now['use'].rpartition('.')[0]}"
    fields = then.get("fields", {})
    for field in sorted({*fields, *now["fields"]}):
        old, new = fields.get(field), now["fields"].get(field)
        if old == new:
            continue
        if any(isinstance(value, dict) and "content" in value for value in (old, new)):
            yield f"for another file as {field}"
        else:
            yield f"for {field} {brief(old)}, not {brief(new)}"
