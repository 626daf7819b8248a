//! What a session passes on to a server elsewhere that listens and answers, and what that says. Invariants: both ways are bounded,
//! and reserved before anything is passed on; what the server says is numbered among the session's own events, so that
//! none of it is lost for one who comes back; what it began and cannot end is ended here.

pub mod link;
mod news;
mod queue;
mod run;
mod silence;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Sessions;
use super::item::{Form, Item, Items, Role};
use super::life::Stage;
use super::session::{Attachment, Session, State};
use super::wire::Wire;
use super::wrong::{Wrong, at};
use crate::bounds::Stake;
use crate::limits::{RELAY_BYTES, RELAY_WISHES_BYTES, RESPONSE_BYTES};
use crate::upstream::Sockets;
use link::{Link, Try};
use queue::Queue;

/// Who listens elsewhere.
#[derive(Clone)]
pub struct Listening {
    /// How it is talked to.
    pub sockets: Sockets,
    /// The voice that it is to answer in; none: its own.
    pub voice: Option<String>,
}

/// See the module.
pub struct Relay {
    pub(super) link: Link,
    queue: Queue,
    /// Ends the connection that is wanted.
    cut: CancellationToken,
    /// Tells its task that there is something to be passed on, or room for what comes.
    hint: Arc<Notify>,
    /// What the client asked for of its session, but for the model and the voice.
    wishes: Value,
    /// Items that were passed on as what was said before: the server's news of those are none.
    known: Vec<String>,
    /// The answer that the server began.
    open: Option<String>,
    stake: Option<Arc<Stake>>,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            link: Link::begin(),
            queue: Queue::default(),
            cut: CancellationToken::new(),
            hint: Arc::default(),
            wishes: json!({"type": "realtime"}),
            known: Vec::new(),
            open: None,
            stake: None,
        }
    }
}

impl Relay {
    /// The client asked for this of its session.
    pub(super) fn wish(&mut self, change: &Value) -> Result<(), Wrong> {
        let mut wishes = self.wishes.clone();
        merge(&mut wishes, theirs(change));
        if wishes.to_string().len() > RELAY_WISHES_BYTES {
            let most = format!("at most {RELAY_WISHES_BYTES} bytes of settings, in all");
            return Err(Wrong::field("session", &most));
        }
        self.wishes = wishes;
        Ok(())
    }

    /// What of the session's settings is the server's alone, as it is told to the client.
    pub(super) fn show(&self, told: &mut Value) {
        for field in ["transcription", "noise_reduction", "turn_detection"] {
            if let Some(wish) = self.wishes.pointer(&format!("/audio/input/{field}")) {
                told["audio"]["input"][field] = wish.clone();
            }
        }
    }

    /// Something is there to be passed on, or there is room for what comes.
    pub(super) fn hint(&self) {
        self.hint.notify_one();
    }

    /// The device is gone: a connection that is being made is not wanted any more.
    pub(super) fn leave(&mut self) {
        if self.link.leave() {
            tracing::debug!("the device left while its server was being connected to");
            self.close();
        }
    }

    /// What was told is held by what a session has for an answer: what is more is needed only while something is carried.
    pub(super) fn let_go(&mut self) {
        if self.link.is_idle() {
            self.stake = None;
        }
    }

    /// The session is over. Gives what was held for it.
    pub(super) fn end(&mut self) -> Option<Arc<Stake>> {
        self.link.end();
        self.close();
        self.wishes = Value::Null;
        self.stake.take()
    }

    fn close(&mut self) {
        self.cut.cancel();
        self.queue = Queue::default();
        self.known = Vec::new();
    }

    /// An answer that was given here, while the server that listens was connected to, is told to it.
    pub(super) fn learn(&mut self, item: &Item, behind: Option<&str>) {
        let is_there = matches!(self.link.stage(), link::Stage::Running(_));
        if is_there && !item.text.trim().is_empty() && self.queue.push(&told_before(item, behind)) {
            self.known.push(item.id.clone());
            self.hint();
        }
    }

    /// What a new connection begins with: what the client asked for, and what was said before.
    fn prelude(&mut self, items: &Items, voice: Option<&str>) {
        let mut session = self.wishes.clone();
        if let Some(voice) = voice {
            merge(&mut session, json!({"audio": {"output": {"voice": voice}}}));
        }
        let mut events = vec![json!({"type": "session.update", "session": session}).to_string()];
        self.known.clear();
        for item in items.iter().filter(|item| !item.text.trim().is_empty()) {
            events.push(told_before(item, None));
            self.known.push(item.id.clone());
        }
        self.queue.put_before(events);
    }
}

impl Attachment {
    /// Whether an event goes elsewhere: sound always, and all that has to do with the conversation while that is carried there.
    pub(super) fn goes_elsewhere(&self, kind: &str, event: &Value) -> bool {
        let Some(sessions) = self.sessions() else { return false };
        if sessions.0.means.listening.is_none() {
            return false;
        }
        let state = self.session.lock();
        let carries = state.relay.link.carries();
        match kind {
            "input_audio_buffer.append" => true,
            "conversation.item.create" => carries || holds_sound(event),
            // What is answered here is ended here.
            "response.create" | "response.cancel" => carries && state.running.is_none(),
            "conversation.item.truncate" => {
                let item = event["item_id"].as_str().and_then(|id| state.items.find(id));
                carries && !item.is_some_and(|item| matches!(item.form, Form::Spoken { .. }))
            }
            "input_audio_buffer.commit"
            | "input_audio_buffer.clear"
            | "conversation.item.delete"
            | "conversation.item.retrieve" => carries,
            _ => false,
        }
    }

    /// Passes an event on as it came.
    pub(super) fn pass_on(&mut self, kind: &str, message: &str) -> Result<(), Wrong> {
        let Some(sessions) = self.sessions() else { return Ok(()) };
        let session = Arc::clone(&self.session);
        let mut state = session.lock();
        if state.life.stage() != Stage::Live(self.socket) {
            return Ok(());
        }
        if let Some(number) = state.relay.link.want() {
            session.connect(&mut state, &sessions, number);
        }
        if !state.relay.link.carries() || state.relay.stake.is_none() {
            // It was told that it is lost, or that there is no room; and it is tried again.
            return Ok(());
        }
        if state.relay.queue.push(message) {
            state.relay.hint();
            return Ok(());
        }
        if kind != "input_audio_buffer.append" {
            let message = "what was sent before was not taken yet; try again in a moment";
            return Err(Wrong::new("upstream_busy", message));
        }
        if state.relay.queue.drops() {
            let message = "sound comes faster than it is taken: some of it was dropped";
            let error = Wrong::new("input_audio_overflow", message).told(None);
            session.tell(&mut state, "error", json!({"error": error}));
        }
        Ok(())
    }

    /// Passes on what the client asked of its session, where that is carried elsewhere.
    pub(super) fn pass_wish(&self, state: &mut State, event: &Value, change: &Value) {
        if !state.relay.link.carries() {
            return;
        }
        let mut change = theirs(change);
        merge(&mut change, json!({"type": "realtime"}));
        let mut told = json!({"type": "session.update", "session": change});
        if let Some(name) = event.get("event_id") {
            told["event_id"] = name.clone();
        }
        if state.relay.queue.push(&told.to_string()) {
            state.relay.hint();
        }
    }
}

impl Session {
    /// The device is back: what was carried elsewhere is again.
    pub(super) fn reconnect(self: &Arc<Self>, state: &mut State, sessions: &Sessions) {
        state.relay.hint();
        if let Some(number) = state.relay.link.back() {
            self.connect(state, sessions, number);
        }
    }

    /// Begins to make the connection of that number.
    fn connect(self: &Arc<Self>, state: &mut State, sessions: &Sessions, number: Try) {
        let means = &sessions.0.means;
        let Some(listening) = means.listening.clone() else { return };
        self.make_room(state, sessions);
        let relay = &mut state.relay;
        relay.cut = CancellationToken::new();
        relay.queue = Queue::default();
        let (cut, hint) = (relay.cut.clone(), Arc::clone(&relay.hint));
        let task = run::Carrier { session: Arc::clone(self), listening, number, cut, hint };
        let owner = Arc::clone(self.owner());
        means.spawner.spawn(crate::ledger::Kind::SessionRelay, owner, task.run());
    }

    /// Reserves what it takes to carry anything: what waits here, and what is told and not confirmed. True where that is there.
    fn make_room(&self, state: &mut State, sessions: &Sessions) -> bool {
        if state.relay.stake.is_none() {
            state.relay.stake = sessions.reserve(RELAY_BYTES, self.owner());
        }
        if state.room.is_none() && state.relay.stake.is_some() {
            state.room = sessions.reserve(RESPONSE_BYTES, self.owner());
            if state.room.is_none() {
                state.relay.stake = None;
            }
        }
        state.relay.stake.is_some()
    }

    /// Whether there is room for the connection that is to be made.
    fn may_carry(&self) -> bool {
        let Some(sessions) = self.service() else { return false };
        self.make_room(&mut self.lock(), &sessions)
    }

    /// The connection is there. False where nobody wants it.
    fn carried(&self, number: Try, listening: &Listening) -> bool {
        let mut state = self.lock();
        let State { relay, items, .. } = &mut *state;
        let is_wanted = relay.link.came(number, Instant::now());
        if is_wanted {
            relay.prelude(items, listening.voice.as_deref());
        }
        is_wanted
    }

    /// What is to be said next by the connection of that number, and whether there is room for what it says.
    fn turn(&self, number: Try) -> (Option<String>, bool) {
        let mut state = self.lock();
        if !state.relay.link.runs(number) {
            return (None, false);
        }
        (state.relay.queue.pop(), state.outbox.has_room())
    }

    /// The connection is lost, or did not come about. Gives when to look again.
    fn uncarried(&self, number: Try, code: &'static str, why: &str) -> Option<Instant> {
        let mut state = self.lock();
        let until = state.relay.link.lost(number, Instant::now())?;
        state.relay.queue = Queue::default();
        tracing::warn!(session = %self.id(), code, why, "App disconnected, starting grace period");
        self.fail_open(&mut state);
        let mut error = Wrong::new(code, format!("who listens is not there: {why}")).told(None);
        error["type"] = json!("server_error");
        self.tell(&mut state, "error", json!({"error": error}));
        Some(until)
    }

    /// The grace of a lost connection is over. Gives the number of the next.
    fn again(&self, number: Try) -> Option<Try> {
        let mut state = self.lock();
        let is_live = matches!(state.life.stage(), Stage::Live(_));
        tracing::info!(session = %self.id(), is_live, "Grace period expired, checking state");
        let next = state.relay.link.elapsed(number, Instant::now(), is_live);
        if next.is_none() {
            if !is_live {
                tracing::info!(session = %self.id(), "Glasses WebSocket not open, skipping resurrection");
            }
            state.relay.close();
            state.let_go();
        }
        next
    }
}

/// What was said before, as it is told to a server that was not there.
fn told_before(item: &Item, behind: Option<&str>) -> String {
    let kind = if item.role == Role::Assistant { "output_text" } else { "input_text" };
    let content = json!([{"type": kind, "text": item.text}]);
    let told =
        json!({"id": item.id, "type": "message", "role": item.role.name(), "content": content});
    let mut event = json!({"type": "conversation.item.create", "item": told});
    if let Some(behind) = behind {
        event["previous_item_id"] = json!(behind);
    }
    event.to_string()
}

/// Whether an item that is sent holds sound.
fn holds_sound(event: &Value) -> bool {
    let parts = at(event, "item.content").and_then(Value::as_array);
    parts.is_some_and(|parts| parts.iter().any(|part| part["type"] == "input_audio"))
}

/// What of a wish the server may know, by its newer names: its model and voice are set by whoever runs this one.
fn theirs(change: &Value) -> Value {
    let mut change = change.clone();
    if let Some(fields) = change.as_object_mut() {
        fields.retain(|name, _| !matches!(name.as_str(), "model" | "voice"));
        let older = fields.remove("modalities");
        let modalities = fields.get("output_modalities").cloned().or(older);
        if let Some(all) = modalities.as_ref().and_then(Value::as_array) {
            let kind = if all.iter().any(|kind| kind == "audio") { "audio" } else { "text" };
            fields.insert("output_modalities".into(), json!([kind]));
        }
    }
    if let Some(output) = change.pointer_mut("/audio/output").and_then(Value::as_object_mut) {
        output.remove("voice");
    }
    for format in ["/audio/input/format", "/audio/output/format"] {
        if let Some(format) = change.pointer_mut(format)
            && let Some(wire) = Wire::read(format)
        {
            *format = wire.told();
        }
    }
    change
}

/// Puts `change` over what there is; nothing that is there is taken away.
fn merge(there: &mut Value, change: Value) {
    match (there, change) {
        (Value::Object(there), Value::Object(change)) => {
            for (name, value) in change {
                merge(there.entry(name).or_insert(Value::Null), value);
            }
        }
        (there, change) => *there = change,
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::Item;
    use super::*;

    #[test]
    fn what_was_wished_and_said_before_comes_first_and_the_voice_is_ours_to_choose() {
        let mut relay = Relay::default();
        let vad = json!({"type": "server_vad", "threshold": 0.5});
        relay.wish(&json!({"model": "x", "instructions": "Be brief.", "audio": {"input": {"turn_detection": vad}, "output": {"voice": "alloy"}}})).expect("small");
        relay
            .wish(&json!({"audio": {"input": {"turn_detection": {"threshold": 0.9}}}}))
            .expect("small");
        assert!(relay.wish(&json!({"x": "y".repeat(RELAY_WISHES_BYTES)})).is_err());
        let mut items = Items::default();
        for (id, role, text) in [
            ("a", Role::User, "Hello."),
            ("b", Role::Assistant, "Good evening."),
            ("c", Role::User, " "),
        ] {
            items.add(
                Item { id: id.into(), role, text: text.into(), form: Form::Text, is_whole: true },
                None,
            );
        }
        assert!(relay.queue.push("what came meanwhile"));
        relay.prelude(&items, Some("marin"));
        let mut next = || relay.queue.pop();
        let told: Vec<Value> = (0..3).filter_map(|_| serde_json::from_str(&next()?).ok()).collect();
        assert_eq!(
            told[0]["session"],
            json!({
                "type": "realtime",
                "instructions": "Be brief.",
                "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.9}}, "output": {"voice": "marin"}},
            })
        );
        assert_eq!(told[1]["item"]["content"][0], json!({"type": "input_text", "text": "Hello."}));
        assert_eq!(
            (&told[2]["item"]["id"], &told[2]["item"]["content"][0]["type"]),
            (&json!("b"), &json!("output_text"))
        );
        assert_eq!(next().as_deref(), Some("what came meanwhile"));
        assert_eq!(next(), None);
        let mut shown = json!({"audio": {"input": {"turn_detection": null}}});
        relay.show(&mut shown);
        assert_eq!(shown["audio"]["input"]["turn_detection"]["threshold"], json!(0.9));
    }

    #[test]
    fn sound_in_an_item_is_sound() {
        let with =
            |kind: &str| json!({"item": {"content": [{"type": "input_text"}, {"type": kind}]}});
        assert!(holds_sound(&with("input_audio")) && !holds_sound(&with("input_text")));
        assert!(!holds_sound(&json!({"item": "x"})));
    }
}
