/** The keyboard: one table, read by the handler and by the help dialog, so that help cannot lie. */

export interface KeyCommand {
  readonly keys: readonly string[];
  readonly shown: string;
  readonly says: string;
  run(key: string): void;
}

/** Route key presses to commands. Typing in a field is left alone, but for Escape. */
export function bindKeys(commands: readonly KeyCommand[], escape: () => void): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]") !== null) return;
    if (event.key === "Escape") return escape();
    if (isTyping(event.target) || isOwn(event.key, event.target)) return;
    const command = commands.find((each) => each.keys.includes(event.key));
    if (command === undefined) return;
    event.preventDefault();
    command.run(event.key);
  });
}

// Enter presses the button that has the focus, and arrows scroll a pane that has it.
function isOwn(key: string, target: EventTarget | null): boolean {
  if (!(target instanceof Element)) return false;
  if (key === "Enter" || key === " ") return target.closest("button, a") !== null;
  return key.startsWith("Arrow") && target.closest(".rows, #tape, #ledger-body, #news, #health") !== null;
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement;
}
