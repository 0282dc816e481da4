/** Light or dark: the system's wish until the trader chooses, then the choice, kept. */

const KEY = "mandi.theme";

export type Theme = "light" | "dark";

export function initTheme(changed: () => void): () => Theme {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = (): Theme => {
    const theme = stored() ?? (system.matches ? "dark" : "light");
    document.documentElement.dataset["theme"] = theme;
    changed();
    return theme;
  };
  system.addEventListener("change", apply);
  let theme = apply();
  return () => {
    theme = theme === "dark" ? "light" : "dark";
    keep(theme);
    return apply();
  };
}

function stored(): Theme | null {
  const value = read(KEY);
  return value === "light" || value === "dark" ? value : null;
}

// Storage may be forbidden (private window, policy); the page then works without memory.
function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function keep(theme: Theme): void {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    return;
  }
}
