"""Clauses of the sample: hides a grammar of our own, which spends a number of words and so sets lengths.

It refuses to join words at random: every noun has a kind, and verbs, adjectives and phrases choose theirs.
"""

import random
from collections.abc import Callable
from functools import partial

from bert_repro.sample import lexicon, tree
from bert_repro.sample.lexicon import BE, DO, HAVE, Verb
from bert_repro.sample.tree import Node

ACTING = "adverb place time with purpose"  # what may follow a deed of a person


class Clauses:
    """Draws noun phrases and clauses; `formal` keeps to the past and the third person.

    `room` is the number of words that a constituent may take up, roughly: the grammar spends it, and so sets lengths.
    """

    def __init__(self, rng: random.Random, formal: bool = False) -> None:
        self.rng, self.formal = rng, formal
        self.tense, self.used = "past", list[str]()

    def chance(self, probability: float) -> bool:
        """Toss a coin."""
        return self.rng.random() < probability

    def fresh(self, words: list[str]) -> str:
        """Choose a word that the sentence does not hold yet, if there is one."""
        word = self.rng.choice([w for w in words if w not in self.used] or words)
        self.used.append(word)
        return word

    def pick(self, entries: str) -> str:
        """Choose one of the words of a line."""
        return self.rng.choice(entries.split())

    # Noun phrases

    def pronoun(self, case: str) -> Node:
        """Draw a personal pronoun."""
        return tree.pronoun(self.rng.choice(lexicon.PRONOUNS[: 3 if self.formal else 6]), case)

    def name(self) -> Node:
        """Draw a person's name."""
        node = tree.proper(self.fresh(self.rng.choice((lexicon.WOMEN, lexicon.MEN))))
        return node.follow(tree.proper(self.fresh(lexicon.SURNAMES)), "flat") if self.chance(0.25) else node

    def noun_phrase(self, kind: str, room: int, subject: bool = False) -> Node:
        """Draw a noun phrase of a kind, coordinated where there is room."""
        if room >= 6 and self.chance(0.22):
            first = self.single(kind, max(3, room // 2), subject)
            parts = 2 if room >= 9 and self.chance(0.3) else 1
            for left in range(parts, 0, -1):
                part = self.single(kind, max(3, (room // 2 - 1) // parts), subject)
                if left == 1:
                    part.lead(tree.coordinator("and"), "cc")
                if parts > 1:
                    part.lead(tree.comma(), "punct")
                first.follow(part, "conj")
            first.plural, first.person = True, 3
            return first
        return self.single(kind, room, subject)

    def single(self, kind: str, room: int, subject: bool) -> Node:
        """Draw a noun phrase that is not coordinated."""
        if kind == "city":
            return tree.proper(self.fresh(lexicon.CITIES))
        if kind in ("person", "kin"):
            if room <= 2 and self.chance(0.5):
                return self.pronoun("Nom" if subject else "Acc")
            if self.chance(0.25):
                node = self.name()
                if room >= 7 and self.chance(0.5):
                    node.follow(self.described("person", room - 3, "a").lead(tree.comma(), "punct"), "appos")
                    node.right[-1].follow(tree.comma(), "punct")
                elif room >= 8 and self.chance(0.5):
                    clause = self.relative(node, "person", room - 3, subject=True).lead(tree.comma(), "punct")
                    node.follow(clause.follow(tree.comma(), "punct"), "acl:relcl")
                return node
        return self.described(kind, room, "")

    def described(self, kind: str, room: int, definiteness: str) -> Node:
        """Draw a common noun with its determiner (`one`: singular, `a`: indefinite too) and modifiers."""
        plural = not definiteness and self.chance(0.28)
        noun = tree.common(self.fresh(lexicon.NOUNS[kind]), plural)
        if self.chance(0.45) and room > 2:
            noun.lead(tree.adjective(self.fresh(lexicon.ADJECTIVES[kind])), "amod")
            if room > 4 and self.chance(0.15):
                noun.left[0].lead(tree.adverb("very"), "advmod")
        self.determine(noun, room, definiteness, kind)
        room -= 2 + len(noun.left)
        modifiers = [
            kind_ for kind_ in ("phrase", "clause") if room >= (2 if kind_ == "phrase" else 4) and self.chance(0.6)
        ]
        share = room // max(1, len(modifiers))
        for modifier in modifiers:
            if modifier == "phrase":
                form, inner = self.pick(lexicon.NOUN_PHRASES[kind]).split(":")
                one = inner in ("building", "land", "water", "part")
                behind = self.described(inner, share - 1, "one") if one else self.noun_phrase(inner, share - 1)
                noun.follow(behind.lead(tree.preposition(form), "case"), "nmod")
            else:
                noun.follow(self.relative(noun, kind, share), "acl:relcl")
        return noun

    def determine(self, noun: Node, room: int, definiteness: str, kind: str) -> None:
        """Give a noun its article, number word, demonstrative or possessor."""
        first = (noun.left[0].left or noun.left)[0].form if noun.left else noun.form
        draw = 0.99 if definiteness == "a" else self.rng.random()
        owned = kind in lexicon.OWNED
        if kind == "kin" and draw < 0.8 or owned and draw < 0.1:
            noun.lead(self.pronoun("Gen"), "nmod:poss")
        elif owned and draw < 0.18 and room >= 4:
            owner = (
                tree.proper(self.fresh(lexicon.WOMEN + lexicon.MEN))
                if self.chance(0.5)
                else tree.common(self.fresh(lexicon.NOUNS["person"]))
            )
            if owner.upos == "NOUN":
                owner.lead(tree.the(), "det")
            noun.lead(owner.follow(Node("'s", "'s", "PART", "POS", join="fused"), "case"), "nmod:poss")
        elif noun.plural and draw < 0.4:
            count = self.rng.choice(lexicon.NUMBERS[:8])
            noun.lead(tree.number(count), "nummod")
        elif draw < 0.26 and not definiteness:
            form = self.pick("some many these several") if noun.plural else self.pick("this this that every another")
            lemma = {"these": "this"}.get(form, form)
            adjectival = form in ("many", "several")
            noun.lead(
                Node(form, lemma, "ADJ" if adjectival else "DET", "JJ" if adjectival else "DT"),
                "amod" if adjectival else "det",
            )
        elif draw < 0.7 or noun.plural and draw < 0.85:
            noun.lead(tree.the(), "det")
        elif not noun.plural:
            noun.lead(Node(lexicon.article(first), "a", "DET", "DT", "Definite=Ind|PronType=Art"), "det")

    def relative(self, noun: Node, kind: str, room: int, subject: bool = False) -> Node:
        """Draw a relative clause on a noun: with its own subject where the noun can be an object."""
        human = kind in ("person", "kin")
        form = "who" if human else "that" if self.chance(0.7) else "which"
        pronoun = Node(form, form, "PRON", "WP" if human else "WDT", "PronType=Rel", plural=noun.plural)
        if subject or kind not in lexicon.TRANSITIVE or self.chance(0.5):
            return self.clause(kind, pronoun, room - 1)
        agent = self.noun_phrase("person", min(room - 3, 5), subject=True)
        clause = self.verbal(self.rng.choice(lexicon.TRANSITIVE[kind]), agent)
        if self.chance(0.6):
            clause.lead(pronoun, "obj")
        return self.adjuncts(clause, room - 7) if room >= 10 else clause

    # Verbs

    def verbal(
        self,
        verb: Verb,
        subject: Node,
        *,
        silent: bool = False,
        invert: bool = False,
        passive: bool = False,
        predicate: Node | None = None,
    ) -> Node:
        """Build a finite verb group around a verb, or around a predicate that `be` links to its subject.

        Args:
            verb: The main verb.
            subject: What the verb agrees with; attached too, unless `silent`.
            silent: The subject stands with another verb (coordination).
            invert: Put the first auxiliary before the subject, as questions do.
            passive: Use the passive.
            predicate: The head, where the verb is a copula.
        """
        draw = self.rng.random()
        helpers, shapes, head_shape = list[Verb | str](), ["finite"], "finite"
        if draw < 0.1:
            helpers, head_shape = [self.rng.choice(lexicon.MODALS[self.tense])], "base"
        elif draw < 0.18:
            helpers, head_shape = [HAVE], "participle"
        elif draw < 0.26 and verb.lemma not in lexicon.STATIVE and verb is not BE and not passive:
            helpers, head_shape = [BE], "gerund"
        if passive:
            shapes.append(head_shape)
            helpers.append(BE)
            head_shape = "participle"
        negated = self.chance(0.1)
        if (negated or invert) and not helpers and verb is not BE:
            helpers, head_shape = [DO], "base"
        group = list[Node]()
        for place, helper in enumerate(helpers):
            if isinstance(helper, str):
                group.append(Node(helper, helper, "AUX", "MD", "VerbForm=Fin"))
            else:
                shape = "finite" if place == 0 else shapes[place]
                group.append(tree.inflect(helper, shape, subject, self.tense))
            group[-1].upos = "AUX"
            group[-1].relation = "aux:pass" if passive and place == len(helpers) - 1 else "aux"
        main = tree.inflect(verb, head_shape, subject, self.tense)
        main.dated = self.tense == "past" and not isinstance((helpers or [verb])[0], str) and HAVE not in helpers
        if predicate is not None:
            main.upos, main.relation, predicate.dated = "AUX", "cop", main.dated
            group.append(main)
            main = predicate
        if negated:
            short = group[0].form not in ("am", "can", "will", "must", "may", "might") and (invert or self.chance(0.5))
            if short or not invert:
                no = Node(
                    "n't" if short else "not",
                    "not",
                    "PART",
                    "RB",
                    "Polarity=Neg",
                    join="fused" if short else "",
                    relation="advmod",
                )
                group.insert(1, no)
        if not negated and not invert and verb is not BE and self.chance(0.06):
            often = tree.adverb(self.pick(lexicon.FREQUENCY))
            often.relation = "advmod"
            group.append(often)
        if not silent:
            subject.relation = "nsubj:pass" if passive else "nsubj"
            group.insert((2 if len(group) > 1 and group[1].join else 1) if invert else 0, subject)
        main.left[:0] = group
        return main

    def clause(self, kind: str, subject: Node, room: int, silent: bool = False, invert: bool = False) -> Node:
        """Draw a clause about a subject of a kind."""
        verbal = partial(self.verbal, subject=subject, silent=silent, invert=invert)
        human = kind in ("person", "kin")
        options = {
            "intransitive": (kind in lexicon.INTRANSITIVE or human) * (4 if room < 4 else 1),
            "transitive": (human * 5 + (kind in ("animal", "text")) * 4) * (room >= 3),
            "copula": 1.5 if room >= 2 else 0.3,
            "passive": (0 if invert else 0.6 if human else 2) * (kind in lexicon.PASSIVE or human),
            "giving": human * 1.5 * (room >= 6),
            "wishing": human * 2 * (room >= 5),
            "saying": human * 3 * (room >= 6) * (not invert),
            "both": human * 2 * (room >= 9) * (not silent) * (not invert),
        }
        choice = self.rng.choices(list(options), list(options.values()))[0]
        if choice == "both":
            first = self.clause(kind, subject, room // 2, silent)
            second = self.clause(kind, subject, room // 2 - 1, silent=True)
            word = self.pick("and and but")
            return first.follow(second.lead(tree.coordinator(word), "cc"), "conj")
        if choice == "copula":
            return self.adjuncts(self.copula(kind, subject.plural, room - 1, verbal), room - 5, "time")
        if choice == "intransitive":
            verb = self.rng.choice(lexicon.INTRANSITIVE["person" if human else kind])
            head = verbal(verb)
            return self.adjuncts(head, room - 1, ACTING if human else "place time place")
        if choice == "passive":
            verb = self.rng.choice(lexicon.PASSIVE["person" if human else kind])
            head = verbal(verb, passive=True)
            if room >= 4 and self.chance(0.5):
                head.follow(
                    self.noun_phrase("person", min(room - 3, 6)).lead(tree.preposition("by"), "case"), "obl:agent"
                )
                room -= 5
            return self.adjuncts(head, room - 2, "place time" if kind != "idea" else "time")
        if choice == "transitive":
            acts = {"animal": lexicon.ANIMAL_ACTS, "text": lexicon.TEXT_ACTS}
            target = self.rng.choice(
                {"animal": ("animal", "person"), "text": ("event", "idea")}.get(kind, list(lexicon.TRANSITIVE))
            )
            verb = self.rng.choice(acts.get(kind, lexicon.TRANSITIVE[target]))
            spent = max(2, min(room - 1, self.rng.randint(2, 9)))
            head = verbal(verb).follow(self.noun_phrase(target, spent), "obj")
            return self.adjuncts(head, room - 1 - spent, "" if kind == "text" else ACTING if human else "place time")
        if choice == "giving":
            head = verbal(self.rng.choice(lexicon.GIVING))
            gift = self.noun_phrase(self.pick("thing text food"), min(room - 4, 5))
            if self.chance(0.4):
                return head.follow(self.single("person", 3, False), "iobj").follow(gift, "obj")
            return head.follow(gift, "obj").follow(
                self.noun_phrase("person", room - 6).lead(tree.preposition("to"), "case"), "obl"
            )
        if choice == "wishing":
            head = verbal(self.rng.choice(lexicon.WISHING))
            return head.follow(self.infinitive(room - 2), "xcomp")
        head = verbal(self.rng.choice(lexicon.SAYING))
        return head.follow(self.embedded("that" if self.chance(0.7) else "", room - 2), "ccomp")

    def copula(self, kind: str, plural: bool, room: int, verbal: Callable[..., Node]) -> Node:
        """Draw a predicate adjective, noun or place with its copula."""
        draw = self.rng.random()
        if kind == "person" and draw < 0.25 and not plural:
            head = self.described("person", room, "a")
        elif draw < 0.45 and kind not in ("idea", "land", "water", "part", "text", "building"):
            place = self.pick("building land water")
            head = self.described(place, room - 2, "one")
            head.lead(tree.preposition(self.pick(lexicon.PLACE_PREPOSITIONS[place])), "case")
        else:
            forms = [self.fresh(lexicon.ADJECTIVES[kind]) for _ in range(2 if room >= 5 and self.chance(0.4) else 1)]
            head = tree.adjective(forms[0])
            if self.chance(0.3):
                head.lead(tree.adverb(self.pick(lexicon.DEGREE)), "advmod")
            for form in forms[1:]:
                head.follow(tree.adjective(form).lead(tree.coordinator("and"), "cc"), "conj")
        return verbal(BE, predicate=head)

    def infinitive(self, room: int) -> Node:
        """Draw an infinitive with `to`."""
        target = self.rng.choice(list(lexicon.TRANSITIVE))
        acts = [act for act in lexicon.TRANSITIVE[target] if act.lemma not in lexicon.STATIVE]
        head = tree.inflect(self.rng.choice(acts), "base", Node("", "", "", ""), "pres")
        head.follow(self.noun_phrase(target, min(max(2, room - 2), 8)), "obj")
        return self.adjuncts(head, room - 9).lead(tree.mark("to"), "mark")

    def embedded(self, opener: str, room: int) -> Node:
        """Draw a clause with its own subject behind a subordinating word."""
        head = self.statement(room)
        return head.lead(tree.mark(opener), "mark") if opener else head

    def statement(self, room: int) -> Node:
        """Draw a subject and a clause about it."""
        kind = self.pick("person " * 6 + "kin kin animal animal text thing vehicle building event idea land")
        share = int(room * self.rng.uniform(0.4, 0.6)) if room >= 9 and self.chance(0.55) else self.rng.randint(1, 4)
        subject = self.noun_phrase(kind, min(share, room - 1), subject=True)
        return self.clause(kind, subject, room - share)

    def adjuncts(self, head: Node, room: int, options: str = ACTING) -> Node:
        """Give a clause adverbs, phrases of place and time, and a purpose, as far as there is room."""
        if head.lemma in lexicon.STATIVE:
            options = "time"
        for option in [o for o in options.split() if self.chance(0.5)]:
            if option == "adverb" and room >= 1:
                head.follow(tree.adverb(self.fresh(lexicon.MANNER.split())), "advmod")
                room -= 1
            elif option == "place" and room >= 3:
                place = self.pick("building land water")
                spent = min(room - 1, self.rng.randint(2, 7))
                phrase = self.described(place, spent, "one")
                head.follow(phrase.lead(tree.preposition(self.pick(lexicon.PLACE_PREPOSITIONS[place])), "case"), "obl")
                room -= spent + 1
            elif option == "time" and room >= 1:
                room -= self.time(head, room)
            elif option == "with" and room >= 4:
                head.follow(self.noun_phrase("kin", min(room - 1, 5)).lead(tree.preposition("with"), "case"), "obl")
                room -= 4
            elif option == "purpose" and room >= 5:
                head.follow(self.infinitive(room), "advcl")
                room = 0
        return head

    def time(self, head: Node, room: int) -> int:
        """Say when; returns the words spent."""
        if room < 2:
            head.follow(tree.adverb("yesterday" if head.dated else "again"), "advmod")
            return 1
        draw = self.rng.random()
        if head.dated and draw < 0.2:
            unit = tree.common(self.pick("week month year summer"))
            head.follow(unit.lead(tree.adjective("last"), "amod"), "obl:tmod")
        elif head.dated and draw < 0.35 and room >= 3:
            ago, count = tree.adverb("ago"), self.pick("two three five ten")
            unit = tree.common(self.pick("day week month year"), plural=True)
            unit.lead(tree.number(count), "nummod")
            head.follow(ago.lead(unit, "obl:npmod"), "advmod")
        elif draw < 0.6:
            head.follow(tree.proper(self.fresh(lexicon.DAYS)).lead(tree.preposition("on"), "case"), "obl")
        elif draw < 0.8:
            part = tree.common(self.pick("morning evening afternoon"))
            part.lead(tree.the(), "det")
            head.follow(part.lead(tree.preposition("in"), "case"), "obl")
        else:
            event = self.noun_phrase("event", min(room - 1, 5))
            head.follow(event.lead(tree.preposition(self.pick("before after during")), "case"), "obl")
        return 3
