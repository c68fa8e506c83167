'use strict';
/* The report of a training: curves of all terms, and the pictures over time. */

const data = JSON.parse(document.getElementById('run-data').textContent);
const { train, val, steps, epochs, rates, pictures } = data; // steps: of training or validation
const thousands = (v) => (v >= 1e4 ? `${Number((v / 1000).toPrecision(3))}k` : Number.isInteger(v) ? String(v) : '');
const losses = [], schedule = [];

function hover(x) {
  for (const chart of [...losses, ...schedule.filter((c) => c.byStep)]) chart.point(x);
  const at = losses[0].nearest(steps, x ?? 0);
  $('here').textContent = x === null ? '' : `step ${steps[at]}, epoch ${epochs[at]}`;
}

const lines = (name) => [['train', train, 0, false], ['val', val, 1, true]].filter(([, phase]) => phase.losses[name])
  .map(([phase, { steps: x, losses: of }, hue, steady]) => ({ name: phase, x, y: of[name], hue, steady }));

function build() {
  for (const [name, title] of Object.entries(data.terms))
    losses.push(new Chart($(name === 'all' ? 'total' : 'terms'), { title, series: lines(name), showX: thousands, hover, weight: Number($('smooth').value) }));
  if (steps.length) schedule.push(new Chart($('schedule'), { title: 'Learning rate', byStep: true, showX: thousands, hover, series: [{ name: '', x: steps, y: rates, hue: 2 }] }));
  if (data.epoch_numbers.length) schedule.push(new Chart($('schedule'), { title: 'Minutes of each epoch', showX: (v) => (Number.isInteger(v) ? v : ''), series: [{ name: '', x: data.epoch_numbers, y: data.epoch_minutes, hue: 3 }] }));
  for (const button of document.querySelectorAll('[data-log]'))
    button.addEventListener('click', () => {
      for (const other of document.querySelectorAll('[data-log]')) other.setAttribute('aria-pressed', other === button);
      for (const chart of losses) chart.set({ log: button.dataset.log === '1' });
    });
  $('smooth').addEventListener('input', (e) => { for (const chart of losses) chart.set({ weight: Number(e.target.value) }); });
}

function showPicture(index) {
  const { step, epoch, source } = pictures[index], said = `after step ${step}${epoch ? ` (epoch ${epoch})` : ''}`;
  $('picture').src = source;
  $('picture').alt = `Faces of the ${data.phase} ${said}, a row each, the photo on the left`;
  $('caption').textContent = said[0].toUpperCase() + said.slice(1);
  $('when').setAttribute('aria-valuetext', said);
}

connectTheme();
build();
if (pictures.length) {
  Object.assign($('when'), { max: pictures.length - 1, value: pictures.length - 1 });
  $('when').addEventListener('input', (e) => showPicture(Number(e.target.value)));
  showPicture(pictures.length - 1);
}
const asked = new URLSearchParams(location.hash.slice(1));
if (asked.has('theme')) document.documentElement.dataset.theme = asked.get('theme');
if (asked.has('log')) document.querySelector('[data-log="1"]').click();
document.body.dataset.report = 'ready';
