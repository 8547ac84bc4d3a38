"""A garden that is asked about a lot: enough training questions for question heads."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from core.assistant import library_folder
from core.encoder import Encoder
from core.library import Library
from core.manifest import load_manifest
from core.registry import Domain
from core.settings import Settings

PLACES = [
    ("en", "tulips", "Plant tulip bulbs in October, about 15 cm deep.", ["when", "month", "autumn", "depth", "bury"]),
    ("en", "tulips", "Water tulips once a week in dry weather.", ["watering", "thirsty", "drought", "hose", "irrigate"]),
    ("en", "tulips", "Too much water rots the bulbs.", ["soggy", "rotten", "mushy", "drown", "overwatering"]),
    ("en", "roses", "Prune roses in February or March, before the buds open.", ["pruning", "trim", "secateurs", "shorten", "winter"]),
    ("en", "roses", "Black spot is a fungus that makes dark blotches on rose leaves.", ["spots", "blotchy", "disease", "mould", "sick"]),
    ("en", "roses", "Remove infected leaves and do not compost them.", ["infected", "dispose", "bin", "burn", "fallen"]),
    ("en", "compost", "Vegetable peelings, grass and leaves make good compost.", ["peelings", "ingredients", "kitchen", "scraps", "clippings"]),
    ("en", "compost", "Compost takes 6 to 12 months to be ready.", ["long", "ready", "months", "finished", "wait"]),
    ("zh", "tulips", "郁金香的球茎应在十月种下，深度约15厘米。", ["几月", "栽种", "埋多深", "秋天", "下种"]),
    ("zh", "tulips", "天气干燥时每周给郁金香浇一次水。", ["浇水", "干旱", "口渴", "水量", "喷壶"]),
    ("zh", "roses", "玫瑰应在二月或三月修剪，赶在芽萌发之前。", ["剪枝", "修剪", "冬末", "剪刀", "短截"]),
    ("zh", "roses", "黑斑病是一种真菌病，会使玫瑰叶片出现黑色斑点。", ["黑点", "生病", "斑点", "真菌", "病害"]),
]
"""Language, document, sentence, and the words in which people ask for it."""
ASIDES = {
    "en": ["please", "quickly", "again", "in my bed", "this year", "for a beginner", "at home"],
    "zh": ["请问", "今年", "新手", "家里", "花园", "一般", "到底"],
}
PER_PLACE = {"en": 13, "zh": 27}
"""Questions of a place in a file: two files of three must be enough to fit a head."""


@dataclass(frozen=True, kw_only=True)
class Busy:
    """The domain, the settings over its own home, its library and the encoder."""

    domain: Domain
    settings: Settings
    library: Library
    encoder: Encoder

    @property
    def training(self) -> Path:
        return self.domain.folder / "training"

    def copy(self, place: Path) -> Busy:
        """Return a copy that a test may change."""
        shutil.copytree(self.domain.folder, place / "garden")
        shutil.copytree(self.settings.home, place / "home", symlinks=True)
        return busy_over(place, self.settings, self.encoder)


def busy_over(place: Path, settings: Settings, encoder: Encoder) -> Busy:
    domain = Domain(manifest=load_manifest(place / "garden"), folder=place / "garden", door="test")
    chosen = settings.model_copy(update={"home": place / "home"})
    return Busy(domain=domain, settings=chosen, library=Library(library_folder(chosen, domain.name), encoder_id=encoder.id), encoder=encoder)


def write_questions(folder: Path) -> None:
    """Write three files of questions; no question is in two of them."""
    for number, name in enumerate(("one", "two", "three")):
        rows = []
        for lang, document, quote, words in PLACES:
            asked = itertools.islice(
                itertools.product(itertools.combinations(words, 2), ASIDES[lang]), number * PER_PLACE[lang], (number + 1) * PER_PLACE[lang]
            )
            subject = {"tulips": "tulips 郁金香", "roses": "roses 玫瑰", "compost": "compost 堆肥"}[document].split()[lang == "zh"]
            join = " " if lang == "en" else "，"
            rows.append({"lang": lang, "document": document, "quote": quote, "questions": [join.join([aside, subject, *pair]) for pair, aside in asked]})
        rows.append(
            {"lang": "en", "document": "roses", "answerable": False, "questions": [f"what do {number + 2} roses cost", f"who bred rose number {number}"]}
        )
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
