"""`winnow compact`: the same store in fewer files."""

from jobs.commands.options import Json, Limit, Overrides, RecipePath, Verbose
from jobs.commands.output import print_json
from jobs.terminal.console import put


def compact(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Pack the store's small files, up to 64 into one.

    For pools of very many small shards: a store with fewer files is faster to
    list and to read. No result changes. Files of 64 KiB and more stay as they
    are. Do not run it while another command writes to the same store.

    Example:

      winnow compact recipe.yaml
    """
    from jobs import steps
    from jobs.terminal import store_tables
    from jobs.terminal.progress import showing_progress
    from jobs.upkeep import store_alone
    from pipeline.storage.upkeep.compact import compact as pack

    with showing_progress() as progress:
        session = steps.open_session(recipe, set_, shards)
        names = [shard.name for shard in session.shards]
        folders = {}
        with store_alone(session) as store:
            for folder in session.part_folders:
                folders[folder] = pack(store, folder, names, progress.compact(folder, len(names)))
    if json:
        print_json([{"folder": folder, **files._asdict()} for folder, files in folders.items()])
    else:
        store_tables.compacted(folders)
        put(session.store.root.base)
