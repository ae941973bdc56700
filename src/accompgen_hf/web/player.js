// The player of the takes. Gradio calls this once with `element`, `trigger`, `props` and `watch` (gr.HTML, js_on_load).
// The takes of a run come as `props.value`; they stay here, newest first, until the tab is closed. All tracks of a take
// play on one clock, so that muting one, or going to another take, does not move the position.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const isVisible = (shown) => {
  const { top, bottom } = shown.getBoundingClientRect();
  return top >= 0 && bottom <= window.innerHeight;
};
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

const LEAD_S = 0.03; // for the browser to have all tracks ready at once
const takes = [];
const muted = new Set();
let buffers = new Map(); // decoded files by address: those of the last two takes that were chosen
let chosen = null;
let context = null;
let playing = null; // { sources, gains, startedAt }
let offset = 0; // seconds into the take at `startedAt`, or where it rests

const position = () => {
  const passed = playing ? Math.max(0, context.currentTime - playing.startedAt) : 0;
  return Math.min(offset + passed, chosen ? chosen.duration_s : 0);
};

async function decode(take) {
  context ??= new AudioContext();
  const kept = new Map();
  for (const { file } of [...take.tracks, ...(chosen ?? take).tracks]) {
    kept.set(file.url, buffers.get(file.url) ?? fetch(file.url)
      .then((answer) => { if (!answer.ok) throw new Error(answer.status); return answer.arrayBuffer(); })
      .then((bytes) => context.decodeAudioData(bytes)));
  }
  buffers = kept;
  return Promise.all(take.tracks.map(({ file }) => kept.get(file.url)));
}

function halt(at = 0) {
  for (const source of playing?.sources ?? []) source.stop(at);
  playing = null;
}

async function play(take, from) {
  if (navigator.audioSession) navigator.audioSession.type = "playback"; // an iPhone's silent switch is for ringing
  part("play").setAttribute("aria-busy", "true");
  let decoded;
  try {
    decoded = await decode(take);
    await context.resume();
  } catch {
    buffers.clear();
    part("message").textContent = "The files of this take are not on the server any more.";
    return pause();
  } finally {
    part("play").removeAttribute("aria-busy");
  }
  if (take !== chosen) return; // another one was chosen meanwhile
  const begin = from ?? position() + LEAD_S;
  const startedAt = context.currentTime + LEAD_S;
  halt(startedAt);
  offset = begin >= take.duration_s - 0.05 ? 0 : begin;
  const gains = new Map();
  const sources = take.tracks.map((track, index) => {
    const gain = new GainNode(context, { gain: muted.has(track.name) ? 0 : track.gain });
    const source = new AudioBufferSourceNode(context, { buffer: decoded[index] });
    source.connect(gain).connect(context.destination);
    source.start(startedAt, offset);
    gains.set(track.name, gain);
    return source;
  });
  playing = { sources, gains, startedAt };
  show();
  requestAnimationFrame(follow);
}

function pause() {
  offset = position();
  halt();
  show();
}

function seek(seconds) {
  const to = Math.min(Math.max(seconds, 0), chosen.duration_s);
  if (playing) play(chosen, to);
  else { offset = to; show(); }
}

function follow() {
  if (!playing) return;
  if (position() >= chosen.duration_s) { halt(); offset = 0; }
  show();
  requestAnimationFrame(follow);
}

function show() {
  const now = position();
  const button = part("play");
  button.setAttribute("aria-label", playing ? "Pause" : "Play");
  button.classList.toggle("is-playing", Boolean(playing));
  part("time").textContent = `${clock(now)} / ${clock(chosen.duration_s)}`;
  part("position").value = now;
  const score = part("score"), timeline = part("timeline");
  score.style.setProperty("--now", now / chosen.duration_s);
  const x = (now / chosen.duration_s) * score.clientWidth - timeline.scrollLeft;
  if (playing && (x < 0 || x > timeline.clientWidth * 0.9)) timeline.scrollLeft += x - timeline.clientWidth * 0.1;
}

function choose(take) {
  const from = chosen ? position() : 0;
  const isOther = take !== chosen;
  chosen = take;
  part("message").textContent = "";
  part("heading").replaceChildren(`Take ${take.number} `, make("small", { textContent: take.label }));
  part("position").max = take.duration_s;
  part("score").style.setProperty("--seconds", take.duration_s);
  part("score").firstElementChild.outerHTML = take.drawing; // made by our server
  part("sheet").textContent = take.sheet;
  part("players").hidden = take.parts.length < 2;
  part("player").replaceChildren(new Option("all players", ""), ...take.parts.map(({ name, label }) => new Option(label, name)));
  if (isOther && take.made_anew_s) chooseSpan(...take.made_anew_s); // where its beats have put the ends
  else showSpan();
  part("tracks").replaceChildren(...take.tracks.map((track) => {
    const button = make("button", { type: "button", className: `track ${track.name}`, textContent: track.label });
    button.setAttribute("aria-pressed", String(!muted.has(track.name)));
    button.onclick = () => {
      if (!muted.delete(track.name)) muted.add(track.name);
      const gain = playing?.gains.get(track.name);
      gain?.gain.setTargetAtTime(muted.has(track.name) ? 0 : track.gain, context.currentTime, 0.01);
      button.setAttribute("aria-pressed", String(!muted.has(track.name)));
    };
    return button;
  }));
  part("files").replaceChildren(...take.files.map(({ label, file }) =>
    make("a", { textContent: label, href: file.url, download: file.orig_name })));
  part("list").replaceChildren(...takes.map((other) => {
    const button = make("button", { type: "button" }, `Take ${other.number} `, make("small", { textContent: other.label }));
    button.setAttribute("aria-pressed", String(other === take));
    button.onclick = () => { if (other !== chosen) choose(other); };
    return make("li", {}, button);
  }));
  part("others").hidden = takes.length < 2;
  if (playing && isOther) play(take); // on from where the other one is by then
  else if (!playing) { offset = Math.min(from, take.duration_s); show(); }
}

part("play").onclick = () => (playing ? pause() : play(chosen, offset));
part("position").oninput = (event) => seek(Number(event.target.value));

// A press on the picture goes there; a drag chooses a span, which can be made anew.
const secondsAt = (event) => {
  const box = part("score").getBoundingClientRect();
  return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * chosen.duration_s;
};
function showSpan() {
  const from = Number(part("from").value), to = Number(part("to").value);
  const { style } = part("chosen");
  part("chosen").hidden = part("anew").disabled = !(to > from);
  style.left = `${(100 * from) / chosen.duration_s}%`;
  style.width = `${(100 * (to - from)) / chosen.duration_s}%`;
}
function chooseSpan(from, to) {
  part("from").value = Math.min(from, to).toFixed(1);
  part("to").value = Math.max(from, to).toFixed(1);
  showSpan();
}
let pressed = null;
part("score").onpointerdown = (event) => {
  pressed = { x: event.clientX, seconds: secondsAt(event), isDrag: false };
  part("score").setPointerCapture(event.pointerId);
};
part("score").onpointermove = (event) => {
  if (!pressed || (!pressed.isDrag && Math.abs(event.clientX - pressed.x) < 6)) return;
  pressed.isDrag = true;
  chooseSpan(pressed.seconds, secondsAt(event));
};
part("score").onpointerup = () => {
  if (pressed?.isDrag) part("again").open = true;
  else if (pressed) seek(pressed.seconds);
  pressed = null;
};
part("score").onpointercancel = () => { pressed = null; };
part("from").oninput = part("to").oninput = showSpan;
part("anew").onclick = () => {
  trigger("regenerate", {
    recording: chosen.tracks[0].file.path,
    archive: chosen.files.at(-1).file.path,
    start_s: Number(part("from").value),
    end_s: Math.min(Number(part("to").value), chosen.duration_s),
    part: part("player").value || null,
  });
  if (!isVisible(document.querySelector("#go, #stop"))) // a phone: progress, errors and the way to stop are up there
    document.querySelector("#status").scrollIntoView({ behavior: "smooth", block: "center" });
};

watch("value", () => {
  const added = (props.value ?? []).filter((take) => !takes.some(({ id }) => id === take.id));
  if (!added.length) return;
  for (const take of added) takes.unshift({ ...take, number: takes.length + 1 });
  part("empty").hidden = true;
  part("card").hidden = false;
  choose(playing ? chosen : takes[0]); // whoever listens is not interrupted
  if (!isVisible(part("play"))) part("card").scrollIntoView({ behavior: "smooth" });
});
