'use strict';
/* A small WebGL2 viewer of one face: orbit, zoom, light, several ways to draw, expressions by name.

   The mesh stands in the head's own frame (x right, y up, face towards +z, decimetres), or where
   `pose` puts it; the light of the photo is nine spherical harmonics in the photo's frame, to which
   `rotation` turns the head. It draws only when something has changed. */

const SURFACE_VERTEX = `#version 300 es
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 normal;
layout(location = 2) in vec3 paint;
layout(location = 3) in vec2 uv;
uniform mat4 projection, view;
out vec3 n, colour;
out vec2 place;
void main() {
  n = normal;
  place = uv;
  colour = paint;
  gl_Position = projection * view * vec4(position, 1.0);
}`;

const SURFACE_FRAGMENT = `#version 300 es
precision highp float;
in vec3 n, colour;
in vec2 place;
uniform int mode;          // 0 lit as in the photo, 1 albedo, 2 grey, 3 normals, 4 behind wires, 5 texture, 6 colours as they are
uniform sampler2D skin;
uniform vec3 harmonics[9]; // the photo's light, Lambert's cosine folded in
uniform mat3 head;         // head frame -> photo frame
uniform mat3 turn;         // head frame -> eye
uniform vec3 lamp;         // direction to the movable light, seen from the eye
uniform vec3 backdrop;
out vec4 pixel;
vec3 lit(vec3 m) {
  return harmonics[0] * 0.886227 + 1.772454 * (-m.y * harmonics[1] + m.z * harmonics[2] - m.x * harmonics[3])
    + 2.427033 * (m.x * m.y * harmonics[4] - m.y * m.z * harmonics[5]
      + 0.288675 * (3.0 * m.z * m.z - 1.0) * harmonics[6] - m.x * m.z * harmonics[7]
      + 0.5 * (m.x * m.x - m.y * m.y) * harmonics[8]);
}
void main() {
  vec3 m = normalize(n);
  vec3 eye = normalize(turn * m);
  float plain = 0.42 + 0.62 * max(dot(eye, lamp), 0.0) + 0.08 * max(eye.z, 0.0);
  vec3 c = colour * lit(normalize(head * m));
  if (mode == 1 || mode == 2) c = colour * plain;
  if (mode == 3) c = 0.5 * eye + 0.5;
  if (mode == 4) c = backdrop;
  if (mode == 5) c = texture(skin, place).rgb;
  if (mode == 6) c = colour;
  pixel = vec4(clamp(c, 0.0, 1.0), 1.0);
}`;

const FLAT_VERTEX = `#version 300 es
layout(location = 0) in vec3 position;
uniform mat4 projection, view;
uniform float size, lift;
void main() {
  gl_Position = projection * view * vec4(position, 1.0);
  gl_Position.z -= lift * gl_Position.w; // in front of the skin that they lie on
  gl_PointSize = size;
}`;

const FLAT_FRAGMENT = `#version 300 es
precision highp float;
uniform vec4 ink;
uniform bool round;
out vec4 pixel;
void main() {
  if (round && length(gl_PointCoord - 0.5) > 0.5) discard;
  pixel = ink;
}`;

const MODES = ['photo', 'albedo', 'grey', 'normals', 'wireframe', 'texture', 'colours'];
const FIELD_OF_VIEW = 0.42;

class FaceViewer {
  /* face: {vertices, triangles, colours, harmonics, rotation, units, landmarks}; see face.js. Colours
     are the albedo, or those of the photo where harmonics, the light, are null. Its texture, if any: {image, uv, copies, triangles}, where triangles also take vertices after
     the last one, copies of those numbers for seams. */
  constructor(canvas, face) {
    const gl = canvas.getContext('webgl2', { antialias: true, alpha: true });
    if (!gl) throw new Error('no WebGL2');
    Object.assign(this, { canvas, gl, showLandmarks: false, hidden: false });
    this.mode = face.texture ? 'texture' : face.harmonics ? 'photo' : 'colours';
    this.pose = null; // or {rotation: 9 numbers by rows, shift: 3}
    this.lamp = { x: -0.35, y: 0.45 };
    this.onChange = () => {};
    this.prepare();
    this.replace(face);
    this.reset();
    this.listen();
    new ResizeObserver(() => this.redraw()).observe(canvas);
  }

  /* Another face, seen from where the one before was. */
  replace(face) {
    this.face = face;
    this.strengths = new Float32Array(face.units.length);
    this.copies = face.texture?.copies ?? [];
    this.shape = new Float32Array(face.vertices.length + 3 * this.copies.length);
    this.normals = new Float32Array(this.shape.length);
    this.measure();
    this.upload();
  }

  /* Everything that the graphics card holds of the face. */
  upload() {
    const { gl, face } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.colours);
    gl.bufferData(gl.ARRAY_BUFFER, face.colours, gl.STATIC_DRAW);
    // Clay, but dark inside the mouth: no light gets there, and a bright lining would look like a tongue.
    const clay = Uint8Array.from(face.colours, (_, i) => [189, 186, 184][i % 3]);
    for (const v of face.inside ?? []) clay.fill(50, 3 * v, 3 * v + 3);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.clay);
    gl.bufferData(gl.ARRAY_BUFFER, clay, gl.STATIC_DRAW);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.triangles);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, face.triangles, gl.STATIC_DRAW);
    gl.deleteBuffer(this.buffers.edges ?? null);
    this.buffers.edges = null;
    if (face.texture) this.prepareTexture(face.texture);
    this.morph();
  }

  /* Middle and size of the face, which the camera goes around. */
  measure() {
    const low = [1e9, 1e9, 1e9], high = [-1e9, -1e9, -1e9];
    this.face.vertices.forEach((value, i) => {
      low[i % 3] = Math.min(low[i % 3], value);
      high[i % 3] = Math.max(high[i % 3], value);
    });
    this.centre = low.map((value, k) => (value + high[k]) / 2);
    this.half = low.map((value, k) => (high[k] - value) / 2);
    this.radius = Math.hypot(...this.half);
  }

  prepare() {
    const gl = this.gl;
    this.surface = program(gl, SURFACE_VERTEX, SURFACE_FRAGMENT);
    this.flat = program(gl, FLAT_VERTEX, FLAT_FRAGMENT);
    this.buffers = {};
    for (const name of ['shape', 'normals', 'colours', 'clay', 'points', 'triangles']) this.buffers[name] = gl.createBuffer();
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
  }

  prepareTexture({ image, uv, triangles }) {
    const gl = this.gl;
    for (const [name, kind, values] of [['uv', gl.ARRAY_BUFFER, uv], ['skin', gl.ELEMENT_ARRAY_BUFFER, triangles]]) {
      this.buffers[name] = gl.createBuffer();
      gl.bindBuffer(kind, this.buffers[name]);
      gl.bufferData(kind, values, gl.STATIC_DRAW);
    }
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, true); // the bottom row is v = 0
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  }

  /* Each edge once, when wires are first asked for. */
  edges() {
    if (this.buffers.edges) return;
    const gl = this.gl, t = this.face.triangles, seen = new Set(), pairs = [];
    const count = this.face.vertices.length / 3;
    for (let i = 0; i < t.length; i++) {
      const a = t[i], b = t[i % 3 === 2 ? i - 2 : i + 1];
      const key = Math.min(a, b) * count + Math.max(a, b);
      if (!seen.has(key)) { seen.add(key); pairs.push(a, b); }
    }
    this.edgeCount = pairs.length;
    this.buffers.edges = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.edges);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint32Array(pairs), gl.STATIC_DRAW);
  }

  /* Add the units to the shape as strongly as the sliders say; normals and landmarks follow. */
  morph() {
    const { vertices, triangles, units, landmarks } = this.face;
    const shape = this.shape, normals = this.normals;
    shape.set(vertices);
    this.strengths.forEach((strength, k) => {
      if (!strength) return;
      const { deltas, scale } = units[k], factor = strength * scale;
      const count = vertices.length / 3; // deltas: all x, then all y, then all z
      for (let axis = 0; axis < 3; axis++)
        for (let v = 0, d = axis * count; v < count; v++, d++) shape[3 * v + axis] += factor * deltas[d];
    });
    normals.fill(0);
    for (let i = 0; i < triangles.length; i += 3) {
      const a = 3 * triangles[i], b = 3 * triangles[i + 1], c = 3 * triangles[i + 2];
      const ux = shape[b] - shape[a], uy = shape[b + 1] - shape[a + 1], uz = shape[b + 2] - shape[a + 2];
      const vx = shape[c] - shape[a], vy = shape[c + 1] - shape[a + 1], vz = shape[c + 2] - shape[a + 2];
      const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
      for (const at of [a, b, c]) { normals[at] += x; normals[at + 1] += y; normals[at + 2] += z; }
    }
    this.copies.forEach((from, k) => {
      for (const values of [shape, normals]) values.copyWithin(vertices.length + 3 * k, 3 * from, 3 * from + 3);
    });
    this.points = new Float32Array(landmarks.corners.length);
    for (let i = 0; i < landmarks.corners.length; i++)
      for (let axis = 0; axis < 3; axis++)
        this.points[3 * Math.floor(i / 3) + axis] += landmarks.weights[i] * shape[3 * landmarks.corners[i] + axis];
    const gl = this.gl;
    for (const [name, values] of [['shape', shape], ['normals', normals], ['points', this.points]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    }
    this.redraw();
  }

  setUnit(index, strength) { this.strengths[index] = strength; this.morph(); }

  setMode(mode) {
    const { harmonics, texture } = this.face;
    const needs = { photo: harmonics, albedo: harmonics, colours: !harmonics, texture };
    if (!MODES.includes(mode) || (mode in needs && !needs[mode])) return;
    this.mode = mode;
    this.redraw();
  }

  /* From the front, upright, all of it in sight. */
  reset() { Object.assign(this, { yaw: 0, pitch: 0, roll: 0, zoom: 1, panX: 0, panY: 0 }); this.redraw(); }

  /* As the photo shows the head: its rotation Rz Rx Ry, read off the matrix. */
  asInPhoto() {
    const r = this.face.rotation;
    this.reset();
    this.pitch = Math.asin(Math.max(-1, Math.min(1, r[7])));
    this.yaw = Math.atan2(-r[6], r[8]);
    this.roll = Math.atan2(-r[1], r[4]);
    this.redraw();
  }

  turn(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.max(-1.5, Math.min(1.5, this.pitch + pitch));
    this.redraw();
  }

  /* By pixels, at the depth of the nose; the middle of the view stays within the face. */
  pan(dx, dy) {
    const { turn, reach } = this.matrices(), scale = (2 * reach) / this.canvas.clientHeight;
    const [x, y] = [this.panX + scale * dx, this.panY - scale * dy].map((value, axis) => {
      const most = this.half.reduce((sum, half, k) => sum + half * Math.abs(turn[3 * k + axis]), 0);
      return Math.max(-most, Math.min(most, value));
    });
    Object.assign(this, { panX: x, panY: y });
    this.redraw();
  }

  zoomBy(factor) { this.zoom = Math.max(0.4, Math.min(8, this.zoom * factor)); this.redraw(); }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  /* Column-major head frame -> eye, and perspective. */
  matrices() {
    const [cy, sy, cp, sp, cr, sr] = [this.yaw, this.pitch, this.roll].flatMap((a) => [Math.cos(a), Math.sin(a)]);
    const x = [cy, 0, sy], y = [sp * sy, cp, -sp * cy], z = [-cp * sy, sp, cp * cy];
    const rows = [x.map((v, k) => cr * v - sr * y[k]), x.map((v, k) => sr * v + cr * y[k]), z];
    const aspect = this.canvas.width / this.canvas.height;
    const [halfX, halfY, halfZ] = this.half;
    // Of the eye from the middle: what turns needs room for its depth as well as for its width.
    const extent = Math.max(halfY, Math.hypot(halfX, halfZ) / aspect);
    // Half of the height that is in sight where the face is nearest: however close, the eye stays before it.
    const reach = (1.12 * extent) / this.zoom, far = reach / Math.tan(FIELD_OF_VIEW / 2) + halfZ;
    const shift = [this.panX, this.panY, -far];
    const view = new Float32Array(16), { rotation: r, shift: place = [0, 0, 0] } = this.pose ?? {};
    const posed = r ? rows.map((row) => [0, 1, 2].map((k) => row[0] * r[k] + row[1] * r[3 + k] + row[2] * r[6 + k])) : rows;
    rows.forEach((row, i) => {
      for (let k = 0; k < 3; k++) view[4 * k + i] = posed[i][k];
      view[12 + i] = shift[i] + row.reduce((sum, v, k) => sum + v * (place[k] - this.centre[k]), 0);
    });
    view[15] = 1;
    const f = 1 / Math.tan(FIELD_OF_VIEW / 2), near = Math.max(0.05, far - 2 * this.radius), end = far + 2 * this.radius;
    const projection = new Float32Array([f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, (end + near) / (near - end), -1,
      0, 0, (2 * end * near) / (near - end), 0]);
    const turn = new Float32Array(9);
    posed.forEach((row, i) => row.forEach((v, k) => { turn[3 * k + i] = v; }));
    return { view, projection, turn, reach };
  }

  draw() {
    const { gl, canvas, face, surface, flat, buffers } = this;
    if (gl.isContextLost()) return; // until it is restored
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (this.hidden) { this.onChange(); return; }
    const { view, projection, turn } = this.matrices();
    const wires = this.mode === 'wireframe', skin = this.mode === 'texture', style = getComputedStyle(canvas);

    gl.useProgram(surface.program);
    gl.uniformMatrix4fv(surface.at('view'), false, view);
    gl.uniformMatrix4fv(surface.at('projection'), false, projection);
    gl.uniformMatrix3fv(surface.at('turn'), false, turn);
    gl.uniformMatrix3fv(surface.at('head'), true, face.rotation);
    if (face.harmonics) gl.uniform3fv(surface.at('harmonics'), face.harmonics);
    gl.uniform1i(surface.at('mode'), MODES.indexOf(this.mode));
    const { x, y } = this.lamp, z = Math.sqrt(Math.max(0.05, 1 - x * x - y * y)), length = Math.hypot(x, y, z);
    gl.uniform3f(surface.at('lamp'), x / length, y / length, z / length);
    gl.uniform3fv(surface.at('backdrop'), rgb(style.backgroundColor));
    attribute(gl, 0, buffers.shape, gl.FLOAT);
    attribute(gl, 1, buffers.normals, gl.FLOAT);
    if (skin) attribute(gl, 3, buffers.uv, gl.FLOAT, 2);
    else attribute(gl, 2, this.mode === 'grey' ? buffers.clay : buffers.colours, gl.UNSIGNED_BYTE);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, skin ? buffers.skin : buffers.triangles);
    gl.drawElements(gl.TRIANGLES, face.triangles.length, gl.UNSIGNED_INT, 0);
    for (const place of [1, 2, 3]) gl.disableVertexAttribArray(place);

    gl.useProgram(flat.program);
    gl.uniformMatrix4fv(flat.at('view'), false, view);
    gl.uniformMatrix4fv(flat.at('projection'), false, projection);
    gl.uniform1f(flat.at('lift'), 0.0008);
    if (wires) {
      this.edges();
      gl.uniform1i(flat.at('round'), 0);
      gl.uniform4f(flat.at('ink'), ...rgb(style.color), 0.55);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.edges);
      gl.drawElements(gl.LINES, this.edgeCount, gl.UNSIGNED_INT, 0);
    }
    if (this.showLandmarks) {
      attribute(gl, 0, buffers.points, gl.FLOAT);
      gl.uniform1i(flat.at('round'), 1);
      gl.uniform1f(flat.at('lift'), 0.012);
      gl.uniform1f(flat.at('size'), 6 * ratio);
      gl.uniform4f(flat.at('ink'), 0.9, 0.16, 0.2, 1);
      gl.drawArrays(gl.POINTS, 0, this.points.length / 3);
    }
    this.onChange();
  }

  /* What the canvas shows now, RGBA; for tests and for saving a picture. */
  pixels() {
    this.draw();
    const { gl, canvas } = this, values = new Uint8Array(4 * canvas.width * canvas.height);
    gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, values);
    return values;
  }

  listen() {
    const canvas = this.canvas, held = new Map();
    let before = {};
    canvas.addEventListener('webglcontextlost', (e) => e.preventDefault()); // else it is never restored
    canvas.addEventListener('webglcontextrestored', () => { this.prepare(); this.upload(); });
    canvas.addEventListener('pointerdown', (e) => {
      canvas.setPointerCapture(e.pointerId);
      held.set(e.pointerId, e);
      before = { yaw: this.yaw, pitch: this.pitch };
    });
    canvas.addEventListener('pointerup', (e) => held.delete(e.pointerId));
    canvas.addEventListener('pointercancel', (e) => { // it scrolls the page, and so was not to turn the face
      held.delete(e.pointerId);
      Object.assign(this, before);
      this.redraw();
    });
    canvas.addEventListener('pointermove', (e) => {
      const last = held.get(e.pointerId);
      if (!last) return;
      const dx = e.clientX - last.clientX, dy = e.clientY - last.clientY;
      if (held.size > 1) { // two fingers: closer or farther, and along with their middle
        const other = [...held.values()].find((p) => p.pointerId !== e.pointerId);
        const gap = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
        this.zoomBy(gap(e) / Math.max(1, gap(last)));
        this.pan(dx / 2, dy / 2);
      } else if (e.buttons & 6) this.pan(dx, dy); // the right or the middle one
      else if (e.shiftKey) this.moveLamp(dx / 200, -dy / 200);
      else this.turn(dx * 0.01, dy * 0.01);
      held.set(e.pointerId, e);
    });
    // One finger up or down scrolls the page (touch-action); two are the view's.
    for (const touch of ['touchstart', 'touchmove'])
      canvas.addEventListener(touch, (e) => { if (e.touches.length > 1 && e.cancelable) e.preventDefault(); }, { passive: false });
    canvas.addEventListener('contextmenu', (e) => e.preventDefault());
    canvas.addEventListener('mousedown', (e) => { if (e.button === 1) e.preventDefault(); }); // else the page scrolls
    canvas.addEventListener('wheel', (e) => { e.preventDefault(); this.zoomBy(Math.exp(-e.deltaY / 600)); }, { passive: false });
    canvas.addEventListener('dblclick', () => this.reset());
    const go = (x, y) => (e) => (e.shiftKey ? this.pan(32 * x, 32 * y) : this.turn(0.12 * x, 0.12 * y));
    const keys = {
      ArrowLeft: go(-1, 0), ArrowRight: go(1, 0), ArrowUp: go(0, -1), ArrowDown: go(0, 1),
      '+': () => this.zoomBy(1.15), '=': () => this.zoomBy(1.15), '-': () => this.zoomBy(1 / 1.15),
      0: () => this.reset(), Home: () => this.reset(),
    };
    canvas.addEventListener('keydown', (e) => {
      if (!keys[e.key] || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault();
      keys[e.key](e);
    });
  }

  moveLamp(dx, dy) {
    this.lamp.x = Math.max(-1, Math.min(1, this.lamp.x + dx));
    this.lamp.y = Math.max(-1, Math.min(1, this.lamp.y + dy));
    this.redraw();
  }
}

function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  const places = {};
  return { program: made, at: (name) => (places[name] ??= gl.getUniformLocation(made, name)) };
}

function attribute(gl, place, buffer, type, size = 3) {
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.enableVertexAttribArray(place);
  gl.vertexAttribPointer(place, size, type, type !== gl.FLOAT, 0, 0);
}

function rgb(css) { return (css.match(/[\d.]+/g) || [0, 0, 0]).slice(0, 3).map((v) => v / 255); }
