/* The report of an evaluation: meshes of each method, coloured by their errors. */

const data = JSON.parse($('evaluation-data').textContent);
const { methods, unit } = data;
const faces = new Map(); // meshes by their key, when first asked for
let method = methods.at(-1), face = method?.faces[0], limit = data.limit, asked = 0;

const said = (figure) => `${Number(figure).toFixed(2)} ${unit}`.trim();

async function loadMesh(key) {
  if (!faces.has(key)) {
    const mesh = data.meshes[key];
    faces.set(key, {
      vertices: undifference(await unpack(mesh.vertices.steps, Int16Array), mesh.vertices.scale),
      triangles: Uint32Array.from(await unpack(mesh.triangles, mesh.wide ? Uint32Array : Uint16Array)),
      landmarks: { corners: [], weights: [] }, units: [],
      harmonics: new Float32Array(27), rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1],
    });
  }
  return faces.get(key);
}

/* The colour of an error, 0 to 255. */
function colour(error) {
  const place = Math.min(Math.max(error / limit, 0), 1) * (data.ramp.length - 1);
  const low = Math.min(Math.floor(place), data.ramp.length - 2);
  return data.ramp[low].map((v, k) => v + (place - low) * (data.ramp[low + 1][k] - v));
}

async function colours({ errors, top }) {
  const levels = await unpack(errors, Uint8Array), values = new Uint8Array(3 * levels.length);
  const of = Array.from({ length: data.levels + 1 }, (_, level) => colour((level * top) / data.levels));
  of.push([data.grey, data.grey, data.grey]); // not compared
  levels.forEach((level, v) => values.set(of[level], 3 * v));
  return values;
}

function drawRamp() {
  const pen = $('ramp').getContext('2d'), ticks = data.ramp.length - 1;
  for (let x = 0; x < 256; x++) {
    pen.fillStyle = `rgb(${colour((x / 255) * limit).join(' ')})`;
    pen.fillRect(x, 0, 1, 1);
  }
  $('ticks').replaceChildren(...Array.from({ length: ticks + 1 }, (_, k) => {
    const tick = document.createElement('span');
    tick.textContent = `${Number(((limit * k) / ticks).toPrecision(3))}${k === ticks ? ` ${unit} and more` : ''}`;
    return tick;
  }));
}

function button(label, pressed, press) {
  const made = document.createElement('button');
  Object.assign(made, { type: 'button', textContent: label });
  made.setAttribute('aria-pressed', pressed);
  made.addEventListener('click', press);
  return made;
}

function buildControls() {
  $('methods').replaceChildren(...methods.map((other) => button(other.name, other === method, () => {
    method = other; // the same face, if this method's are shown
    face = other.faces.find(({ name }) => name === face.name) ?? other.faces[0];
    show();
  })));
  for (const kind of ['first', 'worst']) {
    const some = method.faces.filter((each) => each.kind === kind);
    $(kind).replaceChildren(...some.map((each) => {
      const made = button(each.name, each === face, () => { face = each; show(); });
      const figure = made.appendChild(document.createElement('small'));
      figure.textContent = said(each.figure);
      return made;
    }));
    $(kind).hidden = $(kind).previousElementSibling.hidden = !some.length;
  }
  $('compared-title').textContent = face.name;
  $('photo').hidden = !(face.name in data.photos);
  if (face.name in data.photos) Object.assign($('photo'), { src: data.photos[face.name], alt: `The photo of ${face.name}` });
  $('figures').replaceChildren(...methods.flatMap((other) => {
    const same = other.faces.find(({ name }) => name === face.name);
    if (!same) return [];
    const row = document.createElement('tr'), head = row.appendChild(document.createElement('th'));
    head.scope = 'row';
    head.textContent = other.name;
    row.appendChild(document.createElement('td')).textContent = said(same.figure);
    row.className = other === method ? 'now' : '';
    return [row];
  }));
  $('said').textContent = `${face.name}, ${method.name}: ${said(face.figure)}`;
}

async function show() {
  const mine = ++asked, held = document.activeElement?.parentElement?.id;
  buildControls();
  if (['methods', 'first', 'worst'].includes(held)) document.querySelector(`#${held} [aria-pressed=true]`)?.focus(); // as before
  drawRamp();
  const mesh = await loadMesh(face.mesh), painted = { ...mesh, colours: await colours(face) };
  if (mine !== asked) return; // something else was chosen meanwhile
  if (window.viewer) window.viewer.replace(painted);
  else {
    window.viewer = new FaceViewer($('canvas'), painted);
    connectViewer(window.viewer);
    window.viewer.setMode('albedo');
  }
  document.body.dataset.shown = `${method.name}/${face.name}`;
}

function applyHash() {
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (name === 'theme') document.documentElement.dataset.theme = value === 'dark' ? 'dark' : 'light';
    if (name === 'method') method = methods.find((each) => each.name === value) ?? method;
    if (name === 'limit' && Number(value) > 0) limit = Number(value);
  }
  const wanted = new URLSearchParams(location.hash.slice(1)).get('face');
  if (method) face = method.faces.find(({ name }) => name === wanted) ?? method.faces[0];
}

(async () => {
  connectTheme(() => window.viewer?.redraw());
  applyHash();
  if (!method) { document.body.dataset.viewer = 'none: no meshes'; return; }
  Object.assign($('limit'), { min: data.limit / 10, max: 2 * data.limit, value: limit });
  $('limit').addEventListener('input', (e) => { limit = Number(e.target.value); show(); });
  $('view-front').addEventListener('click', () => window.viewer.reset());
  $('view-side').addEventListener('click', () => { window.viewer.reset(); window.viewer.turn(-1.05, 0); });
  try {
    await show();
    document.body.dataset.viewer = 'ready';
  } catch (error) {
    document.body.dataset.viewer = `none: ${error.message}`;
    document.body.classList.add('pictures-only');
  }
})();
