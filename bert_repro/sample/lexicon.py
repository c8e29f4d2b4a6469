"""Words of the sample: hides how an English word is inflected and which words go together.

It refuses to guess irregular forms: a verb or noun that does not follow the rules below carries its forms in its entry.
"""

from dataclasses import dataclass

VOWELS = "aeiou"


def listed(line: str) -> list[str]:
    """Split a line into its words."""
    return line.split()


@dataclass(frozen=True)
class Verb:
    """A verb with its base, past and past participle."""

    lemma: str
    past: str
    participle: str

    @property
    def third(self) -> str:
        """Inflect for the third person singular present."""
        return {"have": "has", "do": "does"}.get(self.lemma) or plural(self.lemma)  # the spelling rule of nouns

    @property
    def gerund(self) -> str:
        """Inflect for the present participle."""
        stem = self.lemma
        if self.past.endswith(stem[-1] * 2 + "ed") and not stem.endswith(stem[-1] * 2) or stem in DOUBLING:
            return stem + stem[-1] + "ing"  # planned, planning; but called, calling
        return (stem[:-1] if stem.endswith("e") and not stem.endswith("ee") else stem) + "ing"


DOUBLING = listed("run swim sit win cut put get forget begin")
IRREGULAR_NOUNS = {
    "man": "men", "woman": "women", "child": "children", "sheep": "sheep", "mouse": "mice", "wolf": "wolves",
    "knife": "knives", "wife": "wives", "potato": "potatoes", "goose": "geese",
}  # fmt: skip


def plural(lemma: str) -> str:
    """Inflect a noun for the plural."""
    if lemma in IRREGULAR_NOUNS:
        return IRREGULAR_NOUNS[lemma]
    if lemma.endswith("y") and lemma[-2] not in VOWELS:
        return lemma[:-1] + "ies"
    return lemma + ("es" if lemma.endswith(("s", "x", "z", "ch", "sh")) else "s")


def article(following: str) -> str:
    """Choose `a` or `an` by the word that follows."""
    return "an" if following[0].lower() in VOWELS and not following.startswith(("univers", "use", "one")) else "a"


def verb(entry: str) -> Verb:
    """Read `lemma`, `lemma:past` or `lemma:past:participle`; what is missing is regular."""
    lemma, *forms = entry.split(":")
    regular = (
        lemma + "d" if lemma.endswith("e")
        else lemma[:-1] + "ied" if lemma.endswith("y") and lemma[-2] not in VOWELS
        else lemma + "ed"
    )  # fmt: skip
    past = forms[0] if forms else regular
    return Verb(lemma, past, forms[1] if len(forms) > 1 else past)


def verbs(entries: str) -> list[Verb]:
    """Read a line of verb entries."""
    return [verb(entry) for entry in entries.split()]


NOUNS = {
    kind: words.split()
    for kind, words in {
        "person": "teacher doctor farmer writer student nurse lawyer driver singer painter baker guard judge "
        "soldier sailor captain artist engineer manager worker boy girl man woman child stranger visitor guest poet "
        "scientist tailor gardener journalist musician actor merchant pilot banker hunter priest beekeeper "
        "locksmith clockmaker glassblower",
        "kin": "friend neighbor brother sister mother father uncle aunt cousin daughter son wife grandmother",
        "animal": "dog cat horse bird cow sheep rabbit fox wolf bear mouse duck goat lion goose hedgehog woodpecker",
        "text": "book letter report article poem note story novel newspaper diary song play guidebook",
        "thing": "hat coat box key chair table lamp bag clock ring knife basket camera bottle picture mirror "
        "blanket umbrella hammer ladder coin shirt flag drum guitar bell candlestick wheelbarrow",
        "food": "apple cake egg pie sandwich orange potato pear meal pancake gooseberry",
        "vehicle": "car bus train boat ship bicycle truck wagon plane taxi tram motorcycle",
        "building": "house kitchen school church office library museum hotel theater hospital shop castle tower "
        "factory palace cottage lighthouse",
        "land": "garden village town forest city park field valley square desert meadow",
        "water": "river lake beach harbor bridge canal island",
        "part": "door window roof wall gate floor chimney",
        "event": "meeting dinner wedding concert war storm party game lesson race journey festival election harvest",
        "idea": "plan idea problem question rule rumor law project answer secret mistake accident discovery",
    }.items()
}
GENERIC = {  # a word that covers another one
    "dog": "animal", "cat": "animal", "horse": "animal", "cow": "animal", "rabbit": "animal", "fox": "animal",
    "goat": "animal", "car": "vehicle", "bus": "vehicle", "truck": "vehicle", "taxi": "vehicle", "tram": "vehicle",
    "guitar": "instrument", "drum": "instrument", "hammer": "tool", "ladder": "tool",
}  # fmt: skip

ADJECTIVES = {
    kind: words.split()
    for kind, words in {
        "person": "young old tall kind quiet famous tired brave clever honest poor rich lonely busy patient generous",
        "animal": "small young wild hungry black white brown old lazy friendly",
        "text": "short long old famous strange new interesting secret",
        "thing": "heavy red blue green black white broken expensive cheap old small large beautiful rusty wet",
        "food": "fresh sweet small large warm cold delicious",
        "vehicle": "fast slow old new yellow blue empty crowded broken expensive",
        "building": "old new large small dark empty famous beautiful modern",
        "land": "small large quiet dark green beautiful distant remote",
        "water": "large small beautiful old distant quiet",
        "part": "heavy narrow white high dark small",
        "event": "long short terrible famous important quiet happy",
        "idea": "simple difficult important clever new strange serious small",
    }.items()
}
ADJECTIVES["kin"] = ADJECTIVES["person"]
ANTONYMS = {
    "text": [("long", "short"), ("new", "old"), ("boring", "interesting"), ("true", "false")],
    "vehicle": [("fast", "slow"), ("empty", "full"), ("cheap", "expensive"), ("clean", "dirty")],
    "building": [("open", "closed"), ("dark", "bright"), ("warm", "cold"), ("noisy", "quiet")],
    "water": [("wide", "narrow"), ("safe", "dangerous"), ("clean", "dirty")],
    "person": [("rich", "poor"), ("awake", "asleep"), ("present", "absent"), ("early", "late"), ("healthy", "sick")],
    "food": [("fresh", "stale"), ("warm", "cold"), ("cheap", "expensive")],
}
COMPARATIVES = [
    ("taller", "shorter"),
    ("older", "younger"),
    ("richer", "poorer"),
    ("faster", "slower"),
    ("stronger", "weaker"),
]

WOMEN = listed("Anna Maria Sarah Helen Emma Alice Julia Laura Clara Martha Rose Ellen")
MEN = listed("Peter John David Thomas Robert George Paul Henry Daniel Walter Martin Arthur")
SURNAMES = listed(
    "Baker Turner Wood Hill Carter Morgan Bennett Fisher Marsh Porter Lane Fletcher Stone Webb Harper Brooks Whitlock "
    "Ashworth Pemberton Thistlewood"
)
CITIES = listed("London Paris Boston Berlin Dublin Vienna Chicago Toronto Madrid Rome Oslo Lisbon Prague Geneva")
DAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
NUMBERS = listed("two three four five six seven eight nine ten twelve twenty")

PRONOUNS = [  # subject, object, possessive, lemma, plural, person
    ("he", "him", "his", False, 3), ("she", "her", "her", False, 3), ("they", "them", "their", True, 3),
    ("we", "us", "our", True, 1), ("I", "me", "my", False, 1), ("you", "you", "your", False, 2),
]  # fmt: skip

# What persons do to what: kind of object -> verbs.
TRANSITIVE = {
    kind: verbs(entries)
    for kind, entries in {
        "person": "help meet:met thank call follow visit watch admire invite trust teach:taught recognize "
        "find:found see:saw:seen",
        "kin": "help meet:met thank call visit invite trust love hear:heard miss",
        "animal": "feed:fed watch see:saw:seen find:found buy:bought sell:sold follow catch:caught wash",
        "text": "read:read write:wrote:written publish finish copy translate like forget:forgot:forgotten remember "
        "buy:bought",
        "thing": "carry find:found lose:lost keep:kept hide:hid:hidden break:broke:broken buy:bought sell:sold "
        "steal:stole:stolen repair borrow need choose:chose:chosen paint clean",
        "food": "eat:ate:eaten cook share buy:bought prepare order taste cut:cut refuse",
        "vehicle": "drive:drove:driven repair sell:sold buy:bought see:saw:seen park stop:stopped miss paint own",
        "building": "build:built visit leave:left enter own paint clean buy:bought describe see:saw:seen",
        "land": "cross visit leave:left reach describe love explore",
        "water": "cross reach see:saw:seen paint describe explore",
        "part": "open close repair paint clean lock break:broke:broken",
        "event": "attend enjoy miss remember describe leave:left organize",
        "idea": "discuss explain describe understand:understood remember solve mention accept reject",
    }.items()
}
OWNED = listed("animal text thing food vehicle building idea")  # kinds that people have
STATIVE = listed("like love need own trust admire understand remember know hear see recognize forget miss")
PASSIVE = {
    "person": verbs("invite call help arrest forget:forgot:forgotten reward"),
    "animal": verbs("feed:fed find:found sell:sold catch:caught"),
    "text": verbs("write:wrote:written publish translate find:found"),
    "thing": verbs("find:found sell:sold steal:stole:stolen repair break:broke:broken hide:hid:hidden make:made"),
    "food": verbs("eat:ate:eaten sell:sold cook prepare"),
    "vehicle": verbs("repair sell:sold stop:stopped paint build:built"),
    "building": verbs("build:built paint sell:sold repair close destroy"),
    "part": verbs("open close repair paint"),
    "event": verbs("organize cancel forget:forgot:forgotten"),
    "idea": verbs("discuss explain accept reject mention"),
}
INTRANSITIVE = {
    "person": verbs(
        "sleep:slept wait work sing:sang:sung laugh arrive walk dance rest stay smile play travel live swim:swam:swum"
    ),
    "animal": verbs("sleep:slept run:ran:run wait hide:hid:hidden eat:ate:eaten rest jump swim:swam:swum"),
    "vehicle": verbs("stop:stopped arrive wait return turn"),
    "event": verbs("begin:began:begun end continue"),
    "land": verbs("change grow:grew:grown"),
}
ANIMAL_ACTS = verbs("chase follow watch see:saw:seen find:found")  # on animals and persons
TEXT_ACTS = verbs("describe mention explain")  # of events and ideas
GIVING = verbs("give:gave:given send:sent show:showed:shown sell:sold lend:lent offer bring:brought")
WISHING = verbs(
    "want try hope begin:began:begun decide refuse promise plan:planned forget:forgot:forgotten agree learn"
)
SAYING = verbs("say:said think:thought know:knew:known believe hope hear:heard report notice explain claim")
MODALS = {"past": ["could", "might", "would", "should"], "pres": ["can", "will", "must", "should", "may"]}
BE, HAVE, DO = verbs("be:was:been have:had do:did:done")

MANNER = "quickly slowly quietly carefully suddenly happily patiently reluctantly"
FREQUENCY = "often never always sometimes usually rarely"
DEGREE = "very quite rather too extremely"
PLACE_PREPOSITIONS = {
    "building": "in near behind at outside",
    "land": "in near outside",
    "water": "near by",
    "event": "at before after during",
}
OPENERS = "however perhaps fortunately finally meanwhile"
NOUN_PHRASES = {  # what may stand after a noun: preposition and the kind of noun behind it
    "person": "from:city with:thing near:part in:building from:land",
    "kin": "from:city in:city",
    "animal": "near:part from:land behind:building",
    "text": "about:event about:animal about:idea by:person about:city",
    "thing": "from:city near:part behind:part",
    "food": "from:city with:food from:land",
    "vehicle": "from:city near:water near:building",
    "building": "near:water in:city behind:building near:land",
    "land": "near:water near:city",
    "water": "near:city near:land",
    "part": "of:building",
    "event": "in:city near:water in:land",
    "idea": "of:person about:event about:building",
}
SUBORDINATORS = "because when although while before after"
