// Numbers as people read them. Pure; one place, so that a byte looks the same everywhere.

const COUNT = new Intl.NumberFormat("en");
const NONE = "–";

/** 1,234 */
export function count(number) {
    return Number.isFinite(number) ? COUNT.format(number) : NONE;
}

/** 448 KiB, 1.5 MiB */
export function bytes(number) {
    if (!Number.isFinite(number)) return NONE;
    if (number < 1024) return `${number} B`;
    const units = ["KiB", "MiB", "GiB"];
    let value = number / 1024;
    let unit = 0;
    while (value >= 1023.5 && unit < units.length - 1) {
        value /= 1024;
        unit += 1;
    }
    return `${value < 10 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} ${units[unit]}`;
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
    if (!Number.isFinite(number)) return NONE;
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
