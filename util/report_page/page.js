/* The report's own page: what its link asks for, and how a test looks at it. */

/* What a link asks for: report.html#mode=grey&yaw=40&jawOpen=0.8&theme=dark&landmarks=1 */
function applyHash(viewer) {
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (name === 'theme') document.documentElement.dataset.theme = value === 'dark' ? 'dark' : 'light';
    if (name === 'landmarks' && value === '1' && !$('landmarks').checked) $('landmarks').click();
    if (!viewer) continue;
    if (name === 'mode') viewer.setMode(value);
    if (name === 'yaw' && isFinite(value)) { viewer.yaw = (Number(value) * Math.PI) / 180; viewer.redraw(); }
    if (name === 'view' && value === 'photo') viewer.asInPhoto();
    const slider = document.getElementById(`unit-${name}`);
    if (slider) { slider.value = value; slider.dispatchEvent(new Event('input')); slider.closest('details').open = true; }
  }
}

/* #test: press keys and move a slider as a hand would, and write down what the canvas shows. */
function selfTest(viewer) {
  const filled = (p) => { let n = 0; for (let i = 3; i < p.length; i += 4) n += p[i] > 0; return n / (p.length / 4); };
  const differing = (a, b) => { let n = 0; for (let i = 0; i < a.length; i++) n += Math.abs(a[i] - b[i]) > 8; return n / a.length; };
  const key = (name) => viewer.canvas.dispatchEvent(new KeyboardEvent('keydown', { key: name, cancelable: true }));
  const front = viewer.pixels();
  const found = { filled: filled(front), modes: {} };
  for (let i = 0; i < 4; i++) key('ArrowRight');
  found.turned = differing(front, viewer.pixels());
  key('Home');
  found.back = differing(front, viewer.pixels());
  for (const button of document.querySelectorAll('[data-mode]')) {
    button.click();
    found.modes[button.dataset.mode] = differing(front, viewer.pixels());
  }
  viewer.setMode('photo');
  const slider = $('unit-jawOpen');
  if (slider) {
    const before = viewer.points.slice();
    slider.value = 1;
    slider.dispatchEvent(new Event('input'));
    found.mouth = differing(front, viewer.pixels());
    found.lower_lip_mm = 100 * (before[3 * 57 + 1] - viewer.points[3 * 57 + 1]);
    found.brow_mm = 100 * Math.abs(before[3 * 19 + 1] - viewer.points[3 * 19 + 1]);
  }
  document.body.dataset.test = JSON.stringify(found);
}

(async () => {
  connectTheme();
  const viewer = await showFace(JSON.parse($('face-data').textContent));
  applyHash(viewer);
  if (viewer && location.hash === '#test') selfTest(viewer);
})();
