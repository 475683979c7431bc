"""Parts of recipes, as text."""

# ruff: noqa: E501 (a table of broken recipes: one a line)

GOOD = """
pool: {shards: "pool/*.tar", store: store}
compute:
  caption: {use: caption.Caption}
  clip: {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
keep:
  clip.score: {top: 0.3}
  caption.words: {min: 3}
  lucky: {column: clip.score, chance: true, seed: 1}
run:
  clip: {gpus: 1}
"""


# --- broken recipes --------------------------------------------------------------------------------


POOL = "pool: {shards: a.tar, store: s}\n"


PLANT = POOL + "plugins: [PLUGIN]\n"


def compute(*lines: str) -> str:
    return PLANT + "compute:\n" + "".join(f"  {line}\n" for line in lines)


def keep(*lines: str) -> str:
    """Rules on a Float32 (given.f32), a String (given.word) and a Boolean (given.flag) column."""
    return compute("given: {use: planted.Given}") + "keep:\n" + "".join(f"  {line}\n" for line in lines)


BROKEN = {
    # the file
    "not a mapping": ("- a\n- b", ["must be a mapping with the keys name, pool, compute, keep, export, limits, run, plugins"]),
    "empty": ("", ["must be a mapping"]),
    "invalid YAML": ("pool: {shards: [", ["not valid YAML: line 2: while parsing a flow node"]),
    "tab": ("pool:\n\tshards: a", ["not valid YAML: line 2: a character that nothing begins with, such as a tab (indent with spaces)"]),
    "not UTF-8 friendly": ("pool: \x00", ["not valid YAML: character 7 is not allowed: control characters"]),
    "duplicate key": (keep("given.f32: {top: 0.3}", "given.f32: {min: 1}"), ["given.f32 is given twice, in lines 6 and 7"]),
    "duplicate operator": (compute("a: {use: planted.Length}", "a: {use: planted.Given}"), ["a is given twice, in lines 4 and 5"]),
    "python tag": ("pool: !!python/object/apply:os.system [touch EVIL]", ["line 1: the tag !!python/object/apply:os.system is not allowed; allowed are !!str, !!int"]),
    # sections
    "unknown top key": (POOL + "computes: {}", ["computes is not a known key (did you mean compute?)", "allowed: name, pool"]),
    "missing pool": ("keep: {}", ["pool is missing"]),
    "missing store": ("pool: {shards: a.tar}", ["pool.store is missing"]),
    "pool is text": ("pool: here", ["pool must be a mapping", "got 'here'"]),
    "shards is a number": ("pool: {shards: 7, store: s}", ["pool.shards must be a path or a list of paths, got 7"]),
    "shards holds a number": ("pool: {shards: [a.tar, 7], store: s}", ["pool.shards must be a path or a list of paths"]),
    "unknown file system": ("pool: {shards: a.tar, store: 'foo://s'}", ["pool.store: foo://s", "known file system"]),
    "bad recipe name": (POOL + "name: a/b", ["name must match pattern", "'a/b'"]),
    "compute is a list": (POOL + "compute: [a]", ["compute must map names to operators, got ['a']"]),
    "keep is a list": (POOL + "keep: [a]", ["keep must be a mapping, got ['a']"]),
    "plugins is text": (POOL + "plugins: a.py", ["plugins must be a list of paths, got 'a.py'"]),
    # operators
    "no use": (compute("a: {model: x}"), ["compute.a must be a mapping with a key `use`", "{'model': 'x'}"]),
    "operator is text": (compute("a: clip.ClipScore"), ["compute.a must be a mapping with a key `use`", "'clip.ClipScore'"]),
    "unknown module": (compute("a: {use: clop.ClipScore}"), ["compute.a.use", "no module clop", "did you mean clip?"]),
    "far module": (compute("a: {use: zzzzzz.X}"), ["compute.a.use", "no module zzzzzz", "aesthetic, bias, caption"]),
    "unknown class": (compute("a: {use: clip.ClopScore}"), ["clip.ClopScore is not an operator", "clip has: clip.ClipScore"]),
    "no operator": (compute("a: {use: clip.ClipModel}"), ["clip.ClipModel is not an operator", "clip has: clip.ClipScore"]),
    "imported class": (compute("a: {use: clip.ImageScore}"), ["clip.ImageScore is not an operator", "clip has: clip.ClipScore"]),
    "plugin's imported class": (compute("a: {use: planted.Stat}"), ["planted.Stat is not an operator", "planted.Length"]),
    "os.system": (compute("a: {use: os.system}"), ["compute.a.use", "no module os under operators or plugins"]),
    "path": (compute("a: {use: ../x}"), ["compute.a.use must be an import path such as clip.ClipScore, got '../x'"]),
    "module only": (compute("a: {use: clip}"), ["must be an import path such as clip.ClipScore, got 'clip'"]),
    "dunder": (compute("a: {use: clip.__builtins__.eval}"), ["compute.a.use", "clip.__builtins__"]),
    "use is a number": (compute("a: {use: 7}"), ["compute.a must be a mapping with a key `use`"]),
    "unknown field": (compute("a: {use: planted.Length, scal: 2}"), ["compute.a.scal is not a known key (did you mean scale?)", "allowed: scale"]),
    "field that is not a field": (compute("a: {use: planted.Length, version: 2}"), ["compute.a.version is not a known key", "allowed: scale"]),
    "wrong type": (compute("a: {use: planted.Length, scale: much}"), ["compute.a.scale must be a valid integer", "got 'much'"]),
    "missing field": (compute("a: {use: planted.Plus}"), ["compute.a.of is missing"]),
    "no weights": (compute("a: {use: clip.ClipScore, model: ViT-B-32}"), ["compute.a needs `pretrained`", "openai"]),
    "key that is a number": (compute("a: {use: planted.Length, 7: 2}"), ["compute.a: a key must be a text, got 7"]),
    "bad operator name": (compute("My-Clip: {use: planted.Length}"), ["compute.My-Clip", "lower-case letters, digits and _"]),
    "operator name with a dot": (compute("a.b: {use: planted.Length}"), ["compute.a.b", "lower-case letters, digits and _"]),
    "operator name is a number": (compute("7: {use: planted.Length}"), ["compute.7", "starting with a letter"]),
    # needs
    "missing column": (compute("a: {use: planted.Plus, of: b.value}"), ["compute.a.of: b.value is not a column of this recipe"]),
    "misspelt column": (
        compute("b: {use: planted.Length}", "a: {use: planted.Plus, of: b.valu}"),
        ["compute.a.of: b.valu is not a column of this recipe (did you mean b.value?)"],
    ),
    "missing Stat": (
        compute("a: {use: planted.Frequency, of: width, table: counts}"),
        ["compute.a.table: counts is not a Stat of this recipe; there are: none"],
    ),
    "column where a Stat is wanted": (
        compute("b: {use: planted.Length}", "a: {use: planted.Frequency, of: width, table: b}"),
        ["compute.a.table: b is not a Stat of this recipe"],
    ),
    "Stat where a column is wanted": (
        compute("h: {use: planted.Histogram, of: width}", "a: {use: planted.Plus, of: h}"),
        ["compute.a.of: h is not a column of this recipe"],
    ),
    "Stat called as a sample column": (compute("text: {use: planted.Histogram, of: width}"), ["compute.text: this name is a column of every sample; choose another for a Stat"]),
    "Stat that reads a Stat": (
        compute("h: {use: planted.Histogram, of: width}", "n: {use: planted.Nested, of: width, table: h}"),
        ["compute.n: a Stat may read columns only, and h is a Stat"],
    ),
    "circle": (
        compute("a: {use: planted.Plus, of: b.value}", "b: {use: planted.Plus, of: a.value}"),
        ["compute: operators need each other in a circle: a -> b -> a"],
    ),
    "needs itself": (compute("a: {use: planted.Plus, of: a.value}"), ["operators need each other in a circle: a -> a"]),
    "run for an unknown operator": (compute("a: {use: planted.Length}") + "run: {aa: {gpus: 1}}", ["run: aa is not an operator of this recipe (did you mean a?)"]),
    "negative gpus": (compute("a: {use: planted.Length}") + "run: {a: {gpus: -1}}", ["run.a.gpus must be >= 0, got -1"]),
    "batch of nothing": (compute("a: {use: planted.Length}") + "run: {a: {batch_size: 0}}", ["run.a.batch_size must be >= 1, got 0"]),
    "unknown resource": (compute("a: {use: planted.Length}") + "run: {a: {gpu: 1}}", ["run.a.gpu is not a known key (did you mean gpus?)", "allowed: gpus, cpus, memory, workers, batch_size"]),
    "half a worker": (compute("a: {use: planted.Length}") + "run: {a: {workers: 0.5}}", ["run.a.workers must be a valid integer", "got 0.5"]),
    # plugins
    "plugin that does not exist": (POOL + "plugins: [no/where.py]\ncompute: {a: {use: where.X}}", ["plugins: no/where.py does not exist"]),
    "own operator without plugins": (POOL + "compute: {a: {use: mine.X}}", ["no module mine under operators or plugins, for mine.X", "`plugins: [FOLDER]` says where its file is"]),
    # rules
    "caption for text": (keep("r: {column: caption, among: [a]}"), ["keep.r: caption is not a column of this recipe: captions are in the column `text`"]),
    "unknown column": (keep("given.f23: {min: 1}"), ["keep.given.f23: given.f23 is not a column of this recipe (did you mean given.f32?)"]),
    "unknown column by key": (keep("r: {column: x.y, min: 1}"), ["keep.r: x.y is not a column of this recipe; there are: shard"]),
    "error column": (keep("given.error: {among: [x]}"), ["keep.given.error: given.error is not a column"]),
    "percent": (keep("given.f32: {top: 30}"), ["keep.given.f32.top must be in (0, 1], got 30 (did you mean 0.30?)"]),
    "percent at the bottom": (keep("given.f32: {bottom: 5}"), ["keep.given.f32.bottom must be in (0, 1], got 5 (did you mean 0.05?)"]),
    "zero share": (keep("given.f32: {top: 0}"), ["keep.given.f32.top must be in (0, 1], got 0"]),
    "two bounds": (keep("given.f32: {min: 1, max: 2}"), ["keep.given.f32 must have exactly one of min, max, top, bottom, among, chance, got min and max; give the other a rule of its own, under another name with `column`"]),
    "no bound": (keep("given.f32: {missing: keep}"), ["keep.given.f32 must have exactly one of", "got none"]),
    "rule without a body": (keep("given.f32:"), ["keep.given.f32 must be a mapping, got None"]),
    "bare number": (keep("given.f32: 0.3"), ["keep.given.f32 must be a mapping, such as {min: 0.3}, got 0.3"]),
    "nan": (keep("given.f32: {min: .nan}"), ["keep.given.f32.min must be a finite number, got nan"]),
    "infinite": (keep("given.f32: {max: .inf}"), ["keep.given.f32.max must be a finite number, got inf"]),
    "text for a bound": (keep("given.f32: {min: high}"), ["keep.given.f32.min must be a valid number", "got 'high'"]),
    "true for a bound": (keep("given.f32: {min: yes}"), ["keep.given.f32.min must be a number, got True"]),
    "unknown bound": (keep("given.f32: {tpo: 0.3}"), ["keep.given.f32.tpo is not a known key (did you mean top?)", "allowed: column, min"]),
    "chance false": (keep("given.f32: {chance: false}"), ["keep.given.f32.chance must be true"]),
    "seed without chance": (keep("given.f32: {top: 0.3, seed: 1}"), ["keep.given.f32 has a seed, which only a chance rule uses"]),
    "negative seed": (keep("given.f32: {chance: true, seed: -1}"), ["keep.given.f32.seed must be >= 0, got -1"]),
    "bad missing": (keep("given.f32: {top: 0.3, missing: ignore}"), ["keep.given.f32.missing must be 'drop' or 'keep', got 'ignore'"]),
    "one word for among": (keep("given.word: {among: en}"), ["keep.given.word.among must be a list, got 'en'"]),
    "Norway": (keep("given.word: {among: [en, no]}"), ["keep.given.word.among.1 must be a valid string, got False (a word such as no or on must be quoted)"]),
    "min on a String": (keep("given.word: {min: 1}"), ["keep.given.word.min: given.word is String", "every other bound a column of numbers"]),
    "top on a Boolean": (keep("given.flag: {top: 0.3}"), ["keep.given.flag.top: given.flag is Boolean", "every other bound a column of numbers"]),
    "among on a number": (keep("given.f32: {among: [a]}"), ["keep.given.f32.among: given.f32 is Float32", "`among` takes a String column"]),
    "min on a sample's text": (POOL + "keep: {text: {min: 1}}", ["keep.text.min: text is String"]),
    "top on an embedding": (
        POOL + "compute: {clip: {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}}\nkeep: {clip.image_embedding: {top: 0.1}}",
        ["keep.clip.image_embedding.top: clip.image_embedding is Array"],
    ),
    "rule called keep": (keep("keep: {column: given.f32, top: 0.3}"), ["keep.keep: `keep` is a reserved name; give the rule another"]),
    # exports
    "index on an unknown column": (keep() + "  {}\nexport: {index: {embedding: clip.e, path: i}}", ["export.index.embedding: clip.e is not a column of this recipe"]),
    "index on a number": (keep() + "  {}\nexport: {index: {embedding: given.f32, path: i}}", ["export.index.embedding: given.f32 is Float32, must be an Array"]),
    "index without a path": (keep() + "  {}\nexport: {index: {embedding: given.f32}}", ["export.index.path is missing"]),
    "an export in one that is being made": (POOL + "export: {table: out/.winnow-next/kept.parquet}", ["export.table: out/.winnow-next/kept.parquet: Winnow keeps a file of its own as .winnow-next; name another path"]),
    "an export at a manifest": (POOL + "export: {shards: out, subset: out/_winnow.json}", ["export.subset: out/_winnow.json: Winnow keeps a file of its own as _winnow.json; name another path"]),
    "an export below a lock": (POOL + "export: {urls: s3://b/out/.winnow.lock/urls/}", ["export.urls: s3://b/out/.winnow.lock/urls/: Winnow keeps a file of its own as .winnow.lock; name another path"]),
    "an export at a note": (POOL + "export: {subset: x.npy, table: x.npy.winnow.json}", ["export.table: x.npy.winnow.json: Winnow keeps a file of its own as x.npy.winnow.json; name another path"]),
    "two exports at one path": (POOL + "export: {subset: out/x, table: out/x/}", ["export.table: out/x/ is the path of export.subset too; name another"]),
    "a table's embedding without a table": (keep() + "  {}\nexport: {table_embedding: given.e}", ["export.table_embedding: it is a column of export.table, which is missing: name it"]),
    "unknown export": (POOL + "export: {subsets: x}", ["export.subsets is not a known key (did you mean subset?)"]),
    "an index called index": (
        POOL + "export: {indexes: {index: {embedding: a, path: i}}}",
        ["export.indexes.index: `index` is the name of export.index; give this one another"],
    ),
    "unknown index key": (POOL + "export: {index: {embedding: a, path: i, factor: x}}", ["export.index.factor is not a known key (did you mean factory?)"]),
}  # fmt: skip
