/**
 * The WebSocket to the gateway: keeps it open, resumes where it stopped, and lets no hole pass unseen.
 *
 * Delivery: each accepted data message is handed on once, in order per (channel, instrument, interval). A hole that
 * neither `skipped` nor a `gap` explains is reported and the subscription started anew, which brings a fresh image.
 * State: one number per key seen, one entry per subscription. Clock, timers, randomness and sockets are injected.
 */

import { Backoff } from "./backoff";
import { parseMessage, ProtocolError, type Channel, type DataMessage, type GapMessage, type ServerMessage } from "./protocol";
import { SequenceTracker } from "./sequence";
import { Subscriptions, type Subscription, type SubscriptionRequest } from "./subscriptions";

const PING_AFTER_MS = 5_000;
const SILENT_AFTER_MS = 15_000; // three pings unanswered: connected but mute is not connected
const TICK_MS = 1_000;
const RESYNC_AT_MOST_EVERY_MS = 2_000; // a broken channel must not become a storm of resubscriptions

export interface Socket {
  send(text: string): void;
  close(code?: number): void;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: (() => void) | null;
}

export interface World {
  open(): Socket;
  nowMs(): number; // monotonic
  random(): number;
  every(ms: number, run: () => void): () => void;
  after(ms: number, run: () => void): () => void;
}

export type Connection =
  | { readonly state: "connecting"; readonly attempt: number }
  | { readonly state: "live" }
  | { readonly state: "reconnecting"; readonly attempt: number; readonly retryAtMs: number; readonly reason: string };

export interface StreamEvents {
  connection(connection: Connection): void;
  data(message: DataMessage): void;
  other(message: Exclude<ServerMessage, DataMessage | GapMessage>): void;
  /** Messages are missing; `resync` tells whether a fresh image was asked for by us (else it is already coming). */
  gap(gap: GapMessage, resync: boolean): void;
  malformed(error: ProtocolError): void;
}

export class Stream {
  private socket: Socket | null = null;
  private epoch: string | null = null;
  private heardMs = 0;
  private pingedMs = 0;
  private cancelRetry: (() => void) | null = null;
  private cancelTick: (() => void) | null = null;
  private readonly tracker = new SequenceTracker();
  private readonly subscriptions = new Subscriptions();
  private readonly backoff: Backoff;
  private welcomed = false;

  constructor(
    private readonly world: World,
    private readonly events: StreamEvents,
    private readonly token: () => string | null = () => null,
  ) {
    this.backoff = new Backoff(world.random);
  }

  start(): void {
    this.cancelTick = this.world.every(TICK_MS, () => this.tick());
    this.connect();
  }

  stop(): void {
    this.cancelTick?.();
    this.cancelRetry?.();
    this.drop(1000);
  }

  /** Skip the wait of a running countdown. */
  retryNow(): void {
    if (this.cancelRetry === null) return;
    this.cancelRetry();
    this.connect();
  }

  /** Ask for a channel; kept over reconnects until `unsubscribe`. */
  subscribe(request: SubscriptionRequest): number {
    const subscription = this.subscriptions.add(request);
    if (this.welcomed) this.send(this.subscriptions.message(subscription, null));
    return subscription.id;
  }

  unsubscribe(id: number): void {
    const subscription = this.subscriptions.remove(id);
    if (subscription === undefined) return;
    this.tracker.forget((...key) => subscription.covers(...key) && this.subscriptions.covering(...key).length === 0);
    if (this.welcomed) this.send({ op: "unsubscribe", id });
  }

  /** Show the token there is now: on the open connection, else by connecting at once. */
  signIn(): void {
    if (this.socket === null) this.retryNow();
    else this.authenticate();
  }

  /** What a refused subscription was for. */
  channelOf(id: number | null): Channel | null {
    return id === null ? null : this.subscriptions.channelOf(id);
  }

  get lastHeardMs(): number {
    return this.heardMs;
  }

  private connect(): void {
    this.cancelRetry = null;
    this.events.connection({ state: "connecting", attempt: this.backoff.attempt });
    const socket = this.world.open();
    this.socket = socket;
    this.heardMs = this.world.nowMs();
    socket.onopen = () => this.authenticate();
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = (event) => this.closed(event.reason || closeReason(event.code));
    socket.onerror = null; // a close always follows, and says more
  }

  private authenticate(): void {
    const token = this.token();
    if (token !== null) this.send({ op: "auth", token });
  }

  private receive(data: unknown): void {
    this.heardMs = this.world.nowMs();
    let message: ServerMessage;
    try {
      message = parseMessage(typeof data === "string" ? data : "");
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.events.malformed(error);
      return;
    }
    this.dispatch(message);
  }

  private dispatch(message: ServerMessage): void {
    switch (message.op) {
      case "snapshot":
      case "update":
        return this.sequenced(message);
      case "gap":
        this.tracker.explain(message);
        return this.events.gap(message, false);
      case "welcome":
        this.welcome(message.epoch);
        return this.events.other(message);
      default:
        return this.events.other(message);
    }
  }

  private welcome(epoch: string): void {
    if (this.welcomed) return; // the gateway greets again after `auth`
    const resumable = epoch === this.epoch;
    if (!resumable) this.tracker.reset();
    this.epoch = epoch;
    this.welcomed = true;
    this.backoff.reset();
    this.events.connection({ state: "live" });
    for (const subscription of this.subscriptions.all()) this.resume(subscription, resumable);
  }

  private resume(subscription: Subscription, resumable: boolean): void {
    const seq = resumable ? subscription.positions(this.tracker) : undefined;
    if (seq === undefined) this.tracker.forget((...key) => subscription.covers(...key));
    const since = seq === undefined || this.epoch === null ? null : { epoch: this.epoch, seq };
    this.send(this.subscriptions.message(subscription, since));
  }

  private sequenced(message: DataMessage): void {
    const verdict = this.tracker.check(message);
    if (verdict.kind === "duplicate") return;
    if (verdict.kind === "hole") this.hole(message, verdict.from, verdict.to);
    this.events.data(message);
  }

  private hole(message: DataMessage, from: number, to: number): void {
    const { channel, instrument, interval } = message;
    const reason = "sequence hole seen by this page";
    this.events.gap({ op: "gap", channel, instrument, interval, from, to, reason }, true);
    for (const subscription of this.subscriptions.covering(channel, instrument, interval)) this.restart(subscription);
  }

  private restart(subscription: Subscription): void {
    if (subscription.restarting) return;
    subscription.restarting = true;
    const waitMs = Math.max(0, subscription.restartedMs + RESYNC_AT_MOST_EVERY_MS - this.world.nowMs());
    this.world.after(waitMs, () => {
      subscription.restarting = false;
      subscription.restartedMs = this.world.nowMs();
      if (!this.welcomed || !this.subscriptions.has(subscription.id)) return;
      this.send({ op: "unsubscribe", id: subscription.id });
      this.resume(subscription, false);
    });
  }

  private tick(): void {
    if (this.socket === null) return;
    const now = this.world.nowMs();
    const silentMs = now - this.heardMs;
    if (silentMs > SILENT_AFTER_MS) {
      this.drop(4000);
      this.closed(`silent for ${Math.round(silentMs / 1000)} s`);
    } else if (this.welcomed && silentMs > PING_AFTER_MS && now - this.pingedMs > PING_AFTER_MS) {
      this.pingedMs = now;
      this.send({ op: "ping" });
    }
  }

  private closed(reason: string): void {
    this.socket = null;
    this.welcomed = false;
    const waitMs = this.backoff.next();
    const retryAtMs = this.world.nowMs() + waitMs;
    this.events.connection({ state: "reconnecting", attempt: this.backoff.attempt, retryAtMs, reason });
    this.cancelRetry = this.world.after(waitMs, () => this.connect());
  }

  // Detach first: a close that ends minutes later must not be taken for the next socket's.
  private drop(code: number): void {
    const socket = this.socket;
    if (socket === null) return;
    this.socket = null;
    this.welcomed = false;
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    socket.close(code);
  }

  private send(message: object): void {
    this.socket?.send(JSON.stringify(message));
  }
}

function closeReason(code: number): string {
  const known: Record<number, string> = {
    1001: "the gateway is going away",
    1006: "connection lost",
    1008: "refused by the gateway's policy",
    1012: "the gateway is restarting",
    1013: "the gateway is overloaded",
    4401: "not authorised",
    4408: "this page read too slowly",
  };
  return known[code] ?? `closed with code ${code}`;
}
