"""The demos: exported files, and the page in a real Chromium. Needs `chromium` on the PATH."""

import json
import shutil
import threading
import urllib.request

import gymnasium
import numpy as np
import pytest
from conftest import ROOT, run_script
from PIL import Image

import doomrnn  # noqa: F401, registers the dreams
from bench.demos import CHROMIUM
from config import GAMES, UserError
from controller.agent import load_controller
from controller.controller import Controller
from demo.__main__ import main, runs, server
from rnn.world_model import load_world_model

FIGURES = {
    "dream": ["dream-car", "dream-car-slowly", "dream-doom", "dream-cheat", "dream-pendulum-first", "dream-pendulum-last"],
    "sliders": ["sliders-doom", "sliders-car"],
    "film": ["film-car", "film-doom"],
}
SEED, STEPS = 2, 200
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH (on Debian: apt install chromium)")

# V, M and C of one game in the page's own code: {frame, mu, logvar, head, h, action, zs}.
COMPUTE = """
async ([key, z, seed, steps]) => {
  const [models, dreams] = [await import("./models.js"), await import("./dream.js")];
  const game = (await (await fetch("games.json")).json())[key];
  const files = [game.vision, game.memory];
  const buffers = await Promise.all(files.map(async ({file}) => (await fetch(file)).arrayBuffer()));
  const floats = files.reduce((sum, file) => sum + models.floatsIn(file), 0) + 4e6;
  const room = await models.Room.open(await (await fetch("kernel.wasm")).arrayBuffer(), floats);
  const vision = new models.Vision(room, models.unpack(room, game.vision, buffers[0]), game);
  const arrays = models.unpack(room, game.memory, buffers[1]);
  const memory = new models.Memory(room, arrays, game), dream = new dreams.Dream(memory, game);
  const controller = new models.Controller(room, arrays, game, game.agents[0]);
  const frame = vision.decode(z), {mu, logvar} = vision.encode(frame);
  const action = controller.act(z, memory.zeros());
  const list = (values) => Array.from(values);
  const {state, head} = memory.step(z, action, memory.zeros(), true), first = list(head);
  dream.begin(seed, game.agents[0].temperature);
  const zs = [Array.from(dream.z)];
  while (zs.length <= steps && !dream.over) {
    dream.step(controller.act(dream.z, dream.state));
    zs.push(Array.from(dream.z));
  }
  return {frame: list(frame), mu: list(mu), logvar: list(logvar), head: first, h: list(state.h), action, zs};
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "out"
    main(["--out", str(path)])
    return path


@pytest.fixture(scope="module")
def url(folder):
    with server(str(folder), 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, url):
    """visit(**options of the window) -> the page, once it has begun. After the test: nothing went wrong, nothing left."""
    pages = []

    def visit(hash="", **options):
        page = browser.new_context(**{"viewport": {"width": 1000, "height": 800}, **options}).new_page()
        page.wrong, page.asked = [], []
        page.on("console", lambda message: message.type in ("error", "warning") and page.wrong.append(message.text))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(url + hash)
        page.wait_for_selector("#status", state="detached")
        pages.append(page)
        return page

    yield visit
    for page in pages:
        assert page.wrong == []
        assert all(address.startswith((url, "data:", "blob:")) for address in page.asked)
        page.context.close()


def ready(page, figure):
    """Scroll to a figure, and wait until its weights are there."""
    page.locator(f"#{figure}").scroll_into_view_if_needed()
    page.wait_for_selector(f"#{figure}[data-ready]", timeout=60_000)
    return page.locator(f"#{figure}")


def step_of(figure):
    return figure.evaluate("(figure) => figure.demo.look.steps")


def wait_for(page, figure, text):
    """Wait until the figure says `text`."""
    page.wait_for_function(f"() => document.querySelector('#{figure} .told').textContent.includes({text!r})")


def wait_for_step(page, figure, step):
    page.wait_for_function(f"() => document.querySelector('#{figure}').demo.look.steps > {step}")


def picture(figure):
    return figure.locator("canvas").last.evaluate("(canvas) => canvas.toDataURL()")


def test_the_folder_is_small_and_has_what_games_json_says(folder):
    games = json.loads((folder / "games.json").read_text())
    assert games.keys() >= {"carracing", "doom"}
    for key in ("carracing", "doom"):
        for what in ("vision", "memory"):
            assert (folder / games[key][what]["file"]).stat().st_size == games[key][what]["bytes"]
        frames = games[key]["frames"]
        with Image.open(folder / frames["file"]) as sheet:
            assert sheet.size == (64 * frames["columns"], 64 * frames["count"] // frames["columns"])
    both = sum(path.stat().st_size for key in ("carracing", "doom") for path in (folder / key).iterdir())
    assert both <= 26e6


def test_the_kernel_is_its_text_assembled():
    wasmtime = pytest.importorskip("wasmtime")
    page = ROOT / "demo" / "page"
    assert bytes(wasmtime.wat2wasm((page / "kernel.wat").read_text())) == (page / "kernel.wasm").read_bytes()


@in_a_browser
@pytest.mark.parametrize("name", ["carracing", "doom"])
def test_the_browser_computes_what_keras_does(name, visit):
    game, run_dir = GAMES[name], str(ROOT / "pretrained" / name)
    vae, rnn = load_world_model(run_dir, game)
    mode, params = load_controller(run_dir, game)
    controller = Controller(game, mode)
    controller.set_params(params)
    world = gymnasium.make(game.dream_id, run_dir=run_dir)
    seen = [world.reset(seed=SEED)[0]]
    for _ in range(STEPS):
        seen.append(world.step(controller.actions(seen[-1][None])[0].numpy())[0])
    z = seen[30][: game.z_size]
    there = {key: np.array(value) for key, value in visit().evaluate(COMPUTE, [name, z.tolist(), SEED, STEPS]).items()}
    frame = there["frame"].reshape(1, 64, 64, 3)
    np.testing.assert_allclose(frame, vae.decode(z[None]), atol=1 / 255)
    for part, expected in zip(("mu", "logvar"), vae.encode(np.float32(frame)), strict=True):
        np.testing.assert_allclose(there[part], expected[0], atol=1e-2)  # float16 weights, and an encoder's large activations
    action = controller.actions(controller.features(z[None], rnn.initial_state(1)))
    np.testing.assert_allclose(there["action"], action[0], atol=1e-5)
    state = rnn.advance(z[None], action, rnn.initial_state(1), np.ones(1, np.float32))
    np.testing.assert_allclose(there["h"], state[0][0], atol=1e-5)
    kernel, bias = rnn.planes()
    head = (state[0] @ kernel + bias).numpy()[0]
    np.testing.assert_allclose(there["head"][: len(head)], head, atol=2e-5)  # of values up to 20
    np.testing.assert_allclose(there["zs"], np.array(seen)[:, : game.z_size], atol=0.01)


@in_a_browser
def test_every_figure_begins(visit):
    page = visit()
    shown = page.eval_on_selector_all("figure", "figures => figures.map(figure => figure.id)")
    assert set(sum(FIGURES.values(), [])) <= set(shown)
    for name in shown:
        first = ready(page, name).locator("canvas").first
        colours = first.evaluate("(c) => new Set(c.getContext('2d').getImageData(0, 0, 64, 64).data).size")
        assert colours > 5, name


@in_a_browser
def test_the_first_dream_plays_by_itself_but_not_out_of_sight(visit):
    page = visit()
    car = ready(page, "dream-car")
    wait_for_step(page, "dream-car", 20)
    ready(page, "dream-doom")
    page.wait_for_timeout(500)
    before = step_of(car)
    page.wait_for_timeout(1000)
    assert step_of(car) == before


@in_a_browser
def test_nothing_moves_where_the_reader_wants_no_motion(visit):
    page = visit(reduced_motion="reduce")
    car = ready(page, "dream-car")
    page.wait_for_timeout(1000)
    assert step_of(car) == 0
    car.get_by_role("button", name="One step").click()
    wait_for(page, "dream-car", "Step 1,")


@in_a_browser
@pytest.mark.parametrize("name", ["dream-car", "dream-doom"])
def test_keys_take_over_in_the_figure_that_has_the_focus(name, visit):
    page = visit(reduced_motion="reduce")
    figure = ready(page, name)
    page.keyboard.press("ArrowLeft")
    assert "the agent plays" in figure.locator(".told").inner_text()
    figure.locator("canvas").first.focus()
    page.keyboard.down("ArrowLeft")
    wait_for_step(page, name, 10)
    assert "you play" in figure.locator(".told").inner_text()
    assert figure.evaluate("(figure) => figure.demo.look.action[0]") == -1
    page.keyboard.up("ArrowLeft")
    page.wait_for_function(f"() => document.querySelector('#{name}').demo.look.action[0] === 0")
    page.keyboard.press(" ")
    page.wait_for_timeout(200)
    before = step_of(figure)
    page.wait_for_timeout(300)
    assert step_of(figure) == before
    figure.get_by_role("button", name="Let the agent play").click()
    figure.get_by_role("button", name="One step").click()
    wait_for(page, name, f"Step {before + 1},")
    assert "the agent plays" in figure.locator(".told").inner_text()


@in_a_browser
def test_touch_takes_over_on_a_phone_and_the_page_does_not_scroll_sideways(visit):
    page = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, reduced_motion="reduce")
    doom = ready(page, "dream-doom")
    box = doom.locator("canvas").first.bounding_box()
    touch = page.context.new_cdp_session(page)
    at = {"x": box["x"] + box["width"] * 0.9, "y": box["y"] + box["height"] / 2}
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    wait_for_step(page, "dream-doom", 5)
    assert doom.evaluate("(figure) => figure.demo.look.action[0]") == 1
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function("() => document.querySelector('#dream-doom').demo.look.action[0] === 0")
    for name in sum(FIGURES.values(), []):
        ready(page, name)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@in_a_browser
def test_seed_and_temperature_are_in_the_link_and_decide_the_dream(visit):
    def after(page, steps=15):
        figure = ready(page, "dream-doom")
        for step in range(1, steps + 1):
            figure.get_by_role("button", name="One step").click()
            wait_for(page, "dream-doom", f"Step {step},")
        return figure.locator("canvas").first.evaluate("(canvas) => canvas.toDataURL()")

    page = visit(reduced_motion="reduce")
    figure = ready(page, "dream-doom")
    figure.get_by_label("Seed").fill("77")
    figure.get_by_label("Seed").press("Enter")
    page.wait_for_function("() => document.querySelector('#dream-doom a').href.includes('seed=77')")
    link = figure.get_by_role("link").get_attribute("href")
    mine = after(page)
    assert after(visit(link, reduced_motion="reduce")) == mine
    hot = visit(link, reduced_motion="reduce")
    slider = ready(hot, "dream-doom").get_by_label("Temperature")
    slider.evaluate("(slider) => { slider.value = 3; slider.dispatchEvent(new Event('input')); }")
    assert after(hot) != mine
    assert "temperature=3" in ready(hot, "dream-doom").get_by_role("link").get_attribute("href")


@in_a_browser
def test_a_dream_ends_and_the_next_one_begins(visit):
    page = visit("#dream-doom&seed=5&temperature=3", reduced_motion="reduce")
    doom = ready(page, "dream-doom")
    assert step_of(doom) == 0
    doom.evaluate("async (figure) => { while (!figure.demo.look.over) await figure.demo.advance(50); }")
    assert doom.locator(".ended").inner_text().startswith("Dead after ")
    doom.get_by_role("button", name="Next dream").click()
    page.wait_for_function("() => document.querySelector('#dream-doom').demo.seed === 6")


@in_a_browser
def test_sliders_random_z_and_a_picture_of_ones_own_change_what_v_draws(visit, tmp_path):
    page = visit()
    figure = ready(page, "sliders-car")
    drawn = [picture(figure)]
    figure.get_by_label("z 5", exact=True).evaluate(
        "(slider) => { slider.value = 4; slider.dispatchEvent(new Event('input')); }"
    )
    page.wait_for_timeout(500)
    drawn.append(picture(figure))
    figure.get_by_role("button", name="Random z").click()
    page.wait_for_timeout(500)
    drawn.append(picture(figure))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 200, 3), np.uint8)).save(tmp_path / "mine.png")
    figure.locator("input[type=file]").set_input_files(tmp_path / "mine.png")
    wait_for(page, "sliders-car", "your picture")
    drawn.append(picture(figure))
    assert len(set(drawn)) == 4
    (tmp_path / "none.png").write_text("no picture")
    figure.locator("input[type=file]").set_input_files(tmp_path / "none.png")
    wait_for(page, "sliders-car", "cannot be read")


@in_a_browser
def test_every_control_has_a_name(visit):
    page = visit()
    for name in sum(FIGURES.values(), []):
        ready(page, name)
    nameless = """() => Array.from(document.querySelectorAll("figure :is(button, input, select, canvas, a)"))
      .filter((element) => !element.getAttribute("aria-label") && !element.textContent.trim() && !element.labels?.length)
      .map((element) => element.outerHTML)"""
    assert page.evaluate(nameless) == []


def _fulfilled(reply):
    return lambda route: route.fulfill(**reply)


@in_a_browser
def test_what_cannot_run_says_so(browser, url):
    for pattern, reply, sentence in (
        ("**/kernel.wasm", {"body": "none"}, "This browser has no WebAssembly SIMD"),
        ("**/games.json", {"status": 404}, "The demos could not be loaded"),
    ):
        page = browser.new_page()
        page.route(pattern, _fulfilled(reply))
        page.goto(url)
        page.wait_for_function(f"() => document.querySelector('#status').textContent.startsWith({sentence!r})")
        page.close()
    page = browser.new_page()
    page.route("**/carracing/memory.bin", _fulfilled({"status": 404}))
    page.goto(url)
    page.wait_for_function(
        "() => document.querySelector('#dream-car .told')?.textContent.startsWith('This dream cannot be shown')"
    )
    page.close()


def test_a_run_of_ones_own_is_shown_alone(tmp_path, pendulum_run):
    run_dir = tmp_path / "run"
    shutil.copytree(pendulum_run, run_dir)
    with pytest.raises(UserError, match="has no trained agent: run `python train.py pendulum` first"):
        main(["pendulum", "--run-dir", str(run_dir), "--out", str(tmp_path / "out")])
    run_script("train.py", "pendulum", "--scale", "smoke", "--run-dir", run_dir, "-n", "1")
    main(["pendulum", "--run-dir", str(run_dir), "--out", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "games.json").read_text()).keys() == {"pendulum"}
    for number in (1, 2, 10):
        shutil.copytree(run_dir, tmp_path / "rounds" / f"{number:02d}")
    found = runs("pendulum", str(tmp_path))
    assert {key: path for key, (_, path) in found.items()} == {
        "pendulum-first": str(tmp_path / "rounds" / "01"),
        "pendulum-last": str(tmp_path / "rounds" / "10"),
    }


def test_bad_input_is_one_sentence(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    for arguments, sentence in (
        (["--out", str(tmp_path)], "is a folder with other files in it"),
        (["--run-dir", "x"], "name the game too"),
        (["--port", "70000"], "--port is 70000"),
        (["chess"], "there is no game 'chess'"),
        (["doom", "--run-dir", str(tmp_path), "--out", str(tmp_path / "out")], "vae.keras is missing"),
    ):
        with pytest.raises(UserError, match=sentence):
            main(arguments)
    with server(str(tmp_path), 0) as serving, pytest.raises(UserError, match="cannot be used"):
        server(str(tmp_path), serving.server_port)


def test_it_is_served_on_this_machine_alone(folder, url):
    with urllib.request.urlopen(url + "main.js") as answer:
        assert answer.headers["Content-Type"].startswith("text/javascript")
        assert answer.read() == (folder / "main.js").read_bytes()
