"""winnow compact: a store of very many small files becomes one of few; no result changes.

winnow compact recipe.yaml
"""

import orjson

from jobs.commands.options import Json, Limit, Overrides, RecipePath


def compact(recipe: RecipePath, set_: Overrides = None, shards: Limit = None, json: Json = False) -> None:
    """Pack small parts of the store, 64 to a file; not while another job fills it."""
    from jobs import steps
    from jobs.terminal import tables
    from jobs.terminal.progress import Progress
    from pipeline.storage.compact import compact as pack

    session = steps.open_session(recipe, set_, shards)
    names, found = [shard.name for shard in session.shards], []
    session.store.root.remove_leftovers()
    with Progress(quiet=json) as progress:
        for folder in session.part_folders:
            before, after = pack(session.store, folder, names, progress.compact(folder, len(names)))
            found.append({"folder": folder, "before": before, "after": after})
    if json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        tables.compacted(found)
        print(session.store.root.base)
