// The subtitle page: upload, progress, playback, download.

const texts = {
  zh: {
    title: '字幕',
    about: '上传音频或视频文件，生成带时间轴的字幕。',
    choose: '选择文件，或拖放到此处',
    kinds: 'mp3 · wav · m4a · mp4 · mkv · webm …',
    results: '得到 srt、vtt、txt 和 json，可在此播放、核对后下载',
    uploading: '正在上传 {0}%',
    waiting: '排队中',
    running: '正在识别 {0}%',
    done: '已完成，共 {0} 句',
    failed: '处理失败：{0}',
    'reason.unreadable': '文件已损坏、没有声音，或不是音视频文件',
    'reason.large': '文件过大',
    'reason.upload': '上传中断，或所选的是文件夹',
    'reason.away': '无法连接识别服务，请确认其正在运行且地址正确',
    'reason.busy': '识别服务并发已满，请稍后重试',
    'reason.unauthorized': '识别服务拒绝了 API Key',
    'reason.task': '识别服务结束了任务',
    remove: '删除',
    play: '从 {0} 播放',
    lines: '字幕',
  },
  en: {
    title: 'Subtitles',
    about: 'Upload an audio or video file to get timed subtitles.',
    choose: 'Choose a file, or drop it here',
    kinds: 'mp3 · wav · m4a · mp4 · mkv · webm …',
    results: 'You get srt, vtt, txt and json; play and check them here, then download',
    uploading: 'Uploading {0}%',
    waiting: 'Queued',
    running: 'Recognising {0}%',
    done: 'Done. Sentences: {0}',
    failed: 'Failed: {0}',
    'reason.unreadable': 'the file is damaged, has no sound, or is neither audio nor video',
    'reason.large': 'the file is too large',
    'reason.upload': 'the upload broke off, or this is a folder',
    'reason.away': 'the recognition server is unreachable; is it running, and the address right?',
    'reason.busy': 'the recognition server is at capacity; please try again later',
    'reason.unauthorized': 'the recognition server refused the API key',
    'reason.task': 'the recognition server ended the task',
    remove: 'Remove',
    play: 'Play from {0}',
    lines: 'Subtitles',
  },
}[navigator.language.startsWith('zh') ? 'zh' : 'en'];

const $ = (id) => document.getElementById(id);
const t = (key, value) => texts[key].replace('{0}', value);

function clock(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${String(Math.floor(seconds / 60)).padStart(2, '0')}:${String(seconds % 60).padStart(2, '0')}`;
}

function makeCard(name) {
  const card = $('job').content.firstElementChild.cloneNode(true);
  card.querySelector('h2').textContent = name;
  card.querySelector('.remove').setAttribute('aria-label', `${t('remove')} ${name}`);
  card.querySelector('.lines').setAttribute('aria-label', t('lines'));
  $('jobs').prepend(card);
  return card;
}

function show(card, key, value, share) {
  card.querySelector('.state').textContent = t(key, value);
  card.querySelector('progress').value = share;
  card.dataset.state = key;
}

/** Upload with XMLHttpRequest: fetch() reports no upload progress. */
function upload(file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', `api/jobs?name=${encodeURIComponent(file.name)}`);
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded / total);
    request.onload = () => resolve(JSON.parse(request.responseText));
    request.onerror = () => reject(new Error('upload'));
    request.send(file);
  });
}

async function add(file) {
  const card = makeCard(file.name);
  try {
    const job = await upload(file, (share) =>
      show(card, 'uploading', Math.round(share * 100), share),
    );
    if (job.error) showFailure(card, job);
    else watch(card, job);
  } catch (error) {
    showFailure(card, { reason: 'upload', error: error.message });
  }
}

function watch(card, job) {
  const base = `api/jobs/${job.id}`;
  card.querySelector('.remove').addEventListener('click', () => {
    source.close();
    fetch(base, { method: 'DELETE' });
    card.remove();
  });
  const source = new EventSource(`${base}/events`);
  source.addEventListener('sentence', ({ data }) => addLine(card, JSON.parse(data)));
  source.addEventListener('status', ({ data }) => {
    const status = JSON.parse(data);
    showStatus(card, status);
    if (status.state === 'done' || status.state === 'failed') source.close();
    if (status.state === 'done') finish(card, base, status);
  });
}

function showStatus(card, status) {
  const { state, done_ms: doneMs, duration_ms: durationMs, count } = status;
  if (state === 'failed') return showFailure(card, status);
  const share = durationMs ? Math.min(1, doneMs / durationMs) : 0;
  const value = { running: Math.round(share * 100), done: count }[state];
  show(card, state, value, state === 'done' ? 1 : share);
}

/** Show the reason in the page's language; the program's own words are its tooltip. */
function showFailure(card, { reason, error }) {
  show(card, 'failed', t(`reason.${reason}`), 0);
  card.querySelector('.state').title = error;
}

function addLine(card, { begin_ms: beginMs, text }) {
  const list = card.querySelector('.lines');
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const line = document.createElement('li');
  const time = document.createElement('button');
  time.type = 'button';
  time.textContent = clock(beginMs);
  time.setAttribute('aria-label', t('play', clock(beginMs)));
  time.addEventListener('click', () => play(card, beginMs));
  const body = document.createElement('p');
  body.lang = 'zh-CN';
  body.textContent = text;
  line.append(time, body);
  list.append(line);
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function play(card, ms) {
  const player = card.querySelector('video');
  if (player.hidden) return;
  player.currentTime = ms / 1000;
  player.play();
}

function finish(card, base, { name, count }) {
  const player = card.querySelector('video');
  player.src = `${base}/media`;
  player.hidden = false;
  player.addEventListener('loadedmetadata', () => {
    player.classList.toggle('sound', player.videoWidth === 0);
  });
  const track = document.createElement('track');
  Object.assign(track, {
    kind: 'subtitles',
    src: `${base}/subtitles.vtt`,
    srclang: 'zh',
    default: true,
  });
  player.append(track);
  const links = ['srt', 'vtt', 'txt', 'json'].map((suffix) => {
    const link = document.createElement('a');
    link.href = `${base}/subtitles.${suffix}`;
    link.download = '';
    link.textContent = suffix.toUpperCase();
    return link;
  });
  card.querySelector('footer').replaceChildren(...links);
  $('announce').textContent = `${name}: ${t('done', count)}`;
}

async function restore() {
  const jobs = await (await fetch('api/jobs')).json();
  for (const job of jobs.reverse()) watch(makeCard(job.name), job);
}

for (const element of document.querySelectorAll('[data-text]')) {
  element.textContent = t(element.dataset.text);
}
document.title = t('title');
document.documentElement.lang = texts.title === '字幕' ? 'zh-CN' : 'en';
$('drop').addEventListener('click', () => $('file').click());
$('file').addEventListener('change', () => {
  for (const file of $('file').files) add(file);
  $('file').value = '';
});
addEventListener('dragover', (event) => {
  event.preventDefault();
  $('drop').classList.add('over');
});
addEventListener('dragleave', () => $('drop').classList.remove('over'));
addEventListener('drop', (event) => {
  event.preventDefault();
  $('drop').classList.remove('over');
  for (const file of event.dataTransfer.files) add(file);
});
restore();
