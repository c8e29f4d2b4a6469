"""Paragraphs of the sample: hides invented persons, towns and firms, and the sentences and questions about them.

It refuses an answer that its paragraph holds twice: such a paragraph is drawn again.
"""

import random
from string import Formatter

from bert_repro.sample import lexicon
from bert_repro.sample.grammar import Speaker
from bert_repro.sample.tree import surface

Question = tuple[str, str, int]  # question, answer, where the answer starts
Fact = tuple[str, dict[str, str]]  # a sentence with slots, and a question for each slot worth asking about

FACTS: dict[str, list[Fact]] = {
    "person": [
        (
            "{name} was a {trade} who was born in {city} in {year}.",
            {
                "city": "Where was {name} born?",
                "year": "When was {name} born?",
                "trade": "What was the profession of {name}?",
            },
        ),
        (
            "{who} studied {subject} with {other} for {count} years.",
            {
                "subject": "What did {name} study?",
                "other": "Who taught {name}?",
                "count": "How many years did {name} study?",
            },
        ),
        (
            "In {later}, {who} moved to {city2} and opened a small {building} near the {water}.",
            {"later": "When did {name} move?", "city2": "Where did {name} move?", "building": "What did {name} open?"},
        ),
        (
            "{who} wrote {count2} books about {topic}, and most of them were published in {city3}.",
            {
                "count2": "How many books did {name} write?",
                "topic": "What did {name} write about?",
                "city3": "Where were most books by {name} published?",
            },
        ),
        (
            "{who} married {partner}, a {trade2} from {city4}, in {latest}.",
            {
                "partner": "Who married {name}?",
                "city4": "Where did the partner of {name} come from?",
                "latest": "When did {name} marry?",
            },
        ),
        (
            "{who} kept {count3} {animals} and was often seen at the {event} in {city5}.",
            {"count3": "How many {animals} did {name} keep?", "city5": "Where was the {event} that {name} attended?"},
        ),
    ],
    "town": [
        (
            "{name} is a small town on the {river}, north of {city}.",
            {"river": "Which river flows past {name}?", "city": "Which city lies south of {name}?"},
        ),
        (
            "{Number} people live in {who}, and most of them work in the {building}.",
            {"Number": "How many people live in {name}?", "building": "Where do most people in {name} work?"},
        ),
        (
            "The old bridge was built by {other} in {year}.",
            {"other": "Who built the old bridge in {name}?", "year": "When was the old bridge in {name} built?"},
        ),
        (
            "The town is known for its {goods}, which are sold in the square every {day}.",
            {"goods": "What is {name} known for?", "day": "On which day is there a market in {name}?"},
        ),
        (
            "After the {disaster} of {later}, the {building2} was moved to the {water}.",
            {"disaster": "What struck {name} before a building was moved?", "building2": "What was moved in {name}?"},
        ),
        (
            "The town has {count} schools and a museum about {topic}.",
            {"count": "How many schools does {name} have?", "topic": "What is the museum in {name} about?"},
        ),
    ],
    "firm": [
        (
            "{name} was founded in {city} in {year} by {other}.",
            {"city": "Where was {name} founded?", "year": "When was {name} founded?", "other": "Who founded {name}?"},
        ),
        (
            "The firm makes {goods} and has {number} workers.",
            {"goods": "What does {name} make?", "number": "How many workers does {name} have?"},
        ),
        (
            "It was bought by {partner} in {later} and moved to {city2}.",
            {"partner": "Who bought {name}?", "later": "When was {name} bought?", "city2": "Where did {name} move?"},
        ),
        (
            "Its oldest workshop stands near the {water} and is open to visitors on {day}.",
            {
                "water": "Where does the oldest workshop of {name} stand?",
                "day": "On which day is the workshop of {name} open?",
            },
        ),
        (
            "Its first driver, {third}, owned {count} {animals}.",
            {"third": "Who was the first driver of {name}?", "count": "How many {animals} did {third} own?"},
        ),
    ],
}
ASKED = 5  # questions a paragraph
SUBJECTS = lexicon.listed("music law medicine history geography drawing chemistry botany astronomy architecture")
GOODS = lexicon.listed(
    "clocks candles hats boats lamps cheeses carpets bottles drums violins umbrellas baskets kites ladders"
)
TOPICS = lexicon.listed("birds bridges ships gardens trains rivers coins castles bees stars bread glass weather maps")
DISASTERS = lexicon.listed("flood fire storm earthquake drought")
ENDINGS = lexicon.listed("ford ton field brook haven bridge wick")
TOWNS = [a + b for a in lexicon.listed("Ash Oak Mill Stone North Green Hazel Winter Swan Elder") for b in ENDINGS]
RIVERS = [f"{name} River" for name in lexicon.listed("Silver Black Willow Otter Long Heron Amber Stony")]


class Author:
    """Draws paragraphs about invented persons, towns and firms."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.speaker = rng, Speaker(rng, formal=True)

    def context(self) -> tuple[str, str, list[Question]]:
        """Draw a paragraph to ask about: two of a kind, so that the name in the question matters.

        Returns:
            Title, paragraph and questions.
        """
        while True:
            kind = self.rng.choice(list(FACTS))
            context, questions = "", list[Question]()
            slots = self.slots(kind)
            for values, most in zip(slots, (3, 1), strict=True):
                for template, asked in self.facts(kind, most):
                    text, found = fill(template, asked, values, len(context))
                    context += f"{text} "
                    questions += found
            if all(context.count(answer) == 1 for _, answer, _ in questions):
                return slots[0]["name"], context.rstrip(), sorted(self.rng.sample(questions, ASKED), key=lambda q: q[2])

    def paragraph(self) -> str:
        """Draw a paragraph to read: a few facts, then sentences of the grammar."""
        kind = self.rng.choice(list(FACTS))
        values = self.slots(kind)[0]
        texts = [fill(template, {}, values, 0)[0] for template, _ in self.facts(kind)]
        return " ".join(texts + [surface(self.speaker.sentence()) for _ in range(self.rng.randint(1, 3))])

    def facts(self, kind: str, most: int = 3) -> list[Fact]:
        """Choose the fact that introduces the name, and one to `most` others."""
        first, *others = FACTS[kind]
        chosen = self.rng.sample(range(len(others)), self.rng.randint(1, most))
        return [first, *(others[place] for place in sorted(chosen))]

    def slots(self, kind: str) -> list[dict[str, str]]:
        """Draw what fills the slots of two different persons, towns or firms."""
        rng = self.rng
        firsts, surnames = rng.sample(lexicon.WOMEN + lexicon.MEN, 8), rng.sample(lexicon.SURNAMES, 10)
        cities, births = rng.sample(lexicon.CITIES, 10), rng.sample(range(1801, 1930), 2)
        counts, numbers = rng.sample(lexicon.NUMBERS, 6), rng.sample(range(210, 9900, 10), 2)
        pools = {
            "trade": lexicon.NOUNS["person"][:11],
            "subject": SUBJECTS,
            "building": lexicon.NOUNS["building"][2:10],
            "water": lexicon.NOUNS["water"],
            "topic": TOPICS,
            "animals": [lexicon.plural(word) for word in lexicon.NOUNS["animal"]],
            "event": lexicon.NOUNS["event"],
            "goods": GOODS,
            "day": lexicon.DAYS,
            "disaster": DISASTERS,
            "river": RIVERS,
            "town": TOWNS,
        }
        drawn = {pool: rng.sample(words, 4) for pool, words in pools.items()}
        entities = list[dict[str, str]]()
        for turn in (0, 1):
            persons = [f"{firsts[2 * i + turn]} {surnames[2 * i + turn]}" for i in range(4)]
            name = {"person": persons[0], "town": drawn["town"][turn], "firm": f"{surnames[8 + turn]} and Sons"}[kind]
            values = {pool: words[turn] for pool, words in drawn.items()}
            values |= {f"{pool}2": words[2 + turn] for pool, words in drawn.items()}
            values |= {"name": name, "who": persons[0].split()[1] if kind == "person" else name}
            values |= dict(zip(("other", "partner", "third"), persons[1:], strict=True))
            values |= dict(zip(("city", "city2", "city3", "city4", "city5"), cities[turn::2], strict=True))
            first, second = births[turn] + rng.randint(20, 29), births[turn] + rng.randint(30, 45)
            values |= {"year": str(births[turn]), "later": str(first), "latest": str(second)}
            values |= dict(zip(("count", "count2", "count3"), counts[turn::2], strict=True))
            values |= {"number": str(numbers[turn]), "Number": str(numbers[turn])}
            entities.append(values)
        return entities


def fill(template: str, asked: dict[str, str], values: dict[str, str], at: int) -> tuple[str, list[Question]]:
    """Fill a fact that starts at a position of its paragraph, and the questions about it."""
    text, questions = "", list[Question]()
    for literal, slot, _, _ in Formatter().parse(template):
        text += literal
        if slot:
            if slot in asked:
                questions.append((asked[slot].format(**values), values[slot], at + len(text)))
            text += values[slot]
    return text, questions
