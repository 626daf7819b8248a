// What a page's looks are judged by: the screens it is seen on, and what runs in it to find what is too
// small to touch or too faint to read.

export const SHOTS = new URL("./screenshots/", import.meta.url);
export const PHONE = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };
export const DESKTOP = { viewport: { width: 1280, height: 940 } };

/** Runs in the page: what can be pressed and is smaller than a fingertip. */
export function small() {
    const pressable = document.querySelectorAll("button, input, textarea, summary");
    return [...pressable].flatMap((node) => {
        const labelled = node.type === "radio" || node.type === "checkbox";
        const target = labelled ? node.closest("label") : node;
        const { width, height } = target.getBoundingClientRect();
        const shown = node.checkVisibility() && width > 0;
        // The pills' frame belongs to what can be pressed.
        const frame = node.type === "radio" ? 2 : 0;
        return shown && (width < 44 || height + frame < 44) ? [`${node.id || node.value}: ${width}×${height}`] : [];
    });
}

/** Runs in the page: text whose contrast with the nearest painted ground is below AA's. */
export function faint() {
    const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
        paint.clearRect(0, 0, 1, 1);
        paint.fillStyle = color;
        paint.fillRect(0, 0, 1, 1);
        return [...paint.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const ground = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const color = rgba(getComputedStyle(at).backgroundColor);
            if (color[3] === 255) return color;
        }
        return rgba("Canvas");
    };
    const open = document.querySelector("dialog[open]");
    const found = [];
    const walk = document.createTreeWalker(open ?? document.querySelector(".house"), NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const node = walk.currentNode.parentElement;
        const off = node.closest(":disabled, [aria-disabled=true]") || !node.checkVisibility();
        if (!walk.currentNode.data.trim() || off) continue;
        const [a, b] = [light(rgba(getComputedStyle(node).color)), light(ground(node))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) found.push(`${ratio.toFixed(2)} "${walk.currentNode.data.trim().slice(0, 30)}"`);
    }
    return found;
}
