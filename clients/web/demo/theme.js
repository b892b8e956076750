// Runs before the first paint, so that the page never flashes in the other theme.
(() => {
  try {
    const { theme } = JSON.parse(localStorage.getItem('asr-demo') ?? '{}');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch {
    // storage may be forbidden: keep the system's theme
  }
  if (location.protocol !== 'file:' || globalThis.isStandalone) return;
  // Browsers do not load modules from files: refer to the page in one file.
  addEventListener('DOMContentLoaded', () => {
    document.getElementById('alert-text').innerHTML =
      '浏览器不能从文件加载本页的脚本。请在 clients/web 中运行 <code>npm run build</code>，然后打开 ' +
      '<a href="./standalone.html">standalone.html</a>；或启动服务器，访问 http://localhost:8000。<br>' +
      '<span lang="en">Browsers cannot load this page’s scripts from a file. Run <code>npm run build</code> ' +
      'in clients/web and open <a href="./standalone.html">standalone.html</a>, or start the server ' +
      'and open http://localhost:8000.</span>';
    document.getElementById('alert').hidden = false;
  });
})();
