//! What people say to whoever they talk to, and ask of no document: greetings, thanks, farewells, "who are you?". Invariant:
//! only what is small talk from its first word to its last is answered here; a question that has such words in it is none.

use crate::limits::SMALL_TALK_BYTES;

/// What is said, in the words of [`words`], and what is answered: honestly, and in the language it was said in. Of
/// several things said at once ("Hello, who are you?") the one that stands furthest down is answered.
const TALK: [(&str, &str); 24] = [
    // What goes with the rest and is nothing by itself, so that nothing is answered to it.
    (
        "please, evensong, oh, um, uh, well, so, then, now, again, there, very much, so much, a lot, for that, for your \
         help, for the help, my friend, everyone, to you, bitte, sil te plait, sil vous plait, por favor",
        "",
    ),
    (
        "ok, okay, alright, all right, great, cool, perfect, got it, i see, stop, stop it, stop talking, stop that, \
         please stop, cancel, cancel that, never mind, nevermind, forget it, forget about it, thats all, that is all, \
         thats enough, that is enough, enough, be quiet, no thanks, no thank you",
        "All right.",
    ),
    (
        "hello, hi, hey, hiya, howdy, greetings, good day, hello again, nice to meet you, pleased to meet you",
        "Hello. Ask me something, and I will look for it in my documents.",
    ),
    ("good morning", "Good morning. Ask me something, and I will look for it in my documents."),
    ("good afternoon", "Good afternoon. Ask me something, and I will look for it in my documents."),
    ("good evening", "Good evening. Ask me something, and I will look for it in my documents."),
    (
        "hallo, guten tag, guten morgen, guten abend, gruss gott, gruess gott, gruss dich, moin, servus",
        "Hallo. Frag mich etwas, und ich suche es in meinen Dokumenten.",
    ),
    (
        "bonjour, bonsoir, salut, coucou",
        "Bonjour. Posez-moi une question, et je chercherai dans mes documents.",
    ),
    (
        "hola, buenos dias, buenas tardes, buenas noches, buenas",
        "Hola. Pregúntame algo, y lo buscaré en mis documentos.",
    ),
    ("thanks, thank you, many thanks, thanks a lot, thx, much appreciated", "You are welcome."),
    (
        "danke, danke schon, dankeschon, danke schoen, danke sehr, danke dir, vielen dank, besten dank",
        "Gern geschehen.",
    ),
    ("merci, merci beaucoup, merci bien", "Je vous en prie."),
    ("gracias, muchas gracias, mil gracias", "De nada."),
    (
        "bye, goodbye, good bye, see you, see you later, see you soon, see you tomorrow, good night, take care",
        "Goodbye.",
    ),
    (
        "tschuss, tschuess, auf wiedersehen, auf wiederhoren, gute nacht, bis bald, bis spater, bis morgen",
        "Auf Wiedersehen.",
    ),
    ("au revoir, bonne nuit, a bientot, a plus tard, a demain", "Au revoir."),
    ("adios, hasta luego, hasta pronto, hasta manana, hasta la vista", "Adiós."),
    (
        "how are you, how are you doing, how are you feeling, how are you today, how are things, how do you do, how do you \
         feel, hows it going, how is it going, whats up, what is up, are you ok, are you okay, are you well, do you have \
         feelings",
        "I am a program and have no feelings, but I am ready. Ask me something.",
    ),
    (
        "wie geht es dir, wie geht es ihnen, wie gehts, wie gehts dir, wie gehts ihnen",
        "Ich bin ein Programm und habe keine Gefühle, aber ich bin bereit. Frag mich etwas.",
    ),
    (
        "ca va, comment ca va, comment vas tu, comment allez vous",
        "Je suis un programme, sans sentiments, mais je vous écoute. Posez-moi une question.",
    ),
    (
        "que tal, como estas, como esta usted",
        "Soy un programa y no tengo sentimientos, pero te escucho. Pregúntame algo.",
    ),
    (
        "can you hear me, do you hear me, do you understand me, can you understand me, are you there, are you still there, \
         are you listening, is anybody there, is anyone there, is this working, is this thing on, testing testing, testing \
         one two three",
        "Your words reach me. Ask me something, and I will look for it in my documents.",
    ),
    (
        "who are you, what are you, whats your name, what is your name, what are you called, who am i talking to, who am \
         i speaking to, are you human, are you a human, are you a person, are you real, are you alive, are you a robot, \
         are you a machine, are you a computer, are you a program, are you an ai, are you a bot, introduce yourself, tell \
         me about yourself",
        "I am Evensong, a program and no person. I look for what you ask in my documents, and say what stands there.",
    ),
    (
        "what can you do, what can you do for me, what do you do, what do you know, what can i ask, what can i ask you, \
         what can i say, how can you help, how can you help me, can you help me, help, help me",
        "I look for what you ask in my documents, and say a sentence or two of the one that fits, and whose it is. What \
         does not stand there I do not know.",
    ),
];

/// The answer to `question`, if it is small talk and nothing else.
pub fn answer(question: &str) -> Option<&'static str> {
    if question.len() > SMALL_TALK_BYTES {
        return None;
    }
    let words = words(question);
    let words: Vec<&str> = words.split_whitespace().collect();
    let (_, answer) = TALK[row(&words)?];
    Some(answer).filter(|answer| !answer.is_empty())
}

/// The furthest row of the phrases that `words` are made of; none where a word is left over.
fn row(words: &[&str]) -> Option<usize> {
    // Of the words from each place on: what they are made of, from the last place to the first.
    let mut rows = vec![None; words.len()];
    rows.push(Some(0));
    for at in (0..words.len()).rev() {
        rows[at] = TALK.iter().enumerate().fold(None, |furthest, (row, (phrases, _))| {
            let behind = |phrase| rows[at + length(&words[at..], phrase)?];
            let whole = phrases.split(", ").filter_map(behind).map(|behind: usize| behind.max(row));
            whole.chain(furthest).max()
        });
    }
    rows[0]
}

/// How many of the words are `phrase`, if they begin with it.
fn length(words: &[&str], phrase: &str) -> Option<usize> {
    let length = phrase.split(' ').count();
    words.get(..length)?.iter().copied().eq(phrase.split(' ')).then_some(length)
}

/// Its words with spaces between them: small letters without accents, as not everybody types them, and without apostrophes,
/// of which there are many.
fn words(question: &str) -> String {
    let mut words = String::with_capacity(question.len());
    for letter in question.chars().flat_map(char::to_lowercase) {
        match letter {
            '\'' | '’' | '‘' | 'ʼ' | '´' | '`' | '\u{300}'..='\u{36f}' => {}
            'à'..='å' => words.push('a'),
            'ç' => words.push('c'),
            'è'..='ë' => words.push('e'),
            'ì'..='ï' => words.push('i'),
            'ñ' => words.push('n'),
            'ò'..='ö' => words.push('o'),
            'ù'..='ü' => words.push('u'),
            'ß' => words.push_str("ss"),
            letter if letter.is_alphanumeric() => words.push(letter),
            _ => words.push(' '),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is said, and how its answer begins.
    const SAID: [(&str, &str); 74] = [
        ("Hello", "Hello."),
        ("hello!", "Hello."),
        ("HELLO", "Hello."),
        ("Hi there", "Hello."),
        ("Hey, Evensong!", "Hello."),
        ("hey", "Hello."),
        ("Hello, hello", "Hello."),
        ("Hello 👋", "Hello."),
        ("Howdy", "Hello."),
        ("Nice to meet you.", "Hello."),
        ("Good morning", "Good morning."),
        ("Good afternoon, Evensong", "Good afternoon."),
        ("Good evening.", "Good evening."),
        ("Oh, hi. Good evening to you!", "Good evening."),
        ("Thanks", "You are"),
        ("Thank you very much!", "You are"),
        ("Okay, thanks", "You are"),
        ("thanks a lot for your help", "You are"),
        ("Great, thank you.", "You are"),
        ("Bye", "Goodbye."),
        ("bye bye", "Goodbye."),
        ("Good-bye!", "Goodbye."),
        ("Good night, Evensong.", "Goodbye."),
        ("Thanks, bye", "Goodbye."),
        ("See you later", "Goodbye."),
        ("How are you?", "I am a program"),
        ("Hello, how are you today?", "I am a program"),
        ("How’s it going?", "I am a program"),
        ("what's up", "I am a program"),
        ("Are you okay?", "I am a program"),
        ("Do you have feelings?", "I am a program"),
        ("Who are you?", "I am Evensong"),
        ("What are you?", "I am Evensong"),
        ("What's your name?", "I am Evensong"),
        ("Hello! Who are you?", "I am Evensong"),
        ("Are you a robot?", "I am Evensong"),
        ("Are you an AI?", "I am Evensong"),
        ("Who am I talking to?", "I am Evensong"),
        ("Can you hear me?", "Your words"),
        ("Hello? Are you there?", "Your words"),
        ("Evensong, can you hear me now?", "Your words"),
        ("Is anybody there?", "Your words"),
        ("Stop", "All right."),
        ("stop!", "All right."),
        ("Evensong, stop please", "All right."),
        ("Never mind.", "All right."),
        ("Nevermind", "All right."),
        ("Okay", "All right."),
        ("OK, OK", "All right."),
        ("Alright then", "All right."),
        ("No, thanks", "All right."),
        ("That's all", "All right."),
        ("Forget it", "All right."),
        ("What can you do?", "I look"),
        ("So, what can you do for me?", "I look"),
        ("Help!", "I look"),
        ("How can you help me?", "I look"),
        ("Hallo", "Hallo."),
        ("Guten Abend!", "Hallo."),
        ("Grüß Gott", "Hallo."),
        ("Hallo, wie geht’s dir?", "Ich bin ein Programm"),
        ("Dankeschön", "Gern"),
        ("Vielen Dank, Evensong", "Gern"),
        ("Tschüss", "Auf Wiedersehen."),
        ("Bonjour", "Bonjour."),
        ("Salut, ça va ?", "Je suis un programme"),
        ("MERCI BEAUCOUP", "Je vous"),
        ("À bientôt", "Au revoir."),
        ("¡Hola!", "Hola."),
        ("¿Qué tal?", "Soy un programa"),
        ("Buenos días", "Hola."),
        ("Muchas gracias", "De nada."),
        ("Adio\u{301}s", "Adiós."),
        ("Hasta man\u{303}ana", "Adiós."),
    ];

    const ASKED: [&str; 50] = [
        "hello world program in Rust",
        "thanks to whom was the bridge built?",
        "What does hello mean?",
        "Who are you going to ask?",
        "Who are the maintainers?",
        "What are you allowed to send?",
        "What are streams?",
        "How are you supposed to restart the server?",
        "How are pages counted?",
        "How do I stop the server?",
        "What stops a stream?",
        "stop words",
        "Stop the music of the spheres",
        "What can you do with a ticket?",
        "What can you do about memory leaks?",
        "Can you hear me in the recording of Tuesday?",
        "Can you explain the ring?",
        "Can you help me restart the server?",
        "Who wrote Goodnight Moon?",
        "good morning america",
        "Hey Jude",
        "hi-fi",
        "ok google",
        "Okapi",
        "thank you note template",
        "Thanksgiving",
        "merci beaucoup meaning",
        "Was heißt danke auf Englisch?",
        "What is the Spanish for goodbye?",
        "Hola Mundo en Rust",
        "Bonjour mDNS",
        "The Long Goodbye",
        "Bye-laws of the club",
        "help with the keys file",
        "What is Evensong?",
        "Evensong",
        "How does Evensong work?",
        "Is Evensong a program?",
        "please",
        "there",
        "So?",
        "?!",
        "",
        "   ",
        "🎵",
        "What is up with the engine?",
        "Never mind the gap",
        "Is this working on Windows?",
        "Tell me about yourself and the ring of a stream",
        "你好世界",
    ];

    #[test]
    fn what_is_small_talk_is_answered_as_such() {
        for (said, begins) in SAID {
            let answer = answer(said).unwrap_or_else(|| panic!("{said:?} is a question"));
            assert!(answer.starts_with(begins), "{said:?}: {answer}");
        }
    }

    #[test]
    fn what_is_a_question_is_looked_up() {
        for asked in ASKED {
            assert_eq!(answer(asked), None, "{asked:?}");
        }
    }

    #[test]
    fn every_phrase_is_written_as_it_is_compared_and_is_answered() {
        for (row, (phrases, answered)) in TALK.iter().enumerate() {
            for phrase in phrases.split(", ") {
                assert_eq!(words(phrase), phrase);
                assert!(!phrase.is_empty() && phrase.len() <= SMALL_TALK_BYTES);
                let told = answer(phrase);
                assert_eq!(told, (row > 0).then_some(*answered), "{phrase}: it is in two rows");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in ".{0,120}") {
            let _ = answer(&text);
        }

        #[test]
        fn what_is_long_is_a_question(before in "(hello |thank you, |stop! ){0,40}") {
            let long = format!("{before}{}", "hi ".repeat(SMALL_TALK_BYTES / 3 + 1));
            prop_assert!(long.len() > SMALL_TALK_BYTES && answer(&long).is_none());
        }

        #[test]
        fn a_word_of_its_own_makes_it_a_question(
            said in prop::sample::select(&SAID[..]), word in "qu[a-z]{5,9}x", is_first in any::<bool>(),
        ) {
            let (said, _) = said;
            let asked = if is_first { format!("{word} {said}") } else { format!("{said} {word}") };
            prop_assert_eq!(answer(&asked), None);
        }
    }
}
