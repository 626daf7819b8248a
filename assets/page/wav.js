// WAV's 44 bytes, read and written. A streamed WAV cannot know its length and says 0xFFFFFFFF;
// a kept one gets the true sizes, or editors would refuse it.

export const HEADER_BYTES = 44;
/** A header that is longer than this is none of ours. */
const HEADER_BYTES_MOST = 4096;

const word = (view, at) => String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, 4));

/**
 * Reads the head of a WAV: {hz, channels, bits, dataAt}; null while too few bytes have come.
 * Throws where it is no PCM WAV.
 */
export function parse(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 12) return null;
    if (word(view, 0) !== "RIFF" || word(view, 8) !== "WAVE") throw new Error("this is no WAV");
    let format = null;
    for (let at = 12; at + 8 <= bytes.length; ) {
        const [name, size] = [word(view, at), view.getUint32(at + 4, true)];
        if (name === "data" && format) return { ...format, dataAt: at + 8 };
        if (name === "fmt ") {
            if (at + 24 > bytes.length) return null;
            format = {
                channels: view.getUint16(at + 10, true),
                hz: view.getUint32(at + 12, true),
                bits: view.getUint16(at + 22, true),
            };
        }
        // Chunks are padded to an even length.
        at += 8 + size + (size % 2);
        if (at > HEADER_BYTES_MOST) throw new Error("this WAV does not begin with its sound");
    }
    return null;
}

/** The head of a mono 16-bit WAV with so many bytes of sound. */
export function header(dataBytes, hz) {
    const view = new DataView(new ArrayBuffer(HEADER_BYTES));
    const put = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
    put(0, "RIFF");
    view.setUint32(4, 36 + dataBytes, true);
    put(8, "WAVEfmt ");
    view.setUint32(16, 16, true);
    view.setUint16(20, 1, true);
    view.setUint16(22, 1, true);
    view.setUint32(24, hz, true);
    view.setUint32(28, hz * 2, true);
    view.setUint16(32, 2, true);
    view.setUint16(34, 16, true);
    put(36, "data");
    view.setUint32(40, dataBytes, true);
    return new Uint8Array(view.buffer);
}
