/** Lines of a pane by key: made once, moved when their order changes, dropped when they are gone. */

export interface Line<Row> {
  readonly root: HTMLElement;
  draw(row: Row): void;
}

export class KeyedRows<Row> {
  private readonly lines = new Map<string, Line<Row>>();

  constructor(
    private readonly body: HTMLElement,
    private readonly keyOf: (row: Row) => string,
    private readonly make: (row: Row) => Line<Row>,
  ) {}

  draw(rows: readonly Row[]): void {
    const gone = new Set(this.lines.keys());
    let at: Element | null = this.body.firstElementChild;
    for (const row of rows) {
      const key = this.keyOf(row);
      gone.delete(key);
      const line = this.line(key, row);
      if (line.root === at) at = at.nextElementSibling;
      else this.body.insertBefore(line.root, at);
      line.draw(row);
    }
    for (const key of gone) {
      this.lines.get(key)?.root.remove();
      this.lines.delete(key);
    }
  }

  private line(key: string, row: Row): Line<Row> {
    const held = this.lines.get(key);
    if (held !== undefined) return held;
    const line = this.make(row);
    line.root.setAttribute("role", "option");
    line.root.dataset["key"] = key;
    this.lines.set(key, line);
    return line;
  }
}

/**
 * Make the lines of a list choosable: by click, and by arrows and Enter while the list has the focus. The line with
 * `aria-selected` is where the arrows go on from.
 */
export function bindRows(body: HTMLElement, choose: (key: string, line: HTMLElement) => void): void {
  const pick = (line: HTMLElement | null): void => {
    if (line?.dataset["key"] === undefined) return;
    choose(line.dataset["key"], line);
    line.scrollIntoView({ block: "nearest" });
  };
  body.addEventListener("click", (event) => pick((event.target as Element).closest<HTMLElement>("[data-key]")));
  body.addEventListener("keydown", (event) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    event.stopPropagation();
    const lines = [...body.querySelectorAll<HTMLElement>("[data-key]")];
    const at = lines.findIndex((line) => line.getAttribute("aria-selected") === "true");
    pick(lines[Math.min(lines.length - 1, Math.max(0, at + step))] ?? null);
  });
}

/** Mark one line as the selected one. */
export function select(body: HTMLElement, key: string | null): void {
  for (const line of body.querySelectorAll('[aria-selected="true"]')) if ((line as HTMLElement).dataset["key"] !== key) line.setAttribute("aria-selected", "false");
  if (key === null) return;
  const line = body.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (line?.getAttribute("aria-selected") === "false" || line?.hasAttribute("aria-selected") === false) line.setAttribute("aria-selected", "true");
}
