//! Passes over some tokens of some sequences.

use super::entry::Piece;
use super::{Entry, Sequence, Session, Want};
use crate::RunError;
use crate::blocks::Item;
use crate::exec::Exec;
use crate::probe::{Operation, Probe};
use crate::schedule;
use core::ops::Range;
use core::result::Result;
use smidgen_targets::Pool;

/// What became of an entry of which something was wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    sequence: usize,
    want: Want,
}

/// Results of [`Session::run`]: one for each entry of which something was wanted, in order.
#[derive(Debug)]
pub struct Rows<'s> {
    session: &'s Session<'s, 's>,
}

impl<'s> Rows<'s> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.session.results.len()
    }

    /// Whether nothing was wanted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Result `number`: logits or a hidden state.
    ///
    /// # Errors
    /// [`RunError::NotFinite`] if a number of its sequence was not finite; [`RunError::NoTokens`] if there are fewer results.
    pub fn get(&self, number: usize) -> Result<&'s [f32], RunError> {
        let session = self.session;
        let Outcome { sequence, want } = session.results.get(number).copied().ok_or(RunError::NoTokens)?;
        if session.sequences[sequence].broken {
            return Err(RunError::NotFinite { tensor: session.not_finite.flatten() });
        }
        let list = if want == Want::Hidden { &session.hidden } else { &session.logits };
        let width = session.width_of(want);
        Ok(&list[number * width..][..width])
    }
}

/// Whoever is handed the results of a call, by the number of their entry.
type Each<'c> = dyn FnMut(usize, &[f32]) + 'c;

/// A call: its entries, and who computes them and is told.
struct Call<'c, 'i> {
    len: usize,
    entry: &'c (dyn Fn(usize) -> Entry<'i> + Sync),
    pool: &'c dyn Pool,
    probe: Option<&'c dyn Probe>,
    /// Whoever gets the results as they come, by the number of their entry; else they are kept.
    each: Option<&'c mut Each<'c>>,
}

impl<'c, 'i> Call<'c, 'i> {
    fn new(len: usize, entry: &'c (dyn Fn(usize) -> Entry<'i> + Sync), pool: &'c dyn Pool) -> Call<'c, 'i> {
        Call { len, entry, pool, probe: None, each: None }
    }

    fn entries(&self, range: Range<usize>) -> impl Iterator<Item = Entry<'i>> {
        range.map(|number| (self.entry)(number))
    }

    /// Entries from `first` on that belong to its span, itself among them.
    fn span(&self, first: usize) -> usize {
        let Entry { sequence, span, .. } = (self.entry)(first);
        let same = |entry: &Entry| span.is_some() && entry.span == span && entry.sequence == sequence;
        1 + self.entries(first + 1..self.len).take_while(same).count()
    }

    /// Where a pass from `first` on ends that has about `most` entries: spans are whole.
    fn end(&self, first: usize, most: usize) -> usize {
        let mut end = first + self.span(first);
        while end < self.len {
            let next = end + self.span(end);
            if next - first > most {
                break;
            }
            end = next;
        }
        end
    }
}

impl Session<'_, '_> {
    /// Appends tokens to sequences, of several in one call where there are some: a sequence's entries in the order of its tokens. Prompts and single
    /// tokens may be mixed. A sequence in which a number is not finite holds what it held before, and the others are not disturbed.
    ///
    /// # Errors
    /// [`RunError::NoTokens`], [`RunError::SequenceRange`], [`RunError::TokenRange`], [`RunError::EmbeddingWidth`], [`RunError::PositionRange`],
    /// [`RunError::ContextFull`], [`RunError::Rows`] for more results than [`Options::rows`](super::Options::rows), and [`RunError::Span`] for a span that
    /// is longer than a batch. After an error all sequences hold what they held before.
    pub fn run(&mut self, batch: &[Entry], pool: &dyn Pool) -> Result<Rows<'_>, RunError> {
        self.advance(Call::new(batch.len(), &|number| batch[number], pool))?;
        Ok(Rows { session: self })
    }

    /// Appends tokens to a sequence, of which later ones will see them.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn append(&mut self, sequence: usize, tokens: &[u32], pool: &dyn Pool) -> Result<(), RunError> {
        self.advance(Call::new(tokens.len(), &|number| Entry::token(sequence, tokens[number]), pool))?;
        self.sound(sequence)
    }

    /// Appends tokens to a sequence and returns the logits after the last one.
    ///
    /// # Errors
    /// Those of [`run`](Self::run), and [`RunError::NotFinite`]. After an error the sequence holds what it held before.
    pub fn forward(&mut self, sequence: usize, tokens: &[u32], pool: &dyn Pool) -> Result<&[f32], RunError> {
        self.last(sequence, tokens, pool, None)
    }

    /// As [`forward`](Self::forward), and tells of each operation.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn forward_with_probe(
        &mut self,
        sequence: usize,
        tokens: &[u32],
        pool: &dyn Pool,
        probe: &dyn Probe,
    ) -> Result<&[f32], RunError> {
        self.last(sequence, tokens, pool, Some(probe))
    }

    fn last(
        &mut self,
        sequence: usize,
        tokens: &[u32],
        pool: &dyn Pool,
        probe: Option<&dyn Probe>,
    ) -> Result<&[f32], RunError> {
        let want = |number: usize| if number + 1 == tokens.len() { Want::Logits } else { Want::Nothing };
        let entry = |number: usize| Entry::token(sequence, tokens[number]).wanting(want(number));
        self.advance(Call { probe, ..Call::new(tokens.len(), &entry, pool) })?;
        Rows { session: self }.get(0)
    }

    /// As [`forward`](Self::forward), and calls `each` with the number of every token and the logits after it, in order.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward). `each` may have been called before [`RunError::NotFinite`] is found.
    pub fn forward_all(
        &mut self,
        sequence: usize,
        tokens: &[u32],
        pool: &dyn Pool,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), RunError> {
        let entry = |number: usize| Entry::token(sequence, tokens[number]).wanting(Want::Logits);
        self.advance(Call { each: Some(&mut each), ..Call::new(tokens.len(), &entry, pool) })?;
        self.sound(sequence)
    }

    /// Appends one token to each of some sequences, at most [`Options::sequences`](super::Options::sequences) of them, and returns the logits of each,
    /// one after another.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward); a sequence may not be named twice.
    pub fn forward_each(&mut self, tokens: &[(usize, u32)], pool: &dyn Pool) -> Result<&[f32], RunError> {
        for (i, (sequence, _)) in tokens.iter().enumerate() {
            if tokens[..i].iter().any(|(other, _)| other == sequence) {
                return Err(RunError::SequenceRange { sequence: *sequence, sequences: self.caches.len() });
            }
        }
        let entry = |number: usize| {
            let (sequence, token) = tokens[number];
            Entry::token(sequence, token).wanting(Want::Logits)
        };
        self.advance(Call::new(tokens.len(), &entry, pool))?;
        if let Some(error) = tokens.iter().find_map(|(sequence, _)| self.sound(*sequence).err()) {
            for (sequence, _) in tokens {
                let Sequence { held, before, .. } = &mut self.sequences[*sequence];
                held.truncate(*before);
            }
            return Err(error);
        }
        Ok(&self.logits[..tokens.len() * self.vocabulary()])
    }

    /// An error if a number of a sequence was not finite in the last call.
    fn sound(&self, sequence: usize) -> Result<(), RunError> {
        match self.sequences[sequence].broken {
            true => Err(RunError::NotFinite { tensor: self.not_finite.flatten() }),
            false => Ok(()),
        }
    }

    /// Runs a call.
    fn advance(&mut self, mut call: Call) -> Result<(), RunError> {
        self.check(&call)?;
        self.rows_before = 0;
        let (most, mut first) = (schedule::pass_len(call.len, self.batch, call.pool.threads()), 0);
        while first < call.len {
            let end = call.end(first, most);
            self.sequences.iter_mut().for_each(|sequence| sequence.pass = sequence.held.len());
            if !self.pass(&mut call, first..end, None) {
                // One of the sequences spoils the pass: each is run by itself.
                self.apart(&mut call, first..end);
            }
            self.rows_before += call.entries(first..end).filter(|entry| entry.want != Want::Nothing).count();
            first = end;
        }
        for Sequence { held, before, broken, .. } in &mut self.sequences {
            if *broken {
                held.truncate(*before);
                self.not_finite.get_or_insert_with(|| self.model.first_not_finite());
            }
        }
        Ok(())
    }

    /// Whether the entries can be run. Prepares the sequences and the list of results.
    fn check(&mut self, call: &Call) -> Result<(), RunError> {
        if call.len == 0 {
            return Err(RunError::NoTokens);
        }
        for sequence in &mut self.sequences {
            (sequence.before, sequence.pass, sequence.broken) = (sequence.held.len(), 0, false);
        }
        let (sequences, context) = (self.sequences.len(), self.options.context);
        for entry in call.entries(0..call.len) {
            let sequence = self.sequences.get_mut(entry.sequence);
            let sequence = sequence.ok_or(RunError::SequenceRange { sequence: entry.sequence, sequences })?;
            let slot = sequence.before + sequence.pass;
            sequence.pass += 1;
            if slot < context {
                self.model.check(&entry, position(&entry, slot)[0])?;
            }
        }
        if let Some(sequence) = self.sequences.iter().find(|sequence| sequence.before + sequence.pass > context) {
            return Err(RunError::ContextFull { context, used: sequence.before, tokens: sequence.pass });
        }
        let mut first = 0;
        while first < call.len {
            let tokens = call.span(first);
            if tokens > self.batch {
                return Err(RunError::Span { tokens, batch: self.batch });
            }
            first += tokens;
        }
        self.results.clear();
        if call.each.is_none() {
            let wanted = || call.entries(0..call.len).filter(|entry| entry.want != Want::Nothing);
            let (asked, rows) = (wanted().count(), self.options.rows.max(sequences));
            if asked > rows {
                return Err(RunError::Rows { asked, rows });
            }
            self.results.extend(wanted().map(|Entry { sequence, want, .. }| Outcome { sequence, want }));
        }
        Ok(())
    }

    /// Runs neighbouring entries, of one sequence if it is named, and their results. Whether all numbers were finite.
    fn pass(&mut self, call: &mut Call, range: Range<usize>, only: Option<usize>) -> bool {
        let exec = Exec::new(self.kernels, call.pool, self.options.precision).with_probe(call.probe);
        // Rows before the pass are those of the entries before it.
        let mut row = self.rows_before;
        let (mut n, mut span_end, mut sees) = (0, range.start, 0);
        for number in range {
            let entry = (call.entry)(number);
            let own_row = row;
            row += usize::from(entry.want != Want::Nothing);
            let Sequence { held, broken, .. } = &mut self.sequences[entry.sequence];
            if *broken || only.is_some_and(|only| only != entry.sequence) {
                continue;
            }
            if number >= span_end {
                let tokens = call.span(number);
                (span_end, sees) = (number + tokens, held.len() + tokens);
            }
            let (sequence, slot) = (entry.sequence, held.len());
            held.push(Piece::new(entry.input));
            let position = position(&entry, slot);
            self.items[n] = Item { sequence, cache: sequence, offset: 0, slot, sees, keys: sees, position };
            self.places[n] = (number, own_row);
            n += 1;
        }
        if n == 0 {
            return true;
        }
        let (model, items, places, entry) = (self.model, &self.items[..n], &self.places[..n], call.entry);
        exec.rows(self.scratch.stream(n), model.width(), |t, row| {
            model.embed(&exec, &entry(places[t].0), items[t].position[0], row);
        });
        exec.tell(|| Operation::new("embedding"));
        if exec.is_finite() {
            self.scratch.run(&model.stack(), &exec, self.options.context, &mut self.caches, items);
        }
        let mut t = 0;
        while t < n && exec.is_finite() {
            t = self.results(&exec, call, t, n);
        }
        exec.is_finite()
    }

    /// Computes results of a pass of `n` tokens from token `t` on: those of one kind whose rows lie together. Returns the first token after them.
    fn results(&mut self, exec: &Exec, call: &mut Call, mut t: usize, n: usize) -> usize {
        let (mut kind, mut first, mut count) = (Want::Nothing, 0, 0);
        while t < n && count < self.rows {
            let (number, row) = self.places[t];
            let want = (call.entry)(number).want;
            if want != Want::Nothing {
                if count == 0 {
                    (kind, first) = (want, row);
                }
                if want != kind || row != first + count {
                    break;
                }
                self.wanted[count] = t;
                count += 1;
            }
            t += 1;
        }
        if count == 0 {
            return t;
        }
        // What is handed out at once needs no place of its own.
        let at = if call.each.is_some() { 0 } else { first };
        let (wanted, width) = (&self.wanted[..count], self.width_of(kind));
        let list = if kind == Want::Hidden { &mut self.hidden } else { &mut self.logits };
        let out = &mut list[at * width..][..count * width];
        match kind {
            Want::Hidden => self.model.hidden(exec, &mut self.scratch, wanted, out),
            _ => self.model.logits(exec, &mut self.scratch, wanted, out),
        }
        if let Some(each) = call.each.as_mut().filter(|_| exec.is_finite()) {
            for (t, row) in wanted.iter().zip(out.chunks_exact(width)) {
                each(self.places[*t].0, row);
            }
        }
        t
    }

    /// Runs the entries of a pass sequence by sequence, and finds those in which a number is not finite.
    fn apart(&mut self, call: &mut Call, range: Range<usize>) {
        for Sequence { held, pass, .. } in &mut self.sequences {
            held.truncate(*pass);
        }
        for sequence in 0..self.sequences.len() {
            if call.entries(range.clone()).any(|entry| entry.sequence == sequence) {
                let finite = self.pass(call, range.clone(), Some(sequence));
                self.sequences[sequence].broken |= !finite;
            }
        }
    }

    /// Values of a result.
    fn width_of(&self, want: Want) -> usize {
        if want == Want::Hidden { self.model.width() } else { self.vocabulary() }
    }
}

/// The positions of an entry with so many tokens before it.
fn position(entry: &Entry, slot: usize) -> [u32; 3] {
    entry.position.unwrap_or([slot as u32; 3])
}
