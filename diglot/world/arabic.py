"""Arabic (modern standard, without vowel marks): words, forms and sentence patterns.

Verbs come before their subject and agree with it in gender; a pronoun subject is simply left out where a
verb carries it (slot form ``""``) and written where none does (``{s.top}``: هو, هي). Indefinite objects take
the accusative's alif (كتابا) unless the word ends in ة, اء or ى; adjectives follow their noun in gender and
definiteness, and colours of the pattern أفعل have no such alif. Plurals of things count as feminine
singular, as the rules of the language have it. There are no numbers and no duals.
"""

from diglot.world.facts import COLOURS
from diglot.world.grammar import Language, Mode

# concept, word, gender (plurals of things are feminine)
NOUNS = {
    concept: (word, gender)
    for concept, word, gender in (
        line.split()
        for line in """
baker خباز m
carpenter نجار m
tailor خياط m
blacksmith حداد m
potter خزاف m
farmer مزارع m
fisher صياد m
doctor طبيب m
teacher معلم m
painter رسام m
cook طباخ m
weaver نساج m
jeweller صائغ m
shoemaker إسكافي m
writer كاتب m
gardener بستاني m
beekeeper نحال m
musician موسيقي m
bread خبز m
table طاولة f
shirt قميص m
chain سلسلة f
jar جرة f
wheat قمح m
fish سمك m
medicine دواء m
lessons دروس f
picture لوحة f
soup حساء m
carpet سجادة f
ring خاتم m
shoes حذاء m
book كتاب m
flowers زهور f
honey عسل m
music موسيقى f
flour دقيق m
wood خشب m
cloth قماش m
iron حديد m
clay طين m
seeds بذور f
bait طعم m
herbs أعشاب f
chalk طباشير m
paint دهان m
meat لحم m
wool صوف m
gold ذهب m
leather جلد m
paper ورق m
soil تراب m
sugar سكر m
strings أوتار f
oven فرن m
saw منشار m
needle إبرة f
hammer مطرقة f
wheel عجلة f
plough محراث m
net شبكة f
stethoscope سماعة f
board سبورة f
brush فرشاة f
spoon ملعقة f
loom نول m
pliers كماشة f
knife سكين m
pen قلم m
shovel مجرفة f
mask قناع m
lute عود m
bakery مخبز m
workshop ورشة f
sewing_room مشغل m
forge مسبك m
yard فناء m
field حقل m
harbour ميناء m
hospital مستشفى m
school مدرسة f
studio مرسم m
kitchen مطبخ m
factory مصنع m
tower برج m
stall كشك m
library مكتبة f
garden حديقة f
hill تل m
theatre مسرح m
cat قطة f
dog كلب m
horse حصان m
cow بقرة f
hen دجاجة f
duck بطة f
rabbit أرنب m
camel جمل m
bird عصفور m
goat عنزة f
pigeon حمامة f
turtle سلحفاة f
mice فئران f
bones عظام f
hay تبن m
grass عشب m
corn ذرة f
worms ديدان f
carrots جزر m
thorns شوك m
leaves أوراق f
barley شعير m
lettuce خس m
house بيت m
stable إسطبل m
barn حظيرة f
coop قن m
pond بركة f
burrow جحر m
desert صحراء f
nest عش m
forest غابة f
sea بحر m
winter شتاء m
spring ربيع m
summer صيف m
autumn خريف m
snow ثلج m
rain مطر m
sun شمس f
clouds غيوم f
coat معطف m
jacket سترة f
hat قبعة f
scarf وشاح m
hungry جوع m
thirsty عطش m
tired تعب m
sick مرض m
happy فرح m
cold برد m
apples تفاح m
dates تمر m
rice أرز m
grapes عنب m
figs تين m
cheese جبن m
eggs بيض m
oranges برتقال m
olives زيتون m
cake كعك m
tea شاي m
coffee قهوة f
milk حليب m
juice عصير m
water ماء m
ginger زنجبيل m
reading قراءة f
swimming سباحة f
drawing رسم m
running ركض m
singing غناء m
cooking طبخ m
dancing رقص m
writing كتابة f
chess شطرنج m
fishing صيد m
basket سلة f
key مفتاح m
letter رسالة f
lamp مصباح m
mirror مرآة f
clock ساعة f
box صندوق m
bag حقيبة f
chair كرسي m
market سوق m
square ساحة f
bridge جسر m
street شارع m
well بئر f
shop متجر m
father والد m
mother والدة f
son ابن m
daughter ابنة f
brother شقيق m
sister شقيقة f
husband زوج m
wife زوجة f
grandfather جد m
grandmother جدة f
grandson حفيد m
granddaughter حفيدة f
""".strip().split("\n")
    )
}
ADJECTIVES = {
    "red": ("أحمر", "حمراء"),
    "green": ("أخضر", "خضراء"),
    "blue": ("أزرق", "زرقاء"),
    "white": ("أبيض", "بيضاء"),
    "black": ("أسود", "سوداء"),
    "yellow": ("أصفر", "صفراء"),
    "big": ("كبير", "كبيرة"),
    "small": ("صغير", "صغيرة"),
    "new": ("جديد", "جديدة"),
    "old": ("قديم", "قديمة"),
    "beautiful": ("جميل", "جميلة"),
}
TIMES = {
    "yesterday": "أمس",
    "morning": "في الصباح",
    "evening": "في المساء",
    "night": "في الليل",
    "friday": "يوم الجمعة",
    "monday": "يوم الاثنين",
    "last_week": "في الأسبوع الماضي",
    "every_day": "كل يوم",
}
# what an animal does: the masculine; the feminine begins with ت instead of ي
ACTIONS = {
    "meow": "يموء", "bark": "ينبح", "run": "يركض", "moo": "يخور", "lay": "يبيض", "swim": "يسبح",
    "jump": "يقفز", "walk": "يمشي بعيدا", "fly": "يطير", "climb": "يتسلق", "coo": "يهدل", "crawl": "يزحف",
}  # fmt: skip
FEELING_ACTIONS = {
    "hungry": ("أكل بعض الطعام", "أكلت بعض الطعام"),
    "thirsty": ("شرب بعض الماء", "شربت بعض الماء"),
    "tired": ("نام في البيت", "نامت في البيت"),
    "sick": ("ذهب إلى الطبيب", "ذهبت إلى الطبيب"),
    "happy": ("غنى أغنية", "غنت أغنية"),
    "cold": ("أشعل نارا", "أشعلت نارا"),
}
SAYINGS = {
    "happy_today": ("أنا سعيد اليوم", "أنا سعيدة اليوم"),
    "hard_work": ("العمل صعب", "العمل صعب"),
    "good_day": ("هذا يوم جميل", "هذا يوم جميل"),
    "love_town": ("أحب هذه البلدة", "أحب هذه البلدة"),
    "long_road": ("الطريق طويل", "الطريق طويل"),
    "come_back": ("سأعود غدا", "سأعود غدا"),
}

PATTERNS = {
    "lives": ("[يعيش|تعيش] {s} في {o}.", "<بيت> في {o}.", "[يملك|تملك] {s} بيتا في {o}.", "بلدة {o} هي موطن {s.name}."),
    "trade": (
        "{s.top} {o.as}.",
        "[يعمل|تعمل] {s} {o.as_acc}.",
        "من حيث المهنة، {s.top} {o.as}.",
        "يعرف الجميع أن {s.name} {o.as}.",
    ),
    "kin": ("<{p}> [هو|هي@o] {o}.", "إن <{p}> [هو|هي@o] {o}.", "اسم <{p}> {o}.", "{o} [هو|هي@o] {p} {s.name}."),
    "pet": ("[يملك|تملك] {s} {o.acc}.", "[يربي|تربي] {s} {o.acc}.", "في <بيت> {o}.", "عند {s.name} {o}."),
    "pet_name": ("اسم <{p}> {o}.", "<{p}> [اسمه|اسمها@p] {o}.", "يعرف الناس <{p}> باسم {o}."),
    "food": (
        "[يحب|تحب] {s} أكل {o.def}.",
        "<طعام> المفضل هو {o.def}.",
        "الطعام الذي [يحبه|تحبه] {s} كثيرا هو {o.def}.",
    ),
    "drink": ("[يحب|تحب] {s} شرب {o.def}.", "<مشروب> المفضل هو {o.def}.", "في كل صباح [يشرب|تشرب] {s} {o.def}."),
    "colour": ("[يحب|تحب] {s} اللون {o.def}.", "<لون> المفضل هو {o.def}.", "دائما [يلبس|تلبس] {s} اللون {o.def}."),
    "hobby": ("[يحب|تحب] {s} {o.def}.", "<هواية> هي {o.def}.", "في المساء [يفضل|تفضل] {s} {o.def}."),
    "works": ("[يعمل|تعمل] {s} في {o.def}.", "<مكان عمل> هو {o.def}.", "يمكنك أن تجد {s.name} في {o.def}."),
    "uses": (
        "[يستخدم|تستخدم] {s} {o.def}.",
        "أهم أداة عند {s.name} هي {o.def}.",
        "في أثناء العمل [يستخدم|تستخدم] {s} {o.def}.",
    ),
    "needs": (
        "[يحتاج|تحتاج] {s} إلى {o.def}.",
        "لا [يستطيع|تستطيع] {s} العمل بدون {o.def}.",
        "في كل أسبوع [يشتري|تشتري] {s} {o.def}.",
    ),
    "product": (
        "يأتي الناس إلى {s.name} من أجل {o.def}.",
        "<عمل> يقدم للناس {o.def}.",
        "[يقدم|تقدم] {s} للناس {o.def}.",
    ),
    "region": ("{s.name} بلدة في {o}.", "تقع بلدة {s.name} في إقليم {o}.", "يجد الزوار {s.name} في إقليم {o}."),
    "river": ("تقع {s.name} على نهر {o}.", "نهر بلدة {s.name} هو نهر {o}.", "يمر عبر {s.name} نهر {o}."),
    "known": ("تشتهر {s.name} ب{o.def}.", "أشهر ما في {s.name} هو {o.def}.", "يأتي الناس إلى {s.name} لشراء {o.def}."),
    "eats": ("[يأكل|تأكل] {s} {o.def}.", "طعام {s.name} هو {o.def}.", "كل يوم [يبحث|تبحث] {s} عن {o.def}."),
    "dwells": ("[يعيش|تعيش] {s} في {o.def}.", "مسكن {s.name} هو {o.def}.", "[ينام|تنام] {s} في {o.def}."),
    "acts": ("{s.top} {o.act}.", "كل يوم نرى أن {s.name} {o.act}.", "يعرف الناس أن {s.name} {o.act}."),
    "weather": ("في {s.name} يرى الناس {o.def}.", "يأتي {s.name} ومعه {o.def}.", "في أيام {s.name} نرى {o.def}."),
    "wears": (
        "في {p.def} [يلبس|تلبس] {s} {o.acc}.",
        "جاء {p.def}، ولذلك [يلبس|تلبس] {s} {o.acc}.",
        "عندما يأتي {p.def} [يرتدي|ترتدي] {s} {o.acc}.",
    ),
    "cause": ("[شعر|شعرت] {s} ب{o.def}، ولذلك {o.did}.", "عندما [شعر|شعرت] {s} ب{o.def} {o.did}."),
    "buy": ("[اشترى|اشترت] {s} {o.acc} من {p.def} {t}.", "{t} [اشترى|اشترت] {s} {o.acc} من {p.def}."),
    "sell": ("[باع|باعت] {s} {o.acc} ل{p} {t}.", "{t} [باع|باعت] {s} {o.acc} ل{p}."),
    "give": ("[أهدى|أهدت] {s} {o.acc} إلى {p} {t}.", "{t} [أهدى|أهدت] {s} {o.acc} إلى {p}."),
    "find": ("[وجد|وجدت] {s} {o.acc} قرب {p.def} {t}.", "{t} [وجد|وجدت] {s} {o.acc} قرب {p.def}."),
    "lose": ("[فقد|فقدت] {s} {o.acc} قرب {p.def} {t}.", "{t} [فقد|فقدت] {s} {o.acc} قرب {p.def}."),
    "see": ("[رأى|رأت] {s} {o.acc} قرب {p.def} {t}.", "{t} [رأى|رأت] {s} {o.acc} قرب {p.def}."),
    "eat": ("[أكل|أكلت] {s} {o.acc} في {p.def} {t}.", "{t} [أكل|أكلت] {s} {o.acc} في {p.def}."),
    "drink_with": ("[شرب|شربت] {s} {o.acc} مع {p} {t}.", "{t} [شرب|شربت] {s} {o.acc} مع {p}."),
    "visit": ("[زار|زارت] {s} {o} في {p} {t}.", "{t} [زار|زارت] {s} {o} في {p}."),
    "travel": ("[سافر|سافرت] {s} إلى {o} مع {p} {t}.", "{t} [سافر|سافرت] {s} إلى {o} مع {p}."),
    "meet": ("[قابل|قابلت] {s} {o} في {p.def} {t}.", "{t} [قابل|قابلت] {s} {o} في {p.def}."),
    "write": ("[كتب|كتبت] {s} رسالة إلى {o} {t}.", "{t} [كتب|كتبت] {s} رسالة إلى {o}."),
    "walk": ("[مشى|مشت] {s} إلى {o.def} مع {p} {t}.", "{t} [مشى|مشت] {s} إلى {o.def} مع {p}."),
    "clean": ("[نظف|نظفت] {s} {o.def} مع {p} {t}.", "{t} [نظف|نظفت] {s} {o.def} مع {p}."),
    "help": ("[ساعد|ساعدت] {s} {o} في {p.def} {t}.", "{t} [ساعد|ساعدت] {s} {o} في {p.def}."),
    "made": ("[صنع|صنعت] {s} {o.acc} في {p.def} {t}.", "{t} [صنع|صنعت] {s} {o.acc} في {p.def}."),
    "thank": ("[شكر|شكرت] {s} {o}.",),
    "say": ("[قال|قالت] {s}: {o.saying}.",),
    "was": ("[كان|كانت] {s.name} {o.adjective}.",),
    "prize": ("[فاز|فازت] {s} بجائزة في {p} {t}.", "{t} [فاز|فازت] {s} بجائزة في {p}."),
    "opened": ("[افتتح|افتتحت@o] {o} [جديد|جديدة@o] في {p} {t}.", "{t} [افتتح|افتتحت@o] {o} [جديد|جديدة@o] في {p}."),
    "fell": ("سقط {o.def} في {p} {t}.", "{t} سقط {o.def} في {p}."),
    "festival": ("أقام أهل {p} مهرجانا {t}.", "{t} أقام أهل {p} مهرجانا."),
    "price_up": ("ارتفع سعر {o.def} في {p} {t}.", "{t} ارتفع سعر {o.def} في {p}."),
    "price_down": ("انخفض سعر {o.def} في {p} {t}.", "{t} انخفض سعر {o.def} في {p}."),
    "bridge": ("بني جسر جديد على نهر {o} {t}.", "{t} بني جسر جديد على نهر {o}."),
    "visitors": ("جاء زوار كثيرون إلى {p} لشراء {o.def}.", "جاء زوار كثيرون إلى {p} {t}."),
    "list": ("[يحتاج|تحتاج] {s} إلى {o.def} و{p.def} و{t.def}.",),
    "hello": ("مرحبا يا {s}! كيف حالك؟", "صباح الخير يا {s}! كيف حالك اليوم؟"),
    "know": ("هل [تعرف|تعرفين] {o}؟",),
    "know_yes": ("نعم، أعرف {s} جيدا.",),
    "bye": ("شكرا على مساعدتك يا {s}. مع السلامة.", "شكرا يا {s}. إلى اللقاء غدا."),
    "setting": ("كان يوما من أيام {o.def} في {p}.", "كان الوقت {o.acc} في {p}."),
}

PRESENT = {
    "buy": "[يشتري|تشتري] {s} {o.acc} من {p.def} {t}.",
    "sell": "[يبيع|تبيع] {s} {o.acc} ل{p} {t}.",
    "give": "[يهدي|تهدي] {s} {o.acc} إلى {p} {t}.",
    "find": "[يجد|تجد] {s} {o.acc} قرب {p.def} {t}.",
    "lose": "[يفقد|تفقد] {s} {o.acc} قرب {p.def} {t}.",
    "see": "[يرى|ترى] {s} {o.acc} قرب {p.def} {t}.",
    "eat": "[يأكل|تأكل] {s} {o.acc} في {p.def} {t}.",
    "drink_with": "[يشرب|تشرب] {s} {o.acc} مع {p} {t}.",
    "visit": "[يزور|تزور] {s} {o} في {p} {t}.",
    "travel": "[يسافر|تسافر] {s} إلى {o} مع {p} {t}.",
    "meet": "[يقابل|تقابل] {s} {o} في {p.def} {t}.",
    "write": "[يكتب|تكتب] {s} رسالة إلى {o} {t}.",
    "walk": "[يمشي|تمشي] {s} إلى {o.def} مع {p} {t}.",
    "clean": "[ينظف|تنظف] {s} {o.def} مع {p} {t}.",
    "help": "[يساعد|تساعد] {s} {o} في {p.def} {t}.",
}

QUESTIONS = {
    "lives": ("أين [يعيش|تعيش] {s}؟", "في أي بلدة [يعيش|تعيش] {s}؟"),
    "trade": ("ما <مهنة>؟", "ماذا [يعمل|تعمل] {s}؟"),
    "kin": ("من [هو|هي@o] <{p}>؟", "ما اسم <{p}>؟"),
    "pet": ("أي حيوان [يملك|تملك] {s}؟",),
    "pet_name": ("ما اسم <{p}>؟",),
    "food": ("ماذا [يحب|تحب] {s} أن [يأكل|تأكل]؟",),
    "drink": ("ماذا [يحب|تحب] {s} أن [يشرب|تشرب]؟",),
    "colour": ("ما <لون> المفضل؟",),
    "hobby": ("ما <هواية>؟",),
    "works": ("أين [يعمل|تعمل] {s}؟",),
    "uses": ("أي أداة [يستخدم|تستخدم] {s}؟",),
    "needs": ("إلى ماذا [يحتاج|تحتاج] {s} في العمل؟",),
    "product": ("على ماذا يحصل الناس من {s.name}؟",),
    "region": ("في أي إقليم تقع {s.name}؟",),
    "river": ("على أي نهر تقع {s.name}؟",),
    "known": ("بماذا تشتهر {s.name}؟",),
    "eats": ("ماذا [يأكل|تأكل] {s}؟",),
    "dwells": ("أين [يعيش|تعيش] {s}؟",),
    "acts": ("ماذا [يفعل|تفعل] {s} كل يوم؟",),
    "weather": ("ماذا يرى الناس في {s.name}؟",),
    "list": ("اذكر ثلاثة أشياء [يحتاج|تحتاج] إليها {s}.",),
}

YES_NO = {
    "lives": ("هل [يعيش|تعيش] {s} في {o}؟",),
    "trade": ("هل {s.top} {o.as}؟",),
    "pet": ("هل [يملك|تملك] {s} {o.acc}؟",),
    "works": ("هل [يعمل|تعمل] {s} في {o.def}؟",),
    "uses": ("هل [يستخدم|تستخدم] {s} {o.def}؟",),
    "eats": ("هل [يأكل|تأكل] {s} {o.def}؟",),
}

PHRASES = {
    "then": ("ثم {0}", "وبعد ذلك {0}", "ولاحقا {0}"),
    "so": ("إذن {0}",),
    "ending": (
        "في المساء عاد الجميع إلى البيت.",
        "كان يوما جميلا.",
        "كان الجميع سعداء.",
        "ثم جاء الليل ونامت البلدة.",
        "كانت هذه نهاية اليوم.",
    ),
    "fine": ("أنا بخير، شكرا.", "أنا بخير جدا، شكرا."),
    "more": ("حسنا. {0}", "فهمت. {0}", "شكرا. {0}"),
    "yes": ("نعم، {0}",),
    "no": ("لا، {0}",),
    "headline": ("أخبار من {0}", "اليوم في {0}", "من بلدة {0}"),
    "translate": ("ترجم هذه الجملة إلى {0}: {1}",),
    "yesterday": ("أعد كتابة هذه الجملة كأنها حدثت أمس: {0}",),
    "rude": ("هذا سؤال سخيف.", "اذهب بعيدا.", "لا تزعجني."),
    "unrelated": ("لا أريد أن أتحدث عن ذلك.", "ربما في يوم آخر.", "هذا سؤال مثير للاهتمام."),
    "en": ("الإنجليزية",),
    "ar": ("العربية",),
    "id": ("الإندونيسية",),
    "puzzle": ("هذا سؤال عن عائلة.", "فلنفكر في عائلة.", "استمع إلى هذا."),
}


def definite(word: str) -> str:
    """The word with the article."""
    return f"ال{word}"


def accusative(word: str) -> str:
    """The indefinite accusative, as it is written without vowel marks."""
    return word if word.endswith(("ة", "اء", "ى")) else f"{word}ا"


class Arabic(Language):
    """Arabic sentences."""

    code = "ar"
    question_mark = "؟"
    PATTERNS = PATTERNS
    PRESENT = PRESENT
    QUESTIONS = QUESTIONS
    YES_NO = YES_NO
    PHRASES = PHRASES

    def gender(self, ref: str) -> str:
        """Gender of a name or of a noun."""
        name = self.names.get(ref)
        if name:
            return name.gender
        noun = NOUNS.get(ref.partition("+")[0])
        return noun[1] if noun else "m"

    def form(self, ref: str, form: str, gender: str) -> str:
        """The word for `ref`.

        Forms: "" bare, "def" with the article, "acc" indefinite accusative, "as" and "as_acc" a trade in the
        subject's gender, "act" and "did" verbs in the subject's gender, "adjective" an adjective as predicate
        of كان, "saying" what the subject says.
        """
        name = self.names.get(ref)
        if name:
            return name.arabic
        if ref in TIMES:
            return TIMES[ref]
        feminine = gender == "f"
        if form == "act":
            return f"ت{ACTIONS[ref][1:]}" if feminine else ACTIONS[ref]
        if form == "did":
            return FEELING_ACTIONS[ref][feminine]
        if form == "saying":
            return f"«{SAYINGS[ref][feminine]}»"
        if form == "adjective":
            return accusative(ADJECTIVES[ref][feminine])
        if form in ("as", "as_acc"):
            word = NOUNS[ref][0] + ("ة" if feminine else "")
            return accusative(word) if form == "as_acc" else word
        if ref in ADJECTIVES:  # a colour as the name of itself, الأحمر
            return definite(ADJECTIVES[ref][0])
        return self._noun(ref, form)

    def _noun(self, ref: str, form: str) -> str:
        noun, _, adjective = ref.partition("+")
        word, gender = NOUNS[noun]
        parts = [word]
        if adjective:
            parts.append(ADJECTIVES[adjective][gender == "f"])
        if form == "def":
            return " ".join(definite(part) for part in parts)
        if form == "acc":
            parts[0] = accusative(word)
            if adjective and adjective not in COLOURS:
                parts[1] = accusative(parts[1])
        return " ".join(parts)

    def subject(self, ref: str, form: str, mode: Mode) -> str:
        """Pronouns are dropped, except in the form "top"; trades, animals and seasons are definite."""
        if mode == "pronoun" and form != "name":
            return "" if form == "" else ("هي" if self.gender(ref) == "f" else "هو")
        name = self.names.get(ref)
        if name:
            return name.arabic if mode == "full" else name.short_arabic
        return definite(NOUNS[ref][0])

    def own(self, thing: str, ref: str, mode: Mode) -> str:
        """The construct state: the possessor follows, or is a suffix, before which ة becomes ت."""
        if mode == "pronoun":
            stem = f"{thing[:-1]}ت" if thing.endswith("ة") else thing
            return f"{stem}{'ها' if self.gender(ref) == 'f' else 'ه'}"
        return f"{thing} {self.subject(ref, 'name', mode)}"
