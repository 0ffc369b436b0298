from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.connectors.readers import read_document
from ragagent.text import language
from ragagent.types import Block, Span

SENTENCES = {
    "en": "The ferry leaves at seven, and there is not another one before noon.",
    "de": "Die Fähre legt um sieben ab, und vor dem Mittag gibt es keine andere.",
    "fr": "Le bac part à sept heures et il n'y en a pas d'autre avant midi.",
    "es": "El transbordador sale a las siete y no hay otro antes del mediodía.",
    "it": "Il traghetto parte alle sette e non ce n'è un altro prima di mezzogiorno.",
    "pt": "A balsa sai às sete horas e não há outra antes do meio-dia.",
    "nl": "De veerboot vertrekt om zeven uur en er is geen andere voor de middag.",
    "pl": "Prom odpływa o siódmej i nie ma innego przed południem.",
    "tr": "Feribot saat yedide kalkıyor ve öğleden önce başka bir sefer yok.",
    "ru": "Паром отходит в семь часов, и до полудня другого не будет, это всё, что я знаю.",
    "uk": "Пором відходить о сьомій, і до полудня іншого немає.",
    "el": "Το πλοίο φεύγει στις επτά.",
    "he": "המעבורת יוצאת בשבע.",
    "ar": "تغادر العبارة في الساعة السابعة ولا يوجد غيرها قبل الظهر.",
    "fa": "کشتی ساعت هفت حرکت می‌کند و تا ظهر کشتی دیگری نیست.",
    "hi": "नाव सात बजे चलती है और दोपहर से पहले कोई दूसरी नहीं है।",
    "zh": "渡轮七点出发，中午之前没有别的班次。",
    "ja": "フェリーは七時に出発し、正午まで他の便はありません。",
    "ko": "페리는 일곱 시에 출발하며 정오 전에는 다른 배가 없습니다.",
    "th": "เรือออกเวลาเจ็ดโมง",
}


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_enough(code: str) -> None:
    assert language.detect(SENTENCES[code]) == code


@pytest.mark.parametrize(
    "text", ["", "  ", "1234 5678", "RSA-2048", "🎉🎉", "Łódź", "x = y + z", "Meyer Schmidt Tokyo"]
)
def test_what_cannot_be_told_is_not_guessed(text: str) -> None:
    assert language.detect(text) == ""


@given(st.text(max_size=300))
def test_any_text_has_a_language_or_none(text: str) -> None:
    assert language.detect(text) == language.detect(text)
    assert len(language.detect(text)) in {0, 2}
    assert len(set(language.of_blocks(text))) == len(language.of_blocks(text))


@pytest.mark.parametrize(("code", "least"), [("en", 0.98), ("de", 0.95), ("ar", 0.98), ("zh", 0.99)])
def test_paragraphs_and_questions_of_xquad(shared_data: Path, code: str, least: float) -> None:
    def texts(file: str, key: str) -> list[str]:
        lines = (shared_data / "xquad" / code / file).read_text(encoding="utf-8").splitlines()
        return [json.loads(line)[key] for line in lines]

    for all_texts in (texts("documents.jsonl", "text"), texts("qa.jsonl", "question")):
        right = sum(language.detect(text) == code for text in all_texts) / len(all_texts)
        print(f"{code}: {right:.4f} of {len(all_texts)}")
        assert right >= least


def test_a_document_in_two_languages_has_both_the_larger_first() -> None:
    parts = [SENTENCES["de"] * 2, SENTENCES["de"], SENTENCES["en"], SENTENCES["fr"][:20]]
    text, blocks = "", []
    for part in parts:
        blocks.append(Block(kind="paragraph", span=Span(len(text), len(text) + len(part))))
        text += part + "\n\n"
    assert language.of_blocks(text, blocks) == ("de", "en")


def test_what_is_read_says_its_language() -> None:
    both = f"{SENTENCES['de']}\n\n{SENTENCES['de']}\n\n{SENTENCES['en']}\n"
    document = read_document(both.encode(), name="a.md", uri="t:1")
    assert document.metadata["language"] == "de"
    assert document.metadata["languages"] == ["de", "en"]
    one = read_document(SENTENCES["zh"].encode(), name="b.txt", uri="t:2")
    assert one.metadata["language"] == "zh"
    assert "languages" not in one.metadata
