// What each TypeScript client is used for: the same calls, with the facts that they must return.

export const GIB = 2 ** 30;
export const SLOT_BYTES = 64 * GIB;
export const FIRST_GFN = 0x40000;
export const LAST_PAGE = SLOT_BYTES / 4096 - 1;

export const URL = process.env["HACDBS_URL"] ?? "http://127.0.0.1:8000";

export function expect(what: string, found: unknown, wanted: unknown): void {
  const [left, right] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (left !== right) {
    throw new Error(`${what}: ${left}, not ${right}`);
  }
}

export function given<T>(what: string, value: T | null | undefined): T {
  if (value === null || value === undefined) {
    throw new Error(`${what} is missing`);
  }
  return value;
}
