/** Colours of the canvas chart, read from the style sheet so that a theme is defined once. */

export interface Palette {
  readonly text: string;
  readonly strong: string;
  readonly panel: string;
  readonly line: string;
  readonly grid: string;
  readonly up: string;
  readonly down: string;
  readonly upSoft: string;
  readonly downSoft: string;
  readonly vwap: string;
  readonly cone: string;
  readonly revised: string;
  readonly stale: string;
  readonly font: string;
}

export function palette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string): string => style.getPropertyValue(name).trim();
  return {
    text: read("--muted"),
    strong: read("--strong"),
    panel: read("--panel"),
    line: read("--line"),
    grid: read("--grid"),
    up: read("--up"),
    down: read("--down"),
    upSoft: read("--up-soft"),
    downSoft: read("--down-soft"),
    vwap: read("--vwap"),
    cone: read("--info"),
    revised: read("--revised"),
    stale: read("--muted"),
    font: read("--font"),
  };
}
