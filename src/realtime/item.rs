//! The items of a conversation: what each side said. Invariant: they are bounded in number and in bytes; the oldest are forgotten
//! first.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::answer::{History, Turn};
use crate::dialogue::heard::Heard;
use crate::limits::{SESSION_ITEMS, SESSION_ITEMS_BYTES};

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Who asks.
    User,
    /// Who answers.
    Assistant,
    /// Who set this up.
    System,
}

/// Something that was said.
#[derive(Debug)]
pub struct Item {
    /// Its name.
    pub id: String,
    /// Whose it is.
    pub role: Role,
    /// What was said.
    pub text: String,
    /// As what it stands on the wire.
    pub form: Form,
    /// Whether all of it was said.
    pub is_whole: bool,
}

/// How an item was said.
#[derive(Debug)]
pub enum Form {
    /// It was written.
    Text,
    /// It was heard, and written down here.
    Heard,
    /// It was spoken.
    Spoken {
        /// How long that was.
        ms: u32,
        /// Its words; of items before the last they are forgotten.
        heard: Option<Box<Heard>>,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub struct Items {
    items: VecDeque<Item>,
    bytes: usize,
}

impl Role {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
        }
    }
}

impl Item {
    /// As it is told.
    pub fn told(&self) -> Value {
        let content = match (&self.form, self.role) {
            (Form::Spoken { .. }, _) => json!({"type": "output_audio", "transcript": self.text}),
            (Form::Heard, _) => {
                let transcript = (!self.text.is_empty()).then_some(&self.text);
                json!({"type": "input_audio", "transcript": transcript})
            }
            (Form::Text, Role::Assistant) => json!({"type": "output_text", "text": self.text}),
            (Form::Text, _) => json!({"type": "input_text", "text": self.text}),
        };
        json!({
            "id": self.id,
            "object": "realtime.item",
            "type": "message",
            "status": if self.is_whole { "completed" } else { "incomplete" },
            "role": self.role.name(),
            "content": [content],
        })
    }

    fn bytes(&self) -> usize {
        self.id.len() + self.text.len()
    }
}

impl Items {
    /// Adds an item behind the one named, or the last. False where there is none of that name.
    pub fn add(&mut self, item: Item, behind: Option<&str>) -> bool {
        let place = match behind {
            None => self.items.len(),
            Some("root") => 0,
            Some(id) => match self.place(id) {
                Some(place) => place + 1,
                None => return false,
            },
        };
        self.bytes += item.bytes();
        self.items.insert(place, item);
        self.forget();
        true
    }

    /// Puts an item where one of its name stands. Gives it back where there is none.
    pub fn replace(&mut self, item: Item) -> Option<Item> {
        let Some(place) = self.place(&item.id) else { return Some(item) };
        self.bytes += item.bytes();
        let before = std::mem::replace(&mut self.items[place], item);
        self.bytes -= before.bytes();
        self.forget();
        None
    }

    /// Forgets the oldest where there are too many, and when the words were said of all but the last.
    fn forget(&mut self) {
        while self.items.len() > SESSION_ITEMS || self.bytes > SESSION_ITEMS_BYTES {
            let Some(oldest) = self.items.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
        // The times of words are for what may still be playing: the last that was spoken.
        let spoken = self.items.iter_mut().filter_map(|item| match &mut item.form {
            Form::Spoken { heard, .. } => Some(heard),
            Form::Text | Form::Heard => None,
        });
        spoken.rev().skip(1).for_each(|heard| *heard = None);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// The item of that name.
    pub fn find(&self, id: &str) -> Option<&Item> {
        self.place(id).map(|place| &self.items[place])
    }

    /// Changes what was said in an item.
    pub fn rewrite(&mut self, id: &str, text: String) {
        let Some(place) = self.place(id) else { return };
        let item = &mut self.items[place];
        self.bytes -= item.text.len();
        self.bytes += text.len();
        item.text = text;
        self.forget();
    }

    /// Takes an item away. False where there is none.
    pub fn remove(&mut self, id: &str) -> bool {
        let Some(item) = self.place(id).and_then(|place| self.items.remove(place)) else {
            return false;
        };
        self.bytes -= item.bytes();
        true
    }

    /// The name of the last one.
    pub fn last(&self) -> Option<&str> {
        self.items.back().map(|item| item.id.as_str())
    }

    /// What stands there to be answered, and what was said before. None where nothing is.
    pub fn question(&self) -> Option<(String, History)> {
        let answered = self.items.iter().rposition(|item| item.role == Role::Assistant);
        let (before, asked) = match answered {
            Some(last) => (0..last + 1, last + 1..self.items.len()),
            None => (0..0, 0..self.items.len()),
        };
        let asked = self.items.range(asked).filter(|item| !item.text.trim().is_empty());
        let asked: Vec<_> = asked.map(|item| item.text.as_str()).collect();
        if asked.is_empty() {
            return None;
        }
        let mut turns: Vec<Turn> = Vec::new();
        for item in self.items.range(before) {
            match (item.role, turns.last_mut()) {
                (Role::Assistant, Some(turn)) if turn.answered.is_empty() => {
                    turn.answered.clone_from(&item.text);
                }
                (Role::Assistant, _) => {
                    turns.push(Turn { asked: String::new(), answered: item.text.clone() });
                }
                _ => turns.push(Turn { asked: item.text.clone(), answered: String::new() }),
            }
        }
        Some((asked.join("\n"), turns.into_iter().collect()))
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.items.iter().position(|item| item.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, role: Role, text: &str) -> Item {
        Item { id: id.into(), role, text: text.into(), form: Form::Text, is_whole: true }
    }

    #[test]
    fn what_stands_behind_the_last_answer_is_asked() {
        let mut items = Items::default();
        assert!(items.question().is_none());
        items.add(item("a", Role::User, "Hello."), None);
        items.add(item("b", Role::Assistant, "Good evening."), None);
        assert!(items.question().is_none(), "that was answered");
        items.add(item("c", Role::User, "And now?"), None);
        items.add(item("d", Role::User, "Say it."), None);
        let (asked, history) = items.question().expect("two questions");
        assert_eq!(asked, "And now?\nSay it.");
        let said: Vec<_> = history.turns().map(|turn| (&*turn.asked, &*turn.answered)).collect();
        assert_eq!(said, [("Hello.", "Good evening.")]);
    }

    #[test]
    fn items_stand_where_they_were_put_and_can_be_taken_away() {
        let mut items = Items::default();
        assert!(items.add(item("b", Role::User, "2"), None));
        assert!(items.add(item("a", Role::User, "1"), Some("root")));
        assert!(items.add(item("c", Role::User, "3"), Some("b")));
        assert!(!items.add(item("d", Role::User, "4"), Some("nobody")));
        assert_eq!(items.question().expect("asked").0, "1\n2\n3");
        assert!(items.remove("b") && !items.remove("b"));
        items.rewrite("c", "33".into());
        assert_eq!(
            (items.question().expect("asked").0.as_str(), items.last()),
            ("1\n33", Some("c"))
        );
        assert_eq!(items.bytes, 2 + 3);
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut items = Items::default();
        for number in 0..SESSION_ITEMS + 5 {
            items.add(item(&number.to_string(), Role::User, "x"), None);
        }
        assert!(items.items.len() == SESSION_ITEMS && items.find("4").is_none());
        items.add(item("long", Role::User, &"x".repeat(SESSION_ITEMS_BYTES - 10)), None);
        assert!(items.items.len() < 10 && items.bytes <= SESSION_ITEMS_BYTES);
        items.add(item("heard", Role::User, ""), None);
        items.rewrite("heard", "x".repeat(SESSION_ITEMS_BYTES - 10));
        assert!(items.items.len() < 10 && items.bytes <= SESSION_ITEMS_BYTES, "written down later");
        items.add(item("longer", Role::User, &"x".repeat(SESSION_ITEMS_BYTES + 1)), None);
        assert!(items.items.is_empty() && items.bytes == 0);
    }
}
