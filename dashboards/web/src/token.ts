/**
 * The access token, when the gateway asks for one: kept in this tab's session storage until the tab is closed.
 *
 * It is sent first on the stream and as a Bearer header, never in an address. What a token says of its bearer is read
 * only to be shown: the gateway alone decides what it grants.
 */

import { byId, setText } from "./dom";
import { isObject } from "./json";

const KEY = "mandi.token";
let held = stored();

export function token(): string | null {
  return held;
}

/** Ask for a token and say why; `given` runs when there is a new one. A dialog that is open already only says why. */
export function askForToken(why: string, given: () => void): void {
  const dialog = byId("sign-in") as HTMLDialogElement;
  const input = byId("token") as HTMLInputElement;
  setText(byId("sign-in-why"), why);
  if (dialog.open) return;
  dialog.returnValue = "";
  dialog.addEventListener(
    "close",
    () => {
      const fresh = input.value.trim();
      input.value = "";
      if (dialog.returnValue !== "ok" || fresh === "") return;
      keep(fresh);
      given();
    },
    { once: true },
  );
  dialog.showModal();
  input.focus();
}

/** The gateway has let us in: nothing is to be asked any more. */
export function stopAsking(): void {
  const dialog = byId("sign-in") as HTMLDialogElement;
  if (dialog.open) dialog.close("");
}

/** Forget a token that is not valid here, so that it is not shown again. */
export function dropToken(): void {
  keep(null);
}

/** Whom the token names, null where it does not say. */
export function bearerOf(text: string): string | null {
  try {
    const part = text.split(".")[1] ?? "";
    const claims: unknown = JSON.parse(atob(part.replaceAll("-", "+").replaceAll("_", "/")));
    return isObject(claims) && typeof claims["sub"] === "string" ? claims["sub"] : null;
  } catch {
    return null;
  }
}

// Storage may be forbidden; the token is then kept in memory, and a reload asks again.
function stored(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function keep(fresh: string | null): void {
  held = fresh;
  try {
    if (fresh === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, fresh);
  } catch {
    return;
  }
}
