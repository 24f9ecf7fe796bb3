//! Handles: numbers that look like pointers, so that a stale one is found in a table, and no memory is touched that is gone.
//!
//! A handle's lowest two bits are the type of its object, then come the place in the table and the number of the opening, so that a place that is
//! used again gives another handle. The table is the one thing of the process beside the logger; it holds what is open, and nothing else.

use crate::failure::Failure;
use crate::model::Model;
use crate::reserve::Mark;
use crate::session::Session;
use crate::types::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bits of the kind.
const KIND: u32 = 2;
/// Bits of the place.
const PLACE: u32 = if usize::BITS < 64 { 10 } else { 20 };
/// The number of an opening stays below this; on 32 bits it comes round after a million.
const OPENINGS: usize = 1 << (usize::BITS - KIND - PLACE);

/// A type of object that handles refer to.
pub(crate) trait Kind: Sized {
    /// The pointer type of the host's handles.
    type Handle;
    /// The lowest bits, not zero.
    const BITS: usize;
    /// For messages.
    const NAME: &'static str;
    fn wrap(object: Arc<Self>) -> Object;
    fn unwrap(object: &Object) -> Option<&Arc<Self>>;
}

impl Kind for Model {
    type Handle = smidgen_model;
    const BITS: usize = 1;
    const NAME: &'static str = "model";
    fn wrap(object: Arc<Model>) -> Object {
        Object::Model(object)
    }
    fn unwrap(object: &Object) -> Option<&Arc<Model>> {
        if let Object::Model(model) = object { Some(model) } else { None }
    }
}

impl Kind for Session {
    type Handle = smidgen_session;
    const BITS: usize = 2;
    const NAME: &'static str = "session";
    fn wrap(object: Arc<Session>) -> Object {
        Object::Session(object)
    }
    fn unwrap(object: &Object) -> Option<&Arc<Session>> {
        if let Object::Session(session) = object { Some(session) } else { None }
    }
}

pub(crate) enum Object {
    Model(Arc<Model>),
    Session(Arc<Session>),
}

struct Table {
    /// The number of the next opening.
    next: usize,
    open: Vec<Option<(usize, Object)>>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { next: 0, open: Vec::new() });

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle for an object, unless memory was short while it was made.
pub(crate) fn open<K: Kind>(object: K, began: Mark) -> Result<*mut K::Handle, Failure> {
    let object = K::wrap(Arc::new(object));
    let mut table = table();
    began.check()?;
    table.open.try_reserve(1).map_err(|_| Failure::short())?;
    let place = table.open.iter().position(Option::is_none).unwrap_or(table.open.len());
    if place >= 1 << PLACE {
        return Err(Failure::new(
            SMIDGEN_ERROR_MEMORY,
            format_args!("{place} handles are open, which is the maximum; close some"),
        ));
    }
    let number = table.next;
    table.next = (number + 1) % OPENINGS;
    let entry = Some((number, object));
    match table.open.get_mut(place) {
        Some(slot) => *slot = entry,
        None => table.open.push(entry),
    }
    let bits = number << (KIND + PLACE) | place << KIND | K::BITS;
    Ok(std::ptr::without_provenance_mut(bits))
}

fn find<K: Kind>(table: &mut Table, handle: *mut K::Handle) -> Result<&mut Option<(usize, Object)>, Failure> {
    if handle.is_null() {
        return Err(Failure::null(K::NAME));
    }
    let bits = handle.addr();
    let (number, place) = (bits >> (KIND + PLACE), bits >> KIND & ((1 << PLACE) - 1));
    let slot = table.open.get_mut(place).filter(|slot| {
        let found = slot.as_ref().filter(|(found, _)| *found == number);
        bits & ((1 << KIND) - 1) == K::BITS && found.is_some_and(|(_, object)| K::unwrap(object).is_some())
    });
    let text = format_args!("the handle is not an open {}: it was closed, or never was one", K::NAME);
    slot.ok_or_else(|| Failure::new(SMIDGEN_ERROR_HANDLE, text))
}

/// The object of a handle.
pub(crate) fn get<K: Kind>(handle: *mut K::Handle) -> Result<Arc<K>, Failure> {
    let mut table = table();
    let slot = find::<K>(&mut table, handle)?;
    let object = slot.as_ref().and_then(|(_, object)| K::unwrap(object)).map(Arc::clone);
    object.ok_or_else(|| Failure::null(K::NAME))
}

/// Removes a handle from the table. Its object lives on as long as a call uses it.
pub(crate) fn close<K: Kind>(handle: *mut K::Handle) -> Result<(), Failure> {
    let mut table = table();
    let object = find::<K>(&mut table, handle)?.take();
    while table.open.last().is_some_and(Option::is_none) {
        table.open.pop();
    }
    if table.open.is_empty() {
        table.open = Vec::new();
    }
    drop(table);
    // Only now, as this may take time.
    drop(object);
    Ok(())
}
