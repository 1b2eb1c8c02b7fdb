# ruff: noqa: SIM905 (word lists read better as text)
"""Text and files for the tests of the corpus stage: random sentences of real words, cheap and easy to vary."""

import json
import random
from pathlib import Path

ENGLISH = (
    "the of and to in that it was for on are with they be at one have this from had by word but what some we can "
    "out other were all there when up use your how said an each she which their time will way about many then them "
    "write would like these long make thing see him two look more day could go come did number sound no most people "
    "water over know than call first who may down side been now find river house market teacher morning children "
    "garden winter mountain village letter window"
).split()
ARABIC = (
    "من في على إلى عن مع هذا هذه التي الذي كان كانت بعد قبل عند بين كل بعض غير حتى لقد كما أيضا ثم أو لم لن قد ما لا "
    "الناس البيت المدينة النهر السوق الصباح المدرسة الكتاب المعلم الأطفال الحديقة الشتاء الجبل القرية الرسالة النافذة "
    "العمل اليوم الطريق الماء الشمس الليل الوقت الحياة يكتب يقرأ يذهب يعمل يسكن يقول ذهب كتب قال رأى"
).split()
SPANISH = (
    "el la de que y en un ser se no haber por con su para como estar tener le lo todo pero más hacer o poder decir "
    "este ir otro ese si me ya ver porque dar cuando él muy sin vez mucho saber qué sobre mi alguno mismo yo también "
    "hasta año dos querer entre así primero desde grande eso ni nos llegar pasar tiempo ella sí día uno bien poco"
).split()


def sentences(words: list[str], seed: int, number: int = 12) -> str:
    """Paragraphs of random sentences, different for every seed."""
    rng = random.Random(seed)
    lines = [" ".join(rng.choices(words, k=rng.randint(6, 14))) + "." for _ in range(number)]
    return "\n".join(" ".join(lines[i : i + 3]) for i in range(0, number, 3))


def write_jsonl(file: Path, records: list[dict]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file
