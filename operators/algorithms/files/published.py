"""Files that were published with a method: their addresses, and the sha256 of what their authors published.

    asset("lid.176.bin")                                    -> the same path, checked
    asset("https://.../imagenet21k_wordnet_ids.txt")        -> the path of its copy on this machine, checked

A file with the name of a published one must have its sha256. Files of one's own need other names.

Source: DataComp's `baselines/utils.py` for names, addresses and digests of its files; LAION's repositories
CLIP-based-NSFW-Detector (MIT) and aesthetic-predictor (MIT) at the commits in the addresses.
"""

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from pipeline.assets import WrongContent, local_file
from pipeline.operator import Operator

RELEASE = "https://github.com/sagadre/datacomp_baseline_assets/releases/download/v0.1.0-alpha/"
FASTTEXT = "https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.bin"
VIOLENCE = (
    "https://github.com/LAION-AI/CLIP-based-NSFW-Detector/raw/d6bb8fe31fd4aecbfed7dfb62df4fe5858bfc014/"
)
AESTHETIC = "https://github.com/LAION-AI/aesthetic-predictor/raw/6d122adad522ab246644d9dc1c6d7a3810ee255f/"
PUBLISHED = {
    FASTTEXT: "7e69ec5451bc261cc7844e49e4792a85d7f09c06789ec800fc4a44aec362764e",
    f"{RELEASE}imagenet21k_wordnet_ids.txt": "66362bdedf36d933382edca5493fc562dcc17128ce36403c9e730a75f48cb2f2",
    f"{RELEASE}in1k_clip_vit_l14_0.pt": "304990fd492f40ba90072b80af78d6e8edcab9d042476ef513e03441cf53743b",
    f"{RELEASE}in1k_clip_vit_l14_1.pt": "72f008e6aa3bfb54174fa322963215337f843fc90fd642a9dccc815dd9e7ee76",
    f"{RELEASE}in1k_clip_vit_l14_2.pt": "83c3cc6503b8a50a22cac7023ca6cd61b130ab9725db2a7519f1bec5cabf5493",
    f"{RELEASE}in1k_clip_vit_l14_3.pt": "83faa289f847799ddcd438e5b74df1cb5973c345674896d10ba31ea48bc63804",
    f"{RELEASE}in1k_clip_vit_l14_4.pt": "067a45f4a140a93371876510a2fd9198a89ac1d194ae4063a51b45a6da69cadf",
    f"{RELEASE}small_centroids_l14.pt": "23c66a05e49ad77283c1e2b33355c7eb088ac332a944c97ff85d5dfd48a5b251",
    f"{RELEASE}medium_centroids_l14.pt": "028b1721b1d0f139c565b6b0ac99f8a1756f4bae89c36b0ec6d1c6ea9b6f112d",
    f"{RELEASE}large_centroids_l14.pt": "04eeab1069d3540c246cf7ce69323147351a474017fc472e4c50a018ca32240b",
    f"{RELEASE}xlarge_centroids_l14.pt": "3f62e5f8ae3a715ce84e422846fcfce1536d184455ea234790c4a6465c4c6726",
    f"{VIOLENCE}violence_detection_vit_b_32.npy": "76909cca3e77abbbb21313895756773a9c6fb26c9cc743f3ef0625f025741982",
    f"{VIOLENCE}violence_detection_vit_l_14.npy": "cc08f81ef50b1ef71452ddc87285fe6fbbc01b6fe8f8b8c24482c386ef2ab7e1",
    f"{AESTHETIC}sa_0_4_vit_b_32_linear.pth": "c7b14cead230694acc7b9447974d3cad78003c72da032e402a303b6c2429e85f",
    f"{AESTHETIC}sa_0_4_vit_l_14_linear.pth": "2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
}
MODELS = {  # the CLIP whose embeddings a published head fits: open_clip's names of model and weights
    "violence_detection_vit_b_32.npy": ("ViT-B-32", "openai"),
    "violence_detection_vit_l_14.npy": ("ViT-L-14", "openai"),
    "sa_0_4_vit_b_16_linear.pth": ("ViT-B-16", "openai"),
    "sa_0_4_vit_b_32_linear.pth": ("ViT-B-32", "openai"),
    "sa_0_4_vit_l_14_linear.pth": ("ViT-L-14", "openai"),
    "sac+logos+ava1-l14-linearMSE.pth": ("ViT-L-14", "openai"),
    "ava+logos-l14-linearMSE.pth": ("ViT-L-14", "openai"),
    "ava+logos-l14-reluMSE.pth": ("ViT-L-14", "openai"),
}
ADDRESSES = {url.rsplit("/", 1)[1]: url for url in PUBLISHED}  # by file name


def models_of(address: str) -> tuple[str, str] | None:
    """The model and the weights whose embeddings a published head fits; None for other files."""
    return MODELS.get(os.path.basename(urlsplit(address).path))


class PublishedFiles(Operator):
    """Base of operators whose files may be published ones."""

    def why_missing(self, field: str, value: str) -> str:
        """See Operator; also where a published file is to be had."""
        reason = super().why_missing(field, value)
        return f"{reason}{_hint(value)}" if reason else ""


def asset(address: str) -> str:
    """The path of a file on this machine, as `local_file` finds it. Raises FileNotFoundError, which says
    where a published file can be downloaded, and ValueError if it is not the published one."""
    name = os.path.basename(urlsplit(address).path)
    published = ADDRESSES.get(name, "")
    try:
        return local_file(address, PUBLISHED.get(published, ""))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}{_hint(address)}") from None
    except WrongContent as error:
        raise ValueError(
            f"{error}, as the published {name}: download it again, or give a file of your own another name"
        ) from None


def ending_of(address: str, known: Sequence[str]) -> str:
    """The suffix of a file, which tells its format. Raises ValueError if it is not a known one."""
    ending = os.path.splitext(urlsplit(address).path)[1]
    if ending not in known:
        raise ValueError(f"{address} must be one of {', '.join(known)}")
    return ending


def _hint(address: str) -> str:
    """Where the published file of that name is to be had; empty if none has the name."""
    published = ADDRESSES.get(os.path.basename(urlsplit(address).path))
    if published == address:
        return ", or this machine cannot reach it: download it elsewhere, and give the path of the file"
    return f"; it is published at {published}: download it, or give this URL as the path" if published else ""
