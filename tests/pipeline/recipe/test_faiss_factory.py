"""The grammar of FAISS factory strings: what FAISS cannot survive, or cannot do with a pool."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.export.indexes.faiss_build import create
from pipeline.plan.index_choice import choose
from pipeline.recipe.faiss_factory import EXAMPLES, LONGEST, check_factory, why_not

GOOD = (
    "auto", "Flat", "IVF16,Flat", "IVF64_HNSW32,Flat", "IVF64_HNSW,SQ8", "PCA8,IVF16,SQ8", "IVF16,PQ8x4fs", "HNSW16",
    "HNSW,Flat", "HNSW16,SQ8", "HNSW16_PQ4", "OPQ4_8,IVF16,PQ4", "OPQ4,PQ4", "SQ4", "SQ6", "SQfp16", "SQbf16",
    "PQ4x4fs_32", "IVF16,PQ4x4fsr", "IVF16,PQ4np", "RR8,Flat", "L2norm,Flat", "Pad32,Flat", "PCAR8,Flat",
    "PCAWR8,PCA4,Flat", "RaBitQ", "IVF16,RaBitQfs", "Flat,RFlat", "IVF16,PQ4,Refine(SQ8)",
)  # fmt: skip
BAD = (
    "", " ", "nothing", "flat", "Flat ", "IVF64", "IVF64,", ",Flat", "Flat,Flat", "Flat,,RFlat", "HNSW0", "HNSW1",
    "HNSW257", "HNSW-1", "HNSW999999999", "IVF16_HNSW0,Flat", "IVF0,Flat", "IVF999999999999,Flat", "PQ0", "PQ4x0",
    "PQ4x17", "OPQ0,Flat", "OPQ4_0,Flat", "PCA0,Flat", "PCA999999999999,Flat", "Pad999999999,Flat", "RR0,Flat",
    "IDMap,Flat", "IDMap2,Flat", "Flat,IDMap", "NSG16", "IVF16_NSG16,Flat", "LSH", "ITQ8,LSH", "IMI2x4,Flat",
    "SQ8_direct", "RFlat", "RFlat,Flat", "Flat,RFlat,RFlat", "Refine(Flat),Flat", "IVF16,HNSW16", "HNSW16,RaBitQ",
    "IVF16,IVF16,Flat", "Flat\n", "Flat\0", "Flat\x1b[31m", "\u0661", "PQ\u0664", "PCA8", "A" * 100_000,
    "PQ4x10", "PCA8," * 3_000 + "Flat", "(" * 1_000, "IVF16(" * 500 + "Flat" + ")" * 500 + ",Flat", "PQ" + "9" * 90,
)  # fmt: skip


@pytest.mark.parametrize("factory", GOOD)
def test_allowed(factory):
    assert check_factory(factory) == factory


@pytest.mark.parametrize("factory", [factory for factory in GOOD if factory != "auto"])
def test_faiss_knows_what_is_allowed(factory):
    assert create(factory, 16).d == 16


@pytest.mark.parametrize("rows", [0, 10**6, 10**7, 10**9, 10**12])
@pytest.mark.parametrize("dimension", [1, 16, 512, 1_536])
def test_what_auto_chooses_is_allowed(rows, dimension):
    assert why_not(choose(rows, dimension)) == ""


@pytest.mark.parametrize("factory", BAD, ids=lambda factory: ascii(factory)[:30])
def test_refused_in_one_line(factory):
    with pytest.raises(
        RecipeError, match=r"^export\.index\.factory must be auto or a FAISS factory string"
    ) as raised:
        create(factory, 16)
    message = str(raised.value)
    assert EXAMPLES in message
    assert message.isprintable()
    assert len(message) < 500


@given(st.text("IVFPQOHNSWCAlatRx_,0123456789()", max_size=LONGEST + 20) | st.text(max_size=30))
def test_any_string_has_an_answer(factory):
    assert isinstance(why_not(factory), str)


def test_a_recipe_is_refused_before_any_work(recipe):
    text = "pool: {shards: p/*.tar, store: s}\nexport: {index: {embedding: e.v, path: o, factory: HNSW0}}"
    with pytest.raises(RecipeError) as raised:
        recipe(text)
    assert (
        str(raised.value)
        .splitlines()[-1]
        .endswith(
            "export.index.factory must be auto or a FAISS factory string such as Flat, IVF1024,Flat, IVF4096,SQ8, "
            "HNSW32, OPQ16_64,IVF65536_HNSW32,PQ16, got 'HNSW0': HNSW0: a number there must be 2 to 256, got 0"
        )
    )
