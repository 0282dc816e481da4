/** Members of a JSON object from outside, read as what they must be. Raises: ProtocolError naming the member. */

import type { Ns } from "./time";

export class ProtocolError extends Error {}

export type Json = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function object(value: unknown, what: string): Json {
  if (!isObject(value)) throw new ProtocolError(`${what} is not an object`);
  return value;
}

export function string(row: Json, name: string): string {
  const value = row[name];
  if (typeof value !== "string") throw new ProtocolError(`${name} is not text`);
  return value;
}

export function text(row: Json, name: string): string {
  const value = row[name];
  return typeof value === "string" ? value : "";
}

export function strings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}

/** Exact decimals may come as text, so both are taken; NaN and infinities are not numbers here. */
export function optionalNumber(row: Json, name: string): number | null {
  const value = row[name];
  if (value === null || value === undefined || value === "") return null;
  const result = typeof value === "string" ? Number(value) : value;
  if (typeof result !== "number" || !Number.isFinite(result)) throw new ProtocolError(`${name} is not a number`);
  return result;
}

export function number(row: Json, name: string): number {
  const value = optionalNumber(row, name);
  if (value === null) throw new ProtocolError(`${name} is missing`);
  return value;
}

const DECIMAL_NS = /^\d{1,19}$/;

export function time(row: Json, name: string): Ns | null {
  const value = row[name];
  if (value === null || value === undefined) return null;
  if (typeof value !== "string" || !DECIMAL_NS.test(value)) {
    throw new ProtocolError(`${name} is not a decimal string of ns`);
  }
  return value;
}

export function requiredTime(row: Json, name: string): Ns {
  const value = time(row, name);
  if (value === null) throw new ProtocolError(`${name} is missing`);
  return value;
}
