/**
 * One animation frame for the whole page: views draw together, at most every so many ms, however fast data comes.
 *
 * In a hidden tab frames stop, and with them all drawing; the state is bounded, so nothing piles up.
 */

export interface View {
  /** Draw what has changed. `nowMs` is monotonic. */
  draw(nowMs: number): void;
}

interface Entry {
  readonly view: View;
  readonly everyMs: number;
  drawnMs: number;
}

// The page's supervisor: a view that fails must not stop the prices of the others. The failure is reported, not lost.
function drawOne(entry: Entry, nowMs: number): void {
  entry.drawnMs = nowMs;
  try {
    entry.view.draw(nowMs);
  } catch (error) {
    reportError(error);
  }
}

export class Frames {
  private readonly entries: Entry[] = [];

  add(view: View, everyMs = 0): void {
    this.entries.push({ view, everyMs, drawnMs: Number.NEGATIVE_INFINITY });
  }

  start(): void {
    const frame = (nowMs: number): void => {
      requestAnimationFrame(frame);
      for (const entry of this.entries) if (nowMs - entry.drawnMs >= entry.everyMs) drawOne(entry, nowMs);
    };
    requestAnimationFrame(frame);
  }
}
