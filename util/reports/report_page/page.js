/* The report's own page: what its link asks for. */

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

(async () => {
  connectTheme(() => window.viewer?.redraw());
  applyHash(await showFace(JSON.parse($('face-data').textContent)));
})();
