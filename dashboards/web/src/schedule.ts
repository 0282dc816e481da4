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

export class Frames {
  private readonly entries: Entry[] = [];

  add(view: View, everyMs = 0): void {
    this.entries.push({ view, everyMs, drawnMs: Number.NEGATIVE_INFINITY });
  }

  start(): void {
    const frame = (nowMs: number): void => {
      for (const entry of this.entries) {
        if (nowMs - entry.drawnMs < entry.everyMs) continue;
        entry.drawnMs = nowMs;
        entry.view.draw(nowMs);
      }
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }
}
