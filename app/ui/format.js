// Figures as people read them.

const whole = new Intl.NumberFormat("en-US");
const brief = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

export const count = (value) => whole.format(value);

/** 1536 -> "1.5 KiB". */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${brief.format(size)} ${units[unit]}`;
}

/** 1500000 -> "1.5 ms". */
export function nanoseconds(value) {
  const units = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]];
  for (const [size, unit] of units) if (value >= size) return `${brief.format(value / size)} ${unit}`;
  return `${count(value)} ns`;
}

export const hex = (value) => `0x${value.toString(16)}`;

/** permission_faults -> "permission faults". */
export const words = (name) => name.replaceAll("_", " ");

/** 3, "page" -> "3 pages". */
export const many = (value, what) => `${count(value)} ${what}${value === 1 ? "" : "s"}`;
