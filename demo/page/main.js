// Builds the figures of index.html for the games that are in games.json.

import { DreamFigure } from "./dreams.js";
import { FilmFigure, SliderFigure } from "./visions.js";

const KINDS = { dream: DreamFigure, sliders: SliderFigure, film: FilmFigure };
const status = document.getElementById("status");

// "#dream-doom&seed=5&temperature=1.15" -> {figure, seed, temperature}
function asked() {
  const [figure, ...pairs] = location.hash.slice(1).split("&");
  return { figure, ...Object.fromEntries(pairs.map((pair) => pair.split("=")).filter(([, value]) => Number.isFinite(Number(value)))) };
}

async function start() {
  const kernel = new Uint8Array(await (await fetch("kernel.wasm")).arrayBuffer());
  if (!WebAssembly.validate(kernel)) {
    status.textContent = "This browser has no WebAssembly SIMD, with which the page computes: open it in a newer one.";
    return;
  }
  const games = await (await fetch("games.json")).json(), wish = asked();
  for (const figure of document.querySelectorAll("figure[data-kind]")) {
    const { kind, game, agent } = figure.dataset, entry = games[game];
    const there = entry && (!agent || entry.agents.some(({ name }) => name === agent));
    if (there) figure.demo = new KINDS[kind](figure, entry, figure.id === wish.figure ? wish : {});
    else figure.remove();
  }
  for (const section of document.querySelectorAll("main section")) {
    if (!section.querySelector("figure")) section.remove();
  }
  document.getElementById(wish.figure)?.scrollIntoView();
  addEventListener("hashchange", () => {
    const { figure, seed, temperature } = asked(), demo = document.getElementById(figure)?.demo;
    if (!(demo instanceof DreamFigure) || !demo.look) return;
    if (temperature) demo.heat.value = demo.temperature = Number(temperature);
    demo.begin(Number(seed ?? demo.seed));
  });
  status.remove();
}

start().catch((error) => {
  status.textContent = `The demos could not be loaded (${error.message}): serve this folder over http, as \`python -m demo\` does.`;
});
