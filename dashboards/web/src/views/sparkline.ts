/** A line of the last hour's minute closes. Redrawn only when its path differs. */

const WIDTH = 56;
const HEIGHT = 16;
const SVG = "http://www.w3.org/2000/svg";

export class Sparkline {
  readonly element = document.createElementNS(SVG, "svg");
  private readonly line = document.createElementNS(SVG, "path");
  private drawn = "";

  constructor() {
    this.element.setAttribute("class", "spark");
    this.element.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute("aria-hidden", "true");
    this.line.setAttribute("fill", "none");
    this.element.append(this.line);
  }

  draw(points: readonly { readonly minute: number; readonly close: number }[]): void {
    const path = sparkPath(points.map((point) => point.close));
    if (path === this.drawn) return;
    this.drawn = path;
    this.line.setAttribute("d", path);
  }
}

/** Path of evenly spaced closes scaled to the box; a flat line runs through the middle; fewer than two draw nothing. */
export function sparkPath(closes: readonly number[]): string {
  if (closes.length < 2) return "";
  const low = Math.min(...closes);
  const span = Math.max(...closes) - low;
  const step = WIDTH / (closes.length - 1);
  const y = (close: number): number => (span === 0 ? HEIGHT / 2 : HEIGHT - 1.5 - ((close - low) / span) * (HEIGHT - 3));
  return closes.map((close, at) => `${at === 0 ? "M" : "L"}${(at * step).toFixed(1)} ${y(close).toFixed(1)}`).join("");
}
