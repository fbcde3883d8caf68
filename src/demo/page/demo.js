"use strict";
// One image, one or two models. The server answers with numbers; everything is drawn here.

const find = id => document.getElementById(id);
const [first, second, invert, picture, light, paint] =
  ["first", "second", "invert", "picture", "light", "paint"].map(find);
const mask = document.createElement("canvas");
let models = [], upload = null, isMasked = false, turn = 0;
let whole = {};  // answers for the whole image, by model, to compare with
let at = { x: 0.5, y: 0.5 };  // the brush, in shares of the image

function make(tag, text = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function say(text, isBad = false) {
  find("status").textContent = text;
  find("status").classList.toggle("bad", isBad);
}

async function asked(url, options) {
  const answer = await fetch(url, options).catch(() => { throw new Error("The demo's server does not answer."); });
  const content = await answer.json().catch(() => ({ detail: `The server answered ${answer.status}.` }));
  if (!answer.ok) throw new Error(content.detail);
  return content;
}

async function start() {
  (await asked("api/examples")).forEach((name, number) => {
    const button = make("button", "", { type: "button", title: name, "aria-pressed": "false" });
    button.append(make("img", "", { src: `api/examples/${number}`, alt: name }));
    button.onclick = async () => {
      const file = await (await fetch(`api/examples/${number}`)).blob();
      choose(file, button);
    };
    find("examples").append(button);
  });
  models = await asked("api/models");
  second.append(make("option", "none", { value: "" }));
  models.forEach((model, number) =>
    [first, second].forEach(select => select.append(make("option", model.name, { value: number }))));
  say("Choose an image.");
  onModels();
}

const chosen = () => [...new Set([first.value, second.value].filter(value => value !== "").map(Number))];

function onModels() {
  find("inverted").hidden = !chosen().some(number => models[number].grey);
  whole = {};
  predict();
}

function choose(file, button = null) {
  for (const other of find("examples").children) other.setAttribute("aria-pressed", String(other === button));
  upload = file;
  whole = {};
  clearMask();
  predict();
}

async function predict() {
  if (!upload || !models.length) return;
  const mine = ++turn;  // an answer to an older question is dropped
  for (const card of find("results").children) card.classList.add("stale");
  say("Computing ...");
  try {
    const cover = isMasked ? await new Promise(done => onBlack(mask).toBlob(done)) : null;
    const answers = await Promise.all(chosen().map(number => {
      const form = new FormData();
      form.append("image", upload, "upload");
      form.append("model", number);
      form.append("invert", invert.checked);
      if (cover) form.append("mask", cover, "mask");
      return asked("api/predict", { method: "POST", body: form });
    }));
    if (mine !== turn) return;
    chosen().forEach((number, place) => { if (!cover) whole[number] = answers[place]; });
    await show(answers, cover);
    say("");
  } catch (error) {
    if (mine !== turn) return;
    find("results").replaceChildren();
    if (!isMasked) for (const id of ["stage", "tools", "hint"]) find(id).hidden = true;
    say(error.message, true);
  }
}

async function show(answers, isCovered) {
  if (!isCovered && picture.src !== answers[0].picture) {
    picture.src = answers[0].picture;
    await picture.decode();
    find("stage").style.setProperty("--ratio", picture.naturalWidth / picture.naturalHeight);
    for (const canvas of [mask, paint, light]) [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  }
  for (const id of ["stage", "tools", "hint"]) find(id).hidden = false;
  light.classList.remove("on");
  const numbers = chosen();
  find("results").replaceChildren(...answers.map((answer, place) => {
    const card = make("article");
    const [sweep, ...run] = models[numbers[place]].name.split("/");
    card.append(make("h2", sweep), make("p", run.join("/").replaceAll(",", ", "), { class: "quiet" }));
    const before = isCovered ? whole[numbers[place]] : null;
    card.append(...(answer.labels ? labels(answer, before) : captions(answer, before)));
    return card;
  }));
}

const percent = share => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;

function labels(answer, before) {
  const rows = answer.labels.map(({ name, probability }) => {
    const row = make("div", "", { class: "bar" });
    row.append(make("span", name), make("meter", "", { value: probability, "aria-label": name }), make("span", percent(probability)));
    return row;
  });
  if (before) rows.push(make("p", `Whole image: ${before.labels[0].name}, ${percent(before.labels[0].probability)}`, { class: "quiet" }));
  const seen = make("div", "", { class: "seen" });
  seen.append(make("img", "", { src: answer.seen, alt: "The image as the network sees it" }), make("span", "as the network sees it", { class: "quiet" }));
  return [...rows, seen];
}

function captions(answer, before) {
  return answer.captions.flatMap((caption, number) => {
    const line = make("p", "", { class: "caption" });
    caption.words.forEach((text, place) => {
      const word = make("span", text, { class: "word" });
      word.style.animationDelay = `${90 * place}ms`;
      if (caption.attention) {
        word.tabIndex = 0;
        word.onpointerenter = word.onfocus = () => illuminate(caption.attention[place], answer.grid);
        word.onpointerleave = word.onblur = () => light.classList.remove("on");
      }
      line.append(word, " ");
    });
    if (!caption.words.length) line.textContent = "(no words)";
    const parts = [make("h3", `${caption.search}, log-probability ${caption.score.toFixed(2)}`), line];
    if (before) parts.push(make("p", `Whole image: ${before.captions[number].words.join(" ")}`, { class: "quiet" }));
    return parts;
  });
}

// A word's attention: the image darkened but where the decoder looked, its strongest region framed.
function illuminate(weights, [rows, columns]) {
  const small = make("canvas");
  [small.width, small.height] = [columns, rows];
  const cells = small.getContext("2d"), pixels = cells.createImageData(columns, rows);
  weights.forEach((weight, cell) => { pixels.data[4 * cell + 3] = 215 * (1 - Math.min(1, weight) ** 0.8); });
  cells.putImageData(pixels, 0, 0);
  const context = light.getContext("2d"), { width, height } = light;
  context.clearRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, width, height);
  const best = weights.indexOf(Math.max(...weights));
  context.strokeStyle = "#00e5ff";
  context.lineWidth = Math.max(1, Math.min(width, height) / 90);
  context.strokeRect(best % columns * width / columns, Math.floor(best / columns) * height / rows, width / columns, height / rows);
  light.classList.add("on");
}

const radius = () => Number(find("brush").value) / 200 * Math.max(mask.width, mask.height);

function onBlack(canvas) {
  const copy = make("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext("2d");
  context.fillRect(0, 0, copy.width, copy.height);
  context.drawImage(canvas, 0, 0);
  return copy;
}

function stamp() {
  const context = mask.getContext("2d");
  if (!isMasked) context.clearRect(0, 0, mask.width, mask.height);
  context.fillStyle = "#fff";
  context.beginPath();
  context.arc(at.x * mask.width, at.y * mask.height, radius(), 0, 7);
  context.fill();
  isMasked = true;
  find("clear").disabled = false;
}

function repaint() {
  const context = paint.getContext("2d");
  context.clearRect(0, 0, paint.width, paint.height);
  if (isMasked) {
    context.drawImage(mask, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = "#808080";
    context.fillRect(0, 0, paint.width, paint.height);
    context.globalCompositeOperation = "source-over";
  }
  if (document.activeElement === paint || paint.matches(":hover")) {
    for (const [colour, line] of [["#000", 3], ["#fff", 1]]) {
      context.strokeStyle = colour;
      context.lineWidth = line * paint.width / (paint.clientWidth || 1);
      context.beginPath();
      context.arc(at.x * paint.width, at.y * paint.height, radius(), 0, 7);
      context.stroke();
    }
  }
}

function clearMask() {
  isMasked = false;
  find("clear").disabled = true;
  repaint();
}

let isDown = false;
function move(event) {
  const box = paint.getBoundingClientRect();
  const to = { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  const from = isDown ? at : to, steps = Math.ceil(40 * Math.hypot(to.x - from.x, to.y - from.y)) || 1;
  for (let step = 1; step <= steps; step++) {
    at = { x: from.x + (to.x - from.x) * step / steps, y: from.y + (to.y - from.y) * step / steps };
    if (isDown) stamp();
  }
  repaint();
}
paint.onpointermove = move;
paint.onpointerdown = event => { move(event); isDown = true; paint.setPointerCapture(event.pointerId); stamp(); repaint(); };
paint.onpointerup = paint.onpointercancel = () => { if (isDown) { isDown = false; predict(); } };
paint.onpointerleave = paint.onblur = paint.onfocus = repaint;
paint.onkeydown = event => {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (steps) at = { x: Math.min(1, Math.max(0, at.x + steps[0] / 16)), y: Math.min(1, Math.max(0, at.y + steps[1] / 16)) };
  else if (event.key === " ") { stamp(); predict(); } else return;
  event.preventDefault();
  repaint();
};
find("clear").onclick = () => { clearMask(); paint.focus(); predict(); };
find("brush").oninput = repaint;
find("file").onchange = event => { if (event.target.files.length) choose(event.target.files[0]); event.target.value = ""; };
first.onchange = second.onchange = invert.onchange = onModels;

const drop = find("drop");
const holdsFile = transfer => transfer && [...transfer.files].length;
document.ondragover = event => { event.preventDefault(); drop.classList.add("over"); };
document.ondragleave = () => drop.classList.remove("over");
document.ondrop = event => {
  event.preventDefault();
  drop.classList.remove("over");
  if (holdsFile(event.dataTransfer)) choose(event.dataTransfer.files[0]);
};
document.onpaste = event => { if (holdsFile(event.clipboardData)) choose(event.clipboardData.files[0]); };

start().catch(error => say(error.message, true));
