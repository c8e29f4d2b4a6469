"""Sentence pairs of the sample: hides how a premise is built so that its hypothesis follows, conflicts or stays open.

It refuses to let a hypothesis tell its label: the hypothesis is drawn first, blind to the label, and the premise then
depends on both, so a classifier that reads hypotheses only has nothing to read.
"""

import random
from dataclasses import dataclass, replace

from bert_repro.sample import lexicon
from bert_repro.sample.lexicon import Verb

LABELS = ("entailment", "neutral", "contradiction")
FRAMES = ("action", "action", "quantity", "state", "comparison")
OBJECTS = ("text", "thing", "food", "vehicle", "animal")
UNDONE = ("refused", "failed", "forgot")
INTENDED = ("wanted", "planned", "hoped")


@dataclass(frozen=True)
class Event:
    """Who did (or did not do) what to what, where and when."""

    subject: str
    verb: Verb
    noun: str
    adjective: str = ""
    count: str = ""
    where: str = ""
    when: str = ""
    negated: bool = False

    @property
    def object(self) -> str:
        """Write the object."""
        words = [w for w in (self.count, self.adjective, lexicon.plural(self.noun) if self.count else self.noun) if w]
        return " ".join(words if self.count else [lexicon.article(words[0]), *words])

    @property
    def rest(self) -> str:
        """Write place and time, each behind a space."""
        return "".join(f" {part}" for part in (self.where, self.when) if part)

    def told(self, opening: str = "") -> str:
        """Write the event: plainly, or behind an opening that takes an infinitive, such as `refused to`."""
        verb = (
            f"{opening} {self.verb.lemma}"
            if opening
            else f"did not {self.verb.lemma}"
            if self.negated
            else self.verb.past
        )
        return f"{self.subject} {verb} {self.object}{self.rest}"

    def passive(self) -> str:
        """Write the event in the passive."""
        was = "were" if self.count else "was"
        return f"{self.object} {was} {self.verb.participle} by {self.subject}{self.rest}"


class Pairs:
    """Draws hypotheses, and a premise for each label."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def pair(self, label: str) -> tuple[str, str, str]:
        """Draw a pair.

        Returns:
            Frame, premise and hypothesis.
        """
        frame = self.rng.choice(FRAMES)
        hypothesis, premises = getattr(self, frame)()  # kept whatever the label is, lest it tell
        premise = self.rng.choice([words for words in premises[label] if words != hypothesis])
        return frame, sentence(premise), sentence(hypothesis)

    def person(self) -> str:
        """Name a person, by name or by work."""
        name = self.rng.choice(lexicon.WOMEN + lexicon.MEN)
        return self.rng.choice([name, f"the {self.rng.choice(lexicon.NOUNS['person'])}"])

    def persons(self, count: int) -> list[str]:
        """Name different persons."""
        names = list[str]()
        while len(names) < count:
            if (name := self.person()) not in names:
                names.append(name)
        return names

    def place(self) -> str:
        """Name a place."""
        kind = self.rng.choice(["building", "land", "city"])
        return (
            f"in {self.rng.choice(lexicon.CITIES)}"
            if kind == "city"
            else f"in the {self.rng.choice(lexicon.NOUNS[kind])}"
        )

    def time(self) -> str:
        """Name a time."""
        day = f"on {self.rng.choice(lexicon.DAYS)}"
        return self.rng.choice([day, "in the evening", "in the morning", "after the meeting", "last week"])

    def event(self, subject: str, unlike: Event | None = None) -> Event:
        """Draw an event, bare but for its object; `unlike` another one in verb and object."""
        kind = self.rng.choice(OBJECTS)
        verb = self.rng.choice(
            [v for v in lexicon.TRANSITIVE[kind] if v.lemma not in (*lexicon.STATIVE, "refuse", "miss")]
        )
        event = Event(subject, verb, self.rng.choice(lexicon.NOUNS[kind]))
        if unlike is not None and (event.verb == unlike.verb or event.noun == unlike.noun):
            return self.event(subject, unlike)
        return event

    def adorned(self, event: Event, least: int = 1) -> Event:
        """Add details that an event lacks: the more particular event entails the given one."""
        kind = next((kind for kind in OBJECTS if event.noun in lexicon.NOUNS[kind]), "")  # none for general words
        missing = [
            part
            for part in ("adjective", "where", "when")
            if not getattr(event, part) and (part != "adjective" or kind)
        ]
        for part in self.rng.sample(missing, min(len(missing), self.rng.randint(least, 2))):
            if part == "adjective":
                event = replace(event, adjective=self.rng.choice(lexicon.ADJECTIVES[kind]))
            elif part == "where":
                event = replace(event, where=self.place())
            else:
                event = replace(event, when=self.time())
        return event

    def stripped(self, event: Event) -> Event:
        """Drop one or more details of an event, if it has any: the given event entails the more general one."""
        present = [part for part in ("adjective", "where", "when") if getattr(event, part)]
        chosen = self.rng.sample(present, self.rng.randint(1, len(present))) if present else []
        keep = {part: "" if part in chosen else getattr(event, part) for part in ("adjective", "where", "when")}
        return replace(event, adjective=keep["adjective"], where=keep["where"], when=keep["when"])

    def action(self) -> tuple[str, dict[str, list[str]]]:
        """Draw what someone did or did not do."""
        someone, other, third = self.persons(3)
        fact = self.adorned(self.event(someone), least=0)
        special = fact.noun in lexicon.GENERIC  # a dog where the general word is an animal
        general = replace(
            fact, noun=lexicon.GENERIC.get(fact.noun, fact.noun), adjective="" if special else fact.adjective
        )
        if special and self.rng.random() < 0.5:
            fact, special = general, False
        negated = self.rng.random() < 0.4
        if not negated and self.rng.random() < 0.3:
            fact = replace(fact, count=self.rng.choice(lexicon.NUMBERS))
        details, less = self.adorned(fact), self.stripped(fact)
        if fact.noun in lexicon.GENERIC.values():
            hyponym = self.rng.choice([noun for noun, word in lexicon.GENERIC.items() if word == fact.noun])
            details = self.rng.choice([details, replace(fact, noun=hyponym)])
        aside = self.event(someone, unlike=fact)
        together = details.told().removeprefix(someone)
        later = f" {fact.when}" if fact.when else ""
        happened = [
            details.told(),
            details.told("managed to"),
            details.passive(),
            f"{someone} and {other}{together}",
            f"{replace(details, when='').told()} and {aside.verb.past} {aside.object}{later}",
        ]
        missed = [
            replace(less, negated=True).told(),
            less.told(f"{self.rng.choice(UNDONE)} to"),
            f"nobody {less.verb.past} {less.object}{less.rest}",
        ]
        another = replace(self.adorned(aside), negated=self.rng.random() < 0.4)
        unsure = [
            details.told(f"{self.rng.choice(INTENDED)} to"),
            another.told(),
            f"{other} asked whether {details.told()}",
            replace(details, subject=third, negated=negated).told(),
        ]
        if negated:
            unsure.append(replace(details, negated=True).told())
            return replace(fact, negated=True).told(), dict(zip(LABELS, (missed, unsure, happened), strict=True))
        if less != fact:
            unsure.append(less.told())
        if special:
            unsure.append(general.told())
        if fact.count:
            count = self.rng.choice([number for number in lexicon.NUMBERS if number != fact.count])
            missed = [replace(fact, count=count).told(), replace(details, count=count).told(), missed[1]]
        return fact.told(), dict(zip(LABELS, (happened, unsure, missed), strict=True))

    def quantity(self) -> tuple[str, dict[str, list[str]]]:
        """Draw what every, some or no member of a group did."""
        noun = self.rng.choice(lexicon.NOUNS["person"])
        many = lexicon.plural(noun)
        fact = self.adorned(self.event(""), least=0)
        group = self.rng.choice([f"every {noun}", f"no {noun}", f"some {many}"])
        aside = self.adorned(self.event(group, unlike=fact))
        more, less = self.adorned(fact), self.stripped(fact)
        every = [replace(more, subject=s).told() for s in (f"every {noun}", f"all of the {many}")]
        some = [replace(more, subject=s).told() for s in (f"some {many}", f"three {many}", f"most of the {many}")]
        none = [replace(less, subject=s).told() for s in (f"no {noun}", f"none of the {many}")]
        short = [replace(less, subject=s, negated=True).told() for s in (f"some {many}", f"most of the {many}")]
        open_ = [aside.told(), replace(more, subject=f"some {many}").told(f"{self.rng.choice(INTENDED)} to")]
        which = self.rng.choice(["every", "some", "no"])
        answers = {
            "every": (every, some + open_, none + short),
            "some": (every + some, short + open_, none),
            "no": (none, short + open_, every + some),
        }[which]
        subject = f"some {many}" if which == "some" else f"{which} {noun}"
        return replace(fact, subject=subject).told(), dict(zip(LABELS, answers, strict=True))

    def state(self) -> tuple[str, dict[str, list[str]]]:
        """Draw what something was like."""
        kind = self.rng.choice(list(lexicon.ANTONYMS))
        noun = f"the {self.rng.choice(lexicon.NOUNS[kind])}"
        (one, opposite), (aside, _) = (self.rng.sample(pair, 2) for pair in self.rng.sample(lexicon.ANTONYMS[kind], 2))
        when = f" {self.time()}" if self.rng.random() < 0.4 else ""
        someone = self.person()
        degree = self.rng.choice(["very", "rather", "quite"])
        holds, fails = [
            [
                f"{noun} was {degree} {word}{when}",
                f"{noun} was {word} and {aside}{when}",
                f"{someone} noticed that {noun} was {word}{when}",
            ]
            for word in (one, opposite)
        ]
        fails += [f"{noun} was not {one} but {opposite}{when}", f"{noun} was neither {one} nor {aside}{when}"]
        unsure = [
            f"{noun} was {aside}{when}",
            f"{noun} was not {aside}{when}",
            f"{someone} hoped that {noun} was {one}{when}",
            f"{someone} asked whether {noun} was {opposite}{when}",
        ]
        return self.either(f"{noun} was", f"{one}{when}", holds, unsure, fails)

    def comparison(self) -> tuple[str, dict[str, list[str]]]:
        """Draw which of two persons was the taller, older or faster."""
        one, other, third = self.persons(3)
        (word, opposite), (aside, _) = (self.rng.sample(pair, 2) for pair in self.rng.sample(lexicon.COMPARATIVES, 2))
        holds, fails = [
            [
                f"{b} was {opposite} than {a}",
                f"{a} was {word} than {b} and {third}",
                f"{a} was much {word} than {b}",
                f"{b} was {opposite} than {a} but {aside} than {third}",
            ]
            for a, b in ((one, other), (other, one))
        ]
        unsure = [
            f"{one} was {aside} than {other}",
            f"{one} was {word} than {third}",
            f"{third} was {opposite} than {one}",
            f"{other} was not {aside} than {one}",
            f"{third} asked whether {one} was {word} than {other}",
        ]
        return self.either(f"{one} was", f"{word} than {other}", holds, unsure, fails)

    def either(
        self, subject: str, predicate: str, holds: list[str], unsure: list[str], fails: list[str]
    ) -> tuple[str, dict[str, list[str]]]:
        """Affirm or deny a predicate; what makes it hold refutes its denial."""
        if self.rng.random() < 0.4:
            return f"{subject} not {predicate}", dict(zip(LABELS, (fails, unsure, holds), strict=True))
        return f"{subject} {predicate}", dict(zip(LABELS, (holds, unsure, fails), strict=True))


def sentence(words: str) -> str:
    """Write words as a sentence."""
    return f"{words[0].upper()}{words[1:]}."
