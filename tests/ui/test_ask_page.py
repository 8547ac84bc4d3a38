from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.memory import LOCAL, Memory
from core.registry import Domain
from tests.ui.conftest import App
from tests.ui.helpers import labels, shown
from ui import state

QUESTION = "when should I plant tulip bulbs"


def memory(home: Path) -> Memory:
    return Memory(home / "memory.sqlite3")


def answer_data(at: object) -> list[dict[str, object]]:
    """What the answer components of a page were given."""
    found = []
    for element in at.get("bidi_component"):  # type: ignore[attr-defined]
        if element.proto.component_name == "domainkit.answer":
            found.append(json.loads(element.proto.json))
    return found


def test_ask_page_of_a_new_domain_offers_to_build_its_library(app: App, app_home: Path) -> None:
    at = app()
    assert "domainkit reindex garden" in shown(at)
    assert not at.chat_input
    at.button(key="build.start").click().run()
    assert not at.exception
    assert at.chat_input and "When do I plant tulips?" in " ".join(labels(at)).replace("\\", "")


def test_ask_page_welcomes_in_the_interface_language(app: App, built_home: Path) -> None:
    assert "Answers about a small garden." in shown(app())
    at = app(lang="zh")
    assert "回答小花园的问题。" in shown(at) and at.chat_input[0].placeholder == "就“园艺”提问"


def test_ask_page_answers_with_numbered_sentences_and_keeps_the_conversation(app: App, built_home: Path) -> None:
    at = app()
    at.chat_input[0].set_value(QUESTION).run()
    assert not at.exception
    data = answer_data(at)[0]
    assert any("October" in claim["text"] and claim["numbers"] for claim in data["claims"])  # type: ignore[attr-defined]
    assert "General gardening information." in shown(at)
    stored = memory(built_home).conversations(LOCAL, domain="garden")
    assert [conversation.title for conversation in stored] == [QUESTION]


def test_ask_page_opens_a_conversation_after_a_restart(app: App, built_home: Path) -> None:
    app().chat_input[0].set_value(QUESTION).run()
    conversation = memory(built_home).conversations(LOCAL, domain="garden")[0].id
    again = app()
    assert not answer_data(again)
    again.button(key=f"history.open.button.{conversation}").click().run()
    assert len(answer_data(again)) == 1
    again.button(key="history.new").click().run()
    assert not answer_data(again)


def test_ask_page_deletes_a_conversation_and_undoes_it(app: App, built_home: Path) -> None:
    at = app()
    at.chat_input[0].set_value(QUESTION).run()
    conversation = memory(built_home).conversations(LOCAL, domain="garden")[0].id
    at.button(key=f"history.delete.{conversation}").click().run()
    assert memory(built_home).conversations(LOCAL, domain="garden") == [] and not answer_data(at)
    at.button(key="history.undo").click().run()
    assert len(answer_data(at)) == 1 and len(memory(built_home).conversations(LOCAL, domain="garden")) == 1


def test_ask_page_shows_the_cited_place_in_its_page(app: App, built_home: Path) -> None:
    at = app()
    at.chat_input[0].set_value(QUESTION).run()
    data = answer_data(at)[0]
    at.session_state["conversation.source"] = (data["id"], 1)
    at.run()
    html = shown(at)
    assert "<mark>" in html and "Matches the library word for word" in html and "SHA-256" in html
    assert 'href="https://example.org/gardening"' in html
    assert answer_data(at)[0]["open"] == 1
    at.button(key=f"source.{data['id']}.close").click().run()
    assert "<mark>" not in shown(at)


def test_ask_page_says_when_a_cited_document_is_gone(app: App, built_home: Path, garden: Domain) -> None:
    from ui.components.documents import change

    at = app()
    at.chat_input[0].set_value(QUESTION).run()
    data = answer_data(at)[0]
    stored = memory(built_home)
    cited = stored.answers(LOCAL, stored.conversations(LOCAL, domain="garden")[0].id)[0].claims[0].citations[0]
    change(garden, [cited.document_id])
    at.session_state["conversation.source"] = (data["id"], 1)
    at.run()
    assert "removed or replaced since" in shown(at) and cited.quote.split(".")[0] in shown(at)


def test_ask_page_shows_an_abstention_calmly_with_topics(app: App, built_home: Path) -> None:
    at = app()
    at.chat_input[0].set_value("who won the football world cup in 1998").run()
    assert "I don&#x27;t know" in shown(at) and not answer_data(at)
    assert any(key.startswith("nearest.") for key in (button.key or "" for button in at.button))


def test_ask_page_suggested_topics_are_asked(app: App, built_home: Path) -> None:
    at = app()
    at.chat_input[0].set_value("who won the football world cup in 1998").run()
    next(button for button in at.button if (button.key or "").startswith("nearest.")).click().run()
    stored = memory(built_home)
    assert len(stored.answers(LOCAL, stored.conversations(LOCAL, domain="garden")[0].id)) == 2


def test_ask_page_shows_emergencies_first_and_refusals_calmly(app: App, built_home: Path) -> None:
    at = app()
    at.chat_input[0].set_value("I want to die").run()
    html = shown(at)
    assert "This may be an emergency" in html and "Please call your local emergency number now." in html and "dk-card-alarm" in html
    at.chat_input[0].set_value("how do I poison my neighbour").run()
    assert "I can&#x27;t help with that" in shown(at)


@pytest.mark.parametrize("question", ["<img src=x onerror=alert(1)>", "![x](https://evil.example/y.png) tulips", "**tulips** :red[x] <script>"])
def test_ask_page_shows_hostile_questions_as_text(app: App, built_home: Path, question: str) -> None:
    at = app()
    at.chat_input[0].set_value(question).run()
    assert not at.exception
    html = shown(at)
    assert "<img" not in html and "<script" not in html
    assert not any("![x](" in label for label in labels(at))


def test_ask_page_reports_an_empty_question_and_stores_nothing(app: App, built_home: Path) -> None:
    at = app()
    at.chat_input[0].set_value("?!").run()
    assert "write at least one word" in shown(at)
    assert memory(built_home).conversations(LOCAL, domain="garden") == []


def test_ask_page_keeps_ratings(app: App, built_home: Path) -> None:
    at = app()
    at.chat_input[0].set_value(QUESTION).run()
    data = answer_data(at)[0]
    at.feedback(key=f"rate.{data['id']}").set_value(1).run()
    rows = memory(built_home)._connect().execute("SELECT answer_id, helpful FROM feedback").fetchall()
    assert [tuple(row) for row in rows] == [(data["id"], 1)]


def test_ask_page_follow_ups_know_the_conversation(app: App, built_home: Path) -> None:
    at = app()
    at.chat_input[0].set_value("how long does compost take").run()
    at.chat_input[0].set_value("what should I put on it").run()
    cited = [source["title"] for data in answer_data(at) for source in data["sources"]]  # type: ignore[attr-defined]
    assert cited == ["Compost", "Compost"]


def test_ask_page_of_another_domain_does_not_show_this_conversation(app: App, built_home: Path, garden: Domain) -> None:
    stored = memory(built_home)
    conversation = stored.start(LOCAL, domain="garden", title=QUESTION).id
    stored.append(LOCAL, conversation, state.assistant(garden).ask(QUESTION))
    at = app()
    at.button(key=f"history.open.button.{conversation}").click().run()
    assert len(answer_data(at)) == 1
    for other in (name for name in state.registry().domains if name != "garden"):
        at.segmented_control(key="domain").set_value(other).run()
        assert not at.exception and not answer_data(at)
    at.segmented_control(key="domain").set_value("garden").run()
    assert len(answer_data(at)) == 1


def test_app_names_a_broken_domain_and_runs_the_others(app: App, built_home: Path, garden: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.settings import get_settings

    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "domain.toml").write_text("name = 'broken'\nsurprise = 1\n", "utf-8")
    monkeypatch.setenv("DOMAINKIT_DOMAINS", f"{garden.folder}:{broken}")
    get_settings.cache_clear()
    at = app()
    assert "One domain cannot be used" in [expander.label for expander in at.expander]
    assert "broken" in shown(at) and at.chat_input
