"""What the corpus stage knows about languages: English names, near relatives, and scripts without spaces."""

from __future__ import annotations

NAMES = {
    "af": "Afrikaans", "am": "Amharic", "an": "Aragonese", "ar": "Arabic", "as": "Assamese", "az": "Azerbaijani",
    "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali", "bo": "Tibetan", "br": "Breton", "bs": "Bosnian",
    "ca": "Catalan", "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "dz": "Dzongkha",
    "el": "Greek", "en": "English", "eo": "Esperanto", "es": "Spanish", "et": "Estonian", "eu": "Basque",
    "fa": "Persian", "fi": "Finnish", "fil": "Filipino", "fo": "Faroese", "fr": "French", "ga": "Irish",
    "gl": "Galician", "gu": "Gujarati", "ha": "Hausa", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian",
    "ht": "Haitian Creole", "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "ig": "Igbo",
    "is": "Icelandic", "it": "Italian", "ja": "Japanese", "jv": "Javanese", "ka": "Georgian", "kk": "Kazakh",
    "km": "Khmer", "kn": "Kannada", "ko": "Korean", "ku": "Kurdish", "ky": "Kyrgyz", "la": "Latin",
    "lb": "Luxembourgish", "lo": "Lao", "lt": "Lithuanian", "lv": "Latvian", "mg": "Malagasy", "mi": "Maori",
    "mk": "Macedonian", "ml": "Malayalam", "mn": "Mongolian", "mr": "Marathi", "ms": "Malay", "mt": "Maltese",
    "my": "Burmese", "nb": "Norwegian Bokmål", "ne": "Nepali", "nl": "Dutch", "nn": "Norwegian Nynorsk",
    "no": "Norwegian", "oc": "Occitan", "or": "Odia", "pa": "Punjabi", "pl": "Polish", "ps": "Pashto",
    "pt": "Portuguese", "qu": "Quechua", "ro": "Romanian", "ru": "Russian", "rw": "Kinyarwanda", "se": "Northern Sami",
    "si": "Sinhala", "sk": "Slovak", "sl": "Slovenian", "so": "Somali", "sq": "Albanian", "sr": "Serbian",
    "su": "Sundanese", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "tg": "Tajik",
    "th": "Thai", "tl": "Tagalog", "tr": "Turkish", "tt": "Tatar", "ug": "Uyghur", "uk": "Ukrainian",
    "ur": "Urdu", "uz": "Uzbek", "vi": "Vietnamese", "vo": "Volapük", "wa": "Walloon", "xh": "Xhosa",
    "arz": "Egyptian Arabic", "ary": "Moroccan Arabic", "fy": "Frisian", "gd": "Scottish Gaelic", "ln": "Lingala",
    "om": "Oromo", "sa": "Sanskrit", "sn": "Shona", "st": "Sotho", "tk": "Turkmen", "wuu": "Wu Chinese",
    "yi": "Yiddish", "yo": "Yoruba", "yue": "Cantonese", "zh": "Chinese", "zu": "Zulu",
}  # fmt: skip

# Written forms so near that an identifier mixes them up in clean text (Indonesian and Malay, Arabic and its dialects):
# text identified as one of them counts as any.
RELATIVES = [
    {"id", "ms"}, {"ar", "arz", "ary"}, {"zh", "yue", "wuu"}, {"no", "nb", "nn"}, {"bs", "hr", "sr"}, {"fil", "tl"},
    {"he", "hbo"}, {"ku", "sdh"}, {"uz", "uzs"},
]  # fmt: skip

# Written without spaces between words: a word is a letter with its marks, and shingles are characters.
UNSPACED = {"zh", "yue", "wuu", "ja", "th", "lo", "km", "my", "bo", "dz"}


def base_code(language: str) -> str:
    """The language without script or region: `zh-Hant` is `zh`."""
    return language.split("-")[0]


def language_name(language: str) -> str:
    """The English name of a language code; the code itself where it is not known."""
    return NAMES.get(base_code(language), language)


def accepted_codes(language: str) -> set[str]:
    """The codes that text of a language may be identified as: its own and those of its near relatives."""
    code = base_code(language)
    return {code}.union(*(group for group in RELATIVES if code in group))


def is_unspaced(language: str | None) -> bool:
    """Whether the language is written without spaces between words."""
    return language is not None and base_code(language) in UNSPACED
