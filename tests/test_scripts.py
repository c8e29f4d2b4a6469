"""Words and sentences of running text: of any script as its readers would cut them, and of English as they always were."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_readers import file, load, squad

from bert_repro import corpora
from bert_repro.corpora import words

ASCII = st.text(st.characters(max_codepoint=127), max_size=60)
MIXED = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" .!?»“'-ab é\u0301\u0940\u200d\u200b²東京ไทย")), max_size=40
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("मेरी बहन किताब पढ़ती है।", "मेरी बहन किताब पढ़ती है ।"),
        ("বাংলা ভাষায়", "বাংলা ভাষায়"),
        ("தமிழ் மொழி", "தமிழ் மொழி"),
        ("cafe\u0301 na\u0308iv", "cafe\u0301 na\u0308iv"),
        ("שָׁלוֹם עוֹלָם", "שָׁלוֹם עוֹלָם"),
        ("مُحَمَّد كَتَبَ", "مُحَمَّد كَتَبَ"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("ภาษาไทยไม่มีช่องว่าง", "ภาษา ไทย ไม่มี ช่อง ว่าง"),
        ("ខ្ញុំទៅផ្សារ", "ខ្ញុំ ទៅ ផ្សារ"),
        ("我们住在北京。", "我们 住在 北京 。"),
        ("今日は東京に行く。", "今日 は 東京 に 行く 。"),
        ("나는 학교에 간다.", "나는 학교에 간다 ."),
        ("Это ёлка, а не ель!", "Это ёлка , а не ель !"),
        ("naïve don't 3.5 co-op", "naïve don ' t 3 . 5 co - op"),
        ("l’été n’est", "l ’ été n ’ est"),
        ("km² 6½ H₂O", "km² 6½ H₂O"),
        ("👩\u200d👩\u200d👧 🇩🇪🇫🇷 👍🏽 1️⃣", "👩\u200d👩\u200d👧 🇩🇪 🇫🇷 👍🏽 1️⃣"),
        ("?\u00ad \u200e(ab\u200e) \ufeff", "? \u00ad ( ab )"),
        ("Donau\u00addampf \u00ad", "Donau\u00addampf \u00ad"),
        ("\u200b \u200e\t", ""),
    ],
)
def test_words_are_those_of_their_script(text, expected):
    assert words.words(text) == tuple(expected.split(" ") if expected else ())


@given(ASCII)
def test_the_library_gives_the_words_of_ascii_that_are_cut_without_it(text):
    assert tuple(words._by_unicode(text)) == words.located(text)[1]
    assert words.words(text) == tuple(re.findall(r"\w+|[^\w\s\x00-\x1f\x7f]", text))


@given(MIXED)
def test_words_lie_where_they_are_said_to_and_nothing_that_is_seen_is_lost(text):
    found, places = words.located(text)
    assert found == words.words(text) == tuple(text[start:end] for start, end in places)
    assert words.there_are(text) == bool(found)
    behind = 0
    for start, end in places:
        between = text[behind:start]
        assert all(c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in between) and start < end
        assert not any(map(str.isspace, text[start:end]))
        if start and unicodedata.category(text[start]) in ("Mn", "Mc", "Me"):
            assert not text[start - 1].isalnum()  # no letter loses its mark
        behind = end


@given(MIXED)
def test_sentences_together_are_the_text(text):
    assert sum(map(words.words, words.sentences(text)), ()) == words.words(text)


@given(st.text(st.sampled_from("aZ9 .!?\"'()\t-"), max_size=60))
def test_english_sentences_end_where_they_always_did(text):
    assert words.sentences(text) == re.split(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z])", text)


@pytest.mark.parametrize(
    "sentences",
    [
        ["मेरी बहन किताब पढ़ती है।", "हम कल दिल्ली गए।"],
        ["Птицы поют на рассвете.", "Дождь шёл всю ночь.", "«Да», — сказал он.", "Утром было тихо."],
        ["«Нет.»", "Она ушла в 5 ч. утра."],
        ["Il a plu.", "Étienne dort!", "Ça va?", "« Oui. »"],
        ["¿Qué?", "¡Nada!", "Él vino."],
        ["我们去了北京。", "他说：“好。”", "「真的？」", "3月来了！"],
        ["真的吗?", "我不知道!", "好."],
        ["今日は雨です。", "明日は？", "（晴れ。）"],
        ["كيف حالك؟", "أنا بخير.", "هو هنا."],
        ["გამარჯობა.", "მე აქ ვარ."],
        ["Γεια σου.", "Ήρθε χθες."],
        ["Nenn es z.B. so oder 3.5 mal.", "Über alles."],
        ["He said “Why?” he asked."],
        ["It is 5 p.m. in Paris. écru."],
    ],
)
def test_sentences_end_as_in_their_script(sentences):
    together = ("" if "\u3000" < max(map(max, sentences)) else " ").join(sentences)
    assert words.sentences(together) == sentences


@pytest.mark.parametrize(
    ("context", "answers"),
    [
        ("李明在北京工作，他的妹妹住在上海。", ["李明", "北京", "妹妹", "上海"]),
        ("中华人民共和国成立于1949年10月1日。", ["中华人民共和国", "1949年", "1949年10月1日"]),
        ("夏目漱石は1867年に東京で生まれた。", ["夏目漱石", "1867年", "東京"]),
        ("富士山の高さは3776メートルです。", ["富士山", "3776メートル"]),
        ("กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย", ["กรุงเทพมหานคร", "ประเทศไทย"]),
        ("गंगा हिमालय से निकलती है।", ["गंगा", "हिमालय"]),
    ],
)  # fmt: skip
def test_the_right_span_of_words_is_the_answer_in_scripts_without_spaces(context, answers):
    places = words.located(context)[1]
    for answer in answers:
        start = context.index(answer)
        assert start in {begin for begin, _ in places} and start + len(answer) in {end for _, end in places}


def test_texts_questions_and_pairs_are_all_cut_by_one_rule(tmp_path):
    text = "गंगा हिमालय से निकलती है। यह नदी है।"
    (one, two) = corpora.load(file(tmp_path, "a.txt", text)).items
    context = squad(context=text, question=text, answers=[{"text": "हिमालय", "answer_start": 5}])
    (asked,) = load(file(tmp_path, "a.json", json.dumps(context))).items
    (pair,) = load(file(tmp_path, "a.tsv", f"premise\thypothesis\tlabel\n{text}\t{text}\tneutral\n")).items
    assert one.words + two.words == asked.first == asked.second == pair.first == pair.second == words.words(text)
    assert asked.context[slice(*asked.offsets[1])] == "हिमालय"
