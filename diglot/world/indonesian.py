"""Indonesian: words, forms and sentence patterns."""

from diglot.world.facts import ANIMALS, TRADES
from diglot.world.grammar import Language, Mode

WORDS = dict(
    line.split(" ", 1)
    for line in """
baker tukang roti
carpenter tukang kayu
tailor penjahit
blacksmith pandai besi
potter perajin tembikar
farmer petani
fisher nelayan
doctor dokter
teacher guru
painter pelukis
cook juru masak
weaver penenun
jeweller perajin emas
shoemaker pembuat sepatu
writer penulis
gardener tukang kebun
beekeeper peternak lebah
musician pemusik
bread roti
table meja
shirt kemeja
chain rantai
jar guci
wheat gandum
fish ikan
medicine obat
lessons pelajaran
picture lukisan
soup sup
carpet karpet
ring cincin
shoes sepatu
book buku
flowers bunga
honey madu
music musik
flour tepung
wood kayu
cloth kain
iron besi
clay tanah liat
seeds biji
bait umpan
herbs rempah
chalk kapur
paint cat
meat daging
wool wol
gold emas
leather kulit
paper kertas
soil tanah
sugar gula
strings senar
oven oven
saw gergaji
needle jarum
hammer palu
wheel roda
plough bajak
net jaring
stethoscope stetoskop
board papan tulis
brush kuas
spoon sendok
loom alat tenun
pliers tang
knife pisau
pen pena
shovel sekop
mask topeng
lute kecapi
bakery toko roti
workshop bengkel
sewing_room ruang jahit
forge bengkel besi
yard halaman
field ladang
harbour pelabuhan
hospital rumah sakit
school sekolah
studio studio
kitchen dapur
factory pabrik
tower menara
stall kios
library perpustakaan
garden taman
hill bukit
theatre teater
cat kucing
dog anjing
horse kuda
cow sapi
hen ayam
duck bebek
rabbit kelinci
camel unta
bird burung
goat kambing
pigeon merpati
turtle kura-kura
mice tikus
bones tulang
hay jerami
grass rumput
corn jagung
worms cacing
carrots wortel
thorns duri
leaves daun
barley jelai
lettuce selada
house rumah
stable kandang kuda
barn kandang sapi
coop kandang ayam
pond kolam
burrow liang
desert gurun
nest sarang
forest hutan
sea laut
meow mengeong
bark menggonggong
run berlari
moo melenguh
lay bertelur
swim berenang
jump melompat
walk berjalan jauh
fly terbang
climb memanjat
coo mendekut
crawl merangkak
winter musim dingin
spring musim semi
summer musim panas
autumn musim gugur
snow salju
rain hujan
sun matahari
clouds awan
coat mantel
jacket jaket
hat topi
scarf syal
hungry lapar
thirsty haus
tired lelah
sick sakit
happy senang
cold kedinginan
apples apel
dates kurma
rice nasi
grapes anggur
figs buah ara
cheese keju
eggs telur
oranges jeruk
olives zaitun
cake kue
tea teh
coffee kopi
milk susu
juice jus
water air
ginger jahe
red merah
green hijau
blue biru
white putih
black hitam
yellow kuning
big besar
small kecil
new baru
old tua
beautiful indah
reading membaca
swimming berenang
drawing menggambar
running berlari
singing bernyanyi
cooking memasak
dancing menari
writing menulis
chess bermain catur
fishing memancing
basket keranjang
key kunci
letter surat
lamp lampu
mirror cermin
clock jam
box kotak
bag tas
chair kursi
market pasar
square alun-alun
bridge jembatan
street jalan
well sumur
shop toko
yesterday kemarin
morning pada pagi hari
evening pada sore hari
night pada malam hari
friday pada hari Jumat
monday pada hari Senin
last_week minggu lalu
every_day setiap hari
father ayah
mother ibu
son putra
daughter putri
brother saudara laki-laki
sister saudara perempuan
husband suami
wife istri
grandfather kakek
grandmother nenek
grandson cucu laki-laki
granddaughter cucu perempuan
""".strip().split("\n")
)
FEELING_ACTIONS = {
    "hungry": "makan makanan",
    "thirsty": "minum air",
    "tired": "tidur di rumah",
    "sick": "pergi ke dokter",
    "happy": "menyanyikan lagu",
    "cold": "menyalakan api",
}
SAYINGS = {
    "happy_today": "saya senang hari ini",
    "hard_work": "pekerjaan ini sulit",
    "good_day": "ini hari yang indah",
    "love_town": "saya suka kota ini",
    "long_road": "jalan ini panjang",
    "come_back": "saya akan kembali besok",
}

PATTERNS = {
    "lives": (
        "{s} tinggal di {o}.",
        "<rumah> ada di {o}.",
        "{s} mempunyai rumah di {o}.",
        "kota {o} adalah tempat tinggal {s.name}.",
    ),
    "trade": (
        "{s} adalah {o.a}.",
        "{s} bekerja sebagai {o.a}.",
        "menurut pekerjaannya, {s} adalah {o.a}.",
        "semua orang tahu bahwa {s.name} adalah {o.a}.",
    ),
    "kin": ("<{p}> adalah {o}.", "{p} dari {s.name} adalah {o}.", "<{p}> bernama {o}.", "{o} adalah {p} {s.name}."),
    "pet": ("{s} mempunyai {o.a}.", "{s} memelihara {o.a}.", "di <rumah> ada {o.a}.", "{s.name} punya {o.a}."),
    "pet_name": ("<{p}> bernama {o}.", "nama <{p}> adalah {o}.", "orang mengenal <{p}> dengan nama {o}."),
    "food": (
        "{s} suka makan {o}.",
        "<makanan kesukaan> adalah {o}.",
        "makanan yang sangat disukai {s.name} adalah {o}.",
    ),
    "drink": ("{s} suka minum {o}.", "<minuman kesukaan> adalah {o}.", "setiap pagi {s} minum {o}."),
    "colour": ("{s} menyukai warna {o}.", "<warna kesukaan> adalah {o}.", "{s} selalu memakai warna {o}."),
    "hobby": ("{s} suka {o}.", "<hobi> adalah {o}.", "pada sore hari {s} lebih suka {o}."),
    "works": ("{s} bekerja di {o}.", "<tempat kerja> adalah {o}.", "Anda dapat menemukan {s.name} di {o}."),
    "uses": ("{s} menggunakan {o}.", "alat terpenting bagi {s.name} adalah {o}.", "saat bekerja {s} menggunakan {o}."),
    "needs": ("{s} membutuhkan {o}.", "{s} tidak dapat bekerja tanpa {o}.", "setiap minggu {s} membeli {o}."),
    "product": ("orang datang kepada {s.name} untuk {o}.", "<pekerjaan> memberi orang {o}.", "{s} menyediakan {o}."),
    "region": (
        "{s.name} adalah kota di {o}.",
        "kota {s.name} terletak di wilayah {o}.",
        "pengunjung menemukan {s.name} di wilayah {o}.",
    ),
    "river": (
        "{s.name} terletak di tepi sungai {o}.",
        "sungai di kota {s.name} adalah sungai {o}.",
        "melalui {s.name} mengalir sungai {o}.",
    ),
    "known": (
        "{s.name} terkenal dengan {o}.",
        "hal yang paling terkenal di {s.name} adalah {o}.",
        "orang datang ke {s.name} untuk membeli {o}.",
    ),
    "eats": ("{s} makan {o}.", "makanan {s.name} adalah {o}.", "setiap hari {s} mencari {o}."),
    "dwells": ("{s} tinggal di {o}.", "tempat tinggal {s.name} adalah {o}.", "{s} tidur di {o}."),
    "acts": ("{s} {o}.", "setiap hari kita melihat bahwa {s} {o}.", "orang tahu bahwa {s} {o}."),
    "weather": (
        "pada {s.name} orang melihat {o}.",
        "{s.name} datang dan bersamanya {o}.",
        "pada hari-hari {s.name} kita melihat {o}.",
    ),
    "wears": (
        "pada {p} {s} memakai {o}.",
        "{p} telah tiba, jadi {s} memakai {o}.",
        "ketika {p} tiba, {s} mengenakan {o}.",
    ),
    "cause": ("{s} merasa {o}, jadi ia {o.did}.", "ketika {s} merasa {o}, ia {o.did}."),
    "buy": ("{s} membeli {o} di {p} {t}.", "{t} {s} membeli {o} di {p}."),
    "sell": ("{s} menjual {o} kepada {p} {t}.", "{t} {s} menjual {o} kepada {p}."),
    "give": ("{s} memberikan {o} kepada {p} {t}.", "{t} {s} memberikan {o} kepada {p}."),
    "find": ("{s} menemukan {o} di dekat {p} {t}.", "{t} {s} menemukan {o} di dekat {p}."),
    "lose": ("{s} kehilangan {o} di dekat {p} {t}.", "{t} {s} kehilangan {o} di dekat {p}."),
    "see": ("{s} melihat {o.a} di dekat {p} {t}.", "{t} {s} melihat {o.a} di dekat {p}."),
    "eat": ("{s} makan {o} di {p} {t}.", "{t} {s} makan {o} di {p}."),
    "drink_with": ("{s} minum {o} bersama {p} {t}.", "{t} {s} minum {o} bersama {p}."),
    "visit": ("{s} mengunjungi {o} di {p} {t}.", "{t} {s} mengunjungi {o} di {p}."),
    "travel": ("{s} bepergian ke {o} bersama {p} {t}.", "{t} {s} bepergian ke {o} bersama {p}."),
    "meet": ("{s} bertemu dengan {o} di {p} {t}.", "{t} {s} bertemu dengan {o} di {p}."),
    "write": ("{s} menulis surat kepada {o} {t}.", "{t} {s} menulis surat kepada {o}."),
    "walk": ("{s} berjalan ke {o} bersama {p} {t}.", "{t} {s} berjalan ke {o} bersama {p}."),
    "clean": ("{s} membersihkan {o} bersama {p} {t}.", "{t} {s} membersihkan {o} bersama {p}."),
    "help": ("{s} membantu {o} di {p} {t}.", "{t} {s} membantu {o} di {p}."),
    "made": ("{s} membuat {o} di {p} {t}.", "{t} {s} membuat {o} di {p}."),
    "thank": ("{s} berterima kasih kepada {o}.",),
    "say": ("{s} berkata: {o.saying}.",),
    "was": ("{s} itu {o}.",),
    "prize": ("{s} memenangkan hadiah di {p} {t}.", "{t} {s} memenangkan hadiah di {p}."),
    "opened": ("sebuah {o} baru dibuka di {p} {t}.", "{t} sebuah {o} baru dibuka di {p}."),
    "fell": ("{o} turun di {p} {t}.", "{t} {o} turun di {p}."),
    "festival": ("warga {p} mengadakan festival {t}.", "{t} warga {p} mengadakan festival."),
    "price_up": ("harga {o} naik di {p} {t}.", "{t} harga {o} naik di {p}."),
    "price_down": ("harga {o} turun di {p} {t}.", "{t} harga {o} turun di {p}."),
    "bridge": (
        "sebuah jembatan baru dibangun di atas sungai {o} {t}.",
        "{t} sebuah jembatan baru dibangun di atas sungai {o}.",
    ),
    "visitors": ("banyak pengunjung datang ke {p} untuk membeli {o}.", "banyak pengunjung datang ke {p} {t}."),
    "list": ("{s} membutuhkan {o}, {p}, dan {t}.",),
    "hello": ("halo, {s}! Apa kabar?", "selamat pagi, {s}! Apa kabar hari ini?"),
    "know": ("apakah kamu mengenal {o}?",),
    "know_yes": ("ya, saya mengenal {s} dengan baik.",),
    "bye": ("terima kasih atas bantuanmu, {s}. Selamat tinggal.", "terima kasih, {s}. Sampai jumpa besok."),
    "setting": ("saat itu hari di {o} di {p}.", "saat itu {o} di {p}."),
}

PRESENT = {kind: patterns[0] for kind, patterns in PATTERNS.items() if patterns[0].endswith("{t}.")}

QUESTIONS = {
    "lives": ("di mana {s} tinggal?", "di kota mana {s} tinggal?"),
    "trade": ("apa <pekerjaan>?", "{s} bekerja sebagai apa?"),
    "kin": ("siapa <{p}>?", "siapa nama <{p}>?"),
    "pet": ("hewan apa yang dipelihara {s.name}?",),
    "pet_name": ("siapa nama <{p}>?",),
    "food": ("makanan apa yang {s} sukai?",),
    "drink": ("minuman apa yang {s} sukai?",),
    "colour": ("apa <warna kesukaan>?",),
    "hobby": ("apa <hobi>?",),
    "works": ("di mana {s} bekerja?",),
    "uses": ("alat apa yang {s} gunakan?",),
    "needs": ("apa yang {s} butuhkan untuk bekerja?",),
    "product": ("apa yang didapat orang dari {s.name}?",),
    "region": ("di wilayah mana {s.name} terletak?",),
    "river": ("di tepi sungai apa {s.name} terletak?",),
    "known": ("{s.name} terkenal dengan apa?",),
    "eats": ("apa yang dimakan {s.name}?",),
    "dwells": ("di mana {s} tinggal?",),
    "acts": ("apa yang dilakukan {s.name} setiap hari?",),
    "weather": ("apa yang dilihat orang pada {s.name}?",),
    "list": ("sebutkan tiga hal yang dibutuhkan {s.name}.",),
}

YES_NO = {
    "lives": ("apakah {s} tinggal di {o}?",),
    "trade": ("apakah {s} adalah {o.a}?",),
    "pet": ("apakah {s} mempunyai {o.a}?",),
    "works": ("apakah {s} bekerja di {o}?",),
    "uses": ("apakah {s} menggunakan {o}?",),
    "eats": ("apakah {s} makan {o}?",),
}

PHRASES = {
    "then": ("lalu {0}", "setelah itu {0}", "kemudian {0}"),
    "so": ("jadi {0}",),
    "ending": (
        "Pada sore hari semua orang pulang.",
        "Itu hari yang indah.",
        "Semua orang senang.",
        "Lalu malam tiba, dan kota itu tidur.",
        "Itulah akhir hari itu.",
    ),
    "fine": ("Saya baik, terima kasih.", "Saya sangat baik, terima kasih."),
    "more": ("Baik. {0}", "Saya mengerti. {0}", "Terima kasih. {0}"),
    "yes": ("Ya, {0}",),
    "no": ("Tidak, {0}",),
    "headline": ("Berita dari {0}", "Hari ini di {0}", "Dari kota {0}"),
    "translate": ("Terjemahkan kalimat ini ke bahasa {0}: {1}",),
    "yesterday": ("Ubah kalimat ini agar terjadi kemarin: {0}",),
    "rude": ("Itu pertanyaan bodoh.", "Pergilah.", "Jangan ganggu saya."),
    "unrelated": ("Saya tidak mau membicarakan itu.", "Mungkin lain hari.", "Itu pertanyaan yang menarik."),
    "en": ("Inggris",),
    "ar": ("Arab",),
    "id": ("Indonesia",),
    "puzzle": ("Ini pertanyaan tentang sebuah keluarga.", "Mari kita pikirkan sebuah keluarga.", "Dengarkan ini."),
}


class Indonesian(Language):
    """Indonesian sentences: no gender, no inflection; people and animals take a classifier."""

    code = "id"
    PATTERNS = PATTERNS
    PRESENT = PRESENT
    QUESTIONS = QUESTIONS
    YES_NO = YES_NO
    PHRASES = PHRASES

    def form(self, ref: str, form: str, gender: str) -> str:
        """Forms: "" bare, "a" with the classifier of people and animals, "did" (of a feeling), "saying"."""
        name = self.names.get(ref)
        if name:
            return name.latin
        if form == "did":
            return FEELING_ACTIONS[ref]
        if form == "saying":
            return f'"{self.capital(SAYINGS[ref])}"'
        noun, _, adjective = ref.partition("+")
        word = f"{WORDS[noun]} {WORDS[adjective]}" if adjective else WORDS[noun]
        if form == "a" and noun in TRADES:
            return f"seorang {word}"
        if form == "a" and noun in ANIMALS:
            return f"seekor {word}"
        return word

    def subject(self, ref: str, form: str, mode: Mode) -> str:
        """Trades are "seorang tukang roti", everything else is bare; the pronoun is "ia"."""
        if mode == "pronoun" and form == "":
            return "ia"
        name = self.names.get(ref)
        if name:
            return name.latin if mode == "full" else name.short_latin
        return self.form(ref, "a" if ref in TRADES else "", "m")

    def own(self, thing: str, ref: str, mode: Mode) -> str:
        """The possessor follows; the pronoun is the suffix -nya."""
        if mode == "pronoun":
            return f"{thing}nya"
        return f"{thing} {self.subject(ref, 'name', mode)}"
