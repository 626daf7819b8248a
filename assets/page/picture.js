// What documents bring along: their pictures, which are of this server's own media, and where they lead.

import { made } from "./node.js";

/** Where less motion is wished for, pictures that move stand. */
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

/** A link to an address. */
export function leading(address) {
    const away = address.origin !== location.origin;
    // In a place of its own: leaving this page would end what is being read.
    return made("a", { href: address.href, ...(away && { target: "_blank", rel: "noopener noreferrer" }) });
}

/** In a box of one shape, so that nothing is shifted when it comes; gone if it does not. */
export function picture({ picture: source, title }) {
    if (!source) return [];
    const box = made("div", { class: "hit-picture" });
    const image = made("img", { loading: "lazy", decoding: "async", width: "120", height: "90", alt: `Picture: ${title}` });
    image.addEventListener("error", () => (box.hidden = true));
    image.addEventListener("load", () => STILL.matches && image.replaceWith(held(image)));
    image.src = source;
    box.append(image);
    return [box];
}

/** Its first frame, as large as the box on a fine screen. */
function held(image) {
    const [width, height] = [240, 180];
    const canvas = made("canvas", { width, height, role: "img", "aria-label": image.alt });
    const { naturalWidth, naturalHeight } = image;
    const scale = Math.max(width / naturalWidth, height / naturalHeight);
    const [w, h] = [naturalWidth * scale, naturalHeight * scale];
    canvas.getContext("2d").drawImage(image, (width - w) / 2, (height - h) / 2, w, h);
    return canvas;
}
