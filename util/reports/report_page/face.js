/* One face in a page: unpacks it, connects the controls of face.html with the viewer, shows landmarks.

   The report and the app both show faces so; what only one of them does is in page.js and app.js. */

async function loadFace(mesh) {
  const face = await loadHead(mesh, mesh.units);
  // Of a face whose light nobody knows, the colours are those of the photo.
  Object.assign(face, { harmonics: mesh.harmonics && new Float32Array(mesh.harmonics), rotation: new Float32Array(mesh.rotation) });
  if (mesh.texture) face.texture = await loadTexture(mesh.texture, face.triangles);
  return face;
}

async function loadTexture({ picture, uv, copies, corners, become }, triangles) {
  const image = new Image();
  image.src = picture;
  await image.decode();
  const levels = await unpack(uv, Uint16Array), count = levels.length / 2, changed = triangles.slice();
  const to = await unpack(become, Uint32Array);
  (await unpack(corners, Uint32Array)).forEach((corner, k) => { changed[corner] = to[k]; });
  return {
    image, copies: await unpack(copies, Uint32Array), triangles: changed,
    uv: Float32Array.from(levels, (_, i) => levels[(i % 2) * count + (i >> 1)] / 65535),
  };
}

/* Words of a camelCase name: jawOpen -> jaw open. */
const words = (name) => name.replace(/([A-Z])/g, ' $1').toLowerCase();

function buildSliders(viewer, names) {
  const idle = [], groups = new Map();
  names.forEach((name, k) => {
    if (!viewer.face.units[k].deltas.some(Boolean)) { idle.push(words(name)); return; }
    const region = /^(brow|eye|cheek|nose|jaw|mouth|tongue)/.exec(name)?.[1] ?? 'other';
    if (!groups.has(region)) groups.set(region, []);
    groups.get(region).push([name, k]);
  });
  for (const [region, units] of groups) {
    const group = document.createElement('details');
    group.open = region === 'jaw' || groups.size < 3;
    const head = group.appendChild(document.createElement('summary'));
    head.textContent = `${region} (${units.length})`;
    for (const [name, k] of units) {
      const label = group.appendChild(document.createElement('label'));
      label.className = 'unit';
      label.dataset.unit = name;
      const text = label.appendChild(document.createElement('span'));
      text.textContent = words(name);
      text.title = name;
      const slider = label.appendChild(document.createElement('input'));
      Object.assign(slider, { type: 'range', min: 0, max: 1, step: 0.01, value: 0, id: `unit-${name}` });
      const value = label.appendChild(document.createElement('output'));
      value.textContent = '0.00';
      slider.addEventListener('input', () => {
        value.textContent = Number(slider.value).toFixed(2);
        viewer.setUnit(k, Number(slider.value));
      });
    }
    $('units').append(group);
  }
  if (idle.length) $('unit-note').append(` Nothing to move in this face model: ${idle.join(', ')}.`);
  $('unit-search').addEventListener('input', (e) => {
    const wanted = e.target.value.trim().toLowerCase();
    for (const group of $('units').children) {
      let any = false;
      for (const label of group.querySelectorAll('.unit')) {
        const name = label.dataset.unit;
        label.hidden = wanted !== '' && !`${name} ${words(name)}`.toLowerCase().includes(wanted);
        any ||= !label.hidden;
      }
      group.hidden = !any;
      if (wanted) group.open = any;
    }
  });
  $('unit-reset').addEventListener('click', () => {
    viewer.strengths.fill(0);
    for (const label of document.querySelectorAll('.unit')) {
      label.querySelector('input').value = 0;
      label.querySelector('output').textContent = '0.00';
    }
    viewer.morph();
  });
}

function connect(viewer) {
  connectViewer(viewer);
  $('view-front').addEventListener('click', () => viewer.reset());
  $('view-photo').addEventListener('click', () => viewer.asInPhoto());
  $('view-side').addEventListener('click', () => { viewer.reset(); viewer.turn(-1.05, 0); });
}

/* Photo, overlay and crop, with the landmarks over them on request. */
function connectPictures(points) {
  const show = (name) => {
    for (const figure of document.querySelectorAll('[data-picture]')) figure.hidden = figure.dataset.picture !== name;
    for (const tab of document.querySelectorAll('[data-show]')) tab.setAttribute('aria-pressed', tab.dataset.show === name);
  };
  for (const tab of document.querySelectorAll('[data-show]')) tab.addEventListener('click', () => show(tab.dataset.show));
  show(document.querySelector('[data-show]').dataset.show);
  for (const svg of document.querySelectorAll('svg.points')) {
    const { size, radius, given, predicted } = points[svg.dataset.points];
    svg.setAttribute('viewBox', `0 0 ${size[0]} ${size[1]}`);
    for (const [kind, dots] of [['given', given], ['predicted', predicted]])
      for (const [x, y] of dots) {
        const dot = document.createElementNS('http://www.w3.org/2000/svg', 'circle');
        for (const [name, value] of [['cx', x], ['cy', y], ['r', radius], ['class', kind]]) dot.setAttribute(name, value);
        svg.append(dot);
      }
  }
}

/* Show the face whose face.html is in the page; null where the browser has no WebGL2.

   data: {mesh, points}; see util/reports/report_data.py. */
async function showFace(data) {
  connectPictures(data.points);
  $('landmarks').addEventListener('change', (e) => {
    document.body.classList.toggle('with-landmarks', e.target.checked);
    if (window.viewer) { window.viewer.showLandmarks = e.target.checked; window.viewer.redraw(); }
  });
  try {
    const viewer = new FaceViewer($('canvas'), await loadFace(data.mesh));
    window.viewer = viewer;
    connect(viewer);
    buildSliders(viewer, viewer.face.units.map((unit) => unit.name));
    document.body.dataset.viewer = 'ready';
    return viewer;
  } catch (error) {
    document.body.dataset.viewer = `none: ${error.message}`;
    document.body.classList.add('pictures-only');
    return null;
  }
}
