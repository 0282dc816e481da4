/** Waits between attempts: they double up to a cap, with jitter so that many pages do not come back at once. */

const FIRST_MS = 500;
const CAP_MS = 15_000;

export class Backoff {
  attempt = 0;

  constructor(private readonly random: () => number) {}

  /** The next wait: between half of and the whole of FIRST_MS * 2^attempt, at most CAP_MS. */
  next(): number {
    const ceiling = Math.min(CAP_MS, FIRST_MS * 2 ** Math.min(this.attempt, 10));
    this.attempt += 1;
    return ceiling / 2 + (this.random() * ceiling) / 2;
  }

  reset(): void {
    this.attempt = 0;
  }
}
