//! Amounts that are said, and what only looks like one.

use super::super::language::words;
use super::*;

fn said(tag: &str, text: &str) -> String {
    let mut whole = String::new();
    let mut numbers = Numbers::new(words(tag));
    numbers.push(text, &mut whole);
    numbers.flush(&mut whole);
    let mut parts = String::new();
    let mut numbers = Numbers::new(words(tag));
    for c in text.chars() {
        numbers.push(c.encode_utf8(&mut [0; 4]), &mut parts);
        assert!(numbers.held() <= 4 * NUMBER_CHARS, "{}", numbers.held);
    }
    numbers.flush(&mut parts);
    assert_eq!(parts, whole, "{text}");
    whole
}

#[test]
fn amounts_are_said_in_english() {
    for (text, expected) in [
        ("It was 20 °C, 68°F.", "It was 20 degrees Celsius, 68 degrees Fahrenheit."),
        (
            "1 km at 5 km/h or 3.5 m/s",
            "1 kilometer at 5 kilometers per hour or 3.5 meters per second",
        ),
        ("8GB, 20ms and 20 µs", "8 gigabytes, 20 milliseconds and 20 microseconds"),
        ("60 m² (5 m × 12 m)", "60 square meters (5 meters × 12 meters)"),
        ("$5, $1, €5, £5", "5 dollars, 1 dollar, 5 euros, 5 pounds"),
        (
            "$19.99, $5.00, £0.05, $1,000.50",
            "19 dollars and 99 cents, 5 dollars, 5 pence, 1,000 dollars and 50 cents",
        ),
        ("$5M, $1.5 million, €3bn", "5 million dollars, 1.5 million dollars, 3 billion euros"),
        ("$5–10, $5-$10, $5/month", "5 to 10 dollars, 5 to 10 dollars, 5 dollars per month"),
        (
            "pages 10–20, 5 – 6, 10-20 km, 10-20%",
            "pages 10 to 20, 5 to 6, 10 to 20 kilometers, 10 to 20%",
        ),
        ("2010-2020 and 2010–2020", "2010 to 2020 and 2010 to 2020"),
        ("~5, ~ 5 kg, π ≈ 3.14, ~$5", "about 5, about 5 kilograms, π ≈ 3.14, about 5 dollars"),
        ("A → B, a→b, x -> y, x => y", "A to B, a to b, x to y, x to y"),
        ("x² + y³", "x squared + y cubed"),
        ("1\u{202f}000 km", "1\u{202f}000 kilometers"),
        ("10:30–11:00", "10:30 to 11:00"),
    ] {
        assert_eq!(said("en", text), expected);
    }
}

#[test]
fn what_is_no_amount_is_left() {
    for text in [
        "the 1980s, a 5G net, in her 20s, 5 more, 3 in 4, 5 amps",
        "2024-01-15, 2024–01–15, 555-1234, 24-7, F-16, COVID-19, 5 - 3, 3-2",
        "v1.2.3, 192.168.0.1, 3m.com, a5 km, H2O, 5 × 4, 5*4, 50%, 1/2, word²",
        "US$5, C$, $, $x, $2x, ~a, ~, a~5, --, ->x, x-> y, 10:30 am, 5.",
        "12345678901234567890123456789012345678901234567890 km",
    ] {
        assert_eq!(said("en", text), text);
    }
}

#[test]
fn other_languages_have_what_they_have() {
    assert_eq!(
        said("de", "5 km, 5–10 kg, ~5, $5, 5,50 €, €5,50"),
        "5 Kilometer, 5 bis 10 Kilogramm, etwa 5, 5 Dollar, 5,50 €, 5 Euro und 50 Cent"
    );
    assert_eq!(said("fr", "10–20, ≈ 5 km, a → b, $5"), "10 à 20, environ 5 km, a – b, $5");
    assert_eq!(said("sv", "10–20, ~5 km, a → b, x², $5"), "10–20, ~5 km, a – b, x², $5");
}
