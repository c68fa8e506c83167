'use strict';
/* The report of a video: one head that moves as the frames say, a scrubber, and curves to seek in. */

const data = JSON.parse(document.getElementById('video-data').textContent);
const { times, found } = data.frames, count = times.length;
const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(data.seconds < 60 ? 1 : 0).padStart(data.seconds < 60 ? 4 : 2, '0')}`;
const side = $('side'), curves = [];
let frame = 0, playing = false, follow = true, viewer = null, rows = null;

async function loadRows() {
  const made = {};
  for (const name of ['strengths', 'angles', 'places', 'light']) {
    if (!data.frames[name]) continue; // a network may know no light
    const { values, scale } = data.frames[name], all = await unpack(values, Int16Array), faces = found.split('1').length - 1;
    const width = all.length / faces;
    made[name] = (row) => Float32Array.from(all.subarray(row * width, (row + 1) * width), (v) => v * scale);
  }
  const numbers = [];
  for (let i = 0, row = 0; i < count; i++) numbers.push(found[i] === '1' ? row++ : -1);
  return { ...made, numbers };
}

/* Rz(roll) Ry(yaw) Rx(pitch), by rows. */
function rotation([pitch, yaw, roll]) {
  const [a, b, c, d, e, f] = [pitch, yaw, roll].flatMap((v) => [Math.cos(v), Math.sin(v)]);
  return [e * c, e * d * b - f * a, e * d * a + f * b, f * c, f * d * b + e * a, f * d * a - e * b, -d, c * b, c * a];
}

function pose() {
  const row = rows.numbers[frame];
  viewer.hidden = row < 0;
  if (row < 0) { viewer.redraw(); return; }
  const turned = rotation(rows.angles(row));
  Object.assign(viewer.face, { rotation: new Float32Array(turned), harmonics: rows.light?.(row) ?? null });
  viewer.pose = follow ? { rotation: turned, shift: rows.places(row) } : null;
  viewer.strengths.set(rows.strengths(row));
  viewer.morph();
}

const hasSide = () => side.readyState > 0 && !side.error;

/* Show a frame; `fromSide` when the video beside leads. */
function show(wanted, fromSide = false) {
  frame = Math.max(0, Math.min(count - 1, wanted));
  const time = times[frame], number = data.first + frame * data.step;
  $('scrub').value = frame;
  $('scrub').setAttribute('aria-valuetext', `${clock(time)}, frame ${number}`);
  $('time').textContent = `${clock(time)} / ${clock(data.seconds)}`;
  $('frame').textContent = `frame ${number}`;
  $('no-face').hidden = found[frame] === '1';
  for (const chart of curves) chart.point(time);
  for (const thumb of document.querySelectorAll('[data-seek]')) thumb.classList.toggle('now', Number(thumb.dataset.seek) === frame);
  if (hasSide() && !fromSide) side.currentTime = time + slack / 2;
  if (viewer) pose();
  document.body.dataset.frame = frame;
}

/* Players stop a little before a frame's time; by less than it lasts, however many there are in a second. */
const slack = Math.min(0.002, ...times.slice(1).map((time, i) => (time - times[i]) / 3));
const frameAt = (time) => { let i = 0; while (i + 1 < count && times[i + 1] <= time + slack) i++; return i; };
const seek = (time) => show(frameAt(time));

function play(wanted) {
  playing = wanted;
  $('play').textContent = playing ? '❚❚' : '▶';
  $('play').setAttribute('aria-label', playing ? 'Pause' : 'Play');
  if (!playing) { side.pause(); return; }
  if (frame === count - 1) show(0);
  let last = performance.now(), time = times[frame];
  side.playbackRate = Number($('speed').value);
  if (hasSide()) side.play().catch(() => {});
  const tick = (now) => {
    if (!playing) return;
    const leads = hasSide() && !side.paused;
    time = leads ? side.currentTime : time + ((now - last) / 1000) * Number($('speed').value);
    last = now;
    const next = frameAt(time);
    if (next !== frame) show(next, leads);
    if (time >= data.seconds || side.ended) play(false);
    else requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

function connectTransport() {
  $('scrub').addEventListener('input', (e) => { play(false); show(Number(e.target.value)); });
  $('play').addEventListener('click', () => play(!playing));
  $('back').addEventListener('click', () => { play(false); show(frame - 1); });
  $('next').addEventListener('click', () => { play(false); show(frame + 1); });
  $('speed').addEventListener('change', () => { side.playbackRate = Number($('speed').value); });
  for (const thumb of document.querySelectorAll('[data-seek]')) thumb.addEventListener('click', () => { play(false); show(Number(thumb.dataset.seek)); });
  side.addEventListener('loadedmetadata', () => { $('side-card').classList.add('loaded'); side.currentTime = times[frame]; });
  side.addEventListener('error', () => { $('side-card').classList.remove('loaded'); });
  const keys = { ' ': () => play(!playing), k: () => play(!playing), ',': () => $('back').click(), '.': () => $('next').click(), Home: () => show(0), End: () => show(count - 1) };
  document.addEventListener('keydown', (e) => {
    const taken = e.key === ' ' && /BUTTON|SELECT|SUMMARY|A/.test(e.target.tagName);
    if (!keys[e.key] || taken || e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    keys[e.key]();
  });
}

(async () => {
  connectTheme(() => viewer?.redraw());
  connectTransport();
  for (const { title, unit, lines } of data.curves)
    curves.push(new Chart($('curves'), { title, unit, showX: (v) => (data.seconds < 60 ? `${tidy(v)} s` : clock(v)), bands: data.gaps, marks: data.cuts, pick: seek,
      hover: (x) => { for (const chart of curves) chart.point(x ?? times[frame]); },
      series: lines.map(([name, y], hue) => ({ name, x: data.curve_times, y, hue })) }));
  try {
    const face = await loadHead(data.mesh, data.mesh.shapes);
    rows = await loadRows();
    viewer = new FaceViewer($('canvas'), { ...face, rotation: new Float32Array(9), harmonics: rows.light ? new Float32Array(27) : null });
    connectViewer(viewer);
    for (const [id, moving] of [['view-follow', true], ['view-still', false]])
      $(id).addEventListener('click', () => {
        follow = moving;
        for (const other of ['view-follow', 'view-still']) $(other).setAttribute('aria-pressed', (other === 'view-follow') === follow);
        viewer.reset();
        pose();
      });
    document.body.dataset.viewer = 'ready';
  } catch (error) {
    document.body.dataset.viewer = `none: ${error.message}`;
    document.body.classList.add('pictures-only');
  }
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has('theme')) document.documentElement.dataset.theme = asked.get('theme');
  if (viewer && asked.has('mode')) viewer.setMode(asked.get('mode'));
  show(asked.has('frame') ? Math.floor((Number(asked.get('frame')) - data.first) / data.step) : Math.max(0, found.indexOf('1')));
})();
