"""Labelled dirt for documents: what a curation stage should find, with the truth beside it.

Every fault is a function from a clean text (or from nothing) to a dirty one. `similarity` is the Jaccard
index of the two texts' sets of word 5-grams, words being what whitespace separates.
"""

from random import Random

FAULTS = (
    "near_duplicate",
    "exact_duplicate",
    "wrong_language",
    "repeated_lines",
    "boilerplate",
    "broken_encoding",
    "spam",
)

# A fourth language for the wrong-language documents: plain Spanish sentences from a small list of words.
SPANISH_PEOPLE = [
    "el panadero",
    "la maestra",
    "mi hermano",
    "una mujer",
    "el niño",
    "nuestra vecina",
    "un viejo amigo",
    "la abuela",
]
SPANISH_VERBS = ["compró", "vendió", "encontró", "perdió", "quería", "buscaba", "llevó", "miraba"]
SPANISH_THINGS = [
    "el pan",
    "una mesa",
    "los libros",
    "la camisa",
    "una llave",
    "las flores",
    "el reloj",
    "un sombrero viejo",
]
SPANISH_PLACES = [
    "en la plaza",
    "cerca del río",
    "en el mercado",
    "por la calle",
    "en su casa",
    "delante de la escuela",
]
SPANISH_TIMES = ["ayer", "por la mañana", "esta tarde", "el lunes", "la semana pasada", "todos los días"]
SPANISH_ENDS = ["porque hacía mucho frío", "y después volvió a casa", "pero no dijo nada", "cuando empezó a llover"]

BOILERPLATE = {
    "en": (
        "We use cookies to improve your experience on this website. Accept all | Reject all",
        "Home | About us | Contact | Login | Register",
        "Click here to read more",
        "Share this page on social media",
        "Copyright. All rights reserved. Terms of use | Privacy policy",
        "Subscribe to our newsletter",
        "Please enable JavaScript to view this page",
    ),
    "ar": (
        "نستخدم ملفات تعريف الارتباط لتحسين تجربتك في هذا الموقع. قبول الكل | رفض الكل",
        "الرئيسية | من نحن | اتصل بنا | تسجيل الدخول | حساب جديد",
        "اضغط هنا لقراءة المزيد",
        "شارك هذه الصفحة مع أصدقائك",
        "جميع الحقوق محفوظة. شروط الاستخدام | سياسة الخصوصية",
        "اشترك في النشرة البريدية",
        "يرجى تفعيل جافا سكريبت لعرض هذه الصفحة",
    ),
    "id": (
        "Kami menggunakan cookie untuk meningkatkan pengalaman Anda di situs ini. Terima semua | Tolak semua",
        "Beranda | Tentang kami | Kontak | Masuk | Daftar",
        "Klik di sini untuk membaca selengkapnya",
        "Bagikan halaman ini di media sosial",
        "Hak cipta dilindungi. Syarat penggunaan | Kebijakan privasi",
        "Berlangganan buletin kami",
        "Aktifkan JavaScript untuk melihat halaman ini",
    ),
}
SPAM = {
    "en": ["cheap", "best", "buy", "now", "free", "offer", "discount", "online", "price", "sale", "win"],
    "ar": ["رخيص", "أفضل", "اشتر", "الآن", "مجانا", "عرض", "خصم", "سعر", "تخفيضات", "اربح"],
    "id": ["murah", "terbaik", "beli", "sekarang", "gratis", "promo", "diskon", "harga", "obral", "menang"],
}


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """The set of word 5-grams of a text; words are separated by whitespace."""
    words = text.split()
    return frozenset(tuple(words[i : i + 5]) for i in range(len(words) - 4))


def jaccard(one: str, other: str) -> float:
    """Jaccard index of two texts' word 5-grams (0 where both are shorter than five words)."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b) if a or b else 0.0


def near_duplicate(random: Random, text: str) -> str:
    """The text with words exchanged by others of the same text until a drawn similarity (0.5 to 0.95) is reached."""
    target = random.uniform(0.5, 0.95)
    pieces = text.split(" ")
    vocabulary = [piece for piece in pieces if piece.isalpha()]
    while True:
        place = random.randrange(len(pieces))
        if not pieces[place].isalpha():
            continue
        pieces[place] = random.choice(vocabulary)
        changed = " ".join(pieces)
        if changed != text and jaccard(text, changed) <= target:
            return changed


def spanish(random: Random) -> str:
    """Some sentences in Spanish."""
    sentences = []
    for _ in range(random.randint(5, 10)):
        parts = [random.choice(SPANISH_PEOPLE), random.choice(SPANISH_VERBS), random.choice(SPANISH_THINGS)]
        parts += [random.choice(SPANISH_PLACES), random.choice(SPANISH_TIMES), random.choice(SPANISH_ENDS)]
        sentence = " ".join(parts)
        sentences.append(sentence[0].upper() + sentence[1:] + ".")
    return " ".join(sentences)


def repeated_lines(random: Random, text: str) -> str:
    """The text's sentences, one of them repeated many times as lines of its own."""
    sentences = [sentence.strip() + "." for sentence in text.replace("\n", " ").split(". ") if sentence.strip()]
    place = random.randrange(len(sentences))
    return "\n".join(sentences[:place] + [sentences[place]] * random.randint(12, 30))


def boilerplate(random: Random, text: str, language: str) -> str:
    """A scrap of the text among menus, cookie notices and calls to click."""
    notices = list(BOILERPLATE[language])
    random.shuffle(notices)
    scrap = text.split(". ")[0].split("\n")[0]
    return "\n".join([*notices[:3], scrap, *notices[3:]])


def broken_encoding(random: Random, text: str) -> str:
    """The text after a wrong decoding: UTF-8 read as Latin-1 (twice, at times), or replacement characters.

    Text without a letter beyond ASCII gets curly quotes and dashes first, as it has in print.
    """
    if random.random() < 0.4:
        return "".join("\ufffd" if c.isalpha() and random.random() < 0.2 else c for c in text)
    if text.isascii():
        text = text.replace(". ", "… – ").replace(" is ", " ‘is’ ").replace("'", "’").replace('"', "”")
        text = text.replace(" di ", " ‘di’ ").replace(",", " —")
    broken = text.encode().decode("latin-1")
    return broken.encode().decode("latin-1") if random.random() < 0.3 else broken


def spam(random: Random, language: str) -> str:
    """Keywords, symbols and addresses."""
    words = SPAM[language]
    parts = []
    for _ in range(random.randint(40, 90)):
        draw = random.random()
        if draw < 0.12:
            parts.append(
                f"http://www.{random.choice(SPAM['en'])}-{random.randrange(1000)}.example/?p={random.randrange(9999)}"
            )
        elif draw < 0.35:
            parts.append(random.choice(("!!!", "$$$", ">>>", "***", "###", "100%")))
        else:
            parts.append(random.choice(words[:5] if random.random() < 0.6 else words))
    return " ".join(parts)
