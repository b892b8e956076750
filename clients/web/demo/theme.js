// Runs before the first paint, so that the wrong colours never flash.
(() => {
  if (location.protocol === 'file:' && !globalThis.isStandalone) {
    // Browsers load no modules from files; the page in one file needs none.
    location.replace('../standalone.html');
  }
  try {
    const { theme } = JSON.parse(localStorage.getItem('asr-demo') ?? '{}');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch {
    // storage may be forbidden: the system's colours do
  }
})();
