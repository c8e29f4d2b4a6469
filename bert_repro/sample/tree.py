"""Trees of the sample: hides how constituents that know their head become text and numbered CoNLL-U rows.

It refuses head indices while a sentence is built: a word holds its dependents, so heads cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from bert_repro.sample import lexicon
from bert_repro.sample.lexicon import BE, Verb


@dataclass
class Node:
    """A word with its dependents in surface order."""

    form: str
    lemma: str
    upos: str
    xpos: str
    feats: str = "_"
    join: str = ""  # "tight": no space before it; "fused": written as one token with the word before it
    plural: bool = False  # with `person`, what a verb agrees with
    person: int = 3
    dated: bool = False  # simple past: bears "yesterday"
    relation: str = "root"
    left: list[Node] = field(default_factory=list)
    right: list[Node] = field(default_factory=list)

    def lead(self, dependent: Node, relation: str) -> Node:
        """Put a dependent before everything that this word heads so far."""
        dependent.relation = relation
        self.left.insert(0, dependent)
        return self

    def follow(self, dependent: Node, relation: str) -> Node:
        """Put a dependent after everything that this word heads so far."""
        dependent.relation = relation
        self.right.append(dependent)
        return self

    def words(self, head: Node | None = None) -> Iterator[tuple[Node, Node | None]]:
        """Walk the words in surface order, each with its head (none for the root)."""
        for child in self.left:
            yield from child.words(self)
        yield self, head
        for child in self.right:
            yield from child.words(self)

    def tidy(self) -> None:
        """Drop every comma that other punctuation follows: two clauses end together there."""
        for (word, head), (after, _) in pairwise(list(self.words())):
            if word.form == "," and head is not None and after.upos == "PUNCT":
                head.left = [child for child in head.left if child is not word]
                head.right = [child for child in head.right if child is not word]


def comma() -> Node:
    """Make a comma."""
    return Node(",", ",", "PUNCT", ",", join="tight")


def preposition(form: str) -> Node:
    """Make a preposition."""
    return Node(form, form, "ADP", "IN")


def adverb(form: str) -> Node:
    """Make an adverb."""
    return Node(form, form, "ADV", "RB")


def adjective(form: str) -> Node:
    """Make an adjective."""
    return Node(form, form, "ADJ", "JJ", "Degree=Pos")


def coordinator(form: str) -> Node:
    """Make a coordinating conjunction."""
    return Node(form, form, "CCONJ", "CC")


def number(form: str) -> Node:
    """Make a number word."""
    return Node(form, form, "NUM", "CD", "NumForm=Word|NumType=Card")


def the() -> Node:
    """Make the definite article."""
    return Node("the", "the", "DET", "DT", "Definite=Def|PronType=Art")


def mark(form: str) -> Node:
    """Make a subordinating word, or the `to` of an infinitive."""
    return Node(form, form, *(("PART", "TO") if form == "to" else ("SCONJ", "IN")))


def proper(form: str) -> Node:
    """Make a proper noun."""
    return Node(form, form, "PROPN", "NNP", "Number=Sing")


def pronoun(row: tuple[str, str, str, bool, int], case: str) -> Node:
    """Make a personal pronoun out of its row of the lexicon: `Nom`, `Acc` or possessive `Gen`."""
    *forms, plural, person = row
    form, possessive = forms[("Nom", "Acc", "Gen").index(case)], case == "Gen"
    number = f"Number={'Plur' if plural else 'Sing'}|Person={person}"
    feats = f"Case={case}|{number}|{'Poss=Yes|' if possessive else ''}PronType=Prs"
    lemma, xpos = (form, "PRP$") if possessive else (forms[0], "PRP")
    return Node(form, lemma, "PRON", xpos, feats, plural=plural, person=person)


def common(lemma: str, plural: bool = False) -> Node:
    """Make a common noun."""
    number = "Plur" if plural else "Sing"
    form = lexicon.plural(lemma) if plural else lemma
    return Node(form, lemma, "NOUN", "NNS" if plural else "NN", f"Number={number}", plural=plural)


def inflect(verb: Verb, shape: str, subject: Node, tense: str) -> Node:
    """Inflect a verb: `finite` agrees with the subject, the other shapes are base, participle and gerund."""
    if shape == "base":
        return Node(verb.lemma, verb.lemma, "VERB", "VB", "VerbForm=Inf")
    if shape == "participle":
        return Node(verb.participle, verb.lemma, "VERB", "VBN", "Tense=Past|VerbForm=Part")
    if shape == "gerund":
        return Node(verb.gerund, verb.lemma, "VERB", "VBG", "Tense=Pres|VerbForm=Part")
    plain = subject.plural or subject.person != 3
    if verb is BE:
        i = subject.person == 1 and not subject.plural
        form = ("am" if i else "are" if plain else "is") if tense == "pres" else "were" if plain and not i else "was"
    else:
        form = verb.past if tense == "past" else verb.lemma if plain else verb.third
    xpos = "VBD" if tense == "past" else "VBP" if plain else "VBZ"
    agreement = f"Number={'Plur' if subject.plural else 'Sing'}|Person={subject.person}"
    feats = f"Mood=Ind|{agreement}|Tense={tense.capitalize()}|VerbForm=Fin"
    return Node(form, verb.lemma, "VERB", xpos, feats, dated=tense == "past")


def surface(root: Node) -> str:
    """Write a sentence as plain text."""
    words = [word for word, _ in root.words()]
    text = "".join(("" if word.join or not place else " ") + word.form for place, word in enumerate(words))
    return text[0].upper() + text[1:]


def conllu(root: Node, name: str) -> str:
    """Write a sentence as a CoNLL-U block."""
    pairs = list(root.words())
    number = {id(word): place for place, (word, _) in enumerate(pairs, 1)}
    rows = [f"# sent_id = {name}", f"# text = {surface(root)}"]
    for place, (word, head) in enumerate(pairs, 1):
        form = word.form[0].upper() + word.form[1:] if place == 1 else word.form
        after = pairs[place][0] if place < len(pairs) else None
        tight = "SpaceAfter=No" if after is not None and after.join == "tight" else "_"
        if after is not None and after.join == "fused":
            later = pairs[place + 1][0] if place + 1 < len(pairs) else None
            outer = "SpaceAfter=No" if later is not None and later.join else "_"
            rows.append("\t".join([f"{place}-{place + 1}", form + after.form, *"_" * 7, outer]))
        index = str(number[id(head)] if head is not None else 0)
        rows.append(
            "\t".join(
                [str(place), form, word.lemma, word.upos, word.xpos, word.feats, index, word.relation, "_", tight]
            )
        )
    return "\n".join(rows) + "\n"
