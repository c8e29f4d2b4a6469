"""Sentences of the sample: hides which sentences occur how often, and how long they are.

It refuses a sentence that outgrows its length: it draws again.
"""

from bert_repro.sample import lexicon, tree
from bert_repro.sample.clauses import Clauses
from bert_repro.sample.lexicon import BE
from bert_repro.sample.tree import Node

LONGEST = 40  # words


class Speaker(Clauses):
    """Draws one sentence after another; a formal one asks and orders nothing."""

    def question(self, room: int) -> Node:
        """Draw a question, with or without a question word."""
        draw = self.rng.random()
        if draw < 0.25:
            return self.clause("person", Node("who", "who", "PRON", "WP", "PronType=Int"), room - 1)
        subject = self.noun_phrase("person", min(max(1, room - 4), 6), subject=True)
        if draw < 0.5:
            target = self.pick("thing text food idea")
            head = self.verbal(self.rng.choice(lexicon.TRANSITIVE[target]), subject, invert=True)
            return self.adjuncts(head, room - 6).lead(Node("what", "what", "PRON", "WP", "PronType=Int"), "obj")
        head = self.clause("person", subject, room - 4, invert=True)
        if draw < 0.75:
            form = self.pick("why when where") if head.upos == "VERB" else "why"
            head.lead(Node(form, form, "ADV", "WRB", "PronType=Int"), "advmod")
        return head

    def opened(self, room: int) -> Node:
        """Draw a statement behind a comma: a fronted phrase, a clause or an adverb."""
        draw = self.rng.random()
        if draw < 0.45 and room >= 10:
            head = self.statement(room // 2)
            opener = self.embedded(self.pick("because when although while if after before"), room // 2 - 2)
            if self.chance(0.5):
                return head.follow(opener, "advcl")
            return head.lead(opener.follow(tree.comma(), "punct"), "advcl")
        head = self.statement(room - 4)
        if draw < 0.7:
            place = self.pick("building land event")
            phrase = self.described(place, 3, "one").lead(
                tree.preposition({"building": "near", "land": "in", "event": "after"}[place]), "case"
            )
            return (
                head.lead(phrase, "obl") if self.chance(0.3) else head.lead(tree.comma(), "punct").lead(phrase, "obl")
            )
        return head.lead(tree.comma(), "punct").lead(tree.adverb(self.pick(lexicon.OPENERS)), "advmod")

    def sentence(self) -> Node:
        """Draw a sentence with its final punctuation."""
        while True:
            room = min(34, max(2, round(self.rng.lognormvariate(2.95, 0.6))))
            self.used = []
            self.tense = "past" if self.formal or self.chance(0.75) else "pres"
            draw, end = self.rng.random(), "."
            if draw < 0.08 and not self.formal:
                head, end = self.question(room), "?"
            elif draw < 0.11 and not self.formal:
                head = self.infinitive(room)
                head.left[0] = Node("please", "please", "INTJ", "UH", relation="discourse")
                head.xpos, head.feats = "VB", "Mood=Imp|VerbForm=Fin"
            elif draw < 0.17:
                head = tree.inflect(
                    BE,
                    "finite",
                    subject := self.described(self.pick("person animal building thing"), room - 3, "a"),
                    "past",
                )
                head.lead(Node("there", "there", "PRON", "EX"), "expl").follow(subject, "nsubj")
                self.adjuncts(head, max(4, room - 8), "place place")
            elif draw < 0.3 and room >= 12:
                head, second, word = (
                    self.statement(room // 2 - 1),
                    self.statement(room // 2 - 1),
                    self.pick("and but so"),
                )
                head.follow(second.lead(tree.coordinator(word), "cc").lead(tree.comma(), "punct"), "conj")
            elif draw < 0.5 and room >= 7:
                head = self.opened(room)
            else:
                head = self.statement(room)
            head.follow(Node(end, end, "PUNCT", ".", join="tight"), "punct")
            head.tidy()
            if 3 <= sum(word.upos != "PUNCT" for word, _ in head.words()) <= LONGEST:
                return head
