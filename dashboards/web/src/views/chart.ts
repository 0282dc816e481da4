/**
 * The bar chart: lightweight-charts, fed with the least that has changed.
 *
 * A bar older than the newest goes through `update(point, true)`: a plain update of one throws ("Cannot update oldest
 * data"), and an older bar that is not there at all needs the series set anew.
 * Source: lightweight-charts 5.2.1, `ISeriesApi.update`.
 */

import {
  CandlestickSeries,
  ColorType,
  createChart,
  createSeriesMarkers,
  CrosshairMode,
  HistogramSeries,
  LineSeries,
  type IChartApi,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";

import type { BarSeries } from "../bars";
import type { Forecast } from "../forecasts";
import { price } from "../format";
import type { Bar } from "../protocol";
import type { Quality } from "../quality";
import type { View } from "../schedule";
import type { Store } from "../store";
import { compareNs, nsToS } from "../time";
import { Cone } from "./cone";
import { palette, type Palette } from "./palette";

const MAX_MARKERS = 200;
const OLDER_WHEN_LEFT_BARS = 20;
const VOLUME_PANE_SHARE = 0.18;
const BAR_SPACING_PX = 7;
const ROOM_BARS = 4; // behind the newest bar
const MAX_ROOM_BARS = 24;

export class ChartView implements View {
  private readonly chart: IChartApi;
  private readonly bars: ISeriesApi<"Candlestick">;
  private readonly volume: ISeriesApi<"Histogram">;
  private readonly vwap: ISeriesApi<"Line">;
  private readonly cone: Cone;
  private drawnForecast: Forecast | null = null;
  private readonly markers: ISeriesMarkersPluginApi<Time>;
  private colours: Palette = palette();
  private drawnSeries: BarSeries | null = null;
  private drawnRevisions = -1;
  private drawnNewest = "0";
  private drawnQuality: Quality | null = null;
  private hovered: number | null = null;
  private vwapShown = true;
  private coneShown = true;
  private room = ROOM_BARS;

  constructor(
    container: HTMLElement,
    private readonly store: Store,
    private readonly older: () => void,
  ) {
    this.chart = createChart(container, { autoSize: true });
    this.bars = this.chart.addSeries(CandlestickSeries, { borderVisible: false });
    this.vwap = this.chart.addSeries(LineSeries, VWAP_LINE);
    this.volume = this.chart.addSeries(HistogramSeries, VOLUME_BARS);
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 1 - VOLUME_PANE_SHARE, bottom: 0 } });
    this.bars.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: VOLUME_PANE_SHARE + 0.04 } });
    this.markers = createSeriesMarkers(this.bars, []);
    this.cone = new Cone(this.chart, this.bars);
    this.bars.attachPrimitive(this.cone);
    this.chart.subscribeCrosshairMove((event) => {
      this.hovered = typeof event.time === "number" ? event.time : null;
    });
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range !== null && range.from < OLDER_WHEN_LEFT_BARS) this.older();
    });
    this.restyle();
  }

  /** The bar under the crosshair, else the newest. */
  get pointed(): Bar | null {
    const series = this.store.series;
    const hovered = this.hovered === null ? undefined : series?.at(this.hovered);
    return hovered ?? series?.last ?? null;
  }

  get atNewest(): boolean {
    return this.chart.timeScale().scrollPosition() > -2;
  }

  toNewest(): void {
    this.chart.timeScale().scrollToRealTime();
  }

  toggleVwap(): boolean {
    this.vwapShown = !this.vwapShown;
    this.vwap.applyOptions({ visible: this.vwapShown });
    return this.vwapShown;
  }

  draw(): void {
    const series = this.store.series;
    if (series === null) return;
    if (this.store.dirty.chart || series !== this.drawnSeries) this.drawAll(series);
    else this.drawChanged(series);
    if (series.revisions !== this.drawnRevisions) this.drawMarkers(series);
    this.drawQuality();
    this.drawForecast(series);
  }

  // The cone moves with every bar; room for it on the right is made in steps, so that the chart does not creep.
  private drawForecast(series: BarSeries): void {
    const forecast = this.coneShown ? this.store.forecasts.of(series.instrument) : null;
    if (forecast === this.drawnForecast) return;
    this.drawnForecast = forecast;
    this.cone.show(forecast, series, { cone: this.colours.cone, strong: this.colours.strong });
    const room = Math.min(MAX_ROOM_BARS, Math.max(ROOM_BARS, Math.ceil(this.cone.reach) + 2));
    if (room === this.room) return;
    this.room = room;
    this.chart.timeScale().applyOptions({ rightOffset: room });
  }

  toggleForecast(): boolean {
    this.coneShown = !this.coneShown;
    return this.coneShown;
  }

  // Taken before they are drawn: one that cannot be drawn must not come back with every frame.
  private drawChanged(series: BarSeries): void {
    const changed = [...this.store.changedBars.keys()].sort(compareNs);
    this.store.changedBars.clear();
    for (const open of changed) this.drawBar(series, open);
  }

  // The line and label of the last price say so when it is not live.
  private drawQuality(): void {
    const state = this.store.current;
    const quality = state === null ? "LIVE" : this.store.feedOf(state).quality;
    if (quality === this.drawnQuality) return;
    this.drawnQuality = quality;
    const live = quality === "LIVE";
    this.bars.applyOptions({ priceLineColor: live ? "" : this.colours.stale, title: live ? "" : quality });
  }

  /** Take the colours of the theme that is now set. */
  restyle(): void {
    this.colours = palette();
    const { text, panel, line, grid, up, down, vwap, font } = this.colours;
    this.chart.applyOptions({
      layout: {
        background: { type: ColorType.Solid, color: panel },
        textColor: text,
        fontFamily: font,
        fontSize: 11,
        attributionLogo: false, // the notice and the link are in the help dialog
        panes: { separatorColor: line },
      },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      crosshair: { mode: CrosshairMode.Normal, vertLine: { color: text }, horzLine: { color: text } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line, timeVisible: true, secondsVisible: this.seconds(), rightOffset: this.room },
      localization: { locale: "en-GB" },
    });
    this.bars.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    this.vwap.applyOptions({ color: vwap });
    this.drawnQuality = this.drawnForecast = null;
    if (this.drawnSeries !== null) this.drawAll(this.drawnSeries);
  }

  private drawAll(series: BarSeries): void {
    const fresh = series !== this.drawnSeries;
    this.store.changedBars.clear();
    const decimals = this.store.current?.decimals ?? 2;
    const formatter = (value: number): string => price(value, decimals);
    const priceFormat = { type: "custom", minMove: 10 ** -decimals, formatter } as const;
    this.bars.applyOptions({ priceFormat });
    this.vwap.applyOptions({ priceFormat });
    this.chart.timeScale().applyOptions({ secondsVisible: this.seconds(), timeVisible: series.interval !== "1d" });
    this.bars.setData(series.all.map(barPoint));
    this.volume.setData(series.all.map((bar) => this.volumePoint(bar)));
    this.vwap.setData(series.all.map(vwapPoint));
    this.drawnNewest = series.last?.tsOpen ?? "0";
    this.drawMarkers(series);
    if (fresh || !this.hasView) this.resetView(series);
    this.drawnSeries = series;
    this.drawnForecast = null;
    this.store.dirty.chart = false;
  }

  // Bars of one width for every instrument and interval, the newest at the right.
  private hasView = false;
  private resetView(series: BarSeries): void {
    this.hasView = series.all.length > 1;
    this.bars.priceScale().applyOptions({ autoScale: true });
    this.chart.timeScale().applyOptions({ barSpacing: BAR_SPACING_PX });
    this.chart.timeScale().scrollToRealTime();
  }

  private drawBar(series: BarSeries, tsOpen: string): void {
    const bar = series.at(nsToS(tsOpen));
    if (bar === undefined) return;
    // Judged by what is drawn, not by what is held: two bars may have opened since the last frame.
    const late = compareNs(tsOpen, this.drawnNewest) < 0;
    if (!late) this.drawnNewest = tsOpen;
    this.bars.update(barPoint(bar), late);
    this.volume.update(this.volumePoint(bar), late);
    this.vwap.update(vwapPoint(bar), late);
  }

  private drawMarkers(series: BarSeries): void {
    this.drawnRevisions = series.revisions;
    const revised = series.all.filter((bar) => bar.revision > 0).slice(-MAX_MARKERS);
    this.markers.setMarkers(
      revised.map((bar) => ({
        time: time(bar),
        position: "belowBar",
        shape: "circle",
        size: series.wasRevisedLive(bar) ? 0.8 : 0.4,
        color: this.colours.revised,
      })),
    );
  }

  private volumePoint(bar: Bar): { time: UTCTimestamp; value: number; color: string } {
    const color = bar.close >= bar.open ? this.colours.upSoft : this.colours.downSoft;
    return { time: time(bar), value: bar.volume, color };
  }

  private seconds(): boolean {
    const interval = this.store.series?.interval;
    return interval === "1s" || interval === "5s";
  }
}

const VWAP_LINE = {
  lineWidth: 1,
  priceLineVisible: false,
  lastValueVisible: false,
  crosshairMarkerVisible: false,
} as const;

const VOLUME_BARS = {
  priceScaleId: "volume",
  priceFormat: { type: "volume" },
  priceLineVisible: false,
  lastValueVisible: false,
} as const;

function time(bar: Bar): UTCTimestamp {
  return nsToS(bar.tsOpen) as UTCTimestamp;
}

function barPoint(bar: Bar): { time: UTCTimestamp; open: number; high: number; low: number; close: number } {
  return { time: time(bar), open: bar.open, high: bar.high, low: bar.low, close: bar.close };
}

function vwapPoint(bar: Bar): { time: UTCTimestamp; value: number } {
  return { time: time(bar), value: bar.vwap };
}
