//! What goes into a pass.

/// What a token of a sequence is computed from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input<'i> {
    /// The id of a token.
    Token(u32),
    /// An embedding of what is no token, part of an image or a sound.
    Embedding {
        /// What goes into the layers. `[width]`
        values: &'i [f32],
        /// A number that another input hardly has: by it the input is known again. Its highest bit does not count.
        digest: u64,
    },
}

/// What is wanted of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Want {
    /// Nothing but that later tokens see it.
    #[default]
    Nothing,
    /// The logits of the token after it. `[vocabulary]`
    Logits,
    /// The residual stream after the last norm. `[width]`
    Hidden,
}

/// One token of a call of [`Session::run`](super::Session::run).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry<'i> {
    /// The sequence that it continues.
    pub sequence: usize,
    /// What it is.
    pub input: Input<'i>,
    /// Its positions, if they are not the number of tokens before it: of time, height and width, of which models of text take the first.
    pub position: Option<[u32; 3]>,
    /// Neighbouring entries of a sequence with the same number see all of each other.
    pub span: Option<u32>,
    /// What is wanted of it.
    pub want: Want,
}

impl<'i> Entry<'i> {
    /// A token, of which nothing is wanted.
    pub fn token(sequence: usize, token: u32) -> Entry<'i> {
        Entry { sequence, input: Input::Token(token), position: None, span: None, want: Want::Nothing }
    }

    /// An embedding with its digest, of which nothing is wanted.
    pub fn embedding(sequence: usize, values: &'i [f32], digest: u64) -> Entry<'i> {
        Entry { input: Input::Embedding { values, digest }, ..Entry::token(sequence, 0) }
    }

    /// The same at these positions.
    pub fn at(self, position: [u32; 3]) -> Entry<'i> {
        Entry { position: Some(position), ..self }
    }

    /// The same in a span.
    pub fn in_span(self, span: u32) -> Entry<'i> {
        Entry { span: Some(span), ..self }
    }

    /// The same with something wanted of it.
    pub fn wanting(self, want: Want) -> Entry<'i> {
        Entry { want, ..self }
    }
}

/// What a key was computed from: a token's id, or an embedding's digest with the highest bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece(pub(super) u64);

impl Piece {
    pub(super) fn new(input: Input) -> Piece {
        match input {
            Input::Token(token) => Piece(u64::from(token)),
            Input::Embedding { digest, .. } => Piece(digest | 1 << 63),
        }
    }

    /// The token's id, if it was one.
    pub(super) fn token(self) -> Option<u32> {
        u32::try_from(self.0).ok()
    }
}
