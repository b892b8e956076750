// Every word of the page, in both languages.

const zh = {
  title: '状态',
  theme: '外观：{0}',
  'theme.auto': '跟随系统',
  'theme.light': '浅色',
  'theme.dark': '深色',
  'demo.title': '正在运行演示模型。',
  'demo.short': '它只听得懂合成语音说的日常句子，听不懂真人说话。',
  away: '连不上服务器；下面是断开之前的数字。',
  'state.loading': '正在加载模型',
  'state.ready': '就绪',
  'state.restarting': '设备正在重启',
  'state.draining': '正在收尾，不接新任务',
  'state.failed': '不能识别',
  'state.away': '连不上服务器',
  all: '现在的数字',
  state: '状态',
  model: '模型',
  device: '设备',
  dtype: '精度',
  version: '版本',
  uptime_s: '运行时间',
  connections: '连接',
  tasks: '任务',
  used_slots: '占用的席位',
  slots: '席位',
  busy: '设备忙碌',
  gpu_utilization: 'GPU 占用',
  real_time_factor: '实时率',
  memory_bytes: '内存',
  gpu_used_memory_bytes: 'GPU 显存',
  first_text_p50_s: '首字 p50',
  first_text_p95_s: '首字 p95',
  final_p50_s: '定稿 p50',
  final_p95_s: '定稿 p95',
  tail_p50_s: '收尾 p50',
  tail_p95_s: '收尾 p95',
  queue_age_p95_s: '排队 p95',
  loop_lag_p95_s: '事件循环迟滞 p95',
  own_errors_per_min: '服务器出错',
  refusals_per_min: '限流拒绝',
  client_errors_per_min: '客户端有误',
  tasks_finished: '完成的任务',
  tasks_failed: '失败的任务',
  tasks_disconnected: '客户端中途离开',
  errors: '错误',
  device_restarts: '设备重启',
  audio_s: '收到的音频',
  'plot.first-text': '首字延迟',
  'plot.final': '定稿延迟',
  'plot.tail': '收尾延迟',
  'plot.busy': '设备忙碌',
  'plot.tasks': '任务与连接',
  'plot.waiting': '等待',
  'plot.errors': '每分钟错误',
  'plot.real-time-factor': '实时率',
  'plot.memory': '内存',
  'about.first-text': '从开口到第一个字',
  'about.final': '从说完到定稿，断句的静音也算在内',
  'about.tail': '从 finish-task 到 task-finished',
  'about.real-time-factor': '识别一秒音频，设备要算几秒',
  of: '共 {0}',
  goal: '目标 {0}',
  'goal.missed': '超过目标 {0}',
  ago: '{0} 前',
  now: '现在',
  about: '延迟与速率都是最近 30 秒的；曲线是最近十分钟，每 5 秒一点。',
  dictation: '听写',
};

const en = {
  title: 'Status',
  theme: 'Appearance: {0}',
  'theme.auto': 'as the system',
  'theme.light': 'light',
  'theme.dark': 'dark',
  'demo.title': 'This is the demo model.',
  'demo.short': 'It understands everyday sentences from a speech synthesiser, not human voices.',
  away: 'The server is out of reach; these are the figures from before.',
  'state.loading': 'Loading the model',
  'state.ready': 'Ready',
  'state.restarting': 'Restarting its device',
  'state.draining': 'Draining: no new tasks',
  'state.failed': 'Cannot recognise',
  'state.away': 'Out of reach',
  all: 'Figures now',
  state: 'State',
  model: 'Model',
  device: 'Device',
  dtype: 'Precision',
  version: 'Version',
  uptime_s: 'Up for',
  connections: 'Connections',
  tasks: 'Tasks',
  used_slots: 'Slots taken',
  slots: 'Slots',
  busy: 'Device busy',
  gpu_utilization: 'GPU utilisation',
  real_time_factor: 'Real-time factor',
  memory_bytes: 'Memory',
  gpu_used_memory_bytes: 'GPU memory',
  first_text_p50_s: 'First text p50',
  first_text_p95_s: 'First text p95',
  final_p50_s: 'Final p50',
  final_p95_s: 'Final p95',
  tail_p50_s: 'Tail p50',
  tail_p95_s: 'Tail p95',
  queue_age_p95_s: 'Queue age p95',
  loop_lag_p95_s: 'Event loop lag p95',
  own_errors_per_min: "Server's",
  refusals_per_min: 'Refused: full',
  client_errors_per_min: "Clients'",
  tasks_finished: 'Tasks finished',
  tasks_failed: 'Tasks failed',
  tasks_disconnected: 'Clients gone midway',
  errors: 'Errors',
  device_restarts: 'Device restarts',
  audio_s: 'Audio received',
  'plot.first-text': 'First text',
  'plot.final': 'Final',
  'plot.tail': 'Tail',
  'plot.busy': 'Device busy',
  'plot.tasks': 'Tasks and connections',
  'plot.waiting': 'Waiting',
  'plot.errors': 'Errors a minute',
  'plot.real-time-factor': 'Real-time factor',
  'plot.memory': 'Memory',
  'about.first-text': 'from the onset of speech to the first text',
  'about.final': 'from the end of speech to the final, its silence included',
  'about.tail': 'from finish-task to task-finished',
  'about.real-time-factor': 'seconds of the device for a second of audio',
  of: 'of {0}',
  goal: 'goal {0}',
  'goal.missed': 'over the goal of {0}',
  ago: '{0} ago',
  now: 'now',
  about:
    'Latencies and rates are about the last 30 s; the plots show ten minutes, a point every 5 s.',
  dictation: 'Dictation',
};

const languages = { zh, en };
let current = 'zh';

/** @returns {'zh' | 'en'} */
export function language() {
  return current;
}

/** The words for `key`, with {0} filled in; undefined if there are none. */
export function t(key, value) {
  return languages[current][key]?.replace('{0}', value);
}

/** Turn the page to a language. */
export function translate(name) {
  current = name;
  document.documentElement.lang = name === 'zh' ? 'zh-CN' : 'en';
  document.title = `${t('title')} · asr_server`;
  for (const element of document.querySelectorAll('[data-i18n]')) {
    element.textContent = t(element.dataset.i18n);
  }
}

/** A figure as people read it; the end of its name says its unit. */
export function shown(name, value) {
  if (value === null || value === undefined || value === '') return '–';
  if (typeof value === 'string') return value;
  if (name === 'uptime_s' || name === 'audio_s') return duration(value);
  if (name === 'busy' || name === 'gpu_utilization') return `${Math.round(100 * value)} %`;
  if (name.endsWith('_s'))
    return value < 9.995 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(1)} s`;
  if (name.endsWith('_bytes')) return bytes(value);
  return String(Number(value.toPrecision(3)));
}

/** 75 -> 1:15, 3675 -> 1:01:15 */
export function duration(seconds) {
  const whole = Math.round(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, i) => (i ? String(part).padStart(2, '0') : part)).join(':');
}

function bytes(value) {
  return value < 1e9 ? `${Math.round(value / 1e6)} MB` : `${(value / 1e9).toFixed(2)} GB`;
}
