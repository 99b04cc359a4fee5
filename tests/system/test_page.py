"""The drawing page in a real Chromium, against a real service."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from service.access import keys
from tests.support.browser import GLYPHS, PHONE, Visit, needs_chromium, refuse_once, running_chromium
from tests.support.pictures import SEVEN
from tests.support.proxies import running_proxy
from tests.support.service import VERSION, running_service, service_with_key, until
from tests.support.versions import publish_with_card

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page, Route

pytestmark = needs_chromium
# What Chromium itself writes to the console when a request fails, which some tests want.
FAILED_REQUEST = "Failed to load resource"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, server_url: str) -> Iterator[Visit]:
    expect.set_options(timeout=15_000)
    visit = Visit(browser, server_url)
    yield visit
    visit.close()


def picture(format: str, digit: int = 7) -> bytes:  # noqa: A002 - Pillow's word
    """A digit in blue ink on a landscape of paper."""
    image = Image.new("RGB", (360, 240), (240, 236, 224))
    for stroke in GLYPHS[digit]:
        points = [(60 + x * 240, y * 240) for x, y in stroke]
        ImageDraw.Draw(image).line(points, fill=(20, 30, 110), width=16, joint="curve")
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


def as_file(data: bytes, name: str) -> dict[str, Any]:
    return {"name": name, "mimeType": f"image/{name.rpartition('.')[2]}", "buffer": data}


def choose(page: Page, data: bytes, name: str = "digit.jpeg") -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Picture").click()
    chooser.value.set_files(as_file(data, name))  # type: ignore[arg-type]


# The event that the browser makes when a file is pasted or dropped.
TRANSFER = """([kind, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], "digit.jpeg", { type: "image/jpeg" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: files, bubbles: true, cancelable: true })
    : new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true });
  document.getElementById("pad").dispatchEvent(event);
}"""


def transfer(page: Page, kind: str, data: bytes) -> None:
    page.evaluate(TRANSFER, [kind, base64.b64encode(data).decode()])


def test_page_is_small_and_comes_whole_from_the_service(visit: Visit) -> None:
    """The page with all its files is under 40 kB, and only the service is asked for them."""
    visit.page.wait_for_load_state("networkidle")
    files = visit.page.evaluate(
        "() => ['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind)).map(e => e.toJSON())"
    )
    sizes = {file["name"].removeprefix(visit.url): file["decodedBodySize"] for file in files}
    del sizes["/model"]  # the card is of the model, not of the page
    assert {"/", "/page/page.css", "/page/page.js"} <= sizes.keys()
    assert 0 < sum(sizes.values()) < 40_000


def test_policy_lets_nothing_in(visit: Visit) -> None:
    """A script written into the page does not run, and another origin cannot be asked."""
    ran = visit.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.intruder = true";
          document.body.append(script);
          return "intruder" in window;
        }"""
    )
    asked = visit.page.evaluate("() => fetch('https://example.org/').then(() => true, () => false)")
    assert (ran, asked) == (False, False)
    assert len(visit.complaints) >= 2
    assert all("Content Security Policy" in complaint for complaint in visit.complaints)
    visit.complaints.clear()


def test_reads_every_digit_that_is_drawn(visit: Visit) -> None:
    """Each of the ten digits, drawn with the pointer, is read right."""
    for digit in GLYPHS:
        visit.draw(digit)
        visit.expect_digit(digit)
        visit.press("Clear")
        expect(visit.page.locator("#sure")).to_have_text("no ink yet")


def test_answers_before_the_pen_is_lifted(visit: Visit) -> None:
    """The answer is there while the button is still down, and is spoken only after it."""
    visit.stroke(GLYPHS[7][0])
    visit.expect_digit(7)
    expect(visit.page.get_by_role("status")).not_to_contain_text("sure")
    visit.page.mouse.up()
    expect(visit.page.get_by_role("status")).to_contain_text(re.compile(r"^7, \d\d\.\d % sure"))


def test_shows_how_the_answer_came_about(visit: Visit) -> None:
    """Bars, confidence, latency, what was sent, what the network saw and the heat map come with an answer."""
    page = visit.page
    expect(page.locator("#model")).to_contain_text(re.compile(r"version \d+ · \d\d\.\d\d % on MNIST"))
    visit.draw(3)
    visit.expect_digit(3)
    expect(page.locator("#bars li")).to_have_count(10)
    expect(page.locator("#bars li.top")).to_have_text(re.compile(r"^3\d\d\.\d$"))
    expect(page.locator("#took")).to_have_text(re.compile(r"^\d+(\.\d)? ms round trip$"))
    expect(page.locator("#sent")).to_have_text(re.compile(r"^\d+\.\d kB PNG, dark on light$"))
    for name in ("pixels that the network saw", "Heat map"):
        canvas = page.get_by_role("img", name=name)
        lit = "canvas => canvas.getContext('2d').getImageData(0, 0, 28, 28).data.filter((v, i) => i % 4 < 3 && v > 99)"
        assert len(canvas.evaluate(lit)) > 10


def test_aborts_an_outdated_request(visit: Visit) -> None:
    """A request that hangs is given up as soon as the drawing is another one."""
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    visit.page.route("**/predict*", hold_the_first)
    with visit.page.expect_event("requestfailed") as failed:
        visit.draw(4)
    assert failed.value.failure == "net::ERR_ABORTED"
    visit.expect_digit(4)


def test_undo_and_clear_by_button_and_by_key(visit: Visit) -> None:
    """Undo takes back a stroke, a picture or a clear; Ctrl Z and Escape do the same as the buttons."""
    page = visit.page
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    visit.draw(1)
    visit.expect_digit(1)
    choose(page, picture("JPEG"))
    visit.expect_digit(7)
    visit.press("Undo")
    visit.expect_digit(1)
    page.keyboard.press("Escape")
    expect(page.locator("#sure")).to_have_text("no ink yet")
    expect(page.get_by_role("button", name="Clear")).to_be_disabled()
    page.keyboard.press("Control+z")
    visit.expect_digit(1)
    visit.press("Undo")
    expect(page.locator("#sure")).to_have_text("no ink yet")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()


def test_draws_with_the_keyboard_alone(visit: Visit) -> None:
    """Tab reaches the pad, Space puts the pen down and the arrow keys draw a one."""
    page = visit.page
    page.keyboard.press("Tab")
    expect(page.locator("#pad")).to_be_focused()
    for key in ["ArrowUp"] * 10 + ["Space"] + ["ArrowDown"] * 22 + ["Space"]:
        page.keyboard.press(key)
    visit.expect_digit(1)
    expect(page.get_by_role("status")).to_contain_text("1, ")


@pytest.mark.parametrize("way", ["choose", "paste", "drop"])
def test_reads_a_picture_as_it_is(visit: Visit, way: str) -> None:
    """A JPEG that is chosen, pasted or dropped is sent byte for byte and answered."""
    data = picture("JPEG")
    with visit.page.expect_request("**/predict*") as asked:
        if way == "choose":
            choose(visit.page, data)
        else:
            transfer(visit.page, way, data)
    visit.expect_digit(7)
    headers = asked.value.all_headers()
    assert (headers["content-type"], headers["content-length"]) == ("image/jpeg", str(len(data)))


def test_converts_what_the_browser_reads(visit: Visit) -> None:
    """A WebP picture is sent as PNG, at most 2,048 pixels wide, also where the service's settings leave WebP out."""
    choose(visit.page, picture("WEBP"), "digit.webp")
    visit.expect_digit(7)
    expect(visit.page.locator("#sent")).to_contain_text("PNG")


def test_sends_what_only_the_service_reads(visit: Visit) -> None:
    """A TIFF is sent byte for byte and answered, though the browser cannot show it."""
    data = picture("TIFF")
    with visit.page.expect_request("**/predict*") as asked:
        choose(visit.page, data, "digit.tif")
    visit.expect_digit(7)
    headers = asked.value.all_headers()
    assert (headers["content-type"], headers["content-length"]) == ("image/tiff", str(len(data)))


def test_says_what_is_wrong_with_a_file(visit: Visit) -> None:
    """A damaged PNG and a text file are refused in words, and the next drawing is answered."""
    trouble = visit.page.get_by_role("alert")
    choose(visit.page, b"hello", "notes.png")
    expect(trouble).to_contain_text("a picture that this browser can read")
    choose(visit.page, picture("PNG")[:100], "broken.png")
    expect(visit.page.locator("#sure")).to_have_text("no answer")
    expect(trouble).to_have_text(re.compile("[A-Z].{20,}"))
    visit.press("Clear")
    visit.draw(7)
    visit.expect_digit(7)
    expect(trouble).to_be_empty()
    assert [text for text in visit.complaints if FAILED_REQUEST not in text] == []
    visit.complaints.clear()


def test_warns_in_words(visit: Visit) -> None:
    """A blank picture gets no digit but a sentence, for eyes and ears."""
    buffer = io.BytesIO()
    Image.new("L", (100, 100), 255).save(buffer, "PNG")
    choose(visit.page, buffer.getvalue(), "blank.png")
    expect(visit.page.get_by_role("list", name="Warnings")).to_contain_text("There is no ink to read.")
    expect(visit.page.get_by_role("status")).to_have_text("No digit. There is no ink to read.")
    expect(visit.page.locator("#digit")).to_have_text("\N{EN DASH}")
    expect(visit.page.locator("#sure")).to_have_text("no digit")


@pytest.fixture(scope="module")
def set_maker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose version has quantiles, by which the page's seven is a 7 or a 1."""
    models = tmp_path_factory.mktemp("models")
    publish_with_card(models, 3, conformal={"levels": [0.99], "quantiles": [13.5]})
    with running_service(model_dir=models, model_version="latest") as service:
        yield service.url


def test_shows_a_set_of_several_digits(browser: Browser, set_maker: str) -> None:
    """For eyes and ears, beside the answer; a picture without ink has no digit, and so no set."""
    visit = Visit(browser, set_maker)
    choose(visit.page, SEVEN, "seven.png")
    visit.expect_digit(7)
    words = "It is 7 or 1, at a coverage of 99 %."
    expect(visit.page.get_by_role("list", name="Warnings")).to_have_text(words)
    expect(visit.page.get_by_role("status")).to_contain_text(words)
    buffer = io.BytesIO()
    Image.new("L", (100, 100), 255).save(buffer, "PNG")
    choose(visit.page, buffer.getvalue(), "blank.png")
    expect(visit.page.get_by_role("list", name="Warnings")).to_have_text("There is no ink to read.")
    visit.close()


def test_asks_again_where_a_canary_makes_no_sets(browser: Browser, set_maker: str) -> None:
    """The version that answers decides: after its 422 the page asks without a coverage."""
    visit = Visit(browser, set_maker)

    def refuse(route: Route) -> None:
        problem = {"status": 422, "detail": "no sets", "reason": "not_calibrated"}
        route.fulfill(status=422, body=json.dumps(problem), content_type="application/problem+json")

    visit.page.route("**/predict?*coverage*", refuse)
    choose(visit.page, SEVEN, "seven.png")
    visit.expect_digit(7)
    expect(visit.page.get_by_role("list", name="Warnings")).to_be_empty()
    assert all(FAILED_REQUEST in text for text in visit.complaints)
    visit.complaints.clear()
    visit.close()


def test_recovers_from_being_offline(visit: Visit) -> None:
    """Offline is said in words, the drawing stays, and the answer comes by itself with the connection."""
    visit.context.set_offline(True)
    visit.draw(7)
    expect(visit.page.get_by_role("alert")).to_contain_text("You are offline")
    expect(visit.page.get_by_role("button", name="Try again")).to_be_visible()
    visit.context.set_offline(False)
    visit.expect_digit(7)
    expect(visit.page.get_by_role("alert")).to_be_empty()
    expect(visit.page.get_by_role("button", name="Try again")).to_be_hidden()
    assert [text for text in visit.complaints if FAILED_REQUEST not in text] == []
    visit.complaints.clear()


def test_says_that_a_picture_needs_the_connection(visit: Visit) -> None:
    """What reads pictures is loaded when the page is first touched; without it, words say what to do."""
    visit.context.set_offline(True)
    transfer(visit.page, "paste", picture("JPEG"))
    expect(visit.page.get_by_role("alert")).to_have_text("The connection is gone. Try again when it is back.")
    visit.context.set_offline(False)
    transfer(visit.page, "paste", picture("JPEG"))
    visit.expect_digit(7)
    assert [text for text in visit.complaints if FAILED_REQUEST not in text] == []
    visit.complaints.clear()


def test_waits_for_a_service_that_is_full(visit: Visit) -> None:
    """A 503 is shown with the service's words and asked again after Retry-After."""
    refuse_once(visit.page)
    choose(visit.page, picture("JPEG"))
    expect(visit.page.get_by_role("alert")).to_have_text("The queue is full.")
    visit.expect_digit(7)
    assert [text for text in visit.complaints if FAILED_REQUEST not in text] == []
    visit.complaints.clear()


def test_photographs_with_the_camera(visit: Visit) -> None:
    """A desktop with a camera takes a picture inside the page and asks about it."""
    visit.press("Camera")
    visit.press("Take picture")
    expect(visit.page.locator("#sent")).to_contain_text("JPEG")


def test_draws_by_touch_on_a_phone(browser: Browser, server_url: str) -> None:
    """On a phone a finger draws without scrolling, and pad and answer fit the screen."""
    visit = Visit(browser, server_url, **PHONE)
    box = visit.page.locator("#pad").bounding_box()
    assert box is not None
    fingers = visit.context.new_cdp_session(visit.page)
    for number, (x, y) in enumerate(GLYPHS[7][0]):
        point = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        kind = "touchMove" if number else "touchStart"
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    visit.expect_digit(7)
    expect(visit.page.locator("#digit")).to_be_in_viewport()
    assert visit.page.evaluate("() => [scrollY, document.documentElement.scrollWidth]") == [0, 390]
    visit.close()


def network_input(visit: Visit) -> list[int]:
    """The 28×28 pixels that the page shows as what the network saw, which it draws soon after the answer."""
    canvas = visit.page.get_by_role("img", name="pixels that the network saw")
    red = """canvas => {
        const copy = new OffscreenCanvas(28, 28).getContext("2d");
        copy.drawImage(canvas, 0, 0);
        return [...copy.getImageData(0, 0, 28, 28).data.filter((v, i) => i % 4 == 0)];
    }"""
    shown: list[list[int]] = [canvas.evaluate(red)]

    def is_drawn() -> bool:
        visit.page.wait_for_timeout(300)
        shown.append(canvas.evaluate(red))
        return max(shown[-1]) > 0 and shown[-1] == shown[-2]

    until(is_drawn, "it shows no pixels")
    return shown[-1]


def test_sends_in_the_dark_what_is_seen(browser: Browser, server_url: str) -> None:
    """The dark theme draws and sends light ink on dark, and says so; the network sees the same pixels either way."""
    seen = []
    for scheme, polarity, ink in (("light", "dark on light", "22, 24, 29"), ("dark", "light on dark", "240, 240, 236")):
        visit = Visit(browser, server_url, color_scheme=scheme)
        visit.draw(7)
        visit.expect_digit(7)
        expect(visit.page.get_by_role("status")).to_contain_text("sure")  # the pen is up, so this is the last answer
        expect(visit.page.locator("#sent")).to_have_text(re.compile(f" kB PNG, {polarity}$"))
        assert visit.page.locator("#pad").evaluate("pad => getComputedStyle(pad).color") == f"rgb({ink})"
        seen.append(network_input(visit))
        visit.page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
        expect(visit.page.locator("#sent")).not_to_contain_text(polarity)
        visit.close()
    assert max(seen[0]) > 200
    assert seen[0] == seen[1]


@pytest.mark.parametrize("size", [(320, 568), (568, 320), (640, 320), (844, 390), (1200, 700)])
def test_pad_and_answer_fit_the_screen(browser: Browser, server_url: str, size: tuple[int, int]) -> None:
    """Upright or on its side, nobody scrolls to see the digit and how sure it is, and nothing sticks out sideways."""
    width, height = size
    visit = Visit(browser, server_url, viewport={"width": width, "height": height})
    visit.draw(7)
    visit.expect_digit(7)
    for part in ("#pad", "#clear", "#choose", "#camera", "#digit", "#sure"):
        expect(visit.page.locator(part)).to_be_in_viewport(ratio=1)
    if width > height:
        expect(visit.page.locator("#bars")).to_be_in_viewport(ratio=1)
    assert visit.page.evaluate("() => [scrollY, document.documentElement.scrollWidth]") == [0, width]
    visit.close()


def test_asks_for_an_api_key(browser: Browser, tmp_path: Path) -> None:
    """The page says why, asks again with the reason, keeps the key for this tab alone, and asks when it is refused."""
    (old, old_line), (new, new_line) = keys.new("shop", "infer", None), keys.new("shop", "infer", None)
    other, other_line = keys.new("prometheus", "metrics", None)
    file = tmp_path / "keys.txt"
    file.write_text(f"{old_line}\n{other_line}\n")
    with running_service(api_keys_file=file) as service:
        visit = Visit(browser, service.url, model="")
        page, dialog = visit.page, visit.page.get_by_role("dialog")

        def enter(key: str) -> None:
            dialog.get_by_label("API key", exact=True).fill(key)
            page.keyboard.press("Enter")

        expect(dialog).to_have_accessible_name("This service needs an API key.")
        expect(dialog.get_by_label("API key", exact=True)).to_be_focused()
        enter("two words")
        expect(dialog).to_have_accessible_name("This service needs an API key.")  # the browser says what is wrong
        enter("mnist_" + "A" * 43)
        expect(dialog).to_have_accessible_name("The API key is unknown.")
        enter(other)
        expect(dialog).to_have_accessible_name(re.compile("prometheus is for metrics; this asks for infer"))
        page.keyboard.press("Escape")
        expect(page.get_by_role("alert")).to_contain_text("prometheus is for metrics")
        visit.draw(7)
        expect(page.locator("#sure")).to_have_text("no answer")
        expect(dialog).to_have_count(0)
        visit.press("Try again")
        enter(f" {old} ")
        visit.expect_digit(7)
        expect(page.locator("#model")).to_contain_text("version")
        page.reload()
        expect(page.locator("#model")).to_contain_text("version")
        opened = visit.context.new_page()
        opened.goto(service.url)
        expect(opened.get_by_role("dialog")).to_be_visible()
        file.write_text(new_line)
        until_refused(service.url, old)
        visit.draw(3)
        expect(dialog).to_have_accessible_name("The API key is unknown.")
        enter(new)
        visit.expect_digit(3)
        assert [text for text in visit.complaints if FAILED_REQUEST not in text] == []
        visit.complaints.clear()
        visit.close()


def test_the_model_card_asks_for_an_api_key(browser: Browser, tmp_path: Path) -> None:
    """Where the drawing page has not yet got one; what the tab has is used on all its pages."""
    with service_with_key(tmp_path) as (service, key):
        page = browser.new_page()
        page.goto(f"{service.url}/card")
        expect(page.get_by_role("dialog")).to_have_accessible_name("This service needs an API key.")
        page.keyboard.press("Escape")
        expect(page.get_by_role("alert")).to_have_text("This service needs an API key.")
        page.get_by_role("button", name="Try again").click()
        page.get_by_label("API key", exact=True).fill(key)
        page.keyboard.press("Enter")
        accuracy = httpx.get(f"{service.url}/model", headers={"X-API-Key": key}).json()["metrics"]["test"]["accuracy"]
        expect(page.locator("#tiles")).to_contain_text(f"{100 * accuracy:.2f} %")
        expect(page.get_by_role("alert")).to_be_hidden()
        page.get_by_role("link", name="Draw a digit").click()
        expect(page.locator("#model")).to_contain_text(f"version {VERSION}")
        page.close()


def until_refused(url: str, key: str) -> None:
    """Wait until the service has read its file of keys again."""
    until(lambda: httpx.get(f"{url}/model", headers={"X-API-Key": key}).status_code == 401, "the key is still accepted")


def test_shows_the_model_card(visit: Visit, client: httpx.Client) -> None:
    """A page for people, linked from the drawing page, with the numbers of `/model`, which it links to."""
    card = client.get("/model").json()
    page = visit.page
    page.get_by_role("link", name="Model card").click()
    expect(page).to_have_title(f"Model card of mnist-mlp, version {VERSION}")
    table = page.get_by_role("table").first
    for name, scores in (
        ("MNIST, test", "test"),
        ("Rendered pictures", "rendered"),
        ("MNIST, validation", "validation"),
    ):
        column = table.get_by_role("columnheader").all_inner_texts().index(name)
        cells = [row.get_by_role("cell").all()[-3:][column] for row in table.get_by_role("row").all()[1:]]
        assert [cell.inner_text() for cell in cells[:2]] == [
            f"{card['metrics'][scores]['count']:,}", f"{card['metrics'][scores]['accuracy']:.2%}".replace("%", " %"),
        ]  # fmt: skip
    confusion = page.get_by_role("table", name="The 10,000 test digits").get_by_role("row").all()[1:]
    shown = [
        [int(text.replace("·", "0")) for text in row.get_by_role("cell").all_inner_texts()[:10]] for row in confusion
    ]
    assert shown == card["metrics"]["test"]["confusion"]
    for text in (
        "Apache-2.0",
        "several digits",
        "low_confidence",
        "55,000 digits",
        "The recipe “good”",
        card["sha256"],
    ):
        expect(page.get_by_role("main")).to_contain_text(text)
    page.get_by_text("All hyperparameters").press("Enter")
    expect(page.locator("#knobs")).to_contain_text("adamw")
    expect(page.get_by_role("link", name="All of it as JSON")).to_have_attribute("href", "model")
    page.get_by_role("link", name="Draw a digit").click()
    expect(page.locator("#pad")).to_be_visible()


def test_the_card_of_an_older_version_leaves_out_what_it_lacks(browser: Browser) -> None:
    """Version 1 was measured on no rendered pictures."""
    with running_service(model_version=1) as service:
        visit = Visit(browser, f"{service.url}/card")
        expect(visit.page.get_by_role("table").first.get_by_role("columnheader")).to_have_text(
            ["MNIST, test", "MNIST, validation"]
        )
        expect(visit.page.get_by_role("main")).to_contain_text("not trained on what is not a digit")
        expect(visit.page.get_by_role("main")).not_to_contain_text(re.compile("undefined|NaN|null"))
        visit.url = service.url
        visit.close()


def execute(page: Page, path: str) -> Locator:
    """Ask a route from the documentation; the status that it shows."""
    block = page.locator(".opblock", has=page.locator(f"[data-path='{path}']"))
    block.locator(".opblock-summary").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    return block.locator(".live-responses-table tbody .response-col_status")


def test_the_documentation_takes_an_api_key(browser: Browser, tmp_path: Path) -> None:
    """By Authorize, or from the page where it was entered in the same tab; its requests then have it."""
    with service_with_key(tmp_path) as (service, key):
        page = browser.new_page()
        page.goto(f"{service.url}/docs")
        expect(execute(page, "/v2")).to_contain_text("401")
        page.get_by_role("button", name="Authorize").click()
        dialog = page.locator(".modal-ux")
        dialog.get_by_label("Value:").last.fill(key)
        dialog.get_by_role("button", name="Apply").last.click()
        dialog.get_by_role("button", name="Close").last.click()
        expect(execute(page, "/model")).to_contain_text("200")
        page.goto(service.url)
        page.get_by_label("API key", exact=True).fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#model")).to_contain_text(f"version {VERSION}")
        page.get_by_role("link", name="API").click()
        expect(execute(page, "/model")).to_contain_text("200")
        page.close()


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_works_below_a_prefix(browser: Browser, server_url: str) -> None:
    """A proxy serves the pages at /digits/ and tells the service nothing: all they load and ask is below it."""
    with running_proxy("nginx", server_url) as proxy:
        visit = Visit(browser, f"{proxy}/digits/")
        visit.draw(7)
        visit.expect_digit(7)
        expect(visit.page.locator("#curl")).to_contain_text(f"{proxy}/digits/predict")
        visit.page.get_by_role("link", name="Model card").click()
        expect(visit.page.locator("#model")).to_contain_text(f"version {VERSION}")
        visit.page.goto(f"{visit.url}card/")
        expect(visit.page.locator("#model")).to_contain_text(f"version {VERSION}")
        visit.page.goto(f"{visit.url}learn/")
        visit.page.get_by_role("button", name="Write a 7").click()
        expect(visit.page.locator("#theirs")).to_have_text("7")
        visit.page.get_by_role("link", name="API").click()
        expect(visit.page.locator(".opblock")).to_have_count(28)
        assert visit.page.url == f"{visit.url}docs"
        visit.page.goto(f"{visit.url}docs/")
        expect(visit.page.locator(".opblock")).to_have_count(28)
        visit.close()


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_the_documentation_works_within_its_headers(browser: Browser, server_url: str, path: str) -> None:
    """It shows every route and asks one, without a complaint of the browser, and asks nobody else, under any name."""
    expect.set_options(timeout=15_000)
    url = server_url.replace("127.0.0.1", "digits.example")
    page = browser.new_page()
    complaints: list[str] = []
    urls: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: urls.append(request.url))
    page.goto(f"{url}{path}")
    live = page.locator(".opblock", has_text="/livez")
    live.locator(".opblock-summary").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(live.locator(".live-responses-table")).to_contain_text('"status": "alive"')
    expect(page.locator(".opblock")).to_have_count(28)
    page.close()
    assert [one for one in urls if not one.startswith((f"{url}/", "data:"))] == []
    assert complaints == []
