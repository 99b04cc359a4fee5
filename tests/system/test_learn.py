"""The page that explains the network, in a real Chromium, against a real service."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from playwright.sync_api import expect

from service.access.authorisation import scope_of
from tests.support.browser import GLYPHS, Visit, needs_chromium, refuse_once, running_chromium
from tests.support.learn import forward, read_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Route

    from tests.support.pictures import Digits

pytestmark = needs_chromium
SIZES = [(1200, 900), (800, 900), (640, 320), (375, 740), (320, 640)]
FAILED_REQUEST = "Failed to load resource"  # Chromium itself writes it to the console
NETWORK = "page/learn/network.js"
DOUBLE_TAP_MS = 500  # Chromium makes no click of a touch that follows another one sooner (after 300 ms it does)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=15_000)
    with running_chromium() as browser:
        yield browser


class LearnVisit(Visit):
    """The page /learn opened afresh; it moves nothing."""

    def __init__(self, browser: Browser, url: str, path: str = "/learn", **options: Any) -> None:
        super().__init__(
            browser, url, path, says="#reads", model="The network reads", reduced_motion="reduce", **options
        )

    def press(self, name: str) -> None:
        """Presses the button with just this name."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def expect_digit(self, digit: int) -> None:
        """Waits until the page's network reads a digit."""
        expect(self.page.locator("#reads")).to_contain_text(f"The network reads {digit} (")

    def loss(self) -> float:
        """The mean loss that the page shows."""
        return float(self.page.locator("#loss").inner_text())

    def close(self) -> None:
        """Closes the page and judges it; a request may fail where a test wants it."""
        self.complaints = [text for text in self.complaints if FAILED_REQUEST not in text]
        super().close()


@pytest.fixture
def visit(browser: Browser, server_url: str) -> Iterator[LearnVisit]:
    visit = LearnVisit(browser, server_url)
    yield visit
    visit.close()


def lit(page: Page, canvas: str) -> int:
    """How many pixels of a canvas have another colour than its first one."""
    count = """canvas => {
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
      copy.drawImage(canvas, 0, 0);
      const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
      const pixels = new Uint32Array(data.buffer);
      return pixels.filter((pixel) => pixel !== pixels[0]).length;
    }"""
    return int(page.locator(canvas).evaluate(count))


def test_page_is_small_and_comes_whole_from_the_service(visit: LearnVisit) -> None:
    """The weights are under 40 kB, all else as sent under 60 kB, and only the service is asked for it."""
    visit.page.wait_for_load_state("networkidle")
    files = visit.page.evaluate(
        "() => ['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind)).map(e => e.toJSON())"
    )
    sizes = {file["name"].removeprefix(visit.url + "/"): file for file in files}
    weights = sizes.pop("page/learn/weights.bin")
    page = [size for name, size in sizes.items() if name == "learn" or name.startswith("page/")]
    assert {"learn", "page/page.css", "page/pad.js", "page/learn/learn.js"} <= sizes.keys()
    assert 0 < weights["decodedBodySize"] < 40_000
    assert 0 < sum(size["encodedBodySize"] for size in page) < 60_000
    assert sum(size["decodedBodySize"] for size in page) < 100_000


def test_needs_no_key() -> None:
    """The page is public, as the drawing page is."""
    assert [scope_of(path) for path in ("/", "/learn")] == [None, None]


def test_reads_every_digit_that_it_offers(visit: LearnVisit) -> None:
    """Each of the ten digits to try is read right, by both networks."""
    for digit in range(10):
        visit.press(f"Write a {digit}")
        visit.expect_digit(digit)
        expect(visit.page.locator("#ours")).to_have_text(str(digit))
        expect(visit.page.locator("#theirs")).to_have_text(str(digit))


def test_reads_while_one_draws(visit: LearnVisit) -> None:
    """The sentence, the steps to 28 by 28 pixels and the neurons change before the pen is lifted."""
    visit.press("Clear")
    expect(visit.page.locator("#reads")).to_contain_text("Nothing is drawn")
    assert [lit(visit.page, canvas) for canvas in ("#box", "#small", "#centred")] == [0, 0, 0]
    activations = "() => [...document.querySelectorAll('#net .hidden')].map((neuron) => neuron.ariaLabel)"
    before = visit.page.evaluate(activations)
    visit.stroke(GLYPHS[1][0])
    visit.expect_digit(1)
    assert min(lit(visit.page, canvas) for canvas in ("#box", "#small", "#centred", "#net .pixels", "#net .lines")) > 20
    assert sum(a != b for a, b in zip(before, visit.page.evaluate(activations), strict=True)) > 15
    expect(visit.page.locator("#spoken")).to_be_empty()  # a screen reader would talk all the time
    visit.page.mouse.up()
    expect(visit.page.locator("#spoken")).to_contain_text("The network reads 1")


def test_draws_with_the_keyboard_alone(visit: LearnVisit) -> None:
    """Escape clears, Space puts the pen down, and the arrow keys draw a one."""
    page = visit.page
    page.keyboard.press("Escape")
    page.locator("#pad").focus()
    for key in ["ArrowUp"] * 10 + ["Space"] + ["ArrowDown"] * 22 + ["Space"]:
        page.keyboard.press(key)
    visit.expect_digit(1)
    page.keyboard.press("Control+z")
    expect(page.locator("#reads")).to_contain_text("Nothing is drawn")


def test_puts_the_centre_of_mass_in_the_middle(visit: LearnVisit) -> None:
    """The pixels that go in are as MNIST has them: 20 long, the centre of mass in the middle."""
    for digit in (1, 4, 7):
        pixels = np.array(
            visit.page.evaluate(
                """async (digit) => {
                  const { toPixels } = await import(new URL("page/learn/mnist.js", location).href);
                  const { WRITTEN } = await import(new URL("page/learn/digits.js", location).href);
                  return Array.from(toPixels(WRITTEN[digit]).pixels);
                }""",
                digit,
            )
        ).reshape(28, 28)
        rows, columns = np.nonzero(pixels)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (20, 21)  # half a pixel may stand out at both ends
        for axis in (0, 1):
            assert np.average(np.arange(28) + 0.5, weights=pixels.sum(axis=axis)) == pytest.approx(14, abs=0.05)
        assert 0.9 < pixels.max() <= 1


def test_looks_into_a_hidden_neuron(visit: LearnVisit) -> None:
    """Under the mouse a neuron shows its weights, its products and its sum in words; a click keeps it."""
    page = visit.page
    visit.press("Write a 7")
    expect(page.locator("#neuron-name")).to_have_text(re.compile(r"^Hidden neuron \d+ pushes hardest towards 7$"))
    neuron = page.locator("#net").get_by_role("button", name="Hidden neuron 5,")
    neuron.hover()
    expect(page.locator("#neuron-name")).to_have_text("Hidden neuron 5")
    expect(page.locator("#neuron-words")).to_contain_text(re.compile(r"The sum is \S+, which the sigmoid"))
    assert min(lit(page, canvas) for canvas in ("#weights", "#ink", "#products")) > 20
    page.mouse.move(1, 1)
    expect(page.locator("#neuron-name")).to_contain_text("pushes hardest")
    neuron.click()
    page.mouse.move(1, 1)
    expect(page.locator("#neuron-name")).to_have_text("Hidden neuron 5")
    expect(neuron).to_have_attribute("aria-pressed", "true")


def test_looks_into_neurons_with_the_keyboard(visit: LearnVisit) -> None:
    """The network is one stop for Tab; arrow keys go from neuron to neuron and from layer to layer."""
    page = visit.page
    assert page.locator("#net button[tabindex='0']").count() == 1
    page.locator("#net button[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#neuron-name")).to_have_text("Hidden neuron 2")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#neuron-name")).to_have_text("Output 0")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#neuron-name")).to_have_text("Output 1")
    expect(page.locator("#output-view li")).to_have_count(8)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#neuron-name")).to_have_text("Hidden neuron 5")
    assert page.locator("#net button[tabindex='0']").count() == 1


def test_an_output_adds_up_what_it_says(visit: LearnVisit) -> None:
    """The contributions that an output lists are weights times activations of the network."""
    page = visit.page
    visit.press("Write a 3")
    page.locator("#net").get_by_role("button", name="Output 3,").click()
    network = read_weights()
    for text in page.locator("#output-view li").all_inner_texts():
        found = re.search(r"Neuron (\d+)\s+(\S+) × (\S+) = (\S+)", text.replace("\N{MINUS SIGN}", "-"))
        assert found is not None, text
        weight, activation, product = map(float, found.groups()[1:])
        assert weight == pytest.approx(network.output.weights[3, int(found[1]) - 1], abs=0.051)
        assert product == pytest.approx(weight * activation, abs=0.11)


def test_forward_pass_is_that_of_numpy(visit: LearnVisit, digits: Digits) -> None:
    """JavaScript and NumPy find the same activations and probabilities for 50 of MNIST's digits."""
    pixels = digits.images[:50].reshape(-1, 784) / 255
    found = visit.page.evaluate(
        """async ([network, all]) => {
          const { read, forward } = await import(new URL(network, location).href);
          const file = await (await fetch(new URL("weights.bin", new URL(network, location)))).arrayBuffer();
          const { network: net } = read(file);
          return all.map((pixels) => {
            const { hidden, probabilities } = forward(net, pixels);
            return [Array.from(hidden), Array.from(probabilities)];
          });
        }""",
        [NETWORK, pixels.tolist()],
    )
    hidden, probabilities = forward(read_weights(), pixels)
    np.testing.assert_allclose([one for one, _ in found], hidden, atol=1e-9)
    np.testing.assert_allclose([one for _, one in found], probabilities, atol=1e-9)


def test_gradients_are_finite_differences(visit: LearnVisit) -> None:
    """Backpropagation in JavaScript gives the slopes that a small change of a weight or a bias gives."""
    pairs = visit.page.evaluate(
        """async (path) => {
          const { untrained, forward, backward, lossOf } = await import(new URL(path, location).href);
          const network = untrained(3);
          const pixels = Float64Array.from({ length: 784 }, (_, i) => (Math.sin(i) + 1) / 2);
          const gradients = backward(network, { pixels, digit: 4 });
          const loss = () => lossOf(forward(network, pixels).probabilities, 4);
          const pairs = [];
          for (const layer of ["hidden", "output"]) for (const kind of ["weights", "biases"]) {
            const values = network[layer][kind];
            for (let n = 0; n < 40; n++) {
              const i = (n * 7919) % values.length, kept = values[i], step = 1e-5;
              values[i] = kept + step;
              const more = loss();
              values[i] = kept - step;
              pairs.push([gradients[layer][kind][i], (more - loss()) / (2 * step)]);
              values[i] = kept;
            }
          }
          return pairs;
        }""",
        NETWORK,
    )
    found, expected = np.array(pairs).T
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_goes_through_a_step_phase_by_phase(visit: LearnVisit) -> None:
    """Forward, loss, both errors, gradients and update follow each other, each with words; then the loss is lower."""
    page = visit.page
    before = visit.loss()
    names = ["Forward", "Loss", "Output error", "Hidden error", "Gradients", "Update"]
    said = []
    for number, name in enumerate(names):
        expect(page.locator("#phases [aria-current]")).to_have_text(name)
        said.append(page.locator("#phase-words").inner_text())
        assert page.locator("#formula").inner_text().strip()
        coloured = page.locator("#teach-net .hidden:is(.rises, .falls)").count()
        assert (coloured > 20) == (name in {"Hidden error", "Gradients"})
        if name != "Update":
            assert visit.loss() == before
            page.locator("#next").click()
        assert number < 5 or visit.loss() < before
    assert len(set(said)) == len(names)
    assert said[-1].startswith("All 23,860 weights")
    expect(page.locator("#steps")).to_have_text("1 step")
    page.locator("#next").click()
    expect(page.locator("#phases [aria-current]")).to_have_text("Forward")
    expect(page.locator("#phase-words")).to_contain_text("After 1 step")


def test_loss_falls_until_all_ten_are_right(visit: LearnVisit) -> None:
    """Each press of "10 steps" lowers the loss until all ten pictures are read right; a new start forgets them."""
    page = visit.page
    losses = [visit.loss()]
    for count in range(1, 6):
        visit.press("10 steps")
        expect(page.locator("#steps")).to_have_text(f"{10 * count} steps")
        losses.append(visit.loss())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.1
    for digit in range(10):
        expect(page.get_by_role("button", name=f"Picture of {digit}, read as {digit}", exact=True)).to_be_visible()
    points = page.locator("#curve").get_attribute("points") or ""
    assert len(points.split()) == 51
    visit.press("Start again")
    expect(page.locator("#steps")).to_have_text("0 steps")
    assert visit.loss() > 0.8


def test_too_long_steps_are_named(visit: LearnVisit) -> None:
    """With a learning rate of 10 the loss rises at some step, and the page says why."""
    page = visit.page
    page.get_by_label("Learning rate").select_option("10")
    for count in range(1, 20):
        visit.press("1 step")
        expect(page.locator("#steps")).to_have_text(re.compile(f"^{count} step"))
        if "rose" in page.locator("#phase-words").inner_text():
            break
    expect(page.locator("#phase-words")).to_contain_text("the steps are too long")


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "It asks for an API key"), (429, "Too many requests"), (503, "The queue is full.")],
)
def test_says_why_the_larger_network_does_not_answer(visit: LearnVisit, status: int, words: str) -> None:
    """401, 429 and 503 are said in words beside the page's own answer, which stays."""

    def refuse(route: Route) -> None:
        detail = {429: "Too many requests", 503: "the queue is full"}.get(status, "no key")
        problem = json.dumps({"status": status, "detail": detail})
        route.fulfill(
            status=status, headers={"Retry-After": "60"}, body=problem, content_type="application/problem+json"
        )

    visit.page.route("**/predict*", refuse)
    visit.press("Write a 5")
    expect(visit.page.locator("#theirs-sure")).to_contain_text(words)
    expect(visit.page.locator("#theirs")).to_have_text("\N{EN DASH}")
    expect(visit.page.locator("#ours")).to_have_text("5")


def test_the_larger_network_reads_no_digit_where_there_is_none(visit: LearnVisit) -> None:
    """A line along the sheet's border is no ink to the service, while the page's own network says some digit."""
    visit.press("Clear")
    visit.stroke([(0.02, 0.1), (0.02, 0.9)])
    visit.page.mouse.up()
    expect(visit.page.locator("#theirs-sure")).to_have_text("no digit")
    expect(visit.page.locator("#theirs")).to_have_text("\N{EN DASH}")
    expect(visit.page.locator("#ours")).to_have_text(re.compile(r"\d"))


def test_asks_again_when_the_service_is_no_longer_full(visit: LearnVisit) -> None:
    """After a 503 the answer comes by itself, after Retry-After."""
    refused = refuse_once(visit.page)
    visit.press("Write a 5")
    expect(visit.page.locator("#theirs")).to_have_text("5")
    assert refused


def test_says_how_large_both_networks_are(visit: LearnVisit) -> None:
    """The page names its own network and the larger one, with their accuracy on MNIST."""
    expect(visit.page.locator("#ours-size")).to_have_text(re.compile(r"^784 → 30 → 10, 9\d\.\d\d % on MNIST$"))
    expect(visit.page.locator("#theirs-size")).to_have_text(re.compile(r"^784 → [\d → ]+ → 10, 99\.\d\d % on MNIST$"))


def test_a_link_holds_the_drawing(browser: Browser, visit: LearnVisit) -> None:
    """The link opens the page with the same drawing; an address with other words after # opens as without."""
    page = visit.page
    visit.press("Write a 4")
    visit.press("Copy link")
    expect(page).to_have_url(re.compile(r"/learn#[\w-]{20,}$"))
    address = page.url.removeprefix(visit.url)
    for path, digit in ((address, 4), ("/learn#facts", 3), ("/learn#%00", 3)):
        other = LearnVisit(browser, visit.url, path)
        other.expect_digit(digit)
        other.close()


def test_works_below_a_prefix_and_with_a_slash(browser: Browser, server_url: str) -> None:
    """Behind a proxy that takes a prefix away, each URL of the page keeps the prefix; /learn/ becomes /learn."""
    page = browser.new_page(reduced_motion="reduce")
    strange: list[str] = []

    def take_prefix_away(route: Route) -> None:
        url = route.request.url
        if not url.startswith(f"{server_url}/digits/"):
            strange.append(url)
        route.fulfill(response=route.fetch(url=url.replace("/digits/", "/")))

    page.route("**/*", take_prefix_away)
    page.goto(f"{server_url}/digits/learn/")
    expect(page.locator("#reads")).to_contain_text("The network reads 3")
    expect(page.locator("#theirs")).to_have_text("3")
    expect(page).to_have_url(f"{server_url}/digits/learn")
    page.get_by_role("link", name="Drawing page").first.click()
    expect(page.locator("#model")).to_contain_text("version")
    expect(page).to_have_url(f"{server_url}/digits/")
    page.wait_for_load_state("networkidle")
    page.unroute_all(behavior="ignoreErrors")
    page.close()
    assert strange == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_fits_every_screen(browser: Browser, server_url: str, size: tuple[int, int], scheme: Any) -> None:
    """Nothing is wider than the screen, and no neuron covers another, in both themes."""
    visit = LearnVisit(browser, server_url, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    assert visit.page.evaluate("() => document.documentElement.scrollWidth") == size[0]
    boxes = visit.page.locator("#net .neuron").evaluate_all("all => all.map(n => n.getBoundingClientRect().toJSON())")
    centres = np.array([(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes])
    distances = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(centres))
    assert distances.min() >= max(box["width"] for box in boxes[:30])
    assert min(box["width"] for box in boxes) >= 19
    visit.close()


def test_draws_and_looks_by_touch_on_a_phone(browser: Browser, server_url: str) -> None:
    """On a phone a finger draws without scrolling the page, and a tap looks into a neuron."""
    visit = LearnVisit(
        browser,
        server_url,
        viewport={"width": 375, "height": 740},
        device_scale_factor=2,
        has_touch=True,
        is_mobile=True,
    )
    page = visit.page
    page.get_by_role("button", name="Clear").tap()
    box = page.locator("#pad").bounding_box()
    assert box is not None
    fingers = visit.context.new_cdp_session(page)
    for step in range(12):
        point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] * (0.2 + 0.05 * step)}
        fingers.send(
            "Input.dispatchTouchEvent", {"type": "touchMove" if step else "touchStart", "touchPoints": [point]}
        )
    visit.expect_digit(1)
    expect(page.locator("#reads")).to_be_in_viewport()  # while the finger draws
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("#spoken")).to_contain_text("The network reads 1")
    expect(page.locator("#theirs")).to_have_text("1")  # nothing is under way: a tap that lasts long is another gesture
    page.wait_for_timeout(DOUBLE_TAP_MS)
    page.locator("#net").get_by_role("button", name="Hidden neuron 9,").tap()
    expect(page.locator("#neuron-name")).to_have_text("Hidden neuron 9")
    visit.close()


def test_writes_as_a_pen_does_unless_less_motion_is_wanted(browser: Browser, server_url: str) -> None:
    """A digit to try appears point by point, or at once for those who want no motion."""
    context = browser.new_context()
    page = context.new_page()
    for motion, instant in (("no-preference", False), ("reduce", True)):
        page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
        page.goto(f"{server_url}/learn")
        expect(page.locator("#spoken")).to_contain_text("The network reads 3")
        counts = page.evaluate(
            """() => {
              document.querySelector("[aria-label='Write a 8']").click();
              return document.getElementById("clear").disabled || document.getElementById("spoken").textContent;
            }"""
        )
        assert ("reads 8" in str(counts)) == instant
        expect(page.locator("#spoken")).to_contain_text("The network reads 8")
    context.close()
