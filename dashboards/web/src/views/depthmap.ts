/**
 * Depth over time: a canvas with a column for each half second and a cell for each level, the more lots the stronger;
 * the line is the mid. The newest is on the right.
 */

import { DEPTH_STEP_MS, type DepthColumn } from "../depth";
import { byId, setText } from "../dom";
import * as format from "../format";
import type { View } from "../schedule";
import type { Store } from "../store";
import { palette, type Palette } from "./palette";

const COLUMN_PX = [1.5, 8] as const; // a young market has wide columns, so that it is not a strip at the edge
const AXIS_PX = 62;
const TIME_PX = 13;
const LABELS = 3;
const HOLE_STEPS = 30_000 / DEPTH_STEP_MS; // longer without a book: it is not known what was there
const QUANTILE = 0.95; // a few huge levels must not make all others invisible

export class DepthMapView implements View {
  private readonly panel = byId("depth-panel");
  private readonly canvas = byId("depth") as HTMLCanvasElement;
  private readonly note = byId("depth-note");
  private readonly empty = byId("depth-empty");
  private colours: Palette = palette();
  private drawn = "";

  constructor(private readonly store: Store) {}

  restyle(): void {
    this.colours = palette();
    this.drawn = "";
  }

  toggle(): boolean {
    this.panel.hidden = !this.panel.hidden;
    this.drawn = "";
    return !this.panel.hidden;
  }

  draw(): void {
    const { width, height } = this.panel.getBoundingClientRect();
    if (this.panel.hidden || width < 100 || height < 40) return;
    const { depth, selected } = this.store;
    const state = `${selected}|${depth.version}|${width}|${height}`;
    if (state === this.drawn) return;
    this.drawn = state;
    const columns = visible(depth.all, Math.floor((width - AXIS_PX) / COLUMN_PX[0]));
    this.empty.hidden = columns.length > 0;
    setText(this.empty, "No depth of this instrument: its venue tells the best bid and ask only, or no book has come yet.");
    this.paint(columns, width, height);
  }

  private paint(columns: readonly DepthColumn[], width: number, height: number): void {
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const pen = this.canvas.getContext("2d");
    const last = columns.at(-1);
    const range = rangeOf(columns);
    setText(this.note, "");
    if (pen === null || last === undefined || range === null) return;
    pen.scale(ratio, ratio);
    const [right, bottom] = [width - AXIS_PX, height - TIME_PX];
    const y = (price: number): number => ((range.high - price) / (range.high - range.low)) * bottom;
    const steps = last.step - (columns[0]?.step ?? last.step) + 1;
    const column = Math.min(COLUMN_PX[1], Math.max(COLUMN_PX[0], right / steps));
    const x = (step: number): number => right - (last.step - step + 1) * column;
    this.paintLevels(pen, columns, range, { x, y, bottom });
    this.paintMid(pen, columns, { x, y });
    this.paintAxes(pen, range, last, { x, y, right, bottom });
    setText(this.note, `strongest: ${format.size(range.strong)} lots and more`);
  }

  private paintLevels(pen: CanvasRenderingContext2D, columns: readonly DepthColumn[], range: Range, at: Scale & { bottom: number }): void {
    const cell = Math.max(1.5, (range.tick / (range.high - range.low)) * at.bottom);
    for (const [index, { step, book }] of columns.entries()) {
      // A column lasts until the next one: a quiet book is as it was. Not across a hole.
      const until = Math.min(columns[index + 1]?.step ?? step + 1, step + HOLE_STEPS);
      const wide = at.x(until) - at.x(step) + 0.3; // no seams between columns
      for (const [levels, colour] of [[book.bids, this.colours.up], [book.asks, this.colours.down]] as const) {
        pen.fillStyle = colour;
        for (const { price, size } of levels) {
          if (price > range.high || price < range.low) continue;
          pen.globalAlpha = 0.06 + 0.94 * Math.min(1, size / range.strong) ** 1.3;
          pen.fillRect(at.x(step), at.y(price) - cell / 2, wide, cell);
        }
      }
    }
    pen.globalAlpha = 1;
  }

  private paintMid(pen: CanvasRenderingContext2D, columns: readonly DepthColumn[], at: Scale): void {
    pen.strokeStyle = this.colours.strong;
    pen.lineWidth = 1.2;
    pen.beginPath();
    let on = false;
    let before = 0;
    for (const { step, book } of columns) {
      on = on && step - before <= HOLE_STEPS;
      before = step;
      if (book.mid === null) on = false;
      else if (on) pen.lineTo(at.x(step), at.y(book.mid));
      else pen.moveTo(at.x(step), at.y(book.mid));
      on = book.mid !== null;
    }
    pen.stroke();
  }

  private paintAxes(pen: CanvasRenderingContext2D, range: Range, last: DepthColumn, at: Scale & { right: number; bottom: number }): void {
    const decimals = this.store.current?.decimals ?? 2;
    pen.fillStyle = this.colours.text;
    pen.font = `11px ${this.colours.font}`;
    pen.textBaseline = "middle";
    for (let label = 0; label < LABELS; label += 1) {
      const price = range.low + ((range.high - range.low) * (label + 0.5)) / LABELS;
      pen.fillText(format.price(price, decimals), at.right + 6, at.y(price));
    }
    pen.textBaseline = "alphabetic";
    pen.strokeStyle = this.colours.line;
    pen.strokeRect(0.5, -1, at.right - 0.5, at.bottom + 1);
    const every = 60_000 / DEPTH_STEP_MS;
    for (let step = Math.floor(last.step / every) * every; at.x(step) > 16; step -= every) {
      pen.fillText(format.clock(step * DEPTH_STEP_MS).slice(0, 5), at.x(step) - 14, at.bottom + TIME_PX - 3);
    }
  }
}

interface Range {
  readonly low: number;
  readonly high: number;
  readonly tick: number;
  readonly strong: number;
}

interface Scale {
  readonly x: (step: number) => number;
  readonly y: (price: number) => number;
}

function visible(columns: readonly DepthColumn[], count: number): readonly DepthColumn[] {
  const newest = columns.at(-1);
  return newest === undefined ? [] : columns.filter((column) => column.step > newest.step - count);
}

// Of most of the levels shown: one that lies far outside (a stub order) would flatten the rest.
function rangeOf(columns: readonly DepthColumn[]): Range | null {
  const prices: number[] = [];
  const sizes: number[] = [];
  let tick = Number.POSITIVE_INFINITY;
  for (const { book } of columns) {
    for (const levels of [book.bids, book.asks]) {
      let before: number | null = null;
      for (const { price, size } of levels) {
        prices.push(price);
        sizes.push(size);
        if (before !== null && price !== before) tick = Math.min(tick, Math.abs(price - before));
        before = price;
      }
    }
  }
  if (prices.length === 0) return null;
  prices.sort((a, b) => a - b);
  sizes.sort((a, b) => a - b);
  const at = (share: number): number => prices[Math.min(prices.length - 1, Math.floor(share * prices.length))] ?? 0;
  const [low, high] = [at(0.01), at(0.99)];
  const margin = Math.max((high - low) * 0.04, Number.isFinite(tick) ? tick : Math.abs(high) * 1e-4, 1e-9);
  const strong = sizes[Math.min(sizes.length - 1, Math.floor(QUANTILE * sizes.length))] ?? 1;
  return { low: low - margin, high: high + margin, tick: Number.isFinite(tick) ? tick : margin, strong: Math.max(strong, 1e-9) };
}
