'use strict';
/* What all pages share: packed arrays, the face that they make, light and dark. */

const $ = (id) => document.getElementById(id);

/* Base64 of deflated bytes -> typed array. */
async function unpack(text, kind) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new kind(await new Response(stream).arrayBuffer());
}

/* Numbers of two bytes, each the difference from the one before, all x first -> (V, 3). */
function undifference(steps, scale) {
  const count = steps.length / 3, values = new Float32Array(steps.length);
  for (let axis = 0; axis < 3; axis++)
    for (let v = 0, sum = 0; v < count; v++) {
      sum = (sum + steps[axis * count + v]) << 16 >> 16; // wraps, as the differences did
      values[3 * v + axis] = sum * scale;
    }
  return values;
}

/* What all faces have; `units` are the shapes that sliders or frames add. */
async function loadHead(mesh, { names, scales, deltas }) {
  const count = 3 * mesh.vertex_count, every = await unpack(deltas, Int8Array);
  return {
    vertices: undifference(await unpack(mesh.vertices.steps, Int16Array), mesh.vertices.scale),
    triangles: Uint32Array.from(await unpack(mesh.triangles, mesh.wide ? Uint32Array : Uint16Array)),
    colours: await unpack(mesh.colours, Uint8Array),
    inside: mesh.inside ? await unpack(mesh.inside, Uint32Array) : [],
    landmarks: mesh.landmarks,
    units: scales.map((scale, k) => ({ name: names?.[k], scale, deltas: every.subarray(count * k, count * (k + 1)) })),
  };
}

/* Buttons of the ways to draw, and the lamp, which albedo and grey alone have. */
function connectViewer(viewer) {
  const modes = document.querySelectorAll('[data-mode]');
  for (const button of modes) button.addEventListener('click', () => viewer.setMode(button.dataset.mode));
  $('zoom-in').addEventListener('click', () => viewer.zoomBy(1.2));
  $('zoom-out').addEventListener('click', () => viewer.zoomBy(1 / 1.2));
  for (const axis of ['x', 'y'])
    $(`lamp-${axis}`).addEventListener('input', (e) => { viewer.lamp[axis] = Number(e.target.value); viewer.redraw(); });
  viewer.onChange = () => {
    for (const button of modes) button.setAttribute('aria-pressed', button.dataset.mode === viewer.mode);
    for (const axis of ['x', 'y']) {
      $(`lamp-${axis}`).value = viewer.lamp[axis];
      $(`lamp-${axis}`).disabled = !['albedo', 'grey'].includes(viewer.mode);
    }
  };
}

function connectTheme(after = () => {}) {
  $('theme').addEventListener('click', () => {
    const dark = getComputedStyle(document.documentElement).colorScheme.includes('dark');
    document.documentElement.dataset.theme = dark ? 'light' : 'dark';
    after();
  });
}
