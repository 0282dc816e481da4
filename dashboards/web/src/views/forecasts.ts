/** Forecasts of every instrument with how good they were of late, and of the selected one each model's score. */

import { bandOf, servedText, type Forecast, type ModelScore } from "../forecasts";
import { byId, h, setData, setText, setTitle } from "../dom";
import * as format from "../format";
import type { View } from "../schedule";
import type { Store } from "../store";
import { bindRows, KeyedRows, select, type Line } from "./rows";

export class ForecastsView implements View {
  private readonly panel = byId("forecasts");
  private readonly body = byId("forecast-rows");
  private readonly board = byId("scoreboard");
  private readonly note = byId("forecast-note");
  private readonly empty = byId("forecasts-empty");
  private readonly rows: KeyedRows<Forecast>;
  private drawn = "";
  private drawnBoard: readonly ModelScore[] | null = null;

  constructor(
    private readonly store: Store,
    open: (instrument: string) => void,
  ) {
    this.rows = new KeyedRows(this.body, (row) => row.instrument, () => new ForecastLine(store));
    bindRows(this.body, open);
  }

  draw(): void {
    this.drawNote();
    if (this.panel.hidden) return;
    const { forecasts, selected, refusals, scoreboard } = this.store;
    const state = `${forecasts.version}|${selected}|${refusals.get("forecasts")}`;
    if (state !== this.drawn) {
      this.drawn = state;
      this.rows.draw(forecasts.all);
      select(this.body, selected);
      this.empty.hidden = forecasts.all.length > 0;
      setText(this.empty, refusals.get("forecasts") ?? "No forecast yet: the first come when a bar has closed.");
    }
    if (scoreboard !== this.drawnBoard) this.drawBoard(scoreboard);
  }

  // Beside the chart's tools: what the cone is, and how much it may be believed.
  private drawNote(): void {
    const forecast = this.store.selected === null ? null : this.store.forecasts.of(this.store.selected);
    const band = forecast === null ? [] : bandOf(forecast, 0.9);
    const coverage = band[0]?.coverage ?? null;
    const held = coverage === null ? "" : `, 90% intervals held ${(100 * coverage).toFixed(0)}% of ${forecast?.scored ?? 0}`;
    setText(this.note, forecast === null ? "" : `forecast: ${servedText(forecast)}${held}`);
  }

  private drawBoard(scores: readonly ModelScore[]): void {
    this.drawnBoard = scores;
    const horizons = [...new Set(scores.map((score) => score.horizonS))].sort((a, b) => a - b);
    const models = [...new Set(scores.map((score) => score.model))].sort((a, b) => best(scores, b) - best(scores, a));
    const head = h("div", { class: "line score head" }, h("span", {}, "model"), ...horizons.map((each) => h("span", { class: "right" }, `${format.age(each * 1000)} ahead`)));
    const lines = models.map((model) => {
      const cells = horizons.map((horizon) => cell(scores.find((score) => score.model === model && score.horizonS === horizon)));
      const served = scores.some((score) => score.model === model && (score.served ?? 0) > 0.5);
      return h("div", { class: "line score", "data-served": served ? "yes" : "" }, h("span", {}, model.replaceAll("_", " ")), ...cells);
    });
    const none = h("p", { class: "empty" }, "No score of this instrument yet: forecasts must come due first.");
    this.board.replaceChildren(h("h2", {}, "Scoreboard ", h("span", {}, "error less than naive's \u00b7 90% coverage, last day")), ...(lines.length === 0 ? [none] : [head, ...lines]));
  }
}

function best(scores: readonly ModelScore[], model: string): number {
  return Math.max(...scores.filter((score) => score.model === model).map((score) => score.skill ?? -1));
}

function cell(score: ModelScore | undefined): HTMLElement {
  if (score === undefined) return h("span", { class: "right" }, format.NONE);
  const sign = score.skill === null || Math.abs(score.skill) < 0.0005 ? "" : score.skill > 0 ? "up" : "down";
  const skill = h("b", { "data-sign": sign }, score.skill === null ? format.NONE : format.percent(100 * score.skill).replace(/0%$/, "%"));
  const covered = score.coverage === null ? "" : ` \u00b7 ${(100 * score.coverage).toFixed(0)}%`;
  return h("span", { class: "num right", title: `${score.scored} scored, mean error ${score.absError}` }, skill, covered);
}

class ForecastLine implements Line<Forecast> {
  private readonly cells = Array.from({ length: 8 }, (_, at) => h("span", { class: at < 2 ? "" : "num right" }));
  readonly root = h("div", { class: "line forecast" });

  constructor(private readonly store: Store) {
    this.root.append(...this.cells);
  }

  draw(row: Forecast): void {
    const decimals = this.store.instruments.get(row.instrument)?.decimals ?? 2;
    const band = bandOf(row, 0.9);
    const [near, far] = [band[0], band.at(-1)];
    const bps = (value: number | null | undefined): string => (value == null || row.price === 0 ? format.NONE : format.signed((10_000 * (value - row.price)) / Math.abs(row.price), 1));
    const share = (value: number | null | undefined): string => (value == null ? format.NONE : `${(100 * value).toFixed(0)}%`);
    const texts = [
      row.instrument,
      servedText(row),
      format.price(far?.mean, decimals),
      bps(far?.mean),
      far?.hi == null || far.lo === null ? format.NONE : `\u00b1${((5_000 * (far.hi - far.lo)) / Math.abs(row.price)).toFixed(1)}`,
      share(near?.coverage),
      far?.skill == null ? format.NONE : format.percent(100 * far.skill),
      share(far?.crashProbability),
    ];
    for (const [at, element] of this.cells.entries()) setText(element, texts[at] ?? "");
    setData(this.root, "model", row.model);
    setTitle(this.root, `${row.scored} forecasts scored of late`);
    const skill = this.cells[6];
    if (skill !== undefined) setData(skill, "sign", (far?.skill ?? 0) > 0 ? "up" : (far?.skill ?? 0) < 0 ? "down" : "");
  }
}
