/* The app's page: sends a photo or a video, tells how far it is, and shows what came of it.

   The name of a file goes along, since what can be taken is called after it. `app` is what the page is at, for scripts and tests. */

const app = { kind: 'photo', state: 'start', job: null, source: null, faces: [], name: '', most: {}, loading: '', queue: [] };
const SECTIONS = ['start', 'shoot', 'progress', 'choose', 'error', 'result'];
const TEXTS = {
  photo: { drop: 'Drop photos here', how: (mb) => `or click to choose some, which are fitted one after the other: JPEG, PNG, WebP or BMP, up to ${mb} MB`, accept: 'image/jpeg,image/png,image/webp,image/bmp', other: 'New photo' },
  video: { drop: 'Drop a video of one person here', how: (mb) => `or click to choose one: MP4, MOV, WebM or AVI, up to ${mb} MB`, accept: 'video/*', other: 'New video' },
};
const STAGES = { landmarks: 'Landmarks', light: 'Light', photo_4: 'Photo, coarse', photo_2: 'Photo, finer', photo_1: 'Photo, every pixel' };
const FIRST_WORDS = $('subtitle').textContent;

function go(state, ...shown) {
  app.state = document.body.dataset.state = state;
  for (const id of SECTIONS) $(id).hidden = !shown.includes(id);
  $('other').hidden = ['start', 'sending', 'failed', 'camera'].includes(state);
  $('again').hidden = !(state === 'done' && app.kind === 'photo');
  $('others').hidden = !(state === 'done' && app.kind === 'photo' && app.faces.length > 1);
  $('next').hidden = !app.queue.length || !['done', 'choosing', 'failed'].includes(state);
  $('next').textContent = `Next: ${app.queue[0]?.name} (${app.queue.length} left)`;
  $('other').textContent = TEXTS[app.kind].other;
}

/* What the server answers, as JSON; its own words where it refuses. */
async function ask(path, options = {}) {
  let answer;
  try { answer = await fetch(path, options); } catch { throw new Error('The app does not answer; does it still run in the terminal?'); }
  if (answer.status === 204) return null;
  const body = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error(body.error);
  return body;
}

const query = () => new URLSearchParams({ face_model: $('face-model').value, preset: document.querySelector('[name=preset]:checked')?.value ?? '' });

function fail(error) {
  $('problem').textContent = error.message.charAt(0).toUpperCase() + error.message.slice(1);
  go('failed', 'error', 'start');
}

/* What to choose from; the face models are known when the fitter is loaded. */
async function learnOffers() {
  for (;;) {
    try {
      const state = await ask('/api/state');
      if (!$('presets').children.length) {
        for (const name of state.presets) {
          const label = document.createElement('label');
          const radio = label.appendChild(document.createElement('input'));
          Object.assign(radio, { type: 'radio', name: 'preset', value: name, className: 'unseen', checked: name === state.preset });
          label.append(name);
          $('presets').append(label);
        }
        app.most = state.most_mb;
        showKind();
      }
      document.body.dataset.ready = state.ready;
      app.loading = state.compiling ? 'The fitter is being compiled for this computer, once: 10 seconds to a minute.' : 'The fitter is being loaded.';
      if (state.ready) {
        $('face-model').replaceChildren(...state.face_models.map((name) => new Option(name, name)));
        $('face-model').disabled = false;
        return;
      }
      $('face-model').replaceChildren(new Option(state.compiling ? 'compiling, once …' : 'loading …', ''));
      $('face-model').disabled = true;
    } catch (error) { if (app.state === 'start') fail(error); return; }
    await new Promise((wake) => setTimeout(wake, 300));
  }
}

function showKind() {
  const texts = TEXTS[app.kind];
  $('drop-what').textContent = texts.drop;
  $('drop-how').textContent = app.most[app.kind] ? texts.how(app.most[app.kind]) : '';
  $('file').multiple = app.kind === 'photo';
  $('file').accept = texts.accept;
  $('file').value = '';
  $('camera-bar').hidden = app.kind !== 'photo' || !navigator.mediaDevices?.getUserMedia;
  for (const tab of document.querySelectorAll('[role=tab]')) {
    const chosen = tab.dataset.kind === app.kind;
    tab.setAttribute('aria-selected', chosen);
    tab.tabIndex = chosen ? 0 : -1;
    if (chosen) $('work').setAttribute('aria-labelledby', tab.id);
  }
}

/* Back to the beginning; what there was is removed from the server. */
function restart(kind = app.kind) {
  stopCamera();
  app.upload?.abort();
  forget(app.job);
  clearFace();
  if (app.source) URL.revokeObjectURL(app.source);
  Object.assign(app, { kind, job: null, source: null, faces: [], name: '', queue: [] });
  $('title').textContent = 'Faces in 3D';
  $('subtitle').textContent = FIRST_WORDS;
  showKind();
  go('start', 'start');
}

/* Nobody wants a job any more: the server stops it and removes its files. */
function forget(id) { if (id) ask(`/api/jobs/${id}`, { method: 'DELETE' }).catch(() => {}); }

function clearFace() {
  window.viewer?.gl.getExtension('WEBGL_lose_context')?.loseContext();
  window.viewer = undefined;
  document.body.classList.remove('with-landmarks', 'pictures-only');
  delete document.body.dataset.viewer;
  $('result').replaceChildren();
}

/* The first of some files; the others wait for the button "Next: name (n left)". */
function take([file, ...others]) {
  if (!file) return;
  if (app.kind === 'video' && others.length) fail(new Error('one video at a time'));
  else send(file, file.name, others);
}

async function send(file, name, others = []) {
  restart();
  app.queue = others;
  // Before it is sent, and before its size is held against the other kind's; the server looks at its bytes.
  const kind = file.type.startsWith('video/') ? 'video' : TEXTS.photo.accept.split(',').includes(file.type) ? 'photo' : app.kind;
  if (kind !== app.kind) return fail(new Error(`the file is a ${kind}, not a ${app.kind}: choose ${$(`tab-${kind}`).textContent} at the top of the page and give it there`));
  if (app.most[app.kind] && file.size > app.most[app.kind] * 1e6)
    return fail(new Error(`the ${app.kind} has ${(file.size / 1e6).toFixed(0)} megabytes, more than ${app.most[app.kind]}; make it smaller`));
  app.source = URL.createObjectURL(file);
  app.name = name;
  $('title').textContent = name;
  $('sent').src = app.kind === 'photo' ? app.source : '';
  document.querySelector('.beside').classList.toggle('alone', app.kind !== 'photo');
  showStages({ state: 'uploading', stages: [] });
  go('sending', 'progress');
  $('cancel').focus();
  app.upload = new AbortController();
  const options = { method: 'POST', body: file, headers: { 'content-type': 'application/octet-stream' }, signal: app.upload.signal };
  const wanted = query();
  wanted.set('name', name);
  await follow(() => ask(`/api/${app.kind}s?${wanted}`, options));
}

/* The same photo with other settings, or another face of it. */
async function fitAgain(face) {
  const before = app.job, wanted = query();
  if (face) wanted.set('face', face);
  showStages({ state: 'waiting', stages: [] });
  go('sending', 'progress');
  $('cancel').focus();
  await follow(() => ask(`/api/jobs/${before}/fits?${wanted}`, { method: 'POST' }));
}

/* Start a job and look after it until it ends, or the visitor wants another. */
async function follow(start) {
  const token = (app.token = {});
  let seen = false;
  try {
    const { id } = await start();
    if (app.token !== token) { forget(id); return; }
    forget(app.job); // the new one has its own copy of the photo
    app.job = id;
    app.state = 'working';
    for (;;) {
      const job = await ask(`/api/jobs/${id}`);
      if (app.token !== token) return;
      if (job.has_view && !seen) {
        const view = await ask(`/api/jobs/${id}/view`);
        if (app.token !== token) return;
        seen = true;
        if (job.kind === 'photo') await showPhoto(view, job);
        else showVideo(view, id);
      }
      if (job.state === 'done') { showFiles(job.files, id); go('done', 'result'); return; }
      if (job.state === 'choosing') { showChoice(job.faces); return; }
      if (job.state === 'failed') throw new Error(job.error);
      if (!seen) showStages(job);
      await new Promise((wake) => setTimeout(wake, document.hidden ? 1000 : 120));
    }
  } catch (error) { if (app.token === token) fail(error); }
}

function showStages(job) {
  const done = job.stages.map((stage) => stage.share ?? 0);
  const known = job.stages.length > 0 && job.stages.at(-1).share !== null;
  $('doing').textContent = { uploading: 'Sending', waiting: 'Waiting' }[job.state] ?? 'Fitting';
  const ready = document.body.dataset.ready === 'true';
  $('waiting').textContent = job.state !== 'waiting' ? '' : !ready ? app.loading : job.before ? `${job.before} before this one.` : '';
  const total = app.kind === 'photo' ? 6 : 3; // about how many stages there will be
  const share = done.length ? Math.min((done.length - 1 + done.at(-1)) / Math.max(total, done.length), 1) : 0;
  $('bar').classList.toggle('unknown', !known);
  $('bar').firstElementChild.style.width = `${100 * share}%`;
  if (known) $('bar').setAttribute('aria-valuenow', Math.round(100 * share)); else $('bar').removeAttribute('aria-valuenow');
  $('stages').replaceChildren(...job.stages.map((stage, k) => {
    const item = document.createElement('li');
    if (k === job.stages.length - 1) item.setAttribute('aria-current', 'step');
    const text = document.createElement('div'), value = document.createElement('span');
    text.textContent = STAGES[stage.name] ?? stage.name;
    value.textContent = stage.energy !== null ? `energy ${stage.energy.toPrecision(4)} after ${stage.steps} step${stage.steps > 1 ? 's' : ''}`
      : stage.share !== null && stage.share < 1 ? `${Math.round(100 * stage.share)} %` : '';
    item.append(text, value);
    return item;
  }));
}

async function showPhoto(view, job) {
  clearFace();
  $('result').innerHTML = view.body; // the report's own, in which every name is escaped; no script in it may run
  $('subtitle').innerHTML = view.subtitle;
  $('files').innerHTML = '<h2>Files to take</h2><p class="soft" role="status">They are being written …</p>';
  app.faces = job.faces;
  go('seen', 'result');
  await showFace(view.data);
  document.body.dataset.seen = Math.round(performance.now());
  $('title').focus();
}

function showVideo(view, id) {
  clearFace();
  const made = new DOMParser().parseFromString('<section class="card"><h2>Input, overlay, shape</h2><video controls loop playsinline></video></section><section class="card"><h2>Numbers</h2><table></table></section><section class="card" id="files"></section>', 'text/html');
  $('result').append(...made.body.children);
  const video = $('result').querySelector('video');
  video.setAttribute('aria-label', 'Three pictures side by side: the video, the 3D face laid over it, and its shape');
  video.src = `/api/jobs/${id}/files/${encodeURIComponent(view.video)}`;
  for (const [name, value] of view.numbers) {
    const row = $('result').querySelector('table').insertRow();
    const head = row.appendChild(document.createElement('th'));
    head.scope = 'row';
    head.textContent = name;
    row.insertCell().textContent = value;
  }
  $('subtitle').textContent = 'One face over the whole video, smoothed over time';
}

const inWords = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

function showFiles(files, id) {
  const names = Object.keys(files), all = document.createElement('a'), list = document.createElement('ul');
  const heading = document.createElement('h2');
  heading.textContent = 'Files to take';
  Object.assign(all, { href: `/api/jobs/${id}/files.zip`, className: 'main', textContent: `All ${names.length} in one .zip`, download: '' });
  list.className = 'files';
  for (const name of names) {
    const item = list.appendChild(document.createElement('li')), link = item.appendChild(document.createElement('a'));
    Object.assign(link, { href: `/api/jobs/${id}/files/${name.split('/').map(encodeURIComponent).join('/')}`, textContent: name, download: '' });
    const size = item.appendChild(document.createElement('span'));
    Object.assign(size, { className: 'soft', textContent: inWords(files[name]) });
  }
  $('files').replaceChildren(heading, all, list);
}

/* The faces of the photo, to click at in the picture or below it. */
function showChoice(faces) {
  $('choose-title').textContent = `${faces.length} faces: which one?`;
  $('crowd').src = app.source;
  const boxes = [], buttons = [];
  faces.forEach(({ left, top, right, bottom }, k) => {
    const box = document.createElement('button'), button = document.createElement('button'), small = document.createElement('canvas');
    Object.assign(box, { type: 'button', tabIndex: -1, ariaHidden: 'true', innerHTML: `<b>${k + 1}</b>` });
    Object.assign(box.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%` });
    Object.assign(small, { width: 160, height: 160 });
    button.type = 'button';
    button.append(small, `Face ${k + 1}`);
    for (const one of [box, button]) one.addEventListener('click', () => fitAgain(k + 1));
    for (const [event, lit] of [['focus', true], ['blur', false], ['pointerenter', true], ['pointerleave', false]])
      button.addEventListener(event, () => box.classList.toggle('lit', lit));
    boxes.push(box);
    buttons.push(button);
  });
  $('boxes').replaceChildren(...boxes);
  $('faces').replaceChildren(...buttons);
  const picture = $('crowd');
  picture.decode().then(() => faces.forEach(({ left, top, right, bottom }, k) => {
    const [w, h] = [picture.naturalWidth, picture.naturalHeight], side = 1.3 * Math.max((right - left) * w, (bottom - top) * h);
    const x = ((left + right) / 2) * w - side / 2, y = ((top + bottom) / 2) * h - side / 2;
    buttons[k].querySelector('canvas').getContext('2d').drawImage(picture, x, y, side, side, 0, 0, 160, 160);
  })).catch(() => {});
  go('choosing', 'choose');
  $('choose-title').focus();
}

async function startCamera() {
  try {
    app.camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'user', width: { ideal: 1280 }, height: { ideal: 960 } } });
  } catch (error) {
    return fail(new Error(`the camera cannot be used (${error.name}); allow it for this page, or choose a file`));
  }
  $('live').srcObject = app.camera;
  go('camera', 'shoot');
  $('snap').focus();
}

function stopCamera() {
  for (const track of app.camera?.getTracks() ?? []) track.stop();
  app.camera = null;
  $('live').srcObject = null;
}

function snap() {
  const live = $('live'), picture = document.createElement('canvas');
  if (!live.videoWidth) return;
  Object.assign(picture, { width: live.videoWidth, height: live.videoHeight });
  picture.getContext('2d').drawImage(live, 0, 0);
  picture.toBlob((blob) => send(blob, 'Camera'), 'image/jpeg', 0.95);
}

function connectApp() {
  const tabs = [...document.querySelectorAll('[role=tab]')];
  for (const tab of tabs) {
    tab.addEventListener('click', () => { if (tab.dataset.kind !== app.kind) { app.token = null; restart(tab.dataset.kind); } });
    tab.addEventListener('keydown', (e) => {
      if (!['ArrowLeft', 'ArrowRight'].includes(e.key)) return;
      const next = tabs[(tabs.indexOf(tab) + 1) % tabs.length];
      next.focus();
      next.click();
    });
  }
  $('file').addEventListener('change', (e) => take([...e.target.files]));
  for (const [event, over] of [['dragenter', true], ['dragover', true], ['dragleave', false], ['drop', false]])
    document.addEventListener(event, (e) => {
      e.preventDefault(); // else the browser leaves the page for a file that misses the field
      $('drop').classList.toggle('over', over);
      if (event === 'drop' && !['sending', 'working'].includes(app.state)) take([...e.dataTransfer.files]);
    });
  document.addEventListener('paste', (e) => {
    const file = e.clipboardData?.files[0];
    if (file && !['sending', 'working'].includes(app.state)) send(file, file.name || 'Pasted');
  });
  $('camera').addEventListener('click', startCamera);
  $('snap').addEventListener('click', snap);
  for (const id of ['no-camera', 'cancel', 'other']) $(id).addEventListener('click', () => { app.token = null; restart(); $('file').focus(); });
  $('next').addEventListener('click', () => { app.token = null; take(app.queue); });
  $('again').addEventListener('click', () => fitAgain());
  $('others').addEventListener('click', () => showChoice(app.faces));
}

connectTheme(() => window.viewer?.redraw());
connectApp();
showKind();
go('start', 'start');
learnOffers();
