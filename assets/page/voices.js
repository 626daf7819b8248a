// The voices of the server: fetched once, grouped by language, found by any part of their names.
// Without the server's list the page still speaks, with the names that every server here knows.

import { at, ask } from "./api.js";
import { lower } from "./words.js";

/** OpenAI's names, which are aliases on every Evensong. */
const KNOWN = [
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable",
    "marin", "nova", "onyx", "sage", "shimmer", "verse",
];
/** Deadline of a list that is a few KiB. */
const LIST_MS = 5_000;

const LANGUAGES = new Intl.DisplayNames("en", { type: "language", fallback: "none" });

/**
 * {voices, notice, failure}: the server's list, or a plain one with a notice that says why. The plain
 * one has the remembered voice too: it is on the list that is to come.
 */
export async function loadVoices(remembered) {
    try {
        const response = await ask("v1/audio/voices", { signal: AbortSignal.timeout(LIST_MS) });
        const { voices } = await response.json();
        const named = voices.filter((voice) => typeof voice?.id === "string");
        // The first engine of the list is the one that a request without a model of its own means, and the
        // only one that others may speak for.
        const good = named.map((voice) => complete(voice, named[0].engine));
        if (good.length === 0) throw new Error("it is empty");
        return { voices: good, notice: null, failure: null };
    } catch (error) {
        const why = lower(error.message).replace(/\.$/, "");
        const keys = remembered && !KNOWN.includes(remembered) ? [...KNOWN, remembered] : KNOWN;
        return {
            failure: error,
            voices: keys.map((key) => {
                const [id, engine] = key.split("/").reverse();
                return complete({ id, engine });
            }),
            notice: `The server's list of voices is not to be had (${why}). These names always work.`,
        };
    }
}

/** [{label, voices}] by language: the reader's own first, then by the alphabet. */
export function grouped(voices) {
    const groups = new Map();
    for (const voice of voices) {
        const label = voice.family;
        if (!groups.has(label)) groups.set(label, { label, voices: [] });
        groups.get(label).voices.push(voice);
    }
    const own = family(navigator.language);
    const rank = ({ label }) => (label === own ? 0 : 1);
    return [...groups.values()].sort(
        (a, b) => rank(a) - rank(b) || a.label.localeCompare(b.label, "en"),
    );
}

/** The voices in which every word of the query occurs. */
export function matching(voices, query) {
    const words = plain(query).split(/\s+/).filter(Boolean);
    return voices.filter((voice) => words.every((word) => voice.haystack.includes(word)));
}

/** The voice to begin with: the remembered one, else a name of OpenAI's, else the first. */
export function firstChoice(voices, remembered) {
    const named = (key) => voices.find((voice) => voice.key === key);
    return named(remembered) ?? named("alloy") ?? named("en-us") ?? voices[0];
}

function complete({ id, name, language, gender, engine, preview_url: preview }, standard) {
    const other = engine && engine !== standard;
    const voice = {
        id,
        // Two engines may have voices of one name.
        key: other ? `${engine}/${id}` : id,
        model: other ? engine : "tts-1",
        name: name || id,
        language: language || "",
        family: language ? family(language) : "Names",
        gender: gender || "",
        engine: engine || "",
        previewUrl: ownAddress(preview),
    };
    const { family: spoken, gender: sex } = voice;
    voice.haystack = plain([id, voice.name, language, spoken, sex, engine].join(" "));
    return voice;
}

/** An address of this very server, or null: nothing is fetched from elsewhere. */
function ownAddress(address) {
    if (typeof address !== "string" || address === "") return null;
    const url = at(address);
    return url.origin === location.origin ? url.href : null;
}

/** The language's English name, from the first part of its tag: en-gb-scotland is English. */
function family(tag) {
    const base = tag.split("-")[0];
    try {
        return LANGUAGES.of(base) ?? base;
    } catch {
        return base;
    }
}

function plain(text) {
    return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}
