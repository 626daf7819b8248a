//! espeak-ng through its C library, opened at run time. Invariant: this runs only inside a worker
//! process, on one thread: the library keeps its state in globals and corrupts it silently under
//! threads. Its names and events are those of `espeak-ng/speak_lib.h`.

#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_short, c_uint, c_void};
use std::path::Path;
use std::sync::Mutex;

use libloading::{Library, Symbol};

use super::piece::Go;
use super::process::{Sink, Synthesizer, Unavailable};
use super::voices::{Voice, Voices};

/// Named in errors when the library is missing.
const REMEDY: &str = "install libespeak-ng1 and espeak-ng-data (Debian, Ubuntu), espeak-ng \
                      (Fedora: dnf, macOS: brew)";
#[cfg(target_os = "macos")]
const LIBRARY_NAMES: [&str; 2] = ["libespeak-ng.1.dylib", "/opt/homebrew/lib/libespeak-ng.1.dylib"];
#[cfg(not(target_os = "macos"))]
const LIBRARY_NAMES: [&str; 2] = ["libespeak-ng.so.1", "libespeak-ng.so"];

const AUDIO_OUTPUT_SYNCHRONOUS: c_int = 2;
/// Milliseconds of audio per callback: small, so that a cancel is seen soon.
const BUFFER_MS: c_int = 20;
const INITIALIZE_DONT_EXIT: c_int = 0x8000;
const CHARS_UTF8: c_uint = 1;
const POS_CHARACTER: c_int = 1;
const PARAMETER_RATE: c_int = 1;
/// Words a minute at speed 1.0, and the least and most that the library takes.
const RATE_NORMAL: f32 = 175.0;
const RATE_LEAST: f32 = 80.0;
const RATE_MOST: f32 = 700.0;
const EVENT_LIST_TERMINATED: c_int = 0;
const EVENT_WORD: c_int = 1;
const OK: c_int = 0;

#[repr(C)]
struct Event {
    kind: c_int,
    unique_identifier: c_uint,
    /// In characters, counted from 1.
    text_position: c_int,
    /// In characters.
    length: c_int,
    audio_position_ms: c_int,
    sample: c_int,
    user_data: *mut c_void,
    id: [u8; 8],
}

#[repr(C)]
struct RawVoice {
    name: *const c_char,
    /// Pairs of a priority byte and a terminated tag, ended by a zero priority.
    languages: *const c_char,
    identifier: *const c_char,
    /// 1 male, 2 female.
    gender: u8,
    age: u8,
    variant: u8,
    reserved: u8,
    score: c_int,
    spare: *mut c_void,
}

type Callback = extern "C" fn(*mut c_short, c_int, *mut Event) -> c_int;
type Initialize = unsafe extern "C" fn(c_int, c_int, *const c_char, c_int) -> c_int;
type SetCallback = unsafe extern "C" fn(Callback);
type SetVoiceByName = unsafe extern "C" fn(*const c_char) -> c_int;
type SetParameter = unsafe extern "C" fn(c_int, c_int, c_int) -> c_int;
type Synth = unsafe extern "C" fn(
    *const c_void,
    usize,
    c_uint,
    c_int,
    c_uint,
    c_uint,
    *mut c_uint,
    *mut c_void,
) -> c_int;
type ListVoices = unsafe extern "C" fn(*mut RawVoice) -> *const *const RawVoice;

/// The loaded library.
pub struct Espeak {
    set_voice: SetVoiceByName,
    set_parameter: SetParameter,
    synth: Synth,
    hz: u32,
    voices: Voices,
    current_voice: String,
    // Last: the function pointers above are good as long as it is loaded.
    _library: Library,
}

/// What the callback works on; the library hands no pointer of ours to it before the first event.
static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

struct Running {
    sink: Sink,
    /// Byte offset of each character of the text, and of its end.
    offsets: Vec<u32>,
    /// Furthest character that a word has covered: numbers raise several events within one word.
    covered: usize,
}

impl Espeak {
    /// Opens and initializes the library, or says what is missing.
    pub fn load(path: Option<&Path>) -> Result<Self, Unavailable> {
        let open = |name: &OsStr| {
            // SAFETY: loading runs the library's constructors; espeak-ng's have no preconditions.
            unsafe { Library::new(name) }.ok()
        };
        let library = match path {
            Some(path) => open(path.as_os_str()),
            None => LIBRARY_NAMES.iter().find_map(|name| open(OsStr::new(name))),
        };
        let library = library.ok_or_else(|| match path {
            Some(path) => Unavailable {
                reason: format!("there is no libespeak-ng at {}; {REMEDY}", path.display()),
            },
            None => Unavailable { reason: format!("libespeak-ng is not installed; {REMEDY}") },
        })?;
        // SAFETY: the types are those of speak_lib.h; the pointers are kept beside the library.
        let espeak = unsafe { Self::initialize(library) };
        espeak.map_err(|error| match error {
            Failed::Symbol(error) => {
                Unavailable { reason: format!("libespeak-ng is not usable: {error}; {REMEDY}") }
            }
            Failed::Data => Unavailable {
                reason: format!("libespeak-ng does not find its voice data; {REMEDY}"),
            },
        })
    }

    unsafe fn initialize(library: Library) -> Result<Self, Failed> {
        unsafe {
            let initialize: Symbol<Initialize> = library.get(b"espeak_Initialize\0")?;
            let set_callback: Symbol<SetCallback> = library.get(b"espeak_SetSynthCallback\0")?;
            let list_voices: Symbol<ListVoices> = library.get(b"espeak_ListVoices\0")?;
            let set_voice: SetVoiceByName = *library.get(b"espeak_SetVoiceByName\0")?;
            let set_parameter: SetParameter = *library.get(b"espeak_SetParameter\0")?;
            let synth: Synth = *library.get(b"espeak_Synth\0")?;
            let hz = initialize(
                AUDIO_OUTPUT_SYNCHRONOUS,
                BUFFER_MS,
                std::ptr::null(),
                INITIALIZE_DONT_EXIT,
            );
            let hz = u32::try_from(hz).map_err(|_| Failed::Data)?;
            set_callback(on_audio);
            let voices = list(&list_voices);
            if voices.all.is_empty() {
                return Err(Failed::Data);
            }
            let current_voice = String::new();
            Ok(Self {
                set_voice,
                set_parameter,
                synth,
                hz,
                voices,
                current_voice,
                _library: library,
            })
        }
    }

    fn use_voice(&mut self, name: &str) -> Result<(), String> {
        if self.current_voice == name {
            return Ok(());
        }
        let c_name =
            CString::new(name).map_err(|_| "a voice's name has a NUL in it".to_string())?;
        // SAFETY: the name is a terminated string that outlives the call.
        if unsafe { (self.set_voice)(c_name.as_ptr()) } != OK {
            return Err(format!("espeak has no voice '{name}'"));
        }
        name.clone_into(&mut self.current_voice);
        Ok(())
    }
}

impl Synthesizer for Espeak {
    fn hz(&self) -> u32 {
        self.hz
    }

    fn voices(&self) -> &Voices {
        &self.voices
    }

    fn speak(&mut self, text: &str, voice: &str, speed: f32, sink: Sink) -> Result<Sink, String> {
        self.use_voice(voice)?;
        let rate = (RATE_NORMAL * speed).clamp(RATE_LEAST, RATE_MOST).round() as c_int;
        let c_text = CString::new(text).map_err(|_| "the text has a NUL in it".to_string())?;
        let size = c_text.as_bytes_with_nul().len();
        let mut offsets: Vec<u32> = text.char_indices().map(|(at, _)| at as u32).collect();
        offsets.push(text.len() as u32);
        *running() = Some(Running { sink, offsets, covered: 0 });
        // SAFETY: the text outlives the call, which is synchronous and on the only thread that
        // calls the library; no pointer of ours is handed over beside it.
        let status = unsafe {
            (self.set_parameter)(PARAMETER_RATE, rate, 0);
            let none = std::ptr::null_mut();
            let (text, user_data) = (c_text.as_ptr().cast(), std::ptr::null_mut());
            (self.synth)(text, size, 0, POS_CHARACTER, 0, CHARS_UTF8, none, user_data)
        };
        let sink = running().take().map(|running| running.sink).ok_or("the callback panicked")?;
        if status == OK { Ok(sink) } else { Err(format!("espeak_Synth answered {status}")) }
    }
}

enum Failed {
    Symbol(libloading::Error),
    Data,
}

impl From<libloading::Error> for Failed {
    fn from(error: libloading::Error) -> Self {
        Failed::Symbol(error)
    }
}

fn running() -> std::sync::MutexGuard<'static, Option<Running>> {
    RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Called by the library with the next samples and the events that fall into them; 1 stops it.
extern "C" fn on_audio(wave: *mut c_short, count: c_int, events: *mut Event) -> c_int {
    let mut guard = running();
    let Some(running) = guard.as_mut() else { return 1 };
    let count = usize::try_from(count).unwrap_or(0);
    if !wave.is_null() && count > 0 {
        // SAFETY: the library says that `wave` points at `count` samples for the time of the call.
        let samples = unsafe { std::slice::from_raw_parts(wave, count) };
        if running.sink.audio(samples) == Go::Stop {
            return 1;
        }
    }
    let mut event = events;
    // SAFETY: the list is ended by an event of kind EVENT_LIST_TERMINATED.
    while let Some(e) = unsafe { event.as_ref() }.filter(|e| e.kind != EVENT_LIST_TERMINATED) {
        if e.kind == EVENT_WORD && running.word(e) == Go::Stop {
            return 1;
        }
        // SAFETY: not yet at the end of the list.
        event = unsafe { event.add(1) };
    }
    0
}

impl Running {
    fn word(&mut self, event: &Event) -> Go {
        let first = usize::try_from(event.text_position - 1).unwrap_or(0);
        let after = first + usize::try_from(event.length).unwrap_or(0);
        let begins_a_word = first >= self.covered;
        self.covered = self.covered.max(after);
        let sample = usize::try_from(event.sample).unwrap_or(0);
        match self.offsets.get(first) {
            Some(&at_text) if begins_a_word => self.sink.boundary(sample, at_text),
            _ => Go::On,
        }
    }
}

/// # Safety
/// The library was initialized, and no other thread uses it.
unsafe fn list(list_voices: &ListVoices) -> Voices {
    let mut all: Vec<Voice> = unsafe { walk(list_voices(std::ptr::null_mut())) }
        .filter_map(|raw| unsafe { voice(raw) })
        .collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all.dedup_by(|a, b| a.id == b.id);
    let spec = RawVoice {
        name: std::ptr::null(),
        languages: c"variant".as_ptr(),
        identifier: std::ptr::null(),
        gender: 0,
        age: 0,
        variant: 0,
        reserved: 0,
        score: 0,
        spare: std::ptr::null_mut(),
    };
    let mut spec = spec;
    let variants: BTreeSet<String> = unsafe { walk(list_voices(&mut spec)) }
        .filter_map(|raw| unsafe { text(raw.identifier) })
        .filter_map(|identifier| Some(identifier.strip_prefix("!v/")?.to_string()))
        .collect();
    let find = |id: &str| all.iter().position(|voice| voice.id == id);
    let default = find("en-us").or_else(|| find("en-gb")).unwrap_or(0);
    Voices { default, all, variants: variants.into_iter().collect() }
}

/// # Safety
/// `list` is an array of pointers to voices, ended by a null pointer, and lives long enough.
unsafe fn walk<'a>(list: *const *const RawVoice) -> impl Iterator<Item = &'a RawVoice> {
    let mut at = list;
    std::iter::from_fn(move || unsafe {
        let raw = at.as_ref()?.as_ref()?;
        at = at.add(1);
        Some(raw)
    })
}

/// # Safety
/// The pointers of `raw` are null or terminated strings, as the library makes them.
unsafe fn voice(raw: &RawVoice) -> Option<Voice> {
    let identifier = unsafe { text(raw.identifier) }?;
    // The first byte of a language is its priority; the first language is the voice's own.
    let language = unsafe { text(raw.languages.as_ref()? as *const c_char).map(|_| ()) }
        .and_then(|()| unsafe { text(raw.languages.add(1)) })?;
    let gender = match raw.gender {
        1 => Some("male".to_string()),
        2 => Some("female".to_string()),
        _ => None,
    };
    let name = unsafe { text(raw.name) }.unwrap_or_else(|| language.clone());
    Some(Voice { id: language.to_lowercase(), name, language, gender, engine_name: identifier })
}

/// # Safety
/// `at` is null or a terminated string.
unsafe fn text(at: *const c_char) -> Option<String> {
    if at.is_null() {
        return None;
    }
    Some(unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned())
}
