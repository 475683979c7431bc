"""DataComp's operators, row by row: values worked out by hand from its code's rules."""

import sys
from types import SimpleNamespace

import polars as pl
import pytest

from operators.algorithms.wordnet import FirstSynset
from operators.datacomp import Facts, Language, NearestCentroid, TextEntity
from pipeline.operator import Device
from tests.support.samples import samples
from tests.support.tiny_wordnet import write_wordnet


def facts(**columns: object) -> dict[str, object]:
    """The facts of one sample."""
    frame = samples(1, **{name: [value] for name, value in columns.items()})
    return Facts().score(frame).row(0, named=True)


@pytest.mark.parametrize(
    ("text", "characters", "words", "tokens"),
    [
        ("a dog", 5, 2, 2),
        ("", 0, 0, 0),
        (" \t ", 3, 0, 0),
        ("\n", 1, 0, 1),  # fasttext's </s>
        ("dog\n", 4, 1, 2),
        ("a\n\nb", 4, 2, 4),
        ("a\r\nb", 4, 2, 3),
        ("a\u00a0b\u3000c", 5, 3, 1),  # fasttext knows no other blanks than ASCII's
        ("a\x1cb\x1fc", 5, 3, 1),  # Python splits at these, regular expressions do not
        ("a\0b", 3, 1, 2),  # and fasttext at NUL
        ("a\x0bb\x0cc", 5, 3, 3),
        ("🐶🏖", 2, 1, 1),
    ],
)
def test_lengths(text, characters, words, tokens):
    found = facts(text=text)
    assert (found["characters"], found["words"], found["tokens"]) == (characters, words, tokens)
    assert (len(text), len(text.split())) == (characters, words)


@pytest.mark.parametrize(
    ("width", "height", "side", "aspect"),
    [
        (600, 200, 200, 3.0),
        (200, 601, 200, 3.005),
        (30_000_001, 10_000_000, 10_000_000, 3.0000001),  # as a float32 it would be 3
        (7, 7, 7, 1.0),
        (None, 5, None, None),
        (0, 5, None, None),
    ],
)
def test_the_frame(width, height, side, aspect):
    found = facts(original_width=width, original_height=height)
    assert (found["side"], found["aspect"]) == (side, aspect)


def test_newlines_and_empty_captions_have_a_language():
    operator = Language()
    operator.setup({}, Device())
    frame = samples(4, text=["the dog runs\non the beach", "", "der Hund läuft am Strand", None])
    result = operator.score(frame)
    assert result["code"].to_list() == ["en", "en", "de", None]  # fasttext takes nothing for English
    assert result["error"].to_list() == [None, None, None, "no caption"]


def test_gcld3_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcld3", None)
    with pytest.raises(
        ImportError, match=r"gcld3 is not installed: `pip install gcld3`.*or set detector: fasttext"
    ):
        Language(detector="gcld3").setup({}, Device())


def test_gcld3_is_called_as_datacomp_calls_it(monkeypatch):
    seen = []

    def identifier(**limits):
        return SimpleNamespace(
            FindLanguage=lambda text: seen.append((limits, text)) or SimpleNamespace(language="en")
        )

    monkeypatch.setitem(sys.modules, "gcld3", SimpleNamespace(NNetLanguageIdentifier=identifier))
    operator = Language(detector="gcld3")
    operator.setup({}, Device())
    assert operator.score(samples(1, text=["a\nb"]))["code"].to_list() == ["en"]
    assert seen == [({"min_num_bytes": 0, "max_num_bytes": 1000}, "a b")]


def test_a_model_is_fasttexts():
    with pytest.raises(ValueError, match="must have no `model` if `detector` is gcld3"):
        Language(detector="gcld3", model="lid.176.bin")


# --- WordNet --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "offset"),
    [
        ("dog", 2084071),  # the first of two senses, noun before verb
        ("Dogs", 2084071),
        ("dog,", None),  # punctuation stays
        ("beaches", 9217230),  # ches -> ch
        ("glasses", 3438257),  # ses -> s
        ("men", 10287213),  # an exception of the nouns
        ("see", 8645963),
        ("saw", 2129289),  # an exception of the verbs; no noun here
        ("ran", 1926311),
        ("running", None),  # runn is no verb
        ("finest", 2080937),
        ("fast", 86000),
        ("dogss", 2084071),  # endings go one after the other
        ("geese", None),  # an exception whose lemma is not there
        ("best", None),  # as NLTK has it: an exception ends the search in its part of speech
        ("", None),
        ("s", None),
    ],
)
def test_the_first_synset_of_a_word(word, offset, tmp_path):
    assert FirstSynset(str(write_wordnet(tmp_path)))(word) == offset


def test_a_word_of_any_part_of_speech_counts(tmp_path):
    (tmp_path / "ids.txt").write_text("n01926311\n n02084071 \n")
    operator = TextEntity(wordnet=str(write_wordnet(tmp_path / "wordnet")), ids=f"{tmp_path}/ids.txt")
    operator.setup({}, Device())
    frame = samples(5, text=["he ran away", "two DOGS", "a dog, a beach", "", None])
    assert operator.score(frame)["found"].to_list() == [True, True, False, False, None]


def test_a_wordnet_that_is_not_there(tmp_path):
    (tmp_path / "ids.txt").write_text("n01926311\n")
    with pytest.raises(
        FileNotFoundError, match=r"index\.noun does not exist: .* Debian's wordnet-base has it"
    ):
        TextEntity(wordnet=f"{tmp_path}/wordnet", ids=f"{tmp_path}/ids.txt").setup({}, Device())
    folder = write_wordnet(tmp_path / "wordnet")
    (folder / "index.verb").write_text("see v many\n")
    with pytest.raises(ValueError, match=r"index\.verb, line 1 is not an entry of WNDB"):
        FirstSynset(str(folder))


@pytest.mark.parametrize("text", ["", "dog\n"])
def test_ids_that_are_none(text, tmp_path):
    (tmp_path / "ids.txt").write_text(text)
    operator = TextEntity(wordnet=str(write_wordnet(tmp_path / "wordnet")), ids=f"{tmp_path}/ids.txt")
    with pytest.raises(ValueError, match=r"ids: .* must hold ids such as n02084071"):
        operator.setup({}, Device())


# --- centroids ------------------------------------------------------------------------------------


def test_the_largest_inner_product_not_the_smallest_distance(tmp_path):
    import numpy as np

    np.save(tmp_path / "c.npy", np.array([[1, 0], [0, 3], [0.9, 0.9]], np.float32))
    np.save(tmp_path / "t.npy", np.array([[0.1, 1]], np.float32))
    operator = NearestCentroid(
        embedding="x.y", centroids=f"{tmp_path}/c.npy", targets={"a": f"{tmp_path}/t.npy"}
    )
    operator.setup({}, Device())
    rows = pl.Series([[1.0, 0.0], [0.6, 0.8], None, [0.9, 0.1]], dtype=pl.Array(pl.Float16, 2))
    result = operator.score(pl.DataFrame({"x.y": rows}))
    assert result["centroid"].to_list() == [
        0,
        1,
        None,
        0,
    ]  # (0.6, 0.8): 2.4 beats 1.26, though nearer to the third
    assert result["target"].to_list() == [False, True, None, False]
    wide = pl.DataFrame({"x.y": pl.Series([[1.0, 2.0, 3.0]], dtype=pl.Array(pl.Float16, 3))})
    with pytest.raises(ValueError, match=r"x\.y has 3 numbers per row, .*c\.npy has 2"):
        operator.score(wide)
