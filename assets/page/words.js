// Numbers as people read them. Pure; one place, so that a byte looks the same everywhere.

const COUNT = new Intl.NumberFormat("en");
const SIGNED = new Intl.NumberFormat("en", { maximumFractionDigits: 2, signDisplay: "exceptZero" });
const NONE = "–";

/** Whether it can be a number of things or bytes: neither negative nor more than can be counted. */
export function isAmount(value) {
    return typeof value === "number" && value >= 0 && value <= Number.MAX_SAFE_INTEGER;
}

/** 1,234 */
export function count(number) {
    return isAmount(number) ? COUNT.format(number) : NONE;
}

/** 448 KiB, 1.5 MiB */
export function bytes(number) {
    if (!isAmount(number)) return NONE;
    if (number < 1024) return `${number} B`;
    const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let value = number / 1024;
    let unit = 0;
    while (value >= 1023.5 && unit < units.length - 1) {
        value /= 1024;
        unit += 1;
    }
    return `${value < 10 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} ${units[unit]}`;
}

/** Changes in bytes, in one unit and with their signs: ["+0.12", "−0.3"] and "MB". Null if one is no number. */
export function changes(numbers) {
    const most = Math.max(...numbers.map((number) => (typeof number === "number" ? Math.abs(number) : NaN)));
    if (!isAmount(most)) return null;
    const [size, unit] = [[1e12, "TB"], [1e9, "GB"]].find(([least]) => most >= least) ?? [1e6, "MB"];
    // As printers set it; a hyphen is lost in a line of text.
    return { unit, texts: numbers.map((number) => SIGNED.format(number / size).replace("-", "−")) };
}

/** 3.2 s, 1:04 min */
export function seconds(number) {
    if (!Number.isFinite(number)) return NONE;
    const tenths = Math.floor(Math.max(0, number) * 10) / 10;
    if (tenths < 60) return `${tenths.toFixed(1)} s`;
    const whole = Math.floor(tenths);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")} min`;
}

/** 2.4 ms, 38 ms, 1.2 s */
export function milliseconds(number) {
    if (!Number.isFinite(number)) return NONE;
    if (number < 10) return `${number.toFixed(1)} ms`;
    return number < 1000 ? `${Math.round(number)} ms` : `${(number / 1000).toFixed(1)} s`;
}

/** 42 s, 5 min, 3 h, 2 d: how long something has lived. */
export function age(number) {
    if (!isAmount(number)) return NONE;
    if (number < 60) return `${Math.floor(number)} s`;
    if (number < 3600) return `${Math.floor(number / 60)} min`;
    return number < 86400 ? `${Math.floor(number / 3600)} h` : `${Math.floor(number / 86400)} d`;
}

/** 12 s, 5 min, 3 h: how long to wait; never too short. */
export function wait(number) {
    if (number < 120) return `${Math.ceil(number)} s`;
    return number < 7200 ? `${Math.ceil(number / 60)} min` : `${Math.ceil(number / 3600)} h`;
}

/** A sentence as it begins within another one. */
export function lower(sentence) {
    return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}

/** Characters as the server counts them: Unicode scalar values, not UTF-16 units. */
export function characters(text) {
    let number = 0;
    for (const _ of text) number += 1;
    return number;
}
