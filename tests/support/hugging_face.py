"""Stand-ins for the tokenizers of the package transformers, whose vocabularies are made on the spot.

open_clip's HFTokenizer asks `transformers.AutoTokenizer.from_pretrained` for a tokenizer and calls it; here
that call answers as the real classes do: which special tokens there are, where they go, which one pads, and
that a caption is cut before its end token is added. Words become pieces of up to three characters.
"""

import importlib.machinery
import json
import sys
import types
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import torch

VOCABULARY = 1_000
FIRST = 20  # ids below are special tokens
FILE = "stand_in.json"


class Specials(NamedTuple):
    """Ids of special tokens: before a caption, after it, and for padding."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    pad: int


# By the names that open_clip's configs have in `hf_tokenizer_name`; the first that is a part of it counts
KINDS = {
    "SigLIP2": Specials((), (1,), 0),  # GemmaTokenizer
    "SigLIP": Specials((), (1,), 1),  # T5Tokenizer; its padding token is its end token
    "mt5": Specials((), (1,), 0),  # T5Tokenizer
    "bert": Specials((11,), (12,), 0),  # BertTokenizer: [CLS], [SEP], [PAD]
    "roberta": Specials((0,), (2,), 1),  # RobertaTokenizer, XLMRobertaTokenizer
    "xlm": Specials((0,), (2,), 1),
    "nllb": Specials((15,), (2,), 1),  # NllbTokenizer: the language first
}


def kind_of(name: str) -> str:
    """The kind of a tokenizer's name. Raises KeyError for one that nobody thought of."""
    order = [kind for kind in KINDS if kind in name and not (kind == "bert" and "roberta" in name)]
    if not order:
        raise KeyError(f"tests/support/hugging_face.py has no stand-in for the tokenizer {name}")
    return order[0]


class StandIn:
    """A tokenizer of one kind."""

    def __init__(self, kind: str) -> None:
        self.special = KINDS[kind]
        self.pad_token_id = self.special.pad
        self.sep_token_id = self.eos_token_id = self.special.after[-1]
        self.bos_token_id = self.cls_token_id = (self.special.before or (3,))[0]

    def pieces(self, text: str) -> list[int]:
        """A caption's tokens without special ones."""
        words = text.split()
        parts = [word[at : at + 3] for word in words for at in range(0, len(word), 3)]
        return [FIRST + zlib.crc32(part.encode()) % (VOCABULARY - FIRST) for part in parts]

    def __call__(
        self,
        texts: list[str],
        return_tensors: str | None = None,
        max_length: int | None = None,
        padding: str | bool = False,
        truncation: bool = False,
        add_special_tokens: bool = True,
        verbose: bool = True,
    ) -> "Encoded":
        before, after, pad = self.special if add_special_tokens else Specials((), (), self.special.pad)
        rows = []
        for text in texts:
            ids = self.pieces(text)
            if truncation and max_length is not None:
                ids = ids[: max_length - len(before) - len(after)]
            rows.append([*before, *ids, *after])
        if padding == "max_length" and max_length is not None:
            rows = [row + [pad] * (max_length - len(row)) for row in rows]
        return Encoded(input_ids=torch.tensor(rows) if return_tensors == "pt" else rows)


class Encoded(dict[str, Any]):
    """A dictionary whose keys are attributes, too."""

    @property
    def input_ids(self) -> Any:
        return self["input_ids"]


class AutoTokenizer:
    @staticmethod
    def from_pretrained(folder: str | Path, cache_dir: str | None = None, **options: Any) -> StandIn:
        assert not options, f"HFTokenizer takes {options} for the tokenizer's own"
        return StandIn(json.loads((Path(folder) / FILE).read_text())["kind"])


def install(monkeypatch) -> None:
    """Put the stand-in for the package into sys.modules."""
    module = types.ModuleType("transformers")
    module.__spec__ = importlib.machinery.ModuleSpec("transformers", None)
    module.AutoTokenizer = AutoTokenizer
    monkeypatch.setitem(sys.modules, "transformers", module)


def save(folder: Path, kind: str) -> None:
    """Write a stand-in's file, for a `local-dir:` model."""
    (folder / FILE).write_text(json.dumps({"kind": kind}))


def save_real(folder: Path, kind: str) -> None:
    """Write a tokenizer of the package transformers with the special tokens of a kind."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = KINDS[kind]
    names = {number: f"<{number}>" for number in (*special.before, *special.after, special.pad)}
    vocabulary = {names.get(number, f"<unused{number}>"): number for number in range(FIRST)}
    vocabulary |= {chr(33 + number): FIRST + number for number in range(94)} | {"<unk>": FIRST + 94}
    made = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Split("", "isolated")]
    )
    single = [*(names[n] for n in special.before), "$A", *(names[n] for n in special.after)]
    used = [(names[n], n) for n in dict.fromkeys((*special.before, *special.after))]
    made.post_processor = processors.TemplateProcessing(single=" ".join(single), special_tokens=used)
    end = names[special.after[-1]]
    PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=names[special.pad], eos_token=end, sep_token=end, unk_token="<unk>"
    ).save_pretrained(folder)
