"""The language of a text, by its script and its commonest words: small, offline, and about as fast as reading it.

Where the script decides (Greek, Thai, Korean, ...), it does; Chinese and Japanese differ by kana; languages that share
a script are told apart by the words and letters that are frequent in one and not in the others. A text too short or
too strange for that has none: "" is better than a guess, for a filter by language finds what is sure.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from ragagent.types import Block, Span

SAMPLE_CHARS = 2_000
"""So many characters are looked at, from the beginning, the middle and the end."""

MOST_BLOCKS = 64
_LONG = 60  # characters: shorter blocks are labels, names and numbers
_LETTER_SHARE = 1 / 3
_LETTERS = re.compile(r"[^\W\d_]+")
_MIN_SHARE = 0.08  # of the words: an English paragraph has 0.35 to 0.5 of its words in the list, a list of names none
_LETTERS_OF: Mapping[str, Mapping[str, str]] = {
    "latin": {
        "vi": "\u0103\u0111\u01a1\u01b0\u1ea1\u1ea3\u1ea5\u1ea7\u1ead\u1eaf\u1eb1\u1ebf\u1ec1\u1ec3\u1ec7\u1ecb\u1ecd"
        "\u1ed1\u1ed3\u1ed9\u1edb\u1edd\u1ee3\u1ee5\u1ee9\u1eeb\u1eef\u1ef1",
        "de": "\u00df\u00e4\u00fc",
        "pl": "\u0142\u0105\u0119\u017c\u0144\u015b",
        "cs": "\u0159\u011b\u016f",
        "ro": "\u0219\u021b\u0103",
        "tr": "\u0131\u011f\u015f",
        "hu": "\u0151\u0171",
        "es": "\u00f1",
        "pt": "\u00e3\u00f5",
    },
    "cyrillic": {"ru": "\u044b\u044d\u0451", "uk": "\u0456\u0457\u0454\u0491", "sr": "\u0452\u0458\u0459\u045a\u045b"},
    "arabic": {"fa": "\u067e\u0686\u0698\u06af\u06cc\u06a9", "ur": "\u0679\u0688\u0691\u06ba\u06d2\u06c1"},
    "devanagari": {},
}
"""Letters that a language has and most of its neighbours have not: a word with one counts a third."""
_SURE = 2
_FALLBACK = {"arabic": "ar", "devanagari": "hi"}

SCRIPTS: Mapping[str, str] = {
    "latin": "A-Za-z\u00c0-\u024f\u1e00-\u1eff",
    "cyrillic": "\u0400-\u052f",
    "arabic": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc",
    "han": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
    "kana": "\u3041-\u30ff\uff66-\uff9f",
    "ko": "\uac00-\ud7a3\u1100-\u11ff\u3131-\u318e",
    "el": "\u0370-\u03ff\u1f00-\u1fff",
    "he": "\u0591-\u05f4\ufb1d-\ufb4f",
    "th": "\u0e01-\u0e5b",
    "devanagari": "\u0900-\u097f",
    "bn": "\u0980-\u09ff",
    "ta": "\u0b80-\u0bff",
    "te": "\u0c00-\u0c7f",
    "gu": "\u0a80-\u0aff",
    "pa": "\u0a00-\u0a7f",
    "kn": "\u0c80-\u0cff",
    "ml": "\u0d00-\u0d7f",
    "si": "\u0d80-\u0dff",
    "lo": "\u0e80-\u0eff",
    "my": "\u1000-\u109f",
    "km": "\u1780-\u17ff",
    "ka": "\u10a0-\u10ff",
    "hy": "\u0531-\u058f",
    "am": "\u1200-\u137f",
}
"""The letters of each script, as a regular expression has them; one of a single language has that language's code."""
_RUNS = re.compile("|".join(f"(?P<{name}>[{letters}]+)" for name, letters in SCRIPTS.items()))
_DENSE = {"han": 3, "kana": 2}  # a character of these says what two or three letters say

_WORDS: Mapping[str, Mapping[str, str]] = {
    "latin": {
        "en": "the of and to in is that for it was on with as are be this by at from or have an not which you has"
        " been will were their can its all would there what who how when where does did many why if we they he"
        " she his her our your do but more than about into may other such these any should must",
        "de": "der die und den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus"
        " er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder"
        " aber vor zur bis mehr durch man was wurde wer wann welche welcher welches wo warum ihre seine kann"
        " wurden viele welchem welchen wofür woher wessen worin woraus wozu",
        "fr": "de la le et les des en un du une que est pour qui dans par plus au sur ne se pas ce il sont avec ou"
        " son aux cette nous vous être ont fait mais sa ses leur comme été quel quelle où elle ces je tout on"
        " deux même",
        "es": "de la que el en y los del se las por un para con no una su al es lo como más pero sus le ha este"
        " cuando muy sin sobre también fue hasta hay donde quien desde qué cuál cómo son dos entre era está"
        " porque han ser",
        "it": "di e il la che in un per è del non una sono le della con si da nel al dei come più gli i delle alla"
        " anche ma lo ha nella questo degli essere dal quale chi dove cosa perché quando suo sua stato dalla"
        " agli",
        "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem"
        " à seu sua ou ser quando muito há nos já está são também pelo pela até isso qual quem onde foram uns"
        " às",
        "nl": "de van het een en in is dat op te zijn met voor niet aan er die ook als bij door naar uit maar nog"
        " om over worden wordt werd hij dan heeft deze wat hun of tot kan ze meer geen wie waar welke hoe"
        " waren",
        "sv": "och att det i en som är på av för med den till inte har de ett om var men sig så från vi kan man när"
        " nu ska eller också där efter vid ut vad hur vilken mot alla hade blev under",
        "da": "og i at det er en til af på de med for den der som ikke har et var men sig fra vi kan han blev om"
        " også ved skal eller nu efter når ud hvad hvor hvilken mod alle havde være bliver denne",
        "no": "og i det er en til av på de med for den som ikke har et var men seg fra vi kan han ble om også ved"
        " skal eller nå etter når ut hva hvor hvilken mot alle hadde være blir denne",
        "fi": "ja on ei se että oli hän mutta kuin myös ovat sen joka ole mukaan tai kun olla jo niin voi vain ne"
        " nyt jos sitä kaikki sekä kanssa mitä ollut mikä missä kuka",
        "pl": "w i na z się do nie że o jest to od za przez po jak dla są ale był być który co oraz tym tego jego"
        " było może ich przy tylko jako też gdzie kiedy która które ze czy już",
        "cs": "a se v na je že o s z do i to k ve pro za by ale si po jako jsou od byl které který při nebo až jeho"
        " být již bylo podle také co jak kde kdy není bude byla",
        "ro": "de și în a la cu o pe care din că nu un este mai se pentru au fost sunt le sau prin fi al ce ca dar"
        " după între era lui ei acest această într cel cea unde când cum",
        "hu": "a az és hogy nem is egy ez volt meg de van már csak mint vagy el még ki azt után ha aki itt lehet"
        " minden között által amely mikor hol milyen voltak szerint",
        "tr": "ve bir bu da de için ile olarak olan en daha çok gibi kadar sonra ne ya ama o olduğu mi her var"
        " değil göre tarafından hangi kim nasıl nerede zaman oldu ancak veya ise",
        "id": "yang dan di dengan untuk dari ini pada dalam tidak adalah itu akan ke oleh telah atau sebagai dapat"
        " juga bahwa ada mereka karena lebih saat apa siapa kapan bagaimana tersebut menjadi",
        "vi": "và của là có được cho trong không các một những với người này đã khi để từ ra về đến như cũng ở tại"
        " nào năm theo trên vào đó sự",
        "la": "et in est non ad ut cum quod qui sed si quae per ex sunt esse hoc etiam enim autem atque nec ab quam"
        " eius",
        "hr": "i u je se na da su za od s o koji kao ne ili bi do što iz nije kako ali biti samo te bio sve već po ima",
        "sk": "a sa v na je že o s z do i to k vo pre za by ale si po ako sú od bol ktoré ktorý pri alebo až jeho"
        " byť už",
        "ca": "de la i el que a en les un els del una per amb és no al es als dels com més són seva va ha aquest",
    },
    "cyrillic": {
        "ru": "и в не на что с по как это из к за от он его для а но так же то все или если был при было которые"
        " чтобы где когда кто какой ы э ё",
        "uk": "і в не на що з по як це із до за від він його для а але так та або якщо був при було які щоб де коли"
        " хто є й у під про",
        "bg": "и в не на че с по как това от за той му се да е са или ако при беше които където когато кой един със"
        " към",
        "sr": "и у не на да се је су за од са о који као или би до што из није како али бити само те био све",
    },
    "arabic": {
        "ar": "في من على أن إلى التي عن مع هذا كان هذه الذي ما لا ذلك أو كانت بين كل بعد قد هو هي و كما تم حيث لم"
        " متى أين كيف لماذا كم أي ماذا",
        "fa": "و در به از که این است را با برای آن یک می بر شد شده تا هم خود بود یا نیز ها های کرد اما چه",
        "ur": "کے کی میں ہے اور سے کا کو اس نے پر ہیں یہ کہ ایک بھی تھا نہیں جو کر تھے ان گیا",
    },
    "devanagari": {
        "hi": "के में की है और से का को पर ने हैं यह कि एक भी था नहीं जो कर थे इस लिए क्या कौन कब कहाँ",
        "mr": "आहे आणि या च्या मध्ये ते हे तो ती होते नाही असे त्या आहेत केले म्हणून होता",
        "ne": "छ र को मा लाई हो यो पनि गर्न भएको छन् थियो गरेको",
    },
}
_LANGUAGES_OF: Mapping[str, Mapping[str, frozenset[str]]] = {
    script: {
        word: frozenset(language for language, words in languages.items() if word in words.split())
        for words in languages.values()
        for word in words.split()
    }
    for script, languages in _WORDS.items()
}


_FREQUENT: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split()) for languages in _WORDS.values() for language, words in languages.items()
}


def detect(text: str) -> str:
    """The ISO 639-1 code of the language of `text`, "" where it cannot be told. Cost: about 0.1 ms for any length."""
    sample = _sample(text)
    if sample.isascii():
        return _by_words(sample, "latin")
    sizes: Counter[str] = Counter()
    for match in _RUNS.finditer(sample):
        name = match.lastgroup or ""
        sizes[name] += (match.end() - match.start()) * _DENSE.get(name, 1)
    if not sizes:
        return ""
    if sizes["kana"] and sizes["kana"] * 10 >= sizes["han"]:
        sizes["ja"] = sizes.pop("kana") + sizes.pop("han", 0)
    script = max(sizes, key=lambda name: (sizes[name], name))
    if script in {"han", "kana"}:
        return "zh" if script == "han" else "ja"
    return _by_words(sample, script) if script in _WORDS else script


def of_question(text: str) -> str:
    """As `detect`, of a text as short as a question: "" too where fewer than two words tell among Latin languages.

    One word alone may be a name, as in "Die Hard"; another script tells more.
    """
    language = detect(text)
    if language not in _WORDS["latin"]:
        return language
    words = _FREQUENT[language]
    return language if sum(word.casefold() in words for word in _LETTERS.findall(text)) >= _SURE else ""


def frequent_words(language: str) -> frozenset[str]:
    """The words by which a language is told, which say nothing else: articles, pronouns and the like."""
    return _FREQUENT.get(language, frozenset())


def telling_words() -> frozenset[str]:
    """The words by which any language is told."""
    return frozenset().union(*_FREQUENT.values())


def of_blocks(text: str, blocks: Sequence[Block] = ()) -> tuple[str, ...]:
    """The languages of a document, the one of most of its text first; a language of under a tenth is left out.

    Each block of some length is looked at by itself, at most MOST_BLOCKS of them, evenly taken; without blocks, its
    parts. So a German letter with an English contract below it has both. Cost: a few milliseconds at most.
    """
    spans = [one.span for one in blocks if one.kind not in {"page", "code"} and one.span.end - one.span.start >= _LONG]
    spans = spans or [Span(at, at + SAMPLE_CHARS) for at in range(0, len(text), SAMPLE_CHARS)]
    step = max(1, -(-len(spans) // MOST_BLOCKS))
    sizes: Counter[str] = Counter()
    for span in spans[::step]:
        if language := detect(text[span.start : min(span.end, span.start + SAMPLE_CHARS // 4)]):
            sizes[language] += span.end - span.start
    least = sizes.total() / 10
    return tuple(one for one, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])) if size >= least)


def _sample(text: str) -> str:
    if len(text) <= SAMPLE_CHARS:
        return text
    part, middle = SAMPLE_CHARS // 3, len(text) // 2
    return f"{text[:part]} {text[middle : middle + part]} {text[-part:]}"


def _by_words(sample: str, script: str) -> str:
    """The language whose frequent words make up most of the sample's, each shared word divided among its languages."""
    words = [word.casefold() for word in _LETTERS.findall(sample)]
    scores: dict[str, float] = defaultdict(float)
    for word in words:
        languages = _LANGUAGES_OF[script].get(word, ())
        for language in languages:
            scores[language] += (1 if len(word) > 1 or not word.isascii() else 0.5) / len(languages)
        if not word.isascii():
            for language, letters in _LETTERS_OF[script].items():
                scores[language] += _LETTER_SHARE * any(char in letters for char in word)
    best = max(scores, key=lambda language: (scores[language], language), default="")
    return best if best and scores[best] >= max(1.0, _MIN_SHARE * len(words)) else _FALLBACK.get(script, "")
