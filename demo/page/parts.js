// What the figures share: a worker that answers, elements, and when a figure may move.

export class Models {
  constructor(onProgress) {
    this.worker = new Worker("worker.js", { type: "module" });
    this.waiting = new Map();
    this.count = 0;
    this.worker.onmessage = ({ data }) => {
      if ("progress" in data) return onProgress(data.progress);
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error(event.message || "its worker could not be started"));
      this.waiting.clear();
    };
  }

  ask(what, values = {}) {
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, do: what, ...values });
    });
  }
}

// An element: make("button", { type: "button" }, "Play"). Names that begin with "on" are listeners.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// A button that does nothing before its figure is ready.
export const button = (text, act) => make("button", { type: "button", disabled: true, onclick: act }, text);

let labels = 0;

// A control with a label of its own: labelled("Seed", input).
export function labelled(text, control, ...after) {
  control.id ||= `control-${++labels}`;
  return make("span", { class: "control" }, make("label", { for: control.id }, text), control, ...after);
}

export const canvas = (label, attributes = {}) => make("canvas", { width: 64, height: 64, role: "img", "aria-label": label, ...attributes });

export function paint(canvas, picture) {
  canvas.getContext("2d").putImageData(new ImageData(picture, 64, 64), 0, 0);
}

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Calls `near` once when the element comes near the window, and keeps `element.seen` true while it is in it.
export function watch(element, near) {
  element.seen = false;
  new IntersectionObserver(([entry]) => { element.seen = entry.isIntersecting; }).observe(element);
  const loader = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    loader.disconnect();
    near();
  }, { rootMargin: "400px" });
  loader.observe(element);
}

// Calls tick(count) with the number of steps that are due, at rate() a second, while running() and `element` is in view.
export function pace(element, rate, running, tick) {
  let due = 0, last = null, busy = false;
  const frame = async (now) => {
    requestAnimationFrame(frame);
    const moving = running() && element.seen && !document.hidden;
    if (last !== null && moving) due = Math.min(due + (rate() * (now - last)) / 1000, 4);
    last = moving ? now : null;
    if (!moving || busy || due < 1) return;
    const count = Math.floor(due);
    due -= count;
    busy = true;
    try {
      await tick(count);
    } finally {
      busy = false;
    }
  };
  requestAnimationFrame(frame);
}

// The frames of a real episode, as a list of RGBA pictures.
export async function recorded({ file, count, columns }) {
  const image = new Image();
  image.src = file;
  await image.decode();
  const sheet = make("canvas", { width: image.width, height: image.height });
  const context = sheet.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return Array.from({ length: count }, (_, i) =>
    context.getImageData(64 * (i % columns), 64 * Math.floor(i / columns), 64, 64).data);
}
