"""Invented names of people, towns, regions, rivers and pets, with one fixed Arabic transliteration each.

Men's first names end in a consonant and women's in *a*, so that a name's gender can be learnt from its
form. None of the names is meant to be a real one; Indonesian spells them as English does.
"""

from typing import NamedTuple


class Name(NamedTuple):
    """A proper name in both scripts; `short` is the first name of a person, else the name itself."""

    latin: str
    arabic: str
    short_latin: str
    short_arabic: str
    gender: str

    @classmethod
    def single(cls, latin: str, arabic: str, gender: str) -> "Name":
        """A name of one word."""
        return cls(latin, arabic, latin, arabic, gender)


def _table(rows: str) -> list[tuple[str, str]]:
    words = rows.split()
    return list(zip(words[::2], words[1::2], strict=True))


MEN = _table("""
Tarin تارين  Boren بورين  Dalor دالور  Fenik فينيك  Garon غارون  Halmar هلمار  Jorik جوريك  Karos كاروس
Lomir لومير  Madok مادوك  Nefor نيفور  Orlin أورلين  Ravok رافوك  Selkan سيلكان  Tolem توليم  Ubrik أوبريك
Velan فيلان  Wadik واديك  Yoren يورين  Zakon زاكون  Bastor باستور  Difan ديفان  Erlon إرلون  Gimak غيماك
Hoslin هوسلين  Ilmar إلمار  Kemor كيمور  Ludan لودان  Mirsol ميرسول  Nolkar نولكار  Rumik روميك  Siltar سيلتار
""")

WOMEN = _table("""
Mirela ميريلا  Solna سولنا  Talira تاليرا  Benola بينولا  Dorna دورنا  Fasila فاسيلا  Gelma غيلما  Hanika هانيكا
Jolana جولانا  Kirsa كيرسا  Lunera لونيرا  Medola ميدولا  Nerisa نيريسا  Oriska أوريسكا  Pelina بيلينا  Ranola رانولا
Sivara سيفارا  Tomira توميرا  Ulena أولينا  Venka فينكا  Wilna ويلنا  Yasora ياسورا  Zelika زيليكا  Amarta أمارتا
Belisa بيليسا  Derika ديريكا  Elmina إلمينا  Farola فارولا  Golsa غولسا  Ildora إلدورا  Kamina كامينا  Lirona ليرونا
""")

FAMILIES = _table("""
Velso فيلسو  Dalben دالبن  Orsket أورسكيت  Tamber تامبر  Grendo غريندو  Holvik هولفيك  Jandor جاندور  Kolmet كولميت
Lantus لانتوس  Mavrik مافريك  Nordel نورديل  Ostam أوستام  Pelgar بيلغار  Rastel راستيل  Simbor سيمبور  Tuvano توفانو
Ulbrek أولبريك  Vantir فانتير  Wolmer ولمر  Yandel يانديل  Zorvan زورفان  Arkeno أركينو  Bolfat بولفات  Corvil كورفيل
Dremso دريمسو  Elgasi إلغاسي  Fornik فورنيك  Gatello غاتيلو  Humbar هومبار  Irkano إركانو  Jelmut جيلموت  Kandro كاندرو
Lefton ليفتون  Mondeg مونديغ  Nastur ناستور  Olvado أولفادو  Pormik بورميك  Rendus ريندوس  Salgot سالغوت  Tremol تريمول
Undari أونداري  Vismar فيسمار  Waldek والديك  Yostin يوستين  Zentor زنتور  Badrok بادروك
""")

TOWNS = _table("""
Omber أومبر  Teskal تيسكال  Lunaro لونارو  Farsil فارسيل  Kudana كودانا  Brindo بريندو  Salvek سالفيك  Norima نوريما
Galdur غالدور  Pasko باسكو  Wendel وينديل  Zimora زيمورا  Hartem هارتيم  Isolma إيسولما  Jadren جادرين  Velida فيليدا
Rokan روكان  Tumesa توميسا  Dorvan دورفان  Elsira إلسيرا  Mokara موكارا  Sandur ساندور  Belgat بيلغات  Orvina أورفينا
""")

REGIONS = _table("""
Nordania نوردانيا  Solvania سولفانيا  Marinta مارينتا  Estoria إستوريا  Galmora غالمورا  Tervia تيرفيا
""")

RIVERS = _table("""
Nelva نيلفا  Dorun دورون  Silto سيلتو  Avren أفرين  Kombe كومبي  Lazur لازور  Mirta ميرتا  Tovel توفيل
""")

PETS = _table("""
Lulu لولو  Bobo بوبو  Kiko كيكو  Mimi ميمي  Toto توتو  Zuzu زوزو  Nono نونو  Riri ريري
Pipi بيبي  Dodo دودو  Fifi فيفي  Gogo غوغو  Tata تاتا  Momo مومو  Jojo جوجو  Sasa ساسا
""")
