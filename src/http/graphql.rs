//! `POST /graphql`.

/// What clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Selections within selections, fragments written out.
    pub depth: usize,
    /// Whether the schema may be asked for.
    pub introspection: bool,
    /// The operations that may be asked for; all where it is empty.
    pub allow: Vec<String>,
}
