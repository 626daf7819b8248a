// One asks over one socket, and hears the answer: its sound, its words as they are heard; several turns, Stop, talking over it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import * as one from "./session.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

test("a question goes over the socket, and its answer is heard, with its words", async () => {
    const door = await one.door();
    const opened = await one.session(browser, door);
    const { page, sent, came, seen } = opened;
    assert.equal(await page.isChecked("#socket"), true);
    assert.equal(door.opened, 0, "a socket before there is a question");
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.5);
    assert.ok((await one.marked(page)) > 0, "no word is marked");
    await one.answered(page);
    assert.deepEqual(sent.map(({ type }) => type), ["session.update", "conversation.item.create", "response.create"]);
    assert.deepEqual(sent[1].item.content, [{ type: "input_text", text: one.QUESTION }]);
    const text = one.names(came, "response.output_audio_transcript.delta").map(({ delta }) => delta).join("");
    assert.equal(await one.caption(page), text.trim());
    const sound = Buffer.concat(one.names(came, "response.output_audio.delta").map(({ delta }) => Buffer.from(delta, "base64")));
    one.exact(await one.given(page), new Int16Array(sound.buffer, sound.byteOffset, sound.length / 2));
    assert.ok(Math.abs((await one.heard(page)) - sound.length / 48_000) < 0.3, "not all of it was heard");
    assert.match(door.asked[0], /^sec-websocket-protocol: realtime\r$/im);
    assert.equal(one.questions(opened).length + one.streams(opened).length, 0, "the two calls were made as well");
    assert.equal(seen.requests.filter((request) => /thinking.*mp3/.test(request.url())).length <= 1, true);
    the.unblemished(opened);
});
