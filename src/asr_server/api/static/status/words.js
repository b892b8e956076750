// All texts of the page in both languages, and the formats of its figures.

const zh = {
  title: '状态',
  theme: '外观：{0}',
  'theme.auto': '跟随系统',
  'theme.light': '浅色',
  'theme.dark': '深色',
  'demo.title': '正在使用演示模型。',
  'demo.short': '它只能识别合成语音的日常用语，无法识别真人语音。',
  away: '无法连接服务器；以下是断开前的数据。',
  'state.loading': '正在加载模型',
  'state.ready': '就绪',
  'state.restarting': '正在重启设备',
  'state.draining': '正在停机，不再接收新任务',
  'state.failed': '识别不可用',
  'state.away': '无法连接服务器',
  all: '当前指标',
  state: '状态',
  model: '模型',
  device: '设备',
  dtype: '精度',
  second_pass: '离线模型修正',
  version: '版本',
  uptime_s: '运行时间',
  connections: '连接数',
  tasks: '任务数',
  used_slots: '已用并发槽位',
  slots: '并发槽位',
  capacity: '容量（路）',
  utilization: '容量占用率',
  busy: '设备利用率',
  gpu_utilization: 'GPU 利用率',
  real_time_factor: '实时率（RTF）',
  memory_bytes: '内存',
  gpu_used_memory_bytes: 'GPU 显存',
  first_text_p50_s: '首字 p50',
  first_text_p95_s: '首字 p95',
  final_p50_s: '定稿 p50',
  final_p95_s: '定稿 p95',
  tail_p50_s: '收尾 p50',
  tail_p95_s: '收尾 p95',
  queue_age_p95_s: '排队延迟 p95',
  loop_lag_p95_s: '事件循环延迟 p95',
  own_errors_per_min: '服务器错误',
  refusals_per_min: '限流拒绝',
  client_errors_per_min: '客户端错误',
  tasks_finished: '已完成任务',
  tasks_failed: '失败任务',
  tasks_disconnected: '客户端中途断开',
  errors: '错误数',
  device_restarts: '设备重启次数',
  audio_s: '已接收音频',
  'plot.first-text': '首字延迟',
  'plot.final': '定稿延迟',
  'plot.tail': '收尾延迟',
  'plot.busy': '设备利用率',
  'plot.tasks': '任务数与连接数',
  'plot.waiting': '排队与事件循环延迟',
  'plot.errors': '每分钟错误数',
  'plot.real-time-factor': '实时率（RTF）',
  'plot.memory': '内存',
  'about.first-text': '从开始说话到首个中间结果',
  'about.final': '从说完到最终结果，含断句静音',
  'about.tail': '从 finish-task 到 task-finished',
  'about.real-time-factor': '每秒音频所需的设备计算时间（秒）',
  of: '上限 {0}',
  goal: '目标 {0}',
  'goal.missed': '超过目标 {0}',
  ago: '{0} 前',
  now: '现在',
  about: '延迟和速率按最近 30 秒统计；曲线显示最近 10 分钟，每 5 秒一个点。',
  dictation: '听写',
};

const en = {
  title: 'Status',
  theme: 'Appearance: {0}',
  'theme.auto': 'system',
  'theme.light': 'light',
  'theme.dark': 'dark',
  'demo.title': 'The demo model is in use.',
  'demo.short': 'It recognises everyday sentences from a speech synthesiser, not human speech.',
  away: 'Server unreachable; the figures below are from before the connection was lost.',
  'state.loading': 'Loading the model',
  'state.ready': 'Ready',
  'state.restarting': 'Restarting the device',
  'state.draining': 'Draining: no new tasks',
  'state.failed': 'Recognition unavailable',
  'state.away': 'Server unreachable',
  all: 'Current figures',
  state: 'State',
  model: 'Model',
  device: 'Device',
  dtype: 'Precision',
  second_pass: 'Second pass',
  version: 'Version',
  uptime_s: 'Uptime',
  connections: 'Connections',
  tasks: 'Tasks',
  used_slots: 'Slots in use',
  slots: 'Slots',
  capacity: 'Capacity, streams',
  utilization: 'Utilisation of the capacity',
  busy: 'Device utilisation',
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
  queue_age_p95_s: 'Queueing delay p95',
  loop_lag_p95_s: 'Event-loop lag p95',
  own_errors_per_min: 'Server errors',
  refusals_per_min: 'Throttled',
  client_errors_per_min: 'Client errors',
  tasks_finished: 'Tasks finished',
  tasks_failed: 'Tasks failed',
  tasks_disconnected: 'Disconnected mid-task',
  errors: 'Errors',
  device_restarts: 'Device restarts',
  audio_s: 'Audio received',
  'plot.first-text': 'First text',
  'plot.final': 'Final',
  'plot.tail': 'Tail',
  'plot.busy': 'Device utilisation',
  'plot.tasks': 'Tasks and connections',
  'plot.waiting': 'Queueing delay and event-loop lag',
  'plot.errors': 'Errors per minute',
  'plot.real-time-factor': 'Real-time factor',
  'plot.memory': 'Memory',
  'about.first-text': 'from the onset of speech to the first interim result',
  'about.final': 'from the end of speech, including endpointing silence',
  'about.tail': 'from finish-task to task-finished',
  'about.real-time-factor': 'device seconds per second of audio',
  of: 'of {0}',
  goal: 'goal {0}',
  'goal.missed': 'over the goal of {0}',
  ago: '{0} ago',
  now: 'now',
  about:
    'Latencies and rates cover the last 30 s; the plots show the last 10 minutes, one point every 5 s.',
  dictation: 'Dictation',
};

const languages = { zh, en };
let current = 'zh';

/** @returns {'zh' | 'en'} */
export function language() {
  return current;
}

/** Return the text of `key` with {0} replaced by `value`; undefined if there is none. */
export function t(key, value) {
  return languages[current][key]?.replace('{0}', value);
}

/** Switch the page to a language. */
export function translate(name) {
  current = name;
  document.documentElement.lang = name === 'zh' ? 'zh-CN' : 'en';
  document.title = `${t('title')} · asr_server`;
  for (const element of document.querySelectorAll('[data-i18n]')) {
    element.textContent = t(element.dataset.i18n);
  }
}

/** Return a figure as text; the suffix of its name is its unit. */
export function shown(name, value) {
  if (value === null || value === undefined || value === '') return '–';
  if (typeof value === 'string') return value;
  if (name === 'uptime_s' || name === 'audio_s') return duration(value);
  if (['busy', 'gpu_utilization', 'utilization'].includes(name))
    return `${Math.round(100 * value)} %`;
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
