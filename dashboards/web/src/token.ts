/** The access token, when the gateway asks for one: kept in this tab's memory only, sent first on the stream. */

import { byId } from "./dom";

let held: string | null = null;

export function token(): string | null {
  return held;
}

/** Ask once; `given` runs when the trader has answered. */
export function askForToken(given: () => void): void {
  const dialog = byId("sign-in") as HTMLDialogElement;
  if (dialog.open) return;
  const input = byId("token") as HTMLInputElement;
  dialog.addEventListener(
    "close",
    () => {
      held = input.value.trim() || null;
      input.value = "";
      if (held !== null) given();
    },
    { once: true },
  );
  dialog.showModal();
}
