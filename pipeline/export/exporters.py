"""All exports, in the order in which `winnow export` writes them.

for exporter in requested(recipe.export):
    result = exporter.write(session, executor, watch)
"""

from pipeline.export.exporter import Exporter
from pipeline.export.indexes.index_exporter import IndexExporter
from pipeline.export.subset import SubsetExporter
from pipeline.export.table import TableExporter
from pipeline.export.tars import TarsExporter
from pipeline.export.urls import UrlsExporter
from pipeline.recipe.sections import Export

EXPORTERS: tuple[Exporter, ...] = (
    TarsExporter(),
    SubsetExporter(),
    UrlsExporter(),
    TableExporter(),
    IndexExporter(),
)


def requested(export: Export) -> list[Exporter]:
    """The exporters whose field of `export` the recipe sets; one for each of `export.indexes`."""
    asked = [exporter for exporter in EXPORTERS if getattr(export, exporter.name)]
    return [*asked, *(IndexExporter(f"indexes.{name}") for name in export.indexes)]
