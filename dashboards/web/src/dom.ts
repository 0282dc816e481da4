/** The few lines that make elements. Text is always set as text: nothing from the wire is ever parsed as HTML. */

import { shape, type Quality } from "./quality";

type Attributes = Readonly<Record<string, string>>;
type Child = Node | string;

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Set text only when it differs: an unchanged write still costs a style and layout check. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setData(element: HTMLElement, name: string, value: string): void {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

export function setTitle(element: HTMLElement, text: string): void {
  if (element.title !== text) element.title = text;
}

/** Show a feed state's shape. The markup is our own constant; nothing of it comes over the wire. */
export function setShape(element: HTMLElement, quality: Quality): void {
  if (element.dataset["shape"] === quality) return;
  element.dataset["shape"] = quality;
  element.innerHTML = shape(quality);
}

export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element;
}
