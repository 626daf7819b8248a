//! The words that are put in, by language. Invariant: where a language is not listed, nothing of
//! another one is put into its sentences; only the note about code is then in English.

/// What is said in one language.
pub(super) struct Language {
    /// `en`, or `pt-br` where that differs from `pt`.
    pub tag: &'static str,
    /// In the place of a block of code.
    pub code: &'static str,
    /// Before a number that is not exact, with its space; empty leaves the sign.
    pub about: &'static str,
    /// The signs for it that engines do not say in this language.
    pub about_signs: &'static str,
    /// Between the ends of a range, with its spaces; empty leaves the dash.
    pub to: &'static str,
    /// For an arrow.
    pub arrow: &'static str,
    /// Behind a header, between cells, behind a row.
    pub row: [&'static str; 3],
    /// In the place of ✅ and ❌ alone in a cell; empty leaves them out.
    pub marks: [&'static str; 2],
    /// Behind a letter: for ² and ³, and before any other exponent; empty leaves them.
    pub powers: [&'static str; 3],
    /// Said behind numbers.
    pub units: &'static [Unit],
    /// Currencies whose sign stands before the amount: engines say them in that order.
    pub money: &'static [Money],
    /// For the slash in "$5/month".
    pub per: &'static str,
    /// What may stand between an amount of money and its currency.
    pub scales: &'static [(&'static str, &'static str)],
}

/// A unit behind a number: its sign, and what is said for one and for many.
pub(super) struct Unit(pub &'static str, pub &'static str, pub &'static str);

/// A currency: its sign, and what is said for one and for many; the same of its hundredth.
pub(super) struct Money {
    pub sign: char,
    pub names: [&'static str; 2],
    /// Empty: it is not counted, and decimals stay.
    pub cents: [&'static str; 2],
    pub and: &'static str,
}

const SPACED: [&str; 3] = [": ", ", ", "."];
const WIDE: [&str; 3] = ["：", "，", "。"];

/// The words of a language; `de`, `de-DE` and `de_AT` are one, and an empty tag is English.
pub(super) fn words(tag: &str) -> &'static Language {
    let tag = tag.to_ascii_lowercase().replace('_', "-");
    let primary = match tag.split('-').next().unwrap_or("") {
        "" => "en",
        "cmn" | "yue" => "zh",
        primary => primary,
    };
    let listed = |tag: &str| LANGUAGES.iter().find(|language| language.tag == tag);
    listed(&tag).or_else(|| listed(primary)).unwrap_or(&OTHER)
}

/// A language without words of its own.
const OTHER: Language = Language {
    tag: "",
    code: "There is code for that on the screen.",
    about: "",
    about_signs: "~≈",
    to: "",
    arrow: "–",
    row: SPACED,
    marks: ["", ""],
    powers: ["", "", ""],
    units: &[],
    money: &[],
    per: "/",
    scales: &[],
};

static LANGUAGES: [Language; 11] = [
    Language {
        tag: "en",
        about: "about ",
        about_signs: "~",
        marks: ["yes", "no"],
        to: " to ",
        arrow: "to",
        powers: ["squared", "cubed", "to the power of"],
        units: ENGLISH_UNITS,
        money: ENGLISH_MONEY,
        per: " per ",
        scales: &[
            ("thousand", "thousand"),
            ("million", "million"),
            ("billion", "billion"),
            ("trillion", "trillion"),
            ("k", "thousand"),
            ("K", "thousand"),
            ("m", "million"),
            ("M", "million"),
            ("bn", "billion"),
            ("B", "billion"),
            ("T", "trillion"),
        ],
        ..OTHER
    },
    Language {
        tag: "de",
        code: "Den Code dazu gibt es auf dem Bildschirm.",
        about: "etwa ",
        about_signs: "~",
        marks: ["ja", "nein"],
        to: " bis ",
        powers: ["Quadrat", "hoch drei", "hoch"],
        units: GERMAN_UNITS,
        money: GERMAN_MONEY,
        per: " pro ",
        scales: &[("Millionen", "Millionen"), ("Milliarden", "Milliarden")],
        ..OTHER
    },
    Language {
        tag: "fr",
        code: "Le code correspondant est à l'écran.",
        about: "environ ",
        marks: ["oui", "non"],
        to: " à ",
        ..OTHER
    },
    Language {
        tag: "es",
        code: "El código está en la pantalla.",
        about: "unos ",
        marks: ["sí", "no"],
        to: " a ",
        ..OTHER
    },
    Language {
        tag: "it",
        code: "Il codice è sullo schermo.",
        about: "circa ",
        about_signs: "~",
        marks: ["sì", "no"],
        to: " a ",
        ..OTHER
    },
    Language {
        tag: "pt",
        code: "O código está no ecrã.",
        about: "cerca de ",
        marks: ["sim", "não"],
        to: " a ",
        ..OTHER
    },
    Language {
        tag: "pt-br",
        code: "O código está na tela.",
        about: "cerca de ",
        marks: ["sim", "não"],
        to: " a ",
        ..OTHER
    },
    Language {
        tag: "nl",
        code: "De code daarvoor staat op het scherm.",
        about: "ongeveer ",
        marks: ["ja", "nee"],
        to: " tot ",
        ..OTHER
    },
    Language {
        tag: "pl",
        code: "Kod do tego jest na ekranie.",
        about: "około ",
        marks: ["tak", "nie"],
        to: " do ",
        ..OTHER
    },
    Language {
        tag: "ja",
        code: "コードは画面に表示されています。",
        about: "約",
        marks: ["はい", "いいえ"],
        to: "から",
        row: ["：", "、", "。"],
        ..OTHER
    },
    Language {
        tag: "zh",
        code: "代码显示在屏幕上。",
        about: "约",
        marks: ["是", "否"],
        to: "到",
        row: WIDE,
        ..OTHER
    },
];

const ENGLISH_MONEY: &[Money] = &[
    Money { sign: '$', names: ["dollar", "dollars"], cents: ["cent", "cents"], and: " and " },
    Money { sign: '€', names: ["euro", "euros"], cents: ["cent", "cents"], and: " and " },
    Money { sign: '£', names: ["pound", "pounds"], cents: ["penny", "pence"], and: " and " },
    Money { sign: '¥', names: ["yen", "yen"], cents: ["", ""], and: "" },
];

const GERMAN_MONEY: &[Money] = &[
    Money { sign: '$', names: ["Dollar", "Dollar"], cents: ["Cent", "Cent"], and: " und " },
    Money { sign: '€', names: ["Euro", "Euro"], cents: ["Cent", "Cent"], and: " und " },
    Money { sign: '£', names: ["Pfund", "Pfund"], cents: ["Penny", "Pence"], and: " und " },
    Money { sign: '¥', names: ["Yen", "Yen"], cents: ["", ""], and: "" },
];

/// Those that espeak spells, or says by their letters. Not among them: what it says rightly (`%`, `°`,
/// `×`, `÷`, `±`, `≤`, `≥`, `½`, `GHz`), and what is a word as well (`in`, `A`, `B`, `C`, `K`).
const ENGLISH_UNITS: &[Unit] = &[
    Unit("°C", "degree Celsius", "degrees Celsius"),
    Unit("°F", "degree Fahrenheit", "degrees Fahrenheit"),
    Unit("km", "kilometer", "kilometers"),
    Unit("m", "meter", "meters"),
    Unit("cm", "centimeter", "centimeters"),
    Unit("mm", "millimeter", "millimeters"),
    Unit("µm", "micrometer", "micrometers"),
    Unit("nm", "nanometer", "nanometers"),
    Unit("km²", "square kilometer", "square kilometers"),
    Unit("m²", "square meter", "square meters"),
    Unit("cm²", "square centimeter", "square centimeters"),
    Unit("m³", "cubic meter", "cubic meters"),
    Unit("cm³", "cubic centimeter", "cubic centimeters"),
    Unit("km/h", "kilometer per hour", "kilometers per hour"),
    Unit("m/s", "meter per second", "meters per second"),
    Unit("m/s²", "meter per second squared", "meters per second squared"),
    Unit("mph", "mile per hour", "miles per hour"),
    Unit("kg", "kilogram", "kilograms"),
    Unit("g", "gram", "grams"),
    Unit("mg", "milligram", "milligrams"),
    Unit("µg", "microgram", "micrograms"),
    Unit("l", "liter", "liters"),
    Unit("L", "liter", "liters"),
    Unit("ml", "milliliter", "milliliters"),
    Unit("mL", "milliliter", "milliliters"),
    Unit("ft", "foot", "feet"),
    Unit("lb", "pound", "pounds"),
    Unit("lbs", "pounds", "pounds"),
    Unit("oz", "ounce", "ounces"),
    Unit("h", "hour", "hours"),
    Unit("min", "minute", "minutes"),
    Unit("s", "second", "seconds"),
    Unit("ms", "millisecond", "milliseconds"),
    Unit("µs", "microsecond", "microseconds"),
    Unit("ns", "nanosecond", "nanoseconds"),
    Unit("Hz", "hertz", "hertz"),
    Unit("kHz", "kilohertz", "kilohertz"),
    Unit("MHz", "megahertz", "megahertz"),
    Unit("kB", "kilobyte", "kilobytes"),
    Unit("KB", "kilobyte", "kilobytes"),
    Unit("MB", "megabyte", "megabytes"),
    Unit("GB", "gigabyte", "gigabytes"),
    Unit("TB", "terabyte", "terabytes"),
    Unit("KiB", "kibibyte", "kibibytes"),
    Unit("MiB", "mebibyte", "mebibytes"),
    Unit("GiB", "gibibyte", "gibibytes"),
    Unit("MB/s", "megabyte per second", "megabytes per second"),
    Unit("GB/s", "gigabyte per second", "gigabytes per second"),
    Unit("kbit/s", "kilobit per second", "kilobits per second"),
    Unit("Mbit/s", "megabit per second", "megabits per second"),
    Unit("Gbit/s", "gigabit per second", "gigabits per second"),
    Unit("Mbps", "megabit per second", "megabits per second"),
    Unit("Gbps", "gigabit per second", "gigabits per second"),
    Unit("V", "volt", "volts"),
    Unit("mV", "millivolt", "millivolts"),
    Unit("kV", "kilovolt", "kilovolts"),
    Unit("mA", "milliampere", "milliamperes"),
    Unit("mAh", "milliampere hour", "milliampere hours"),
    Unit("W", "watt", "watts"),
    Unit("mW", "milliwatt", "milliwatts"),
    Unit("kW", "kilowatt", "kilowatts"),
    Unit("MW", "megawatt", "megawatts"),
    Unit("GW", "gigawatt", "gigawatts"),
    Unit("kWh", "kilowatt hour", "kilowatt hours"),
    Unit("kJ", "kilojoule", "kilojoules"),
    Unit("kcal", "kilocalorie", "kilocalories"),
    Unit("hPa", "hectopascal", "hectopascals"),
    Unit("kPa", "kilopascal", "kilopascals"),
    Unit("dB", "decibel", "decibels"),
    Unit("rpm", "revolution per minute", "revolutions per minute"),
    Unit("fps", "frame per second", "frames per second"),
];

const GERMAN_UNITS: &[Unit] = &[
    Unit("°C", "Grad Celsius", "Grad Celsius"),
    Unit("°F", "Grad Fahrenheit", "Grad Fahrenheit"),
    Unit("km", "Kilometer", "Kilometer"),
    Unit("m", "Meter", "Meter"),
    Unit("cm", "Zentimeter", "Zentimeter"),
    Unit("mm", "Millimeter", "Millimeter"),
    Unit("km²", "Quadratkilometer", "Quadratkilometer"),
    Unit("m²", "Quadratmeter", "Quadratmeter"),
    Unit("m³", "Kubikmeter", "Kubikmeter"),
    Unit("km/h", "Kilometer pro Stunde", "Kilometer pro Stunde"),
    Unit("m/s", "Meter pro Sekunde", "Meter pro Sekunde"),
    Unit("kg", "Kilogramm", "Kilogramm"),
    Unit("g", "Gramm", "Gramm"),
    Unit("mg", "Milligramm", "Milligramm"),
    Unit("µg", "Mikrogramm", "Mikrogramm"),
    Unit("l", "Liter", "Liter"),
    Unit("ml", "Milliliter", "Milliliter"),
    Unit("h", "Stunde", "Stunden"),
    Unit("min", "Minute", "Minuten"),
    Unit("s", "Sekunde", "Sekunden"),
    Unit("ms", "Millisekunde", "Millisekunden"),
    Unit("µs", "Mikrosekunde", "Mikrosekunden"),
    Unit("Hz", "Hertz", "Hertz"),
    Unit("kHz", "Kilohertz", "Kilohertz"),
    Unit("MHz", "Megahertz", "Megahertz"),
    Unit("GHz", "Gigahertz", "Gigahertz"),
    Unit("kB", "Kilobyte", "Kilobyte"),
    Unit("MB", "Megabyte", "Megabyte"),
    Unit("GB", "Gigabyte", "Gigabyte"),
    Unit("TB", "Terabyte", "Terabyte"),
    Unit("MB/s", "Megabyte pro Sekunde", "Megabyte pro Sekunde"),
    Unit("Mbit/s", "Megabit pro Sekunde", "Megabit pro Sekunde"),
    Unit("V", "Volt", "Volt"),
    Unit("W", "Watt", "Watt"),
    Unit("kW", "Kilowatt", "Kilowatt"),
    Unit("MW", "Megawatt", "Megawatt"),
    Unit("kWh", "Kilowattstunde", "Kilowattstunden"),
    Unit("kcal", "Kilokalorie", "Kilokalorien"),
    Unit("dB", "Dezibel", "Dezibel"),
];
