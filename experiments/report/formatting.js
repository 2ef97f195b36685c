// How numbers are spelled: as in the terminal (terminal/wording.py).

const SHORT_NAMES = {
  size_bytes: "size", raw_bytes: "raw", entropy_bytes: "entropy", arena_bytes: "arena", bit_operations: "bit operations",
  energy_nj: "energy", latency_ratio: "latency",
};
const COUNTS = new Set(["macs", "parameters", "bit_operations", "vela_cycles"]);
const UNITS = { nj: "nJ", ms: "ms" };

function shortName(name) {
  return SHORT_NAMES[name] ?? name;
}

/** A number with so many significant digits, as Python's `g` writes it. */
function general(value, digits = 4) {
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  const power = Number(exponent);
  if (power < -4 || power >= digits) {
    const bare = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
    return `${bare}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  }
  const fixed = value.toFixed(Math.max(0, digits - 1 - power));
  return fixed.includes(".") ? fixed.replace(/\.?0+$/, "") : fixed;
}

/** Bytes in decimal units with at least three digits, such as "3.93 kB". */
function bytesText(count) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (count >= size) return `${(count / size).toFixed(count < 10 * size ? 2 : 1)} ${unit}`;
  }
  return `${count.toFixed(0)} B`;
}

/** A count with thousands separated, or as a power of ten once it no longer fits. */
function countText(count) {
  const digits = Math.trunc(count).toFixed(0);
  return count < 1e9 ? Math.trunc(count).toLocaleString("en") : `${digits[0]}.${digits[1]}e${digits.length - 1}`;
}

function valueText(name, value) {
  if (value === undefined || value === null) return "-";
  if (name.endsWith("_bytes")) return bytesText(value);
  if (name.endsWith("_ratio")) return `${value.toFixed(2)}x`;
  if (COUNTS.has(name)) return countText(value);
  const unit = UNITS[name.split("_").at(-1)];
  return name.includes("_") && unit ? `${general(value)} ${unit}` : general(value);
}

function percentText(share) {
  const percent = 100 * share;
  return `${percent > 99 && percent < 100 ? percent.toFixed(1) : percent.toFixed(0)}%`;
}

/** A word of a command line, quoted for a shell where it has to be. */
function shellWord(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\"'\"'")}'`;
}

/** An element with attributes (`on...` are listeners) and children; text never becomes markup. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) made.style.setProperty(name, value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}
