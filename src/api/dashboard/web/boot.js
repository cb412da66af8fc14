// Theme and language before the first paint, so that nothing flashes. Not a module: modules wait.
(() => {
  const read = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // Storage may be switched off; then the system decides.
    }
  };
  const root = document.documentElement;
  const theme = read("mizan.theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  const preferred = navigator.language.startsWith("ar") ? "ar" : "en";
  root.lang = read("mizan.language") === "ar" ? "ar" : read("mizan.language") === "en" ? "en" : preferred;
  root.dir = root.lang === "ar" ? "rtl" : "ltr";
})();
