/** The forecast as a cone on the chart: the 90 % interval, the 80 % one within it, and the mean. */

import type { IChartApi, ISeriesApi, ISeriesPrimitive, IPrimitivePaneRenderer, Logical, Time } from "lightweight-charts";

import type { BarSeries } from "../bars";
import { bandOf, type ConePoint, type Forecast } from "../forecasts";
import { INTERVAL_MS, nsToMs } from "../time";

export interface ConeColours {
  readonly cone: string;
  readonly strong: string;
}

const RECENT_BARS = 60;

type Target = Parameters<IPrimitivePaneRenderer["draw"]>[0];

/** Draws what `show` was last told; a point's place is so many bars behind the end of the one it was made at. */
export class Cone implements ISeriesPrimitive<Time> {
  private forecast: Forecast | null = null;
  private series: BarSeries | null = null;
  private update: () => void = () => undefined;
  private colours: ConeColours = { cone: "", strong: "" };

  constructor(
    private readonly chart: IChartApi,
    private readonly bars: ISeriesApi<"Candlestick">,
  ) {}

  attached({ requestUpdate }: { requestUpdate: () => void }): void {
    this.update = requestUpdate;
  }

  show(forecast: Forecast | null, series: BarSeries, colours: ConeColours): void {
    [this.forecast, this.series, this.colours] = [forecast, series, colours];
    this.update();
  }

  /** Bars from the newest one to the end of the cone: what the chart must have room for. */
  get reach(): number {
    const { forecast, series } = this;
    if (forecast === null || series === null) return 0;
    return Math.max(0, ...bandOf(forecast, 0.9).map((point) => (point.horizonS * 1000) / INTERVAL_MS[series.interval]));
  }

  paneViews(): readonly { renderer(): IPrimitivePaneRenderer | null; zOrder(): "bottom" }[] {
    return [{ zOrder: () => "bottom", renderer: () => ({ draw: (target) => this.draw(target) }) }];
  }

  // The scale makes room for the cone while its beginning can be seen, but the bars keep a third of the height: right after
  // a spike an interval may be ten times as wide as all that was traded.
  autoscaleInfo(_: Logical, to: Logical): { priceRange: { minValue: number; maxValue: number } } | null {
    const band = this.forecast === null ? [] : bandOf(this.forecast, 0.9);
    const start = this.start();
    if (start === null || start > to || band.length === 0) return null;
    const recent = this.series?.all.slice(-RECENT_BARS) ?? [];
    const [floor, ceiling] = [Math.min(...recent.map((bar) => bar.low)), Math.max(...recent.map((bar) => bar.high))];
    const span = ceiling - floor;
    const low = Math.max(floor - span, Math.min(...band.map((point) => point.lo ?? Infinity)));
    const high = Math.min(ceiling + span, Math.max(...band.map((point) => point.hi ?? -Infinity)));
    return Number.isFinite(low) && Number.isFinite(high) && low < high ? { priceRange: { minValue: low, maxValue: high } } : null;
  }

  // A bar stands for its close: the forecast made at the end of a bar begins at that bar.
  private start(): number | null {
    const last = this.series?.last;
    if (this.forecast === null || this.series === null || last === undefined) return null;
    const width = INTERVAL_MS[this.series.interval];
    return this.series.all.length - 1 + (nsToMs(this.forecast.tsMade) - nsToMs(last.tsOpen) - width) / width;
  }

  private draw(target: Target): void {
    const { forecast, series } = this;
    const start = this.start();
    if (forecast === null || series === null || start === null) return;
    const x = (horizonS: number): number | null => this.place(start + (horizonS * 1000) / INTERVAL_MS[series.interval]);
    target.useMediaCoordinateSpace(({ context }) => {
      for (const [level, alpha] of [[0.9, 0.16], [0.8, 0.18]] as const) this.fill(context, forecast.price, bandOf(forecast, level), x, alpha);
      this.line(context, forecast.price, bandOf(forecast, 0.9), x);
    });
  }

  // Between two bars the chart's own scale knows no place.
  private place(logical: number): number | null {
    const scale = this.chart.timeScale();
    const floor = Math.floor(logical);
    const [left, right] = [scale.logicalToCoordinate(floor as Logical), scale.logicalToCoordinate((floor + 1) as Logical)];
    return left === null || right === null ? null : left + (right - left) * (logical - floor);
  }

  private fill(pen: CanvasRenderingContext2D, price: number, band: readonly ConePoint[], x: (s: number) => number | null, alpha: number): void {
    const upper = band.map((point) => [x(point.horizonS), this.y(point.hi)] as const);
    const lower = band.map((point) => [x(point.horizonS), this.y(point.lo)] as const);
    const outline = [[x(0), this.y(price)] as const, ...upper, ...lower.reverse()];
    if (band.length === 0 || outline.some(([at, height]) => at === null || height === null)) return;
    pen.beginPath();
    outline.forEach(([at, height], index) => (index === 0 ? pen.moveTo(at ?? 0, height ?? 0) : pen.lineTo(at ?? 0, height ?? 0)));
    pen.closePath();
    pen.globalAlpha = alpha;
    pen.fillStyle = this.colours.cone;
    pen.fill();
    pen.globalAlpha = 1;
  }

  private line(pen: CanvasRenderingContext2D, price: number, band: readonly ConePoint[], x: (s: number) => number | null): void {
    const points = [[x(0), this.y(price)] as const, ...band.map((point) => [x(point.horizonS), this.y(point.mean)] as const)];
    if (band.length === 0 || points.some(([at, height]) => at === null || height === null)) return;
    pen.beginPath();
    points.forEach(([at, height], index) => (index === 0 ? pen.moveTo(at ?? 0, height ?? 0) : pen.lineTo(at ?? 0, height ?? 0)));
    pen.setLineDash([3, 3]);
    pen.strokeStyle = this.colours.cone;
    pen.lineWidth = 1.5;
    pen.stroke();
    pen.setLineDash([]);
  }

  private y(price: number | null): number | null {
    return price === null ? null : this.bars.priceToCoordinate(price);
  }
}
