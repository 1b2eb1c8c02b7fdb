"""English: words, forms and sentence patterns."""

from diglot.world.facts import ANIMALS, SEASONS, TRADES
from diglot.world.grammar import Language, Mode

# concepts whose word is not the concept's own name
WORDS = {
    "sewing_room": "sewing room",
    "last_week": "last week",
    "every_day": "every day",
    "morning": "in the morning",
    "evening": "in the evening",
    "night": "at night",
    "friday": "on Friday",
    "monday": "on Monday",
    "sun": "the sun",
    "chess": "playing chess",
}
# words without an article: materials and plurals
BARE = frozenset(
    [
        "bread",
        "flour",
        "wood",
        "cloth",
        "iron",
        "clay",
        "wheat",
        "seeds",
        "fish",
        "bait",
        "medicine",
        "herbs",
        "lessons",
        "chalk",
        "paint",
        "soup",
        "meat",
        "wool",
        "gold",
        "pliers",
        "shoes",
        "leather",
        "paper",
        "flowers",
        "soil",
        "honey",
        "sugar",
        "music",
        "strings",
        "snow",
        "rain",
        "sun",
        "clouds",
        "apples",
        "dates",
        "rice",
        "grapes",
        "figs",
        "cheese",
        "eggs",
        "oranges",
        "olives",
        "cake",
        "tea",
        "coffee",
        "milk",
        "juice",
        "water",
        "ginger",
        "mice",
        "bones",
        "hay",
        "grass",
        "corn",
        "worms",
        "carrots",
        "thorns",
        "leaves",
        "barley",
        "lettuce",
    ]
)
ACTIONS = {
    "meow": "meows", "bark": "barks", "run": "runs", "moo": "moos", "lay": "lays eggs", "swim": "swims",
    "jump": "jumps", "walk": "walks far", "fly": "flies", "climb": "climbs", "coo": "coos", "crawl": "crawls",
}  # fmt: skip
FEELING_ACTIONS = {
    "hungry": "ate some food",
    "thirsty": "drank some water",
    "tired": "slept at home",
    "sick": "went to the doctor",
    "happy": "sang a song",
    "cold": "lit a fire",
}
SAYINGS = {
    "happy_today": "I am happy today",
    "hard_work": "the work is hard",
    "good_day": "this is a good day",
    "love_town": "I love this town",
    "long_road": "the road is long",
    "come_back": "I will come back tomorrow",
}

PATTERNS = {
    "lives": (
        "{s} lives in {o}.",
        "<home> is in {o}.",
        "{s} has a house in {o}.",
        "the town of {o} is the home of {s.name}.",
    ),
    "trade": (
        "{s} is {o.a}.",
        "{s} works as {o.a}.",
        "by trade, {s} is {o.a}.",
        "everyone knows that {s.name} is {o.a}.",
    ),
    "kin": ("<{p}> is {o}.", "the {p} of {s.name} is {o}.", "<{p}> is called {o}.", "{o} is the {p} of {s.name}."),
    "pet": ("{s} has {o.a}.", "{s} keeps {o.a}.", "in <house> there is {o.a}.", "{s.name} owns {o.a}."),
    "pet_name": ("<{p}> is called {o}.", "the name of <{p}> is {o}.", "people know <{p}> by the name {o}."),
    "food": ("{s} likes to eat {o}.", "<favourite food> is {o}.", "the food that {s} likes very much is {o}."),
    "drink": ("{s} likes to drink {o}.", "<favourite drink> is {o}.", "every morning {s} drinks {o}."),
    "colour": ("{s} loves the colour {o}.", "<favourite colour> is {o}.", "{s} always wears the colour {o}."),
    "hobby": ("{s} likes {o}.", "<hobby> is {o}.", "in the evening {s} prefers {o}."),
    "works": ("{s} works in {o.the}.", "<place of work> is {o.the}.", "you can find {s.name} in {o.the}."),
    "uses": ("{s} uses {o.a}.", "<most important tool> is {o.a}.", "during work {s} uses {o.a}."),
    "needs": ("{s} needs {o}.", "{s} cannot work without {o}.", "every week {s} buys {o}."),
    "product": ("people come to {s.name} for {o.a}.", "<work> gives people {o.a}.", "{s} offers people {o.a}."),
    "region": (
        "{s} is a town in {o}.",
        "the town of {s} lies in the region of {o}.",
        "visitors find {s} in the region of {o}.",
    ),
    "river": (
        "{s} lies on the river {o}.",
        "the river of the town of {s} is the river {o}.",
        "through {s} flows the river {o}.",
    ),
    "known": ("{s} is known for {o}.", "the most famous thing in {s} is {o}.", "people come to {s} to buy {o}."),
    "eats": ("{s} eats {o}.", "the food of {s.name} is {o}.", "every day {s} looks for {o}."),
    "dwells": ("{s} lives in {o.the}.", "the home of {s.name} is {o.the}.", "{s} sleeps in {o.the}."),
    "acts": ("{s} {o.act}.", "every day we see that {s} {o.act}.", "people know that {s} {o.act}."),
    "weather": ("in {s} people see {o}.", "{s} comes and with it {o}.", "on the days of {s} we see {o}."),
    "wears": ("in {p} {s} wears {o.a}.", "{p} has come, so {s} wears {o.a}.", "when {p} comes, {s} puts on {o.a}."),
    "cause": ("{s} felt {o}, so {s.he} {o.did}.", "when {s} felt {o}, {s.he} {o.did}."),
    "buy": ("{s} bought {o.a} in {p.the} {t}.", "{t} {s} bought {o.a} in {p.the}."),
    "sell": ("{s} sold {o.a} to {p} {t}.", "{t} {s} sold {o.a} to {p}."),
    "give": ("{s} gave {o.a} to {p} {t}.", "{t} {s} gave {o.a} to {p}."),
    "find": ("{s} found {o.a} near {p.the} {t}.", "{t} {s} found {o.a} near {p.the}."),
    "lose": ("{s} lost {o.a} near {p.the} {t}.", "{t} {s} lost {o.a} near {p.the}."),
    "see": ("{s} saw {o.a} near {p.the} {t}.", "{t} {s} saw {o.a} near {p.the}."),
    "eat": ("{s} ate {o} in {p.the} {t}.", "{t} {s} ate {o} in {p.the}."),
    "drink_with": ("{s} drank {o} with {p} {t}.", "{t} {s} drank {o} with {p}."),
    "visit": ("{s} visited {o} in {p} {t}.", "{t} {s} visited {o} in {p}."),
    "travel": ("{s} travelled to {o} with {p} {t}.", "{t} {s} travelled to {o} with {p}."),
    "meet": ("{s} met {o} in {p.the} {t}.", "{t} {s} met {o} in {p.the}."),
    "write": ("{s} wrote a letter to {o} {t}.", "{t} {s} wrote a letter to {o}."),
    "walk": ("{s} walked to {o.the} with {p} {t}.", "{t} {s} walked to {o.the} with {p}."),
    "clean": ("{s} cleaned {o.the} with {p} {t}.", "{t} {s} cleaned {o.the} with {p}."),
    "help": ("{s} helped {o} in {p.the} {t}.", "{t} {s} helped {o} in {p.the}."),
    "made": ("{s} made {o.a} in {p.the} {t}.", "{t} {s} made {o.a} in {p.the}."),
    "thank": ("{s} thanked {o}.",),
    "say": ("{s} said: {o.saying}.",),
    "was": ("{s.the} was {o}.",),
    "prize": ("{s} won a prize in {p} {t}.", "{t} {s} won a prize in {p}."),
    "opened": ("a new {o} opened in {p} {t}.", "{t} a new {o} opened in {p}."),
    "fell": ("{o} fell in {p} {t}.", "{t} {o} fell in {p}."),
    "festival": ("the people of {p} held a festival {t}.", "{t} the people of {p} held a festival."),
    "price_up": ("the price of {o} rose in {p} {t}.", "{t} the price of {o} rose in {p}."),
    "price_down": ("the price of {o} fell in {p} {t}.", "{t} the price of {o} fell in {p}."),
    "bridge": ("a new bridge was built over the river {o} {t}.", "{t} a new bridge was built over the river {o}."),
    "visitors": ("many visitors came to {p} to buy {o}.", "many visitors came to {p} {t}."),
    "list": ("{s} needs {o}, {p.a} and {t.a}.",),
    "hello": ("hello, {s}! How are you?", "good morning, {s}! How are you today?"),
    "know": ("do you know {o}?",),
    "know_yes": ("yes, I know {s} well.",),
    "bye": ("thank you for your help, {s}. Goodbye.", "thank you, {s}. See you tomorrow."),
    "setting": ("it was {o.a} day in {p}.", "it was {o} in {p}."),
}

# what happens every day; s, o, p and t as in the past tense above
PRESENT = {
    "buy": "{s} buys {o.a} in {p.the} {t}.",
    "sell": "{s} sells {o.a} to {p} {t}.",
    "give": "{s} gives {o.a} to {p} {t}.",
    "find": "{s} finds {o.a} near {p.the} {t}.",
    "lose": "{s} loses {o.a} near {p.the} {t}.",
    "see": "{s} sees {o.a} near {p.the} {t}.",
    "eat": "{s} eats {o} in {p.the} {t}.",
    "drink_with": "{s} drinks {o} with {p} {t}.",
    "visit": "{s} visits {o} in {p} {t}.",
    "travel": "{s} travels to {o} with {p} {t}.",
    "meet": "{s} meets {o} in {p.the} {t}.",
    "write": "{s} writes a letter to {o} {t}.",
    "walk": "{s} walks to {o.the} with {p} {t}.",
    "clean": "{s} cleans {o.the} with {p} {t}.",
    "help": "{s} helps {o} in {p.the} {t}.",
}

QUESTIONS = {
    "lives": ("where does {s} live?", "in which town does {s} live?"),
    "trade": ("what is <trade>?", "what work does {s} do?"),
    "kin": ("who is <{p}>?", "what is the name of <{p}>?"),
    "pet": ("what animal does {s} have?",),
    "pet_name": ("what is the name of <{p}>?",),
    "food": ("what does {s} like to eat?",),
    "drink": ("what does {s} like to drink?",),
    "colour": ("what is <favourite colour>?",),
    "hobby": ("what is <hobby>?",),
    "works": ("where does {s} work?",),
    "uses": ("what tool does {s} use?",),
    "needs": ("what does {s} need for work?",),
    "product": ("what do people get from {s.name}?",),
    "region": ("in which region is {s.name}?",),
    "river": ("on which river does {s.name} lie?",),
    "known": ("what is {s.name} known for?",),
    "eats": ("what does {s} eat?",),
    "dwells": ("where does {s} live?",),
    "acts": ("what does {s} do every day?",),
    "weather": ("what do people see in {s.name}?",),
    "list": ("list three things that {s} needs.",),
}

YES_NO = {
    "lives": ("does {s} live in {o}?",),
    "trade": ("is {s} {o.a}?",),
    "pet": ("does {s} have {o.a}?",),
    "works": ("does {s} work in {o.the}?",),
    "uses": ("does {s} use {o.a}?",),
    "eats": ("does {s} eat {o}?",),
}

PHRASES = {
    "then": ("then {0}", "after that {0}", "later {0}"),
    "so": ("so {0}",),
    "ending": (
        "In the evening everyone went home.",
        "It was a beautiful day.",
        "Everyone was happy.",
        "Then night came, and the town slept.",
        "This was the end of the day.",
    ),
    "fine": ("I am well, thank you.", "I am very well, thank you."),
    "more": ("Good. {0}", "I understand. {0}", "Thank you. {0}"),
    "yes": ("Yes, {0}",),
    "no": ("No, {0}",),
    "headline": ("News from {0}", "Today in {0}", "From the town of {0}"),
    "translate": ("Translate this sentence into {0}: {1}",),
    "yesterday": ("Rewrite this sentence so that it happened yesterday: {0}",),
    "rude": ("That is a stupid question.", "Go away.", "Do not bother me."),
    "unrelated": ("I do not want to talk about that.", "Maybe another day.", "That is an interesting question."),
    "en": ("English",),
    "ar": ("Arabic",),
    "id": ("Indonesian",),
    "puzzle": ("Here is a question about a family.", "Let us think about a family.", "Listen to this."),
}


class English(Language):
    """English sentences."""

    code = "en"
    PATTERNS = PATTERNS
    PRESENT = PRESENT
    QUESTIONS = QUESTIONS
    YES_NO = YES_NO
    PHRASES = PHRASES

    def form(self, ref: str, form: str, gender: str) -> str:
        """Forms: "" bare, "a", "the", "act" (of an animal), "did" (of a feeling), "saying"."""
        name = self.names.get(ref)
        if name:
            return name.latin
        if form == "act":
            return ACTIONS[ref]
        if form == "did":
            return FEELING_ACTIONS[ref]
        if form == "saying":
            return f'"{self.capital(SAYINGS[ref])}"'
        noun, _, adjective = ref.partition("+")
        word = WORDS.get(noun, noun)
        if adjective:
            word = f"{adjective} {word}"
        if form == "the":
            return f"the {word}"
        if form == "a" and noun not in BARE:
            return f"an {word}" if word[0] in "aeiou" else f"a {word}"
        return word

    def subject(self, ref: str, form: str, mode: Mode) -> str:
        """Trades are "a baker", animals "the rabbit", seasons "winter"."""
        name = self.names.get(ref)
        if form == "he" or (mode == "pronoun" and form == ""):
            if ref in ANIMALS or (name and ref[0] == "t"):
                return "it"
            return "she" if self.gender(ref) == "f" else "he"
        if name:
            return name.latin if mode == "full" else name.short_latin
        if ref in SEASONS:
            return ref
        return self.form(ref, "a" if ref in TRADES else "the", "m")

    def own(self, thing: str, ref: str, mode: Mode) -> str:
        """The saxon genitive, or his and her."""
        if mode == "pronoun":
            return f"{'her' if self.gender(ref) == 'f' else 'his'} {thing}"
        return f"{self.subject(ref, 'name', mode)}'s {thing}"
