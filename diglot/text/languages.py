"""Languages: English names, near relatives, codes of other systems, scripts without spaces and from right to left."""

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
    {"id", "ms"}, {"zh", "yue", "wuu"}, {"no", "nb", "nn"}, {"bs", "hr", "sr", "sh"}, {"fil", "tl"}, {"he", "hbo"},
    {"ku", "sdh"}, {"uz", "uzs"}, {"fa", "prs"},
    {"ar", "acm", "acq", "aeb", "afb", "ajp", "apc", "apd", "ars", "ary", "arz"},
]  # fmt: skip

# Written without spaces between words: a word is a letter with its marks, and shingles are characters.
UNSPACED = {"zh", "yue", "wuu", "ja", "th", "lo", "km", "my", "bo", "dz"}

RIGHT_TO_LEFT = {"ar", "fa", "he", "ps", "sd", "ug", "ur", "yi"}


def _pairs(table: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in table.split())


# ISO 639-3 to 639-1 (the standard's own table, 2024).
_TWO_LETTERS = _pairs(
    "aar:aa abk:ab afr:af aka:ak amh:am ara:ar arg:an asm:as ava:av ave:ae aym:ay aze:az bak:ba bam:bm "
    "bel:be ben:bn bis:bi bod:bo bos:bs bre:br bul:bg cat:ca ces:cs cha:ch che:ce chu:cu chv:cv cor:kw "
    "cos:co cre:cr cym:cy dan:da deu:de div:dv dzo:dz ell:el eng:en epo:eo est:et eus:eu ewe:ee fao:fo "
    "fas:fa fij:fj fin:fi fra:fr fry:fy ful:ff gla:gd gle:ga glg:gl glv:gv grn:gn guj:gu hat:ht hau:ha "
    "hbs:sh heb:he her:hz hin:hi hmo:ho hrv:hr hun:hu hye:hy ibo:ig ido:io iii:ii iku:iu ile:ie ina:ia "
    "ind:id ipk:ik isl:is ita:it jav:jv jpn:ja kal:kl kan:kn kas:ks kat:ka kau:kr kaz:kk khm:km kik:ki "
    "kin:rw kir:ky kom:kv kon:kg kor:ko kua:kj kur:ku lao:lo lat:la lav:lv lim:li lin:ln lit:lt ltz:lb "
    "lub:lu lug:lg mah:mh mal:ml mar:mr mkd:mk mlg:mg mlt:mt mon:mn mri:mi msa:ms mya:my nau:na nav:nv "
    "nbl:nr nde:nd ndo:ng nep:ne nld:nl nno:nn nob:nb nor:no nya:ny oci:oc oji:oj ori:or orm:om oss:os "
    "pan:pa pli:pi pol:pl por:pt pus:ps que:qu roh:rm ron:ro run:rn rus:ru sag:sg san:sa sin:si slk:sk "
    "slv:sl sme:se smo:sm sna:sn snd:sd som:so sot:st spa:es sqi:sq srd:sc srp:sr ssw:ss sun:su swa:sw "
    "swe:sv tah:ty tam:ta tat:tt tel:te tgk:tg tgl:tl tha:th tir:ti ton:to tsn:tn tso:ts tuk:tk tur:tr "
    "twi:tw uig:ug ukr:uk urd:ur uzb:uz ven:ve vie:vi vol:vo wln:wa wol:wo xho:xh yid:yi yor:yo zha:za "
    "zho:zh zul:zu "
)
# In labels with a script (GlotLID, FLORES), which name the commonest member of a group of languages, not the group.
# Not in labels without one: lid.176's `als` is Alemannic.
_MEMBERS = _pairs(
    "als:sq arb:ar ayr:ay azj:az cmn:zh ekk:et gaz:om gug:gn khk:mn kmr:ku lvs:lv npi:ne ory:or pbt:ps pes:fa "
    "plt:mg quy:qu src:sc swh:sw uzn:uz ydd:yi zsm:ms "
)
_USUAL_SCRIPTS = {
    code: tuple(scripts.split("|"))
    for scripts, codes in {
        "Arab": "ar fa ks ps sd ug ur", "Armn": "hy", "Beng": "as bn", "Deva": "hi mr ne sa", "Ethi": "am ti",
        "Cyrl": "ab av ba be bg ce cu cv kk kv ky mk mn os ru sr tg tt uk", "Geor": "ka", "Grek": "el", "Gujr": "gu",
        "Guru": "pa", "Hang|Kore": "ko", "Hani|Hans|Hant": "zh", "Hebr": "he yi", "Jpan": "ja", "Khmr": "km",
        "Knda": "kn", "Laoo": "lo", "Mlym": "ml", "Mymr": "my", "Orya": "or", "Sinh": "si", "Taml": "ta",
        "Telu": "te", "Thaa": "dv", "Thai": "th", "Tibt": "bo dz",
    }.items()
    for code in codes.split()
}  # fmt: skip


def base_code(language: str) -> str:
    """The language without script or region: `zh-Hant` is `zh`."""
    return language.split("-")[0]


def language_name(language: str) -> str:
    """The English name of a language code; the code itself where it is not known."""
    return NAMES.get(base_code(language), language)


def shown_language(key: str) -> str:
    """A language as people read it: `ar` is Arabic, `en-ar` (parallel text) English–Arabic, `zh-Hant` Chinese.

    What is no language code, such as the name of a source, stays as it is.
    """
    parts = key.split("-")
    if len(parts) > 1 and all(part in NAMES for part in parts):
        return "–".join(NAMES[part] for part in parts)
    is_source = len(parts) > 1 and not parts[1][:1].isupper()
    return key if is_source else language_name(key)


def accepted_codes(language: str) -> set[str]:
    """The codes that text of a language may be identified as: its own and those of its near relatives."""
    code = base_code(language)
    return {code}.union(*(group for group in RELATIVES if code in group))


def is_unspaced(language: str | None) -> bool:
    """Whether the language is written without spaces between words."""
    return language is not None and base_code(language) in UNSPACED


def is_right_to_left(language: str) -> bool:
    """Whether a language is written from right to left."""
    return base_code(language) in RIGHT_TO_LEFT


def label_of(language: str) -> str:
    """The label of a language in data sets that name language and script (FineWeb-2, FLORES): `he` is `heb_Hebr`.

    Of a group of languages the commonest member is meant: `ar` is `arb_Arab`.
    """
    code, _, script = language.partition("-")
    members = {ours: theirs for theirs, ours in _MEMBERS.items()}
    three = {ours: theirs for theirs, ours in _TWO_LETTERS.items()} | members | {"zh": "cmn", "no": "nob"}
    return f"{three.get(code, code)}_{script or _USUAL_SCRIPTS.get(code, ('Latn',))[0]}"


def codes_of_labels(labels: list[str]) -> list[str]:
    """Our codes for an identifier's labels, in their order.

    `en`, `eng` and `eng_Latn` are `en`. A script is named where it is not the language's usual one: `arb_Arab` is `ar`
    and `arb_Latn` is `ar-Latn`; a language of unknown habits that has one script among the labels needs none. What is
    not in ISO 639-1 keeps its code of three letters.
    """
    scripts: dict[str, set[str]] = {}
    for label in labels:
        language, _, script = label.partition("_")
        scripts.setdefault(language, set()).add(script)
    codes = []
    for label in labels:
        language, _, script = label.partition("_")
        code = _TWO_LETTERS.get(language, _MEMBERS.get(language, language) if script else language)
        if code in _USUAL_SCRIPTS:
            plain = script in ("", *_USUAL_SCRIPTS[code])
        else:
            plain = script in ("", "Latn") or (len(code) == 3 and len(scripts[language]) == 1)
        codes.append(code if plain else f"{code}-{script}")
    return codes
