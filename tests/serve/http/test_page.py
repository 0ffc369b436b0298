"""The web page, walked through in a real browser as a person would."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ragagent import Document, tool
from ragagent.serve.http.app import PAGE
from ragagent.serve.http.service import Extras
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Message
from tests.serve.http.browser import WIDTHS, launched, watching
from tests.serve.http.payloads import PAYLOADS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HANDBOOK = Path(__file__).parents[3] / "examples" / "documents" / "house-handbook-2025.pdf"
SENTENCE = "Music has to be turned down to 65 decibels after 22:00."
FERRY = Document(uri="n:ferry", title="Ferry", text="The ferry to the island leaves the harbour at seven.")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as made:
        yield made


@tool(effects=("network",))
def send(text: str) -> str:
    """Sends a text."""
    return f"sent {text}"


EXTRAS = Extras(web=PAGE, tools=[send])
STEPS = (
    {"needs": "to send it", "tool": "send", "arguments": {"text": "hello"}},
    {"found": "it is done", "tool": "final_answer", "arguments": {"answer": "It is done."}},
)


def reply(messages: Sequence[Message]) -> str:
    """The next step of a task that sends; else the sentence about music or the ferry that was shown."""
    if "Send hello" in "".join(message.content for message in messages):
        return json.dumps(STEPS[min(1, sum(message.role == "assistant" for message in messages))])
    shown = messages[-1].content
    return SENTENCE if SENTENCE in shown and "music" in shown.rpartition("Question:")[2] else FERRY.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", list(WIDTHS))
def test_a_person_uploads_asks_opens_the_source_approves_denies_deletes_and_undoes(
    tmp_path: Path, serving: Any, browser: Browser, width: str, scheme: str
) -> None:
    with (
        serving(tmp_path / "kb", llm=ScriptedLLM(reply), extras=EXTRAS, documents=[FERRY]) as served,
        watching(browser, f"http://127.0.0.1:{served.port}/", width=width, scheme=scheme) as walk,
    ):
        page = walk.page
        walk.link("Documents")
        page.set_input_files("#files", HANDBOOK)
        page.get_by_text("1 added").wait_for()
        assert walk.violations() == []

        walk.link("Ask")
        page.get_by_label("Your question").fill("How loud may the music be after 22:00?")
        page.keyboard.press("Enter")
        walk.button("Source 1: House Handbook 2025").click()
        picture = page.get_by_role("img", name="Page 3 of House Handbook 2025")
        picture.wait_for()
        assert _has_marks(page)
        kept = f"{width}-{scheme}"
        walk.picture(f"page-{kept}")
        assert walk.violations() == []
        walk.button("Text").click()
        assert SENTENCE in page.locator("aside mark").inner_text()
        page.keyboard.press("Escape")
        assert page.locator("aside").is_hidden()
        assert page.evaluate("document.activeElement.textContent") == "1"

        walk.link("Search")
        page.get_by_label("Words or a question").fill("ferry music decibels")
        page.get_by_label("Filter").fill('media_type = "application/pdf"')
        page.get_by_label("Explain").check()
        page.keyboard.press("Enter")
        page.get_by_role("region", name="Arithmetic of hit 1").wait_for()
        assert page.get_by_role("button", name="Ferry").count() == 0
        walk.picture(f"search-{kept}")
        assert walk.violations() == []

        for decision, end in (("Approve", "sent hello"), ("Deny", "did not allow")):
            walk.link("Agent")
            page.get_by_label("Task").fill("Send hello to the harbour.")
            page.get_by_label("Ask before every call").check()
            walk.button("Begin").click()
            approval = page.get_by_role("group", name="Approval")
            approval.get_by_text("text = ").wait_for()
            walk.picture(f"approval-{kept}")
            assert walk.violations() == []
            approval.get_by_role("button", name=decision).click()
            page.locator(".steps details").first.evaluate("one => { one.open = true; }")
            page.locator(".steps pre").filter(has_text=end).wait_for()
            page.locator(".steps").get_by_text("Done", exact=True).wait_for()
            assert page.locator(".steps .answer").count() == 1

        walk.link("Documents")
        walk.button("Delete House Handbook 2025").click()
        page.get_by_text("is deleted").wait_for()
        walk.picture(f"documents-{kept}")
        assert served.client.get("/api/documents").json()["total"] == 1
        walk.button("Undo").click()
        page.get_by_text("is back").wait_for()
        assert served.client.get("/api/documents").json()["total"] == 2

        walk.link("About")
        page.get_by_role("region", name="Settings").wait_for()
        walk.picture(f"about-{kept}")
        assert walk.violations() == []
        if width == "phone":
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def _has_marks(page: Any) -> bool:
    """Whether the picture of the page has other colours than a page without marks has: the highlight is yellow."""
    counted = page.locator("aside img").evaluate(
        """async (image) => {
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = image.naturalWidth;
            canvas.height = image.naturalHeight;
            const drawn = canvas.getContext("2d");
            drawn.drawImage(image, 0, 0);
            const data = drawn.getImageData(0, 0, canvas.width, canvas.height).data;
            let coloured = 0;
            for (let at = 0; at < data.length; at += 4) {
              if (Math.max(data[at], data[at + 1]) - data[at + 2] > 60) coloured += 1;
            }
            return coloured;
        }"""
    )
    return bool(counted > 200)


@pytest.mark.parametrize("width", list(WIDTHS))
def test_a_run_is_told_how_to_go_about_its_task_and_what_it_remembers_is_seen_and_changed(
    tmp_path: Path, serving: Any, browser: Browser, width: str
) -> None:
    plan = {"plan": [{"need": "to send it", "tool": "send", "arguments": {"text": "hello"}}], "then": "final_answer"}
    notes = {"needs": "to keep it", "tool": "remember", "arguments": {"text": "Hello is sent on Mondays."}}

    def reply(messages: Sequence[Message]) -> str:
        begun = any(message.role == "assistant" for message in messages)
        task = "".join(message.content for message in messages if message.role == "user")
        return json.dumps(STEPS[1] if begun else plan if "Send hello" in task else notes)

    with (
        serving(tmp_path / "kb", llm=ScriptedLLM(reply), extras=EXTRAS, documents=[FERRY]) as served,
        watching(browser, f"http://127.0.0.1:{served.port}/", width=width, scheme="dark") as walk,
    ):
        page = walk.page
        walk.link("Agent")
        page.get_by_label("Strategy").select_option("Plan, then act")
        page.get_by_text("what is read cannot change the plan").wait_for()
        page.get_by_label("Task").fill("Send hello to the harbour.")
        walk.button("Begin").click()
        page.locator(".steps .answer").wait_for()
        run = page.locator(".steps").inner_text()
        assert run.index("Plans") < run.index('send(text="hello")') < run.index("It is done.")
        page.locator(".runs").get_by_text("Done · Plan, then act").wait_for()
        walk.picture(f"plan-{width}-dark")

        page.get_by_label("Task").fill("Keep in mind when it is sent.")
        page.get_by_label("Remember and recall").check()
        walk.button("Begin").click()
        page.get_by_role("heading", name="Keep in mind").wait_for()
        page.locator(".steps .answer").wait_for()
        page.get_by_text("What it remembers").click()
        page.get_by_text("1 fact of at most 1000").wait_for()
        page.get_by_label("Remember something").fill("Prices are given in euros.")
        page.keyboard.press("Enter")
        page.get_by_text("2 facts of at most 1000").wait_for()
        walk.button("Change: Hello is sent").click()
        page.get_by_label("In your words").fill("Hello is sent on Fridays.")
        walk.button("Save").click()
        page.get_by_text("Hello is sent on Fridays.").wait_for()
        walk.picture(f"memory-{width}-dark")
        assert walk.violations() == []
        walk.button("Forget: Prices").click()
        page.get_by_text("1 fact of at most 1000").wait_for()
        (fact,) = served.kb.memory.list()
        assert (fact.text, fact.came) == ("Hello is sent on Fridays.", "user")
        if width == "phone":
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_part_of_every_page_is_reached_by_the_keyboard_and_shown_where_it_is(
    tmp_path: Path, serving: Any, browser: Browser
) -> None:
    with (
        serving(tmp_path / "kb", extras=EXTRAS, documents=[FERRY]) as served,
        watching(browser, f"http://127.0.0.1:{served.port}/") as walk,
    ):
        page = walk.page
        for name in ("Ask", "Search", "Documents", "Agent", "About"):
            walk.link(name)
            page.wait_for_load_state("networkidle")
            # Tabbing goes on from what had the focus, past the end of the page, and round to it again.
            for _ in range(2 * page.evaluate(_PARTS) + 2):
                page.keyboard.press("Tab")
                assert page.evaluate(_SHOWN), page.evaluate("document.activeElement.outerHTML")
                if not (left := page.evaluate(_UNREACHED)):
                    break
            assert left == []
        page.locator(".skip").focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main", "the first part of the page skips the navigation"


_INTERACTIVE = "a, button, input, select, textarea, summary, [tabindex='0']"
_SEEN = f"""[...document.querySelectorAll("{_INTERACTIVE}")].filter((one) => one.checkVisibility())"""
_PARTS = f"() => {_SEEN}.length"
_SHOWN = """() => {
  const one = document.activeElement;
  one.dataset.reached = "";
  return one === document.body || getComputedStyle(one).outlineStyle !== "none";
}"""
_UNREACHED = f"() => {_SEEN}.filter((one) => !('reached' in one.dataset)).map((one) => one.outerHTML)"


def test_a_conversation_is_kept_opened_again_and_forgotten(tmp_path: Path, serving: Any, browser: Browser) -> None:
    with (
        serving(tmp_path / "kb", llm=ScriptedLLM(reply), extras=EXTRAS, documents=[FERRY]) as served,
        watching(browser, f"http://127.0.0.1:{served.port}/") as walk,
    ):
        page = walk.page
        for question in ("When does the ferry leave?", "And from where does it leave?"):
            page.get_by_label("Your question").fill(question)
            walk.button("Ask", exact=True).click()
            page.get_by_role("heading", name=question).wait_for()
            page.locator(".turn").last.locator(".citations").wait_for()
        page.reload()
        page.get_by_role("heading", name="And from where does it leave?").wait_for()
        assert page.locator(".citations").count() == 2
        page.get_by_role("link", name="New").click()
        page.get_by_role("navigation", name="Conversations").get_by_role("link", name="When does").wait_for()
        walk.button("Delete the conversation").click()
        page.get_by_text("The conversation is deleted.").wait_for()
        assert served.client.get("/api/conversations").json()["conversations"] == []


def test_where_a_token_is_needed_the_page_asks_for_it(tmp_path: Path, serving: Any, browser: Browser) -> None:
    with serving(tmp_path / "kb", extras=EXTRAS, documents=[FERRY]) as served:
        _, text = served.service.tokens.create("page", scopes=("read",))
        with watching(browser, f"http://127.0.0.1:{served.port}/") as walk:
            walk.page.get_by_label("Token").fill(text)
            walk.button("Go on").click()
            walk.page.get_by_label("Your question").wait_for()
            assert all("401" in one for one in walk.wrong)
            walk.wrong.clear()


def test_an_answer_can_be_cancelled(tmp_path: Path, serving: Any, browser: Browser) -> None:
    released = threading.Event()
    llm = ScriptedLLM(lambda _: FERRY.text if released.wait(15) else "")
    with (
        serving(tmp_path / "kb", llm=llm, extras=EXTRAS, documents=[FERRY]) as served,
        watching(browser, f"http://127.0.0.1:{served.port}/") as walk,
    ):
        walk.page.get_by_label("Your question").fill("When does the ferry leave?")
        walk.page.keyboard.press("Enter")
        walk.page.get_by_text("Writing…").wait_for()
        walk.button("Cancel").click()
        walk.page.get_by_text("Cancelled.").wait_for()
        released.set()
        assert walk.page.locator(".answer").count() == 0
        assert walk.button("Ask", exact=True).is_enabled()


def test_what_the_server_refuses_is_shown(tmp_path: Path, serving: Any, browser: Browser) -> None:
    with (
        serving(tmp_path / "kb", extras=EXTRAS, documents=[FERRY]) as served,
        watching(browser, f"http://127.0.0.1:{served.port}/#/search") as walk,
    ):
        walk.page.get_by_label("Words or a question").fill("ferry")
        walk.page.get_by_label("Filter").fill("no = = filter")
        walk.page.keyboard.press("Enter")
        walk.page.locator("main .warn").wait_for()
        assert all("422" in one or "400" in one for one in walk.wrong)
        walk.wrong.clear()


def test_two_hundred_texts_that_would_run_as_script_are_shown_as_text(
    tmp_path: Path, serving: Any, browser: Browser
) -> None:
    titled = [
        Document(uri=f"n:{number}{one}", title=one, text=f"Entry {number}: {one}")
        for number, one in enumerate(PAYLOADS)
    ]
    together = Document(uri="n:all", title="All", text="\n\n".join(PAYLOADS))
    said = "\n".join(PAYLOADS[:3])

    @tool(effects=())
    def look(word: str) -> str:
        """Looks a word up."""
        return "\n".join(PAYLOADS)

    def told(messages: Sequence[Message]) -> str:
        # Three lines are as many claims as an answer has.
        if "Look it up" not in "".join(message.content for message in messages):
            return said
        if not any(message.role == "assistant" for message in messages):
            return json.dumps({"needs": said, "tool": "look", "arguments": {"word": PAYLOADS[0]}})
        return json.dumps({"found": said, "tool": "final_answer", "arguments": {"answer": said}})

    extras = Extras(web=PAGE, tools=[look])
    with (
        serving(tmp_path / "kb", llm=ScriptedLLM(told), extras=extras, documents=[*titled, together]) as served,
        watching(browser, f"http://127.0.0.1:{served.port}/") as walk,
    ):
        page = walk.page
        files = [("files", (f"{number}{one[:100]}.txt", one.encode())) for number, one in enumerate(PAYLOADS)]
        report = served.job(served.client.post("/api/uploads", files=files).json()["id"])["report"]
        total = served.client.get("/api/documents").json()["total"]
        assert report["added"] + report["failed"] == len(PAYLOADS)
        walk.link("Documents")
        for _ in range((total - 1) // 50):
            walk.button("More").click()
            page.wait_for_timeout(200)
        page.locator("ul.documents li").nth(total - 1).wait_for()
        page.get_by_label("Name contains").fill("n:all")
        walk.button("All", exact=True).click()
        page.locator(".source-body .words").wait_for()
        opened = page.locator(".source-body").inner_text()
        page.keyboard.press("Escape")
        walk.link("Search")
        page.get_by_label("Words or a question").fill("script onerror window ran entry")
        page.get_by_label("How many").fill("100")
        page.get_by_label("Explain").check()
        page.keyboard.press("Enter")
        page.locator("ol.hits > li").nth(50).wait_for()
        walk.link("Ask")
        for number in range(0, len(PAYLOADS), 3):
            said = "\n".join(PAYLOADS[number : number + 3])
            page.get_by_label("Your question").fill("Which script stands in the entry window.ran?")
            page.keyboard.press("Enter")
            page.locator(".turn").nth(number // 3).locator(".answer").wait_for()
            walk.button("Ask", exact=True).and_(page.locator(":enabled")).wait_for()
        walk.link("Agent")
        page.get_by_label("Task").fill("Look it up.")
        walk.button("Begin").click()
        page.locator(".steps pre").wait_for(state="attached")
        page.locator(".steps .answer").wait_for()
        for one in PAYLOADS[::5]:
            served.kb.memory.add(one)
        page.get_by_text("What it remembers").click()
        page.locator(".facts li").nth(len(PAYLOADS) // 5 - 1).wait_for()
        assert PAYLOADS[0] in opened
        assert PAYLOADS[0] in (page.locator(".steps pre").text_content() or "")
        assert page.evaluate("window.ran") is None
        assert page.locator("main :is(script, iframe, object, embed, svg, math, base, meta, link, style)").count() == 0


def test_the_page_comes_under_its_policy_and_asks_for_nothing_from_elsewhere(tmp_path: Path, serving: Any) -> None:
    with serving(tmp_path / "kb", extras=EXTRAS) as served:
        for file in sorted(PAGE.iterdir()):
            answer: httpx.Response = served.client.get(f"/{file.name}")
            assert answer.status_code == 200
            assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
            text = file.read_text()
            assert not any(word in text for word in ("https://", "innerHTML", "insertAdjacentHTML", "document.write"))
            assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
