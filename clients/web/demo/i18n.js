// All texts of the page in both languages, and the switch between them.

const zh = {
  skip: '跳到识别结果',
  title: '听写',
  theme: '外观：{0}',
  'theme.auto': '跟随系统',
  'theme.light': '浅色',
  'theme.dark': '深色',
  settings: '设置',
  close: '关闭',
  dismiss: '知道了',
  done: '完成',
  reset: '恢复默认',
  transcript: '识别结果',
  recording: '录音',
  level: '音量',
  invite: '请说一句话，\n文字会显示在这里。',
  'hint.mic': '点击下方按钮或按空格键开始，也可以将音频文件拖到此处。',
  'hint.demo': '点击一段示例录音，即可查看识别效果。',
  'to-end': '回到最新',
  drop: '松开鼠标即可开始识别',
  file: '文件',
  play: '播放',
  pause: '暂停',
  latency: '延迟',
  'first-text': '首字',
  'final-text': '定稿',
  characters: '字数',
  'latency.about':
    '首字：从开始说话到首个中间结果。定稿：从说完到最终结果，含断句静音。均为中位数。',
  samples: '示例录音',
  export: '导出',
  copy: '复制文字',
  'copy-code': '复制',
  copied: '已复制',
  code: '在代码中调用',
  wire: '通信报文',
  'wire.interims': '中间结果',
  'wire.audio': '音频帧',
  'wire.count': '{0} 条报文 · 音频 {1}',
  'wire.frame': '音频 {0} 字节',
  'demo.title': '正在使用演示模型。',
  'demo.short': '它只能识别合成语音的日常用语，无法识别真人语音。',
  'demo.more': '支持哪些内容？',
  'demo.real': '如需识别真人语音，请在服务器上使用正式模型：',
  'demo.can': [
    '合成语音（espeak-ng）的普通话',
    '问候、天气、日期时间、金额、百分比、电话号码',
    '家居与车载指令、出行、餐饮、会议',
    '本页的示例录音（未用于训练）',
  ],
  'demo.cannot': ['真人语音，即使普通话很标准', '上述话题以外的词汇', '方言、英语、音乐'],
  'record.start': '开始听写',
  'record.stop': '停止听写',
  'state.starting': '正在连接…',
  'state.live': '正在识别…',
  'state.stopping': '正在完成识别…',
  'state.done': '识别完成，共 {0} 句',
  'state.reconnecting': '连接已断开，正在重连（第 {0} 次）。音频已缓存，不会丢失。',
  'state.resumed': '已重新连接，内容没有丢失。',
  'model.checking': '正在连接服务器…',
  'model.away': '无法连接服务器',
  'model.demo': '演示模型',
  'model.status': '查看服务器状态',
  'device.default': '系统默认',
  ms: '{0} 毫秒',
  'set.sentences': '断句与文本',
  'set.silence': '断句静音时长',
  'set.silence.about': '停顿超过此时长即断句',
  'set.punctuation': '自动标点',
  'set.itn': '数字转为阿拉伯数字',
  'set.itn.about': '二零二六年 → 2026年',
  'set.fillers': '过滤语气词',
  'set.fillers.about': '嗯、啊、呃',
  'set.confidence': '标记置信度低的字',
  'set.hotwords': '热词',
  'set.hotwords.about': '每行一个，可附权重（1–5），例如：达摩院 5',
  'set.sound': '音频',
  'set.device': '麦克风',
  'set.realtime': '按实时速度发送文件',
  'set.realtime.about': '关闭后以服务器的处理速度发送',
  'set.aloud': '识别示例录音时播放声音',
  'set.server': '服务器',
  'set.url': '地址',
  'set.key': 'API Key',
  'set.key.about': '仅保存在当前页面，关闭后清除',
  'set.model': '模型',
  'error.permission-denied': '没有麦克风权限。请点击地址栏左侧的图标，允许使用麦克风后重试。',
  'error.no-microphone': '找不到可用的麦克风。请连接麦克风，或改用音频文件。',
  'error.unsupported':
    '当前页面无法使用麦克风：浏览器只在 https 或 localhost 页面上开放麦克风。您可以改用音频文件。',
  'error.server-away':
    '无法连接服务器 {0}。请确认服务器正在运行且地址正确；如果需要 API Key，请在设置中填写。',
  'error.busy': '并发已满，请稍后再试。',
  'error.unauthorized': 'API Key 无效，请在设置中填写正确的 Key。',
  'error.task-failed': '识别任务失败：{0}',
  'error.bad-audio': '无法读取该音频：{0}',
  'error.closed': '已停止。',
};

const en = {
  skip: 'Skip to the transcript',
  title: 'Dictation',
  theme: 'Appearance: {0}',
  'theme.auto': 'system',
  'theme.light': 'light',
  'theme.dark': 'dark',
  settings: 'Settings',
  close: 'Close',
  dismiss: 'Got it',
  done: 'Done',
  reset: 'Restore defaults',
  transcript: 'Transcript',
  recording: 'Recording',
  level: 'Level',
  invite: 'Say something in Mandarin.\nThe text appears here.',
  'hint.mic': 'Press the button below or the space bar, or drop an audio file here.',
  'hint.demo': 'Choose a sample recording to see a result.',
  'to-end': 'Back to the latest',
  drop: 'Drop to recognise',
  file: 'File',
  play: 'Play',
  pause: 'Pause',
  latency: 'Latency',
  'first-text': 'First text',
  'final-text': 'Final',
  characters: 'Characters',
  'latency.about':
    'First text: from the onset of speech to the first interim result. Final: from the end of speech to the final result, including the silence that ends a sentence. Medians.',
  samples: 'Sample recordings',
  export: 'Export',
  copy: 'Copy text',
  'copy-code': 'Copy',
  copied: 'Copied',
  code: 'Use it from code',
  wire: 'Wire log',
  'wire.interims': 'Interim results',
  'wire.audio': 'Audio frames',
  'wire.count': '{0} messages · {1} of audio',
  'wire.frame': 'audio, {0} bytes',
  'demo.title': 'The demo model is in use.',
  'demo.short': 'It recognises everyday sentences from a speech synthesiser, not human speech.',
  'demo.more': 'What does it recognise?',
  'demo.real': 'To recognise human speech, run the server with the production model:',
  'demo.can': [
    'Mandarin from a speech synthesiser (espeak-ng)',
    'Greetings, weather, dates and times, money, percentages, phone numbers',
    'Home and car commands, travel, food, meetings',
    'The sample recordings on this page (not used in training)',
  ],
  'demo.cannot': [
    'Human speech, however clear',
    'Words outside these subjects',
    'Dialects, English, music',
  ],
  'record.start': 'Start dictation',
  'record.stop': 'Stop dictation',
  'state.starting': 'Connecting…',
  'state.live': 'Recognising…',
  'state.stopping': 'Finishing…',
  'state.done': 'Done, {0} sentences',
  'state.reconnecting':
    'Connection lost, reconnecting (attempt {0}). The audio is buffered; nothing is lost.',
  'state.resumed': 'Reconnected; nothing was lost.',
  'model.checking': 'Connecting to the server…',
  'model.away': 'Server unreachable',
  'model.demo': 'demo model',
  'model.status': 'Server status',
  'device.default': 'System default',
  ms: '{0} ms',
  'set.sentences': 'Sentences and text',
  'set.silence': 'Silence that ends a sentence',
  'set.silence.about': 'A longer pause ends the sentence',
  'set.punctuation': 'Punctuation',
  'set.itn': 'Numbers as digits',
  'set.itn.about': '二零二六年 → 2026年',
  'set.fillers': 'Remove filler words',
  'set.fillers.about': '嗯, 啊, 呃',
  'set.confidence': 'Mark words of low confidence',
  'set.hotwords': 'Hotwords',
  'set.hotwords.about': 'One per line, optionally with a weight from 1 to 5: 达摩院 5',
  'set.sound': 'Audio',
  'set.device': 'Microphone',
  'set.realtime': 'Send files in real time',
  'set.realtime.about': 'Otherwise as fast as the server reads them',
  'set.aloud': 'Play samples while recognising',
  'set.server': 'Server',
  'set.url': 'Address',
  'set.key': 'API key',
  'set.key.about': 'Stored in this page only, cleared when it closes',
  'set.model': 'Model',
  'error.permission-denied':
    'Microphone permission denied. Allow it through the icon left of the address, then try again.',
  'error.no-microphone': 'No usable microphone found. Connect one, or choose an audio file.',
  'error.unsupported':
    'The microphone is unavailable on this page: browsers allow it only on https or localhost. Use an audio file instead.',
  'error.server-away':
    'Cannot reach the server at {0}. Check that it is running and the address is correct. If it requires an API key, enter it in the settings.',
  'error.busy': 'The server is at capacity. Please try again later.',
  'error.unauthorized': 'Invalid API key. Enter the correct one in the settings.',
  'error.task-failed': 'The task failed: {0}',
  'error.bad-audio': 'Cannot read this audio: {0}',
  'error.closed': 'Stopped.',
};

const languages = { zh, en };
let current = 'zh';

/** @returns {'zh' | 'en'} the current language of the page */
export function language() {
  return current;
}

/** Return the text of `key` with {0}, {1} ... replaced by `values`. */
export function t(key, ...values) {
  const text = languages[current][key] ?? key;
  if (Array.isArray(text)) return text;
  return text.replace(/\{(\d)\}/g, (_, i) => values[i]);
}

/** Switch the page to a language: all elements with a data-i18n attribute. */
export function translate(name) {
  current = name;
  document.documentElement.lang = name === 'zh' ? 'zh-CN' : 'en';
  document.title = `${t('title')} · asr_server`;
  for (const element of document.querySelectorAll('[data-i18n]')) {
    element.textContent = t(element.dataset.i18n);
  }
  for (const element of document.querySelectorAll('[data-i18n-label]')) {
    element.setAttribute('aria-label', t(element.dataset.i18nLabel));
  }
}
